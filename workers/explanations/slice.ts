/**
 * One slice of a request: goes on where the one before has stopped, row by row of the request and
 * run by run of each, until all is done or the slice is over.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError, type ErrorCode, toAppError } from '../../core/base/errors.ts'
import { rowInPlace } from '../predictions/results.ts'
import type { FeatureMap } from '../predictions/values.ts'
import type { Table } from './background.ts'
import { seedOf } from './chance.ts'
import { type Estimate, type EstimateState, freshState } from './estimate.ts'
import { Ice } from './ice.ts'
import type { MixedRows } from './mixed-rows.ts'
import type { Pace } from './pace.ts'
import { explainedText } from './result.ts'
import { Shapley } from './shapley.ts'
import type { ExplainState, Mixture, Predicted, Predicts } from './types.ts'

type Explainable = Extract<Predicted, { kind: 'predicted' }>

/** What a request has got so far; plain data. */
export interface Progress {
  /** Tells a thread that it has parsed this body before. */
  readonly id: string
  readonly waitMs: number
  predictionMs: number
  explanationMs: number
  totalMs: number
  /** Item that comes next, or is at work. */
  index: number
  /** Results of the items before, with commas between them. */
  done: string
  row: { readonly predicted: Explainable; readonly estimate: EstimateState } | null
}

export interface SliceOptions<Held> {
  readonly table: Table
  readonly pace: Pace
  /** Of any slice before; what is in it is of no use any more. */
  readonly rows: MixedRows
  readonly background: Held
  readonly predicts: Predicts<Held>
  readonly state: ExplainState
  readonly progress: Progress
  /** When the slice is over, and when nobody waits for the answer any more. */
  readonly sliceEndMs: number
  readonly endMs: number
}

/** Nobody waits any more, or nobody is there to ask: the other rows need not be tried. */
const FINAL: ReadonlySet<ErrorCode> = new Set(['ERR_CHILD_LOST', 'ERR_DEADLINE'])

export class Slice<Held> {
  readonly #options: SliceOptions<Held>
  readonly #progress: Progress
  #isFirst = true

  constructor(options: SliceOptions<Held>) {
    this.#options = options
    this.#progress = options.progress
  }

  /** True when all items are done. Throws an AppError when the whole request fails. */
  async run(items: readonly unknown[]): Promise<boolean> {
    const progress = this.#progress
    while (progress.index < items.length) {
      const isOver = await this.#inPlace(() => this.#goOn(items[progress.index]))
      if (isOver) return false
    }
    return true
  }

  /** A row of predict-multi that fails keeps its place, and the others go on. */
  async #inPlace(work: () => Promise<boolean>): Promise<boolean> {
    try {
      return await work()
    } catch (error) {
      const { code, detail } = toAppError(error)
      if (this.#options.state.verb === 'single' || FINAL.has(code)) throw error
      this.#finish(rowInPlace({ code, detail: detail ?? '' }))
      return false
    }
  }

  /** True when the slice is over. */
  async #goOn(item: unknown): Promise<boolean> {
    const { row } = this.#progress
    if (row !== null) return this.#explain(row.predicted, row.estimate)
    if (!this.#isFirst && nowMs() > this.#options.sliceEndMs) return true
    await this.#predict(item)
    return false
  }

  async #predict(item: unknown): Promise<void> {
    const { predicts, endMs, state } = this.#options
    this.#checkDeadline()
    this.#isFirst = false
    const startMs = nowMs()
    const predicted = await predicts.predict(item, endMs)
    this.#progress.predictionMs += nowMs() - startMs
    if (predicted.kind === 'failed') {
      const { code, detail, status } = predicted
      throw new AppError(code, detail, [], status)
    }
    if (predicted.kind === 'ignored') this.#finish(predicted.text)
    else {
      const { length } = predicts.scorer.features
      this.#progress.row = { predicted, estimate: freshState(state.request.method, length) }
    }
  }

  async #explain(predicted: Explainable, known: EstimateState): Promise<boolean> {
    const { state, table, predicts } = this.#options
    const startMs = nowMs()
    const { features, output } = predicted
    const sample = table.sample(features, output)
    const estimate: Estimate =
      state.request.method === 'ICE'
        ? new Ice(sample, known)
        : new Shapley(
            {
              sample,
              seed: seedOf(contentOf(features, predicts.scorer.features)),
              permutations: state.request.nMonteCarloSteps,
            },
            known,
          )
    const isDone = await this.#sample(estimate, predicted)
    this.#progress.explanationMs += nowMs() - startMs
    if (isDone) {
      const { features: names } = predicts.scorer
      this.#finish(explainedText(predicted, estimate, { names, request: state.request }))
    } else this.#progress.row = { predicted, estimate: estimate.state() }
    return !isDone
  }

  /** Runs rows until the estimate wants no more, or the slice is over: then false. */
  async #sample(estimate: Estimate, { features, output }: Explainable): Promise<boolean> {
    const { predicts, pace, rows, sliceEndMs, background, endMs } = this.#options
    const { scorer } = predicts
    const explained = scorer.hold([features])
    if (isRefused(explained)) throw new AppError('ERR_FEATURE_INVALID', explained.detail)
    const mixture: Mixture<Held> = { rows, explained, background }
    for (;;) {
      const startMs = nowMs()
      const rowsMax = pace.rows(scorer.rowsMax, sliceEndMs - startMs, this.#isFirst)
      if (rowsMax === 0) return false
      estimate.next(rows, rowsMax)
      if (rows.count === 0) return true
      this.#checkDeadline()
      this.#isFirst = false
      const scores = await scorer.score(mixture, endMs)
      pace.ran(rows.count, nowMs() - startMs)
      pickOutput(scores, rows.count, { outputs: scorer.outputs, output })
      estimate.take(scores, rows.count)
    }
  }

  #finish(text: string): void {
    const progress = this.#progress
    progress.done += progress.index === 0 ? text : `,${text}`
    progress.index += 1
    progress.row = null
  }

  #checkDeadline(): void {
    if (nowMs() <= this.#options.endMs) return
    throw new AppError('ERR_DEADLINE', 'the rest of the explanations was not run')
  }
}

export function isRefused(
  held: unknown,
): held is { readonly kind: 'refused'; readonly row: number; readonly detail: string } {
  return typeof held === 'object' && held !== null && 'kind' in held && held.kind === 'refused'
}

/** Seed of what is drawn: the same row is always explained alike. */
function contentOf(features: FeatureMap, names: readonly string[]): string {
  return names.map((name) => `${typeof features[name]} ${features[name]}`).join('\n')
}

interface Picked {
  readonly outputs: number
  readonly output: number
}

/** Moves the scores of one output to the front, where they are checked. */
function pickOutput(scores: Float64Array, rows: number, { outputs, output }: Picked): void {
  for (let row = 0; row < rows; row++) {
    const score = scores[row * outputs + output] ?? Number.NaN
    if (!Number.isFinite(score)) {
      const mixed = 'a row with values of the background'
      throw new AppError('ERR_INFERENCE', `the model gave no finite score for ${mixed}`)
    }
    scores[row] = score
  }
}
