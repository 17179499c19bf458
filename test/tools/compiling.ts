/**
 * Compiles many models in children, each tried where its crash is counted and harms nobody.
 * What is kept of a form is removed again at once: thousands of them are a lot of disk.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compiled } from '../../bench/paths.ts'
import { hashOnDisk } from '../../workers/forge/model-hash.ts'
import type { CompileMessage, CompileRequest } from '../../workers/protocol.ts'
import { NO_RUNTIMES } from './runtimes.ts'

const LIMIT_MS = 60_000

export type Compiled =
  | Exclude<CompileMessage, { kind: 'step' }>
  /** The child has ended, at the step that it named last. */
  | { readonly kind: 'crashed'; readonly how: string; readonly step: string }

export interface ModelPlace {
  readonly directory: string
  /** Relative to it. */
  readonly model: string
}

/** A request for a form that may be as small as it likes. */
export async function compileRequest(folder: string, place: ModelPlace): Promise<CompileRequest> {
  const limits = { bytesMax: 4 * 1024 ** 3, weightBytesMin: 0 }
  const rest = { endpoints: [], tables: [], settings: NO_RUNTIMES, ...limits }
  const sha256 = (await hashOnDisk(place.directory, place.model)) ?? ''
  return { ...place, sha256, folder, key: 'f'.repeat(64), ...rest }
}

export class CompilingChild {
  readonly folder = mkdtempSync(join(tmpdir(), 'switchyard-compiling-'))
  #child: ChildProcess | null = null
  #count = 0

  /** A folder for one model, to be removed when it is done. */
  newPlace(files: readonly (readonly [string, Buffer])[]): string {
    this.#count += 1
    const directory = join(this.folder, `model-${this.#count}`)
    mkdirSync(directory)
    for (const [name, bytes] of files) writeFileSync(join(directory, name), bytes)
    return directory
  }

  async compile(place: ModelPlace, given: Partial<CompileRequest> = {}): Promise<Compiled> {
    const child = this.#running()
    const request = { ...(await compileRequest(join(this.folder, 'forms'), place)), ...given }
    mkdirSync(request.folder, { recursive: true })
    let step = 'before the first step'
    const outcome = new Promise<Compiled>((resolve) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS)
      const end = (result: Compiled): void => {
        clearTimeout(timer)
        child.removeAllListeners()
        resolve(result)
      }
      child.on('message', (message: CompileMessage) => {
        if (message.kind === 'step') step = message.step
        else end(message)
      })
      child.once('exit', (code, signal) => {
        this.#child = null
        end({ kind: 'crashed', how: signal ?? `code ${code}`, step })
      })
    })
    child.send(request)
    const result = await outcome
    removeForm(join(request.folder, request.key))
    return result
  }

  async close(): Promise<void> {
    const child = this.#child
    if (child !== null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    rmSync(this.folder, { recursive: true, force: true })
  }

  #running(): ChildProcess {
    this.#child ??= fork(compiled('test/tools/compile-child.ts'), {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    return this.#child
  }
}

/** Its folder lets nobody write to it, who removes it included. */
export function removeForm(path: string): void {
  try {
    chmodSync(path, 0o700)
  } catch {
    return
  }
  rmSync(path, { recursive: true })
}
