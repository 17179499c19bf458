/**
 * Runs the real forge as its parent does: a forked process, one request in, messages out. Time is
 * bounded, because some of the models it is given never end. What is known to end can be forged
 * here, without a process.
 */

import { fork } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compiled } from '../../bench/paths.ts'
import { type ZipEntry, zip } from '../../bench/workloads/zip-writer.ts'
import { forge } from '../../workers/forge/forge.ts'
import type { ForgeMessage, ForgeRequest } from '../../workers/protocol.ts'
import { NO_RUNTIMES } from './runtimes.ts'

export interface ForgeRun {
  readonly phases: readonly string[]
  /** The last message; null: the process ended, or was killed, without one. */
  readonly verdict: Exclude<ForgeMessage, { kind: 'phase' | 'named' }> | null
  /** Null: a signal ended it, or there was no process. */
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
  const { killMs = 30_000, ...rest } = options
  return forgedBy((request) => talk(request, killMs), entries, rest)
}

/** In this process: for what bundles become, not for what they do to the process. */
export function runForgeHere(
  entries: readonly ZipEntry[] | Buffer,
  options: Partial<ForgeRequest> = {},
): Promise<ForgeRun> {
  return forgedBy(forgeHere, entries, options)
}

async function forgedBy(
  run: (request: ForgeRequest) => Promise<Ended>,
  entries: readonly ZipEntry[] | Buffer,
  options: Partial<ForgeRequest>,
): Promise<ForgeRun> {
  const home = await mkdtemp(join(tmpdir(), 'switchyard-forge-'))
  const directory = await mkdtemp(join(home, 'generation-'))
  const archive = join(home, 'v1.zip')
  await writeFile(archive, Buffer.isBuffer(entries) ? entries : zip([...entries]))
  const names = { serviceId: 'demo', generationId: null, fileName: 'v1.zip' }
  const settings = NO_RUNTIMES
  const place = { archive, directory, diskBytesMax: Number.MAX_SAFE_INTEGER, settings }
  const ended = await run({ ...place, ...names, ...options })
  return { ...ended, directory, remove: () => rm(home, { recursive: true, force: true }) }
}

type Ended = Omit<ForgeRun, 'directory' | 'remove'>

async function forgeHere(request: ForgeRequest): Promise<Ended> {
  const phases = new Phases()
  // As it crosses the border between processes: what cannot be copied fails here too.
  const verdict = structuredClone(await forge(structuredClone(request), (one) => phases.add(one)))
  return { phases: phases.names, verdict, exitCode: null, signal: null }
}

class Phases {
  readonly names: string[] = []

  /** Progress within a phase is told as the phase again. */
  add(message: ForgeMessage): void {
    if (message.kind === 'phase' && this.names.at(-1) !== message.phase) {
      this.names.push(message.phase)
    }
  }
}

function talk(request: ForgeRequest, killMs: number): Promise<Ended> {
  const child = fork(compiled('workers/forge/main.ts'), {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  const phases = new Phases()
  let verdict: ForgeRun['verdict'] = null
  const timer = setTimeout(() => child.kill('SIGKILL'), killMs)
  child.on('message', (message: ForgeMessage) => {
    phases.add(message)
    if (message.kind !== 'phase' && message.kind !== 'named') verdict = message
  })
  child.send(request)
  return new Promise((resolve) => {
    child.once('close', (exitCode, signal) => {
      clearTimeout(timer)
      resolve({ phases: phases.names, verdict, exitCode, signal })
    })
  })
}
