/**
 * Individual conditional expectation (Goldstein et al., "Peeking inside the black box", 2015): one
 * feature after the other takes each of the values that it has in the background, the others stay
 * as they are. The explanation is the prediction minus the mean over this curve. Nothing is drawn,
 * so it is exact; and since features are changed one at a time it need not add up to anything.
 */

import type { Estimate, EstimateState, Sample } from './estimate.ts'
import { AS_BEFORE, EXPLAINED, type MixedRows } from './mixed-rows.ts'

interface Place {
  feature: number
  value: number
}

/** Equal values are run once and counted as often as they occur. */
export class Ice implements Estimate {
  readonly #sample: Sample
  readonly #sums: Float64Array
  readonly #read: Place
  readonly #asked: Place
  #score: number | null

  constructor(sample: Sample, state: EstimateState) {
    this.#sample = sample
    this.#sums = state.sums.slice()
    this.#read = { feature: state.outer, value: state.inner }
    this.#asked = { ...this.#read }
    this.#score = state.score
  }

  next(rows: MixedRows, rowsMax: number): void {
    const at = this.#asked
    rows.clear()
    if (this.#score === null) rows.start(EXPLAINED)
    let changed: number | null = null
    while (rows.count < rowsMax) {
      const row = this.#seek(at)
      if (row === null) break
      rows.start(at.feature === changed ? AS_BEFORE : EXPLAINED)
      rows.change(at.feature, row + 1)
      changed = at.feature
      at.value += 1
    }
  }

  take(scores: Float64Array, count: number): void {
    let taken = 0
    if (this.#score === null) {
      this.#score = scores[0] ?? Number.NaN
      taken = 1
    }
    const at = this.#read
    for (; taken < count && this.#seek(at) !== null; taken++) {
      const times = this.#sample.distinct(at.feature).counts[at.value] ?? 0
      const change = (this.#score - (scores[taken] ?? Number.NaN)) * times
      this.#sums[at.feature] = (this.#sums[at.feature] ?? 0) + change
      at.value += 1
    }
    Object.assign(this.#asked, at)
  }

  /** The row of the background with the next value that is to be run; moves on to it. */
  #seek(at: Place): number | null {
    const { own, others } = this.#sample
    for (; at.feature < this.#sample.features; at.feature++, at.value = 0) {
      const { rows } = this.#sample.distinct(at.feature)
      for (; at.value < rows.length; at.value++) {
        const row = rows[at.value] ?? 0
        if (others[row]?.[at.feature] !== own[at.feature]) return row
      }
    }
    return null
  }

  base(): null {
    return null
  }

  contributions(): Float64Array {
    return this.#sums.map((sum) => sum / this.#sample.others.length)
  }

  state(): EstimateState {
    return {
      method: 'ICE',
      score: this.#score,
      outer: this.#read.feature,
      inner: this.#read.value,
      running: 0,
      sums: this.#sums,
      products: new Float64Array(0),
      starts: 0,
      squares: 0,
    }
  }
}
