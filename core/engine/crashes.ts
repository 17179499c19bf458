/** Counts the lost threads of one pool: how long to wait for the next, and when to give up. */

import { nowMs } from '../base/clock.ts'

/** A pool that lost this many threads within CRASH_WINDOW_MS is given up. */
const CRASHES_MAX = 3
const CRASH_WINDOW_MS = 30_000
const BACK_OFF_MS = 250

export class Crashes {
  #timesMs: number[] = []

  get count(): number {
    return this.#timesMs.length
  }

  /** Null: there were too many; else how long to wait before another thread is loaded. */
  add(): number | null {
    const now = nowMs()
    this.#timesMs = this.#timesMs.filter((at) => now - at < CRASH_WINDOW_MS)
    this.#timesMs.push(now)
    return this.count >= CRASHES_MAX ? null : BACK_OFF_MS * this.count
  }
}
