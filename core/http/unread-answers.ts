/**
 * The bytes of large answers that one process keeps because their readers have not taken them yet.
 *
 * Who still takes some is let finish: when there is no room, those who have stalled lose their
 * connection, the longest first, and where nobody has the new answer is refused.
 */

import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import type { Sheds } from './sheds.ts'

/** Nobody who takes nothing for this long keeps room that others need. */
const STALLED_MS = 2_000

/** One answer that is being sent. */
export interface Unread {
  readonly bytes: number
  /** Ends its connection. */
  readonly close: () => void
  /** When its reader last took some. */
  movedMs: number
}

export class UnreadAnswers {
  readonly #limitBytes: number
  readonly #sheds: Sheds
  readonly #nowMs: () => number
  /** Who took some last stands last. */
  readonly #all = new Set<Unread>()
  #usedBytes = 0

  constructor(limitBytes: number, sheds: Sheds, clockMs: () => number = nowMs) {
    this.#limitBytes = limitBytes
    this.#sheds = sheds
    this.#nowMs = clockMs
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Whether an answer may be sent that its reader perhaps does not take at once. */
  makeRoom(bytes: number): boolean {
    if (bytes <= this.#limitBytes) {
      const stalledMs = this.#nowMs() - STALLED_MS
      for (const unread of this.#all) {
        if (this.#usedBytes + bytes <= this.#limitBytes || unread.movedMs > stalledMs) break
        this.release(unread)
        this.#sheds.count('reader')
        unread.close()
      }
      if (this.#usedBytes + bytes <= this.#limitBytes) return true
    }
    this.#sheds.count('answer')
    return false
  }

  /** Of an answer that there was room for in this turn, and that was not taken at once. */
  hold(bytes: number, close: () => void): Unread {
    const unread = { bytes, close, movedMs: this.#nowMs() }
    this.#all.add(unread)
    this.#usedBytes += bytes
    return unread
  }

  moved(unread: Unread): void {
    if (!this.#all.delete(unread)) return
    unread.movedMs = this.#nowMs()
    this.#all.add(unread)
  }

  /** It is sent, or its reader has gone; more than once does nothing. */
  release(unread: Unread): void {
    if (!this.#all.delete(unread)) return
    this.#usedBytes -= unread.bytes
    assert(this.#usedBytes >= 0, 'no byte of an answer is released twice')
  }
}
