/** The query log of one service, as control knows it: lines, and whether any are being lost. */

import type { QueryLogDelta } from './delta.ts'

/** So long a loss is news. */
const RECENT_MS = 60_000

export interface LogTrouble {
  /** Lines were lost a moment ago. */
  readonly isDropping: boolean
  /** The system's word for why lines cannot be written; null: they can. */
  readonly code: string | null
}

export class LogLines {
  written = 0
  dropped = 0
  #droppedAtMs = Number.NEGATIVE_INFINITY
  /** By number of the serving process. */
  readonly #troubles = new Map<number, string>()

  add({ written, dropped, trouble }: QueryLogDelta, source: number, nowMs: number): void {
    this.written += written
    this.dropped += dropped
    if (dropped > 0) this.#droppedAtMs = nowMs
    if (trouble === null) this.#troubles.delete(source)
    else this.#troubles.set(source, trouble)
  }

  /** A process that says nothing has no trouble, and one that is gone neither. */
  calm(source: number): void {
    this.#troubles.delete(source)
  }

  trouble(nowMs: number): LogTrouble {
    const [code = null] = this.#troubles.values()
    return { isDropping: nowMs - this.#droppedAtMs < RECENT_MS, code }
  }
}
