/** Tries bundles by the thousand in the forge's own code, in children under the forge's limits. */

import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram } from '../../../admin/bundle/child-limits.ts'
import { startLimited } from '../../../admin/bundle/limited-child.ts'
import { compiled } from '../../../bench/paths.ts'
import type { ForgeRequest } from '../../../workers/protocol.ts'
import type { Tried } from '../forges-child.ts'
import { NO_RUNTIMES } from '../runtimes.ts'

/** `died`: native code ended the process, as it may. `late`: it was killed after its time. */
export type Outcome = Tried | { readonly code: 'died' | 'late'; readonly detail: string }

const PATH = process.env['PATH'] ?? ''
const MEMORY_BYTES = 4 * 2 ** 30
const CPU_MS = 600_000

export interface Forges {
  try(archive: Buffer): Promise<Outcome>
  /** What lies in the folder although nothing is being tried: must be nothing. */
  left(): string[]
  close(): void
}

/** One child, and the next one when it has died; what is given up takes `limitMs`. */
export function forges(limitMs: number): Forges {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-forges-'))
  let child: ChildProcess | null = null
  let count = 0
  const running = (): ChildProcess => {
    const isUsable = child?.connected === true && child.exitCode === null
    if (child === null || !isUsable) child = started()
    return child
  }
  const attempt = async (archive: Buffer): Promise<Outcome> => {
    count += 1
    const place = join(folder, String(count))
    const directory = join(place, 'unpacked')
    mkdirSync(directory, { recursive: true })
    const path = join(place, 'v1.zip')
    writeFileSync(path, archive)
    const settings = { ...NO_RUNTIMES, runDirectory: folder }
    const around = { serviceId: 's', generationId: 'g', fileName: 'v1.zip', settings }
    const request = { ...around, archive: path, directory, diskBytesMax: Number.MAX_SAFE_INTEGER }
    const outcome = await told(running(), request, limitMs)
    const beside = readdirSync(place).filter((name) => !['unpacked', 'v1.zip'].includes(name))
    rmSync(place, { recursive: true })
    if (beside.length === 0) return outcome
    return { code: null, detail: `written outside its folder: ${beside}` }
  }
  const close = (): void => {
    child?.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  return { try: attempt, left: () => readdirSync(folder), close }
}

function started(): ChildProcess {
  const bounds = { memoryBytes: MEMORY_BYTES, cpuMs: CPU_MS }
  const child = startLimited(compiled('test/tools/forges-child.ts'), bounds, {
    prlimit: findProgram('prlimit', PATH),
    setpriv: findProgram('setpriv', PATH),
    env: process.env,
    cores: 1,
    awaited: true,
  })
  child.stderr?.resume()
  return child
}

function told(child: ChildProcess, request: ForgeRequest, limitMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const end = (outcome: Outcome): void => {
      clearTimeout(timer)
      child.off('message', answered).off('exit', died)
      resolve(outcome)
    }
    const answered = (tried: Tried): void => end(tried)
    const died = (code: number | null, signal: string | null): void =>
      end({ code: 'died', detail: signal ?? `code ${code}` })
    const timer = setTimeout(() => {
      child.once('exit', () => end({ code: 'late', detail: `${limitMs} ms` }))
      child.off('exit', died).kill('SIGKILL')
    }, limitMs)
    child.on('message', answered).on('exit', died)
    child.send(request)
  })
}
