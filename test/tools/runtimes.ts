/** What the machine of the tests offers to Python, R and SQL endpoints, in a folder of its own. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { findProgram } from '../../admin/bundle/child-limits.ts'
import type { QueryLogSettings } from '../../core/channel/messages.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'

const PATH = process.env['PATH'] ?? ''

/** Below a file nothing can be made, by root neither: what is written there fails its test. */
const NOT_A_FOLDER = '/dev/null'

/** Nothing can be run: for tests that need no child and no database. */
export const NO_RUNTIMES: RuntimeSettings = {
  python: null,
  rscript: null,
  environments: join(NOT_A_FOLDER, 'environments'),
  runDirectory: join(NOT_A_FOLDER, 'run'),
  pipIndexUrl: null,
  children: 1,
  childLimits: {
    memoryBytes: LIMITS.childMemoryBytes,
    processesMax: LIMITS.childProcessesMax,
    fileBytesMax: LIMITS.childFileBytesMax,
  },
  environment: {},
  prlimit: null,
  setpriv: null,
  connections: [],
  compiled: null,
}

/** For tests whose services log nothing. */
export const NO_QUERY_LOG: QueryLogSettings = {
  directory: join(NOT_A_FOLDER, 'query-log'),
  fileBytesMax: LIMITS.queryLogFileBytesMax,
  totalBytesMax: LIMITS.queryLogTotalBytesMax,
}

/** All that is installed here; the folder goes with the test. */
export function runtimes(
  t: Pick<Test, 'teardown'>,
  given: Partial<RuntimeSettings> = {},
): RuntimeSettings {
  const root = mkdtempSync(join(tmpdir(), 'switchyard-run-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  const runDirectory = join(root, 'run')
  mkdirSync(runDirectory, { mode: 0o700 })
  return {
    ...NO_RUNTIMES,
    // Debian's own has numpy and scikit-learn where they were installed as packages.
    python: findProgram('python3', `/usr/bin:${PATH}`),
    rscript: findProgram('Rscript', PATH),
    environments: join(root, 'environments'),
    runDirectory,
    environment: { PATH, LANG: 'C.UTF-8' },
    prlimit: findProgram('prlimit', PATH),
    setpriv: findProgram('setpriv', PATH),
    ...given,
  }
}
