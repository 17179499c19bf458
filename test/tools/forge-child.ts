/**
 * Runs the real forge as its parent does: a forked process, one request in, messages out. Time is
 * bounded, because some of the models it is given never end.
 */

import { fork } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compiled } from '../../bench/paths.ts'
import type { ForgeMessage, ForgeRequest } from '../../workers/protocol.ts'
import { NO_RUNTIMES } from './runtimes.ts'
import { type ZipEntry, zip } from './zip-writer.ts'

export interface ForgeRun {
  readonly phases: readonly string[]
  /** The last message; null: the process ended, or was killed, without one. */
  readonly verdict: Exclude<ForgeMessage, { kind: 'phase' | 'named' }> | null
  readonly exitCode: number | null
  readonly signal: string | null
  /** Where the bundle was unpacked to; removed by `remove()`. */
  readonly directory: string
  remove(): Promise<void>
}

export interface ForgeRunOptions extends Partial<ForgeRequest> {
  /** The process is killed after this long; default 30 s. */
  readonly killMs?: number
}

/** Of files, or of an archive that is made already. */
export async function runForge(
  entries: readonly ZipEntry[] | Buffer,
  options: ForgeRunOptions = {},
): Promise<ForgeRun> {
  const home = await mkdtemp(join(tmpdir(), 'switchyard-forge-'))
  const directory = await mkdtemp(join(home, 'generation-'))
  const archive = join(home, 'v1.zip')
  await writeFile(archive, Buffer.isBuffer(entries) ? entries : zip([...entries]))
  const { killMs = 30_000, ...rest } = options
  const names = { serviceId: 'demo', generationId: null, fileName: 'v1.zip' }
  const settings = NO_RUNTIMES
  const place = { archive, directory, diskBytesMax: Number.MAX_SAFE_INTEGER, settings }
  const ended = await talk({ ...place, ...names, ...rest }, killMs)
  return { ...ended, directory, remove: () => rm(home, { recursive: true, force: true }) }
}

type Ended = Omit<ForgeRun, 'directory' | 'remove'>

function talk(request: ForgeRequest, killMs: number): Promise<Ended> {
  const child = fork(compiled('workers/forge/main.ts'), {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  const phases: string[] = []
  let verdict: ForgeRun['verdict'] = null
  const timer = setTimeout(() => child.kill('SIGKILL'), killMs)
  child.on('message', (message: ForgeMessage) => {
    if (message.kind === 'phase') {
      // Progress within a phase is told as the phase again.
      if (phases.at(-1) !== message.phase) phases.push(message.phase)
    } else if (message.kind !== 'named') verdict = message
  })
  child.send(request)
  return new Promise((resolve) => {
    child.once('close', (exitCode, signal) => {
      clearTimeout(timer)
      resolve({ phases, verdict, exitCode, signal })
    })
  })
}
