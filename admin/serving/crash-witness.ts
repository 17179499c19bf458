/**
 * Finds out which endpoints were inside a run when a serving process crashed. A process is asked to
 * note its runs only for a while after a crash: it costs two writes a batch, and almost no node
 * ever needs it.
 */

import { readFileSync, rmSync } from 'node:fs'
import { nowMs } from '../../core/base/clock.ts'
import { readWitness } from '../../core/channel/witness.ts'
import type { EndpointRef } from './circuit.ts'

const WATCH_MS = 600_000

export class CrashWitness {
  readonly #newPath: () => string
  #untilMs = Number.NEGATIVE_INFINITY

  constructor(newPath: () => string) {
    this.#newPath = newPath
  }

  /** For the next process; null while there is nothing to find out. */
  newFile(): string | null {
    return nowMs() < this.#untilMs ? this.#newPath() : null
  }

  /** Of a process that has ended: who was running in it, if it crashed. */
  take(file: string | null, hasCrashed: boolean): readonly EndpointRef[] {
    if (hasCrashed) this.#untilMs = nowMs() + WATCH_MS
    if (file === null) return []
    const running = hasCrashed ? read(file) : []
    remove(file)
    return running
  }
}

/** On a disk that has become read-only it stays; a start removes it. */
function remove(file: string): void {
  try {
    rmSync(file, { force: true })
  } catch {
    // That one process is replaced matters more.
  }
}

/** No file: the process crashed before it ran anything. */
function read(file: string): readonly EndpointRef[] {
  try {
    return readWitness(readFileSync(file))
  } catch {
    return []
  }
}
