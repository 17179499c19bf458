/**
 * Shapley values by sampling permutations (Štrumbelj and Kononenko, "Explaining prediction models
 * and individual predictions with feature contributions", 2014): a walk starts at a row of the
 * background and replaces its values by those of the explained row, one feature after the other in
 * random order. What a step changes is the contribution of its feature; the mean over all walks is
 * the estimate.
 *
 * Three measures against chance, none of which costs a run. Every second walk takes the order of
 * the one before backwards, so that what two features do together is halved between them. Starts
 * go through the whole background before any row is used again. And where the starts happen to
 * score higher or lower than the background does on average, each contribution is corrected by its
 * regression on the score of the start (a control variate). Steps of one walk add up to prediction
 * minus start, so these slopes add up to -1, and the corrected contributions to exactly prediction
 * minus the mean score of the background.
 */

import { shuffled } from './chance.ts'
import type { Estimate, EstimateState, Sample } from './estimate.ts'

/** Rows of the explained row alone. */
const EXPLAINED = 0

interface Walk {
  readonly start: number
  /** Features whose values differ, in the order of their replacement. */
  readonly order: Uint32Array
}

export interface ShapleyOptions {
  readonly sample: Sample
  readonly seed: number
  readonly permutations: number
}

const NO_WALK = { index: -1, walk: { start: 0, order: new Uint32Array(0) } }

interface Place {
  walk: number
  step: number
}

export class Shapley implements Estimate {
  readonly #options: ShapleyOptions
  readonly #sums: Float64Array
  readonly #products: Float64Array
  /** What is known. */
  readonly #read: Place
  /** What has been asked for; ahead of `read` between next() and take(). */
  readonly #asked: Place
  #score: number | null
  #running: number
  #starts: number
  #squares: number
  readonly #walks = new Map<number, Walk>()
  #latest: { readonly index: number; readonly walk: Walk } = NO_WALK
  #cycle: { readonly index: number; readonly rows: Uint32Array } | null = null

  constructor(options: ShapleyOptions, state: EstimateState) {
    this.#options = options
    this.#sums = state.sums.slice()
    this.#products = state.products.slice()
    this.#read = { walk: state.outer, step: state.inner }
    this.#asked = { ...this.#read }
    this.#score = state.score
    this.#running = state.running
    this.#starts = state.starts
    this.#squares = state.squares
  }

  next(from: Uint16Array, rowsMax: number): number {
    const { features } = this.#options.sample
    const at = this.#asked
    let rows = 0
    if (this.#score === null) {
      from.fill(EXPLAINED, 0, features)
      rows = 1
    }
    let isRunOn = false
    while (rows < rowsMax && at.walk < this.#options.permutations) {
      const walk = this.#walk(at.walk)
      if (at.step >= walk.order.length - 1) {
        // The last step ends at the explained row, whose score is known.
        at.walk += 1
        at.step = 0
        isRunOn = false
        continue
      }
      const cells = rows * features
      if (isRunOn) from.copyWithin(cells, cells - features, cells)
      else startRow(from, cells, { walk, step: at.step, features })
      from[cells + (walk.order[at.step] ?? 0)] = EXPLAINED
      isRunOn = true
      at.step += 1
      rows += 1
    }
    return rows
  }

  take(scores: Float64Array): void {
    const at = this.#read
    let taken = 0
    if (this.#score === null) {
      this.#score = scores[0] ?? Number.NaN
      taken = 1
    }
    while (at.walk < this.#options.permutations) {
      const walk = this.#walk(at.walk)
      const start = this.#options.sample.scores[walk.start] ?? 0
      if (at.step === 0) this.#running = start
      if (at.step >= walk.order.length - 1) {
        this.#end(walk, start)
        continue
      }
      if (taken === scores.length) break
      this.#step(walk.order[at.step] ?? 0, scores[taken] ?? Number.NaN, start)
      taken += 1
      at.step += 1
    }
    Object.assign(this.#asked, at)
  }

  #step(feature: number, score: number, start: number): void {
    const change = score - this.#running
    this.#sums[feature] = (this.#sums[feature] ?? 0) + change
    this.#products[feature] = (this.#products[feature] ?? 0) + change * start
    this.#running = score
  }

  #end({ order }: Walk, start: number): void {
    const last = order.at(-1)
    if (last !== undefined) this.#step(last, this.#score ?? 0, start)
    this.#starts += start
    this.#squares += start * start
    this.#walks.delete(this.#read.walk)
    this.#read.walk += 1
    this.#read.step = 0
  }

  base(): number {
    return meanOf(this.#options.sample.scores)
  }

  contributions(): Float64Array {
    const { permutations } = this.#options
    const drawn = this.#starts / permutations
    const variance = this.#squares / permutations - drawn * drawn
    const excess = drawn - this.base()
    const means = this.#sums.map((sum) => sum / permutations)
    const isFlat = variance <= FLAT * (this.#squares / permutations)
    const slopes = isFlat ? this.#shares(means) : this.#slopes({ means, drawn, variance })
    const corrected = means.map((mean, i) => mean - (slopes[i] ?? 0) * excess)
    return exact(corrected, (this.#score ?? 0) - this.base())
  }

  #slopes(of: { means: Float64Array; drawn: number; variance: number }): Float64Array {
    const { permutations } = this.#options
    return of.means.map(
      (mean, i) => ((this.#products[i] ?? 0) / permutations - mean * of.drawn) / of.variance,
    )
  }

  /** All starts scored the same: no slope to see, so each feature by how much it counts. */
  #shares(means: Float64Array): Float64Array {
    const total = means.reduce((sum, mean) => sum + Math.abs(mean), 0)
    return means.map((mean) => (total === 0 ? -1 / means.length : -Math.abs(mean) / total))
  }

  state(): EstimateState {
    return {
      method: 'SHAPLEY',
      score: this.#score,
      outer: this.#read.walk,
      inner: this.#read.step,
      running: this.#running,
      sums: this.#sums,
      products: this.#products,
      starts: this.#starts,
      squares: this.#squares,
    }
  }

  /** Made again from the seed by whoever goes on; what is asked for and not done is kept. */
  #walk(index: number): Walk {
    if (index === this.#latest.index) return this.#latest.walk
    const walk = this.#walks.get(index) ?? this.#newWalk(index)
    this.#walks.set(index, walk)
    this.#latest = { index, walk }
    return walk
  }

  #newWalk(index: number): Walk {
    const { sample, seed } = this.#options
    const start = this.#start(index)
    const order = shuffled(sample.features, seed, 2 * (index >> 1))
    if (index % 2 === 1) order.reverse()
    let kept = 0
    for (let i = 0; i < order.length; i++) {
      const feature = order[i] ?? 0
      if (sample.isSame(start, feature)) continue
      order[kept] = feature
      kept += 1
    }
    return { start, order: order.subarray(0, kept) }
  }

  #start(index: number): number {
    const { sample, seed } = this.#options
    const cycle = Math.floor(index / sample.rows)
    if (this.#cycle?.index !== cycle) {
      this.#cycle = { index: cycle, rows: shuffled(sample.rows, seed, 2 * cycle + 1) }
    }
    return this.#cycle.rows[index % sample.rows] ?? 0
  }
}

/** Part of the mean square below which a variance is but rounding. */
const FLAT = 1e-12

function startRow(
  from: Uint16Array,
  cells: number,
  { walk, step, features }: { walk: Walk; step: number; features: number },
): void {
  from.fill(walk.start + 1, cells, cells + features)
  for (let i = 0; i < step; i++) from[cells + (walk.order[i] ?? 0)] = EXPLAINED
}

/** Takes off what rounding has left, from the largest, where it is least. */
function exact(contributions: Float64Array, total: number): Float64Array {
  let largest = 0
  let sum = 0
  for (const [i, value] of contributions.entries()) {
    sum += value
    if (Math.abs(value) > Math.abs(contributions[largest] ?? 0)) largest = i
  }
  contributions[largest] = (contributions[largest] ?? 0) + (total - sum)
  return contributions
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
