/**
 * Where explanations and predictions meet. Whoever predicts (an ONNX model, code of a bundle) tells
 * what became of a row, and scores rows that are mixed of the explained row and of the background;
 * what is explained, in which order and in which slices is told by the explainer alone.
 *
 * Explained is the probability of classes[1] where there are two classes, that of the class that
 * the model predicts where there are more, and the value of a regression: what the model says, so
 * before thresholds and overrides.
 */

import type { ErrorCode } from '../../core/base/errors.ts'
import type { ExplanationMethod } from '../../core/bundle/depth-plan.ts'
import type { Parsed } from '../bodies.ts'
import type { FeatureMap } from '../predictions/values.ts'
import type { BatchJob, WorkerOutcome } from '../protocol.ts'
import type { MixedRows } from './mixed-rows.ts'

/** How one request wants its rows explained, all defaults filled in. */
export interface ExplanationRequest {
  readonly method: ExplanationMethod
  readonly nExplanations: number
  readonly nMonteCarloSteps: number
}

/** What a body says of explanations: see requestOf(). */
export type Asked =
  /** A plain prediction. */
  | { readonly kind: 'plain' }
  /** To be sent on: `state` is that of the reroute. */
  | { readonly kind: 'explain'; readonly state: ExplainState }
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly detail: string }

/** Of a request in the lane `explain`, between its slices: plain data, any thread goes on. */
export interface ExplainState {
  /** The path that the request came by: one row, or many. */
  readonly verb: 'single' | 'multi'
  readonly request: ExplanationRequest
  /** What the slices before have got; absent in that of the reroute. */
  readonly progress?: unknown
}

/** A row's plain prediction. */
export type Predicted =
  | {
      readonly kind: 'predicted'
      /** The whole `result`, as JSON text. */
      readonly text: string
      /** Where in `text` further members go: in front of `,"ignored":false`. */
      readonly insertAt: number
      /** As the model gets them: after look-ups and, for code, after the checks of features. */
      readonly features: FeatureMap
      /** Which column of the scores is explained: 0, or of more than two classes its index. */
      readonly output: number
    }
  /** Ignored: there is nothing to explain. */
  | { readonly kind: 'ignored'; readonly text: string }
  | {
      readonly kind: 'failed'
      readonly code: ErrorCode
      readonly detail: string
      readonly status?: number
    }

/** Rows as whoever scores wants them, so that cells of several can make up one row. */
export type Hold<Held> = (
  rows: readonly FeatureMap[],
) => Held | { readonly kind: 'refused'; readonly row: number; readonly detail: string }

export interface Mixture<Held> {
  /** At most `rowsMax`. */
  readonly rows: MixedRows
  readonly explained: Held
  readonly background: Held
}

/** One run of a model. Made by onnx-scorer.ts and code-scorer.ts of this folder. */
export interface Scorer<Held> {
  /** Names of the features that are mixed; rows number them in this order. */
  readonly features: readonly string[]
  readonly rowsMax: number
  /** Values per row: 1, or of more than two classes one for each. */
  readonly outputs: number
  readonly hold: Hold<Held>
  /**
   * First in it: rows × outputs. Valid until the next run, and the caller may write to it. Throws
   * an AppError that says what failed.
   */
  score(mixture: Mixture<Held>, endMs: number): Promise<Float64Array>
}

/** What the predictor lends for one job. */
export interface Predicts<Held> {
  /** Of the one request; not called where the thread still knows what it has parsed. */
  parse(): Parsed
  /**
   * One entry `{"features": …}` of the body (for `single` the body itself), plainly predicted, with
   * look-ups and all that an answer without explanations holds. Never throws.
   */
  predict(item: unknown, endMs: number): Promise<Predicted>
  readonly scorer: Scorer<Held>
}

/** Opened once per endpoint and thread: see openExplainer(). */
export interface Explains<Held> {
  /** One slice of a job of the verb `explain`. Never throws. */
  run(job: BatchJob, predicts: Predicts<Held>): Promise<WorkerOutcome>
}
