/** What both methods of explaining look like to whoever runs their rows in slices. */

import type { ExplanationMethod } from '../../core/bundle/depth-plan.ts'
import type { MixedRows } from './mixed-rows.ts'

/** Whose cells the rows to be scored are mixed of. */
export interface Sample {
  readonly features: number
  /** Cells of the explained row; where a row of the background has the same, no run is needed. */
  readonly own: readonly unknown[]
  /** Cells of the background's rows. */
  readonly others: readonly (readonly unknown[])[]
  /** Scores of the background's rows in the explained output. */
  readonly scores: Float64Array
  /** Their mean. */
  readonly base: number
  /** Rows of the background with different values of a feature, and how many share each. */
  distinct(feature: number): Distinct
}

export interface Distinct {
  readonly rows: Uint32Array
  readonly counts: Uint32Array
}

/**
 * Says which rows it wants scored next and is told their scores, in this order. Between two calls
 * of `take` it is its state and nothing else.
 */
export interface Estimate {
  /** Writes at most `rowsMax` rows; none: nothing is left. */
  next(rows: MixedRows, rowsMax: number): void
  /** The first `count` are those of the rows of the last `next`, all of them. */
  take(scores: Float64Array, count: number): void
  /** One contribution per feature, when nothing is left. */
  contributions(): Float64Array
  /** What contributions add up to less than the prediction; null: they need not add up. */
  base(): number | null
  state(): EstimateState
}

/** Plain data. */
export interface EstimateState {
  readonly method: ExplanationMethod
  /** Score of the explained row; null: not known yet. */
  readonly score: number | null
  /** Where it stands: permutation and step, or feature and value. */
  readonly outer: number
  readonly inner: number
  /** Score at the step before, or the sum of this feature so far. */
  readonly running: number
  readonly sums: Float64Array
  readonly products: Float64Array
  /** Sum and sum of squares of the scores that permutations have started from. */
  readonly starts: number
  readonly squares: number
}

export function freshState(method: ExplanationMethod, features: number): EstimateState {
  return {
    method,
    score: null,
    outer: 0,
    inner: 0,
    running: 0,
    sums: new Float64Array(features),
    products: new Float64Array(features),
    starts: 0,
    squares: 0,
  }
}
