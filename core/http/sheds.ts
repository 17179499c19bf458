/**
 * What one process has given up because bytes that wait would have taken too much of its memory:
 * counted for the metrics, and told in the log, though not once for each.
 */

import { nowMs } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'

/**
 * `body`: one was refused while it came. `answer`: a large one was refused instead of kept for a
 * slow reader. `reader`: the connection of one who takes nothing was closed.
 */
export type ShedKind = 'body' | 'answer' | 'reader'

/** An attack is one line in this time. */
const SAY_EVERY_MS = 10_000

export class Sheds {
  readonly #logger: Logger
  readonly #nowMs: () => number
  #counts = new Map<ShedKind, number>()
  #unsaid = new Map<ShedKind, number>()
  #saidMs = Number.NEGATIVE_INFINITY

  constructor(logger: Logger, clockMs: () => number = nowMs) {
    this.#logger = logger
    this.#nowMs = clockMs
  }

  count(kind: ShedKind): void {
    for (const counts of [this.#counts, this.#unsaid]) counts.set(kind, (counts.get(kind) ?? 0) + 1)
    const now = this.#nowMs()
    if (now - this.#saidMs < SAY_EVERY_MS) return
    this.#saidMs = now
    const since = Object.fromEntries(this.#unsaid)
    this.#unsaid = new Map()
    this.#logger.warn(since, 'too many bytes wait: bodies or answers refused, readers closed')
  }

  /** Everything counted since the last call. */
  drain(): readonly (readonly [kind: ShedKind, count: number])[] {
    const counts = [...this.#counts]
    this.#counts = new Map()
    return counts
  }
}
