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

import { shuffle } from './chance.ts'
import type { Estimate, EstimateState, Sample } from './estimate.ts'
import { AS_BEFORE, EXPLAINED, type MixedRows } from './mixed-rows.ts'

interface Walk {
  start: number
  /** First in it: features whose values differ, in the order of their replacement. */
  readonly order: Uint32Array
  steps: number
}

export interface ShapleyOptions {
  readonly sample: Sample
  readonly seed: number
  readonly permutations: number
}

interface Drawn {
  index: number
  readonly order: Uint32Array
}

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
  /** From that of `read` on, made when they are asked for; and those that are done with. */
  readonly #walks: Walk[] = []
  readonly #spare: Walk[] = []
  /** Orders of the features for two walks, there and back, and of the starts. */
  readonly #pair: Drawn
  readonly #cycle: Drawn

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
    const { features, others } = options.sample
    this.#pair = { index: -1, order: new Uint32Array(features) }
    this.#cycle = { index: -1, order: new Uint32Array(others.length) }
  }

  next(rows: MixedRows, rowsMax: number): void {
    const at = this.#asked
    rows.clear()
    if (this.#score === null) rows.start(EXPLAINED)
    while (rows.count < rowsMax && at.walk < this.#options.permutations) {
      const walk = this.#walk(at.walk)
      // The last step ends at the explained row, whose score is known.
      const runs = walk.steps - 1
      if (at.step < runs) at.step = ask(rows, walk, { from: at.step, runs, rowsMax })
      if (at.step < runs) return
      at.walk += 1
      at.step = 0
    }
  }

  take(scores: Float64Array, count: number): void {
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
      for (; at.step < walk.steps - 1 && taken < count; at.step++, taken++) {
        this.#step(walk.order[at.step] ?? 0, scores[taken] ?? Number.NaN, start)
      }
      if (at.step < walk.steps - 1) break
      this.#end(walk, start)
    }
    this.#asked.walk = at.walk
    this.#asked.step = at.step
  }

  #step(feature: number, score: number, start: number): void {
    const change = score - this.#running
    this.#sums[feature] = (this.#sums[feature] ?? 0) + change
    this.#products[feature] = (this.#products[feature] ?? 0) + change * start
    this.#running = score
  }

  #end(walk: Walk, start: number): void {
    const { order, steps } = walk
    if (steps > 0) this.#step(order[steps - 1] ?? 0, this.#score ?? 0, start)
    this.#starts += start
    this.#squares += start * start
    this.#walks.shift()
    this.#spare.push(walk)
    this.#read.walk += 1
    this.#read.step = 0
  }

  base(): number {
    return this.#options.sample.base
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

  /** Made again from the seed by whoever goes on. */
  #walk(index: number): Walk {
    const at = index - this.#read.walk
    const known = this.#walks[at]
    if (known !== undefined) return known
    const walk = this.#newWalk(index)
    this.#walks[at] = walk
    return walk
  }

  #newWalk(index: number): Walk {
    const { sample, seed } = this.#options
    const { features, own, others } = sample
    const drawn = orderOf(this.#pair, seed, 2 * (index >> 1))
    const starts = orderOf(this.#cycle, seed, 2 * Math.floor(index / others.length) + 1)
    const walk = this.#spare.pop() ?? { start: 0, order: new Uint32Array(features), steps: 0 }
    walk.start = starts[index % others.length] ?? 0
    const other = others[walk.start] ?? []
    let steps = 0
    for (let i = 0; i < features; i++) {
      const feature = drawn[index % 2 === 1 ? features - 1 - i : i] ?? 0
      if (other[feature] === own[feature]) continue
      walk.order[steps] = feature
      steps += 1
    }
    walk.steps = steps
    return walk
  }
}

function orderOf(drawn: Drawn, seed: number, index: number): Uint32Array {
  if (drawn.index !== index) shuffle(drawn.order, seed, index)
  drawn.index = index
  return drawn.order
}

/** Part of the mean square below which a variance is but rounding. */
const FLAT = 1e-12

interface Asking {
  readonly from: number
  readonly runs: number
  readonly rowsMax: number
}

/** Rows of a walk that fit; returns the step that comes next. */
function ask(rows: MixedRows, { start, order }: Walk, { from, runs, rowsMax }: Asking): number {
  rows.start(start + 1)
  for (let i = 0; i < from; i++) rows.change(order[i] ?? 0, EXPLAINED)
  rows.change(order[from] ?? 0, EXPLAINED)
  let step = from + 1
  for (; step < runs && rows.count < rowsMax; step++) {
    rows.start(AS_BEFORE)
    rows.change(order[step] ?? 0, EXPLAINED)
  }
  return step
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
