/**
 * Individual conditional expectation (Goldstein et al., "Peeking inside the black box", 2015): one
 * feature after the other takes each of the values that it has in the background, the others stay
 * as they are. The explanation is the prediction minus the mean over this curve. Nothing is drawn,
 * so it is exact; and since features are changed one at a time it need not add up to anything.
 */

import type { Estimate, EstimateState, Sample } from './estimate.ts'

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

  next(from: Uint16Array, rowsMax: number): number {
    const { features } = this.#sample
    let rows = 0
    if (this.#score === null) {
      from.fill(0, 0, features)
      rows = 1
    }
    while (rows < rowsMax) {
      const row = this.#seek(this.#asked)
      if (row === null) break
      const cells = rows * features
      from.fill(0, cells, cells + features)
      from[cells + this.#asked.feature] = row + 1
      this.#asked.value += 1
      rows += 1
    }
    return rows
  }

  take(scores: Float64Array): void {
    let taken = 0
    if (this.#score === null) {
      this.#score = scores[0] ?? Number.NaN
      taken = 1
    }
    const at = this.#read
    for (; taken < scores.length && this.#seek(at) !== null; taken++) {
      const count = this.#sample.distinct(at.feature).counts[at.value] ?? 0
      const change = (this.#score - (scores[taken] ?? Number.NaN)) * count
      this.#sums[at.feature] = (this.#sums[at.feature] ?? 0) + change
      at.value += 1
    }
    Object.assign(this.#asked, at)
  }

  /** The row of the background with the next value that is to be run; moves on to it. */
  #seek(at: Place): number | null {
    for (; at.feature < this.#sample.features; at.feature++, at.value = 0) {
      const { rows } = this.#sample.distinct(at.feature)
      for (; at.value < rows.length; at.value++) {
        const row = rows[at.value] ?? 0
        if (!this.#sample.isSame(row, at.feature)) return row
      }
    }
    return null
  }

  base(): null {
    return null
  }

  contributions(): Float64Array {
    return this.#sums.map((sum) => sum / this.#sample.rows)
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
