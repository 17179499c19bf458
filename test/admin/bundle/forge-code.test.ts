/**
 * Goal: code that hangs, ends, forks, allocates or writes without end is refused in time with a
 * sentence, and nothing of it is left. Method: the real forge behind its real client, on bundles
 * with Python code that does each; what is left is looked for by the mark that children carry.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findProgram } from '../../../admin/bundle/child-limits.ts'
import { createForge } from '../../../admin/bundle/forge-client.ts'
import type { ForgeOutcome } from '../../../admin/contracts.ts'
import { compiled } from '../../../bench/paths.ts'
import { zip } from '../../../bench/workloads/zip-writer.ts'
import { nowMs } from '../../../core/base/clock.ts'
import { SILENT } from '../../../core/base/logger.ts'
import type { RuntimeSettings } from '../../../core/config/runtimes.ts'
import { whyNoPython } from '../../tools/python-endpoints.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { until } from '../../tools/waiting.ts'

t.setTimeout(240_000)

const PATH = process.env['PATH'] ?? ''
const skip = whyNoPython()
const GIB = 1024 ** 3

interface Ran {
  readonly outcome: ForgeOutcome
  readonly ms: number
  readonly settings: RuntimeSettings
}

interface RunOptions {
  readonly timeMs?: number
  readonly limits?: Partial<RuntimeSettings['childLimits']>
  /** The client is closed when the forge is here. */
  readonly closeAt?: string
  readonly query?: boolean
  /** Of a test query. */
  readonly timeoutMs?: number
}

async function run(t: Test, code: string, options: RunOptions = {}): Promise<Ran> {
  const { timeMs = 60_000, limits = {}, closeAt = null } = options
  const { query = true, timeoutMs = 20_000 } = options
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-forge-code-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const base = runtimes(t)
  const settings = { ...base, childLimits: { ...base.childLimits, ...limits } }
  const forge = createForge({
    issuers: [],
    entry: compiled('workers/forge/main.ts'),
    memoryBytesMin: 4 * GIB,
    timeMs,
    prlimit: settings.prlimit,
    setpriv: findProgram('setpriv', PATH),
    env: { PATH },
    cores: cpus().length,
    runtimes: settings,
    logger: SILENT,
  })
  const testQueries = query ? [{ name: 'one', q: {} }] : []
  const endpoint = {
    id: 'f',
    type: 'PYTHON_FUNCTION',
    file: 'f.py',
    function: 'f',
    testQueries,
    timeoutMs,
  }
  const manifest = JSON.stringify({ formatVersion: 1, endpoints: [endpoint] })
  const archive = join(folder, 'v1.zip')
  const directory = join(folder, 'out')
  await mkdir(directory)
  writeFileSync(
    archive,
    zip([
      { name: 'service.json', data: manifest },
      { name: 'f.py', data: code },
    ]),
  )
  const startMs = nowMs()
  const names = { serviceId: 's', generationId: null, fileName: 'v1.zip' }
  const request = { archive, directory, diskBytesMax: Number.MAX_SAFE_INTEGER, ...names }
  const outcome = await forge.run(request, 0, {
    onPhase(phase) {
      if (phase === closeAt) setTimeout(() => forge.close(), 500)
    },
    onNamed() {},
  })
  return { outcome, ms: nowMs() - startMs, settings }
}

/** Processes whose environment names the folder that only these children know. */
function survivors({ settings }: Ran): string[] {
  const mark = Buffer.from(`SWITCHYARD_CHILD=${settings.runDirectory}/`)
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      return readFileSync(`/proc/${name}/environ`).includes(mark)
    } catch {
      return false
    }
  })
}

async function nothingIsLeft(t: Test, ran: Ran): Promise<void> {
  const startMs = nowMs()
  await until(() => survivors(ran).length === 0)
  await until(() => readdirSync(ran.settings.runDirectory).length === 0)
  t.comment(`all gone ${Math.round(nowMs() - startMs)} ms after the answer`)
}

function told(t: Test, ran: Ran): string {
  if (ran.outcome.kind !== 'refused') t.fail(`not refused: ${JSON.stringify(ran.outcome)}`)
  return ran.outcome.kind === 'refused' ? `${ran.outcome.code} ${ran.outcome.detail}` : ''
}

const F = 'def f():\n  return 1\n'
/** A grandchild in a session of its own, that nothing but its environment ties to us. */
const DETACHED = `import os, time
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    time.sleep(600)
  os._exit(0)
`

t.test('an import that hangs, with a daemon of its own', { skip }, async (t) => {
  const asLate = (timeMs: number) => run(t, `${DETACHED}time.sleep(600)\n${F}`, { timeMs })
  let ran = await asLate(3_000)
  // On a busy machine it may not have come to the code by then.
  if (!/while loading/.test(told(t, ran))) ran = await asLate(30_000)
  t.match(
    told(t, ran),
    /^ERR_MODEL_LIMITS .*not finish within 30? s: ended while loading endpoint f/,
  )
  t.ok(ran.ms < 90_000, `${ran.ms} ms, and its code sleeps for 600 s`)
  await nothingIsLeft(t, ran)
})

t.test('an import that ends its process', { skip }, async (t) => {
  for (const code of ['import os; os._exit(0)\n', 'import os; os.abort()\n', 'exit(3)\n']) {
    const ran = await run(t, `${code}${F}`)
    t.match(told(t, ran), /^ERR_CODE_REFUSED endpoints\[0\]\.file: \S/, code)
    t.ok(ran.ms < 50_000, `${code.trim()}: ${Math.round(ran.ms)} ms, not at its time limit`)
    await nothingIsLeft(t, ran)
  }
})

t.test(
  'a good function with a daemon: forged, and the daemon ends with it',
  { skip },
  async (t) => {
    const ran = await run(t, `${DETACHED}${F}`)
    t.equal(ran.outcome.kind, 'forged')
    await nothingIsLeft(t, ran)
  },
)

t.test('a fork bomb', { skip }, async (t) => {
  const bomb = 'import os, time\ndef f():\n  while True:\n    if os.fork() == 0: time.sleep(60)\n'
  const ran = await run(t, bomb, { limits: { processesMax: 32 } })
  t.match(told(t, ran), /^ERR_TEST_QUERY endpoints\[0\]\.testQueries\[0\]\.q: .*"one" failed/)
  t.ok(ran.ms < 50_000, `${ran.ms} ms`)
  await nothingIsLeft(t, ran)
})

t.test(
  '20 GB of memory; and as much as a child may have, which is more than the forge',
  { skip },
  async (t) => {
    const greedy = await run(t, `x = bytearray(20 * 1024 ** 3)\n${F}`)
    t.match(told(t, greedy), /^ERR_CODE_REFUSED .*MemoryError/)
    await nothingIsLeft(t, greedy)
    // Reserved and never touched: address space is what is limited.
    const reserve = `import mmap\nx = mmap.mmap(-1, 6 * 1024 ** 3)\n${F}`
    const large = await run(t, reserve)
    t.equal(large.outcome.kind, 'forged', 'the limit of the forge is not that of its children')
    const small = await run(t, reserve, { limits: { memoryBytes: 2 * GIB } })
    t.match(told(t, small), /^ERR_CODE_REFUSED .*(?:Cannot allocate memory|MemoryError)/)
  },
)

t.test('a file without end', { skip }, async (t) => {
  const code = `with open('big', 'wb') as out:\n  while True: out.write(bytes(1 << 20))\n${F}`
  const ran = await run(t, code, { limits: { fileBytesMax: 32 * 1024 * 1024 } })
  t.match(told(t, ran), /^ERR_CODE_REFUSED .*(?:File too large|SIGXFSZ)/)
  await nothingIsLeft(t, ran)
})

t.test('a test query that never ends is given up at its deadline', { skip }, async (t) => {
  const ran = await run(t, 'import time\ndef f():\n  time.sleep(600)\n', { timeoutMs: 2_000 })
  t.match(told(t, ran), /^ERR_TEST_QUERY .*"one" failed/)
  t.ok(ran.ms < 50_000, `${ran.ms} ms`)
  await nothingIsLeft(t, ran)
})

t.test(
  'the node stops meanwhile: SIGKILL for the forge, and nothing is left',
  { skip },
  async (t) => {
    const code = `${DETACHED}time.sleep(600)\n${F}`
    const ran = await run(t, code, { closeAt: 'loading' })
    t.match(told(t, ran), /^ERR_STOPPING/)
    await nothingIsLeft(t, ran)
  },
)
