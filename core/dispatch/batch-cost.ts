/**
 * What a batch of a lane costs: `fixedUs + requests * perRequestUs`. The forge has measured it, on
 * a machine that did nothing else; what batches take while the node serves corrects it.
 */

import type { CostModel } from '../bundle/plan.ts'

/** A batch there and back, on both threads; measured with the small model of the benchmark. */
const HAND_OVER_US = 30
/** Weight of a batch is halved by about as many that come after it. */
const KEPT = 0.97
/** Batches of one size tell nothing of the fixed part: least variance that does, in requests². */
const VARIANCE_MIN = 2
/** Parts of a split backlog are so large that what is fixed adds a quarter to its CPU at most. */
const WORTH = 4

export class BatchCost {
  #fixedUs: number
  #perRequestUs: number
  /** Weighted sums over the batches that have run: of 1, x, y, x² and xy. */
  #n = 0
  #x = 0
  #y = 0
  #xx = 0
  #xy = 0

  constructor({ fixedUs, perRowUs }: CostModel) {
    this.#fixedUs = fixedUs + HAND_OVER_US
    this.#perRequestUs = perRowUs
  }

  /** Requests from which on a batch is worth a thread of its own. */
  get worth(): number {
    if (this.#perRequestUs <= 0) return Number.POSITIVE_INFINITY
    return Math.max(1, Math.round((WORTH * this.#fixedUs) / this.#perRequestUs))
  }

  /** A batch has run, for so long in its thread. */
  ran(requests: number, executeUs: number): void {
    const us = executeUs + HAND_OVER_US
    this.#n = KEPT * this.#n + 1
    this.#x = KEPT * this.#x + requests
    this.#y = KEPT * this.#y + us
    this.#xx = KEPT * this.#xx + requests * requests
    this.#xy = KEPT * this.#xy + requests * us
    const n = this.#n
    const spread = n * this.#xx - this.#x * this.#x
    if (spread < VARIANCE_MIN * n * n) this.#scale()
    else this.#fit(spread)
  }

  #fit(spread: number): void {
    const n = this.#n
    const slope = Math.max(0, (n * this.#xy - this.#x * this.#y) / spread)
    const fixed = (this.#y - slope * this.#x) / n
    // A line that would be negative somewhere is replaced by the nearest that is not.
    this.#fixedUs = Math.max(0, fixed)
    this.#perRequestUs = fixed >= 0 ? slope : this.#y / this.#x
  }

  /** All were of about one size: the line keeps its form and gets the height that was seen. */
  #scale(): void {
    const expected = this.#fixedUs * this.#n + this.#perRequestUs * this.#x
    if (expected <= 0) return
    this.#fixedUs *= this.#y / expected
    this.#perRequestUs *= this.#y / expected
  }
}
