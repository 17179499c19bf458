/**
 * The `result` object of one row that the code of a bundle has scored, as JSON text. Field by field
 * the same as of an ONNX model, and `customKeys` for what the code adds.
 */

import type { ErrorCode } from '../../core/base/errors.ts'
import type { CustomPredictionPlan } from '../../core/bundle/plan.ts'
import { rowReason } from '../lookup/reasons.ts'
import type { RowFailure } from '../protocol.ts'
import { type Probas, resultWriter, type Scored, type WriteResult } from './result-text.ts'
import { type FeatureMap, quoted } from './values.ts'

/** What the code said of one row, once its own language is taken off. */
export interface CustomRow {
  /** A scalar; null: the code gives none, so the probabilities decide or the row is ignored. */
  readonly prediction: string | number | boolean | null
  /** By class, or in the order of the plan's classes; null: none. */
  readonly probas: readonly (readonly [string, number])[] | readonly number[] | null
  /** JSON text of an object; null: none. */
  readonly customKeys: string | null
  /** Of two classes, where the code knows it. */
  readonly probaPercentile?: number
}

export type EncodedRow =
  /** `output`: index of the class, where there are more than two; else 0. */
  | { readonly kind: 'result'; readonly text: string; readonly output: number }
  | { readonly kind: 'ignored'; readonly text: string }
  | { readonly kind: 'refused'; readonly reason: string }

/** `features` are those of the row after look-ups. */
export type CustomRowEncoder = (row: CustomRow, features: FeatureMap) => EncodedRow

export function ignoredRow(detail: string): string {
  const reason = `"ignoreReason":"IGNORED_BY_MODEL","ignoreDetail":${JSON.stringify(detail)}`
  return `{"ignored":true,${reason}}`
}

const OF_MODEL: ReadonlySet<ErrorCode> = new Set([
  'ERR_ANSWER_INVALID',
  'ERR_CODE_RAISED',
  'ERR_INFERENCE',
])

/** A row of predict-multi that failed keeps its place and says why. */
export function rowInPlace({ code, detail }: Pick<RowFailure, 'code' | 'detail'>): string {
  const reason = OF_MODEL.has(code) ? 'IGNORED_BY_MODEL' : rowReason(code)
  const error = { code, message: detail }
  return `{"ignored":true,"ignoreReason":"${reason}","error":${JSON.stringify(error)}}`
}

const NOTHING: EncodedRow = { kind: 'ignored', text: ignoredRow('the code gave no prediction') }

/** Made once per endpoint. */
export function customRowEncoder(plan: CustomPredictionPlan): CustomRowEncoder {
  const write = resultWriter(plan)
  if (plan.kind === 'REGRESSION') return (row, features) => encodeRegression(write, row, features)
  const isMulticlass = plan.classes.length > 2
  return (row, features) => {
    const scored = scoredClass(plan, row)
    if ('kind' in scored) return scored
    const output = isMulticlass ? plan.classes.indexOf(String(scored.prediction)) : 0
    return { kind: 'result', text: write(scored, features), output }
  }
}

function encodeRegression(write: WriteResult, row: CustomRow, features: FeatureMap): EncodedRow {
  const { prediction, customKeys } = row
  if (prediction === null || Number.isNaN(prediction)) return NOTHING
  if (typeof prediction !== 'number') {
    return refused(`a regression must predict a number, got ${quoted(String(prediction))}`)
  }
  return {
    kind: 'result',
    text: write({ prediction, probas: null, customKeys }, features),
    output: 0,
  }
}

function scoredClass(plan: CustomPredictionPlan, row: CustomRow): Scored | EncodedRow {
  const probas = byClass(plan.classes, row.probas)
  if (typeof probas === 'string') return refused(probas)
  const label = winner(plan, row.prediction, probas)
  if (label === null) return NOTHING
  if (plan.classes.length > 0 && !plan.classes.includes(label)) {
    return refused(`${quoted(label)} is none of the classes`)
  }
  const { probaPercentile, customKeys } = row
  const rank = probaPercentile === undefined ? {} : { probaPercentile }
  return { prediction: label, probas, customKeys, ...rank }
}

/** In the order of the declared classes where there are any; a text says what is wrong. */
function byClass(classes: readonly string[], given: CustomRow['probas']): Probas | string | null {
  if (given === null) return null
  const named = given.filter((entry) => typeof entry !== 'number')
  if (named.length < given.length) {
    const values = given.filter((entry) => typeof entry === 'number')
    if (values.length !== classes.length) {
      return `${given.length} probabilities without names for ${classes.length} classes`
    }
    return classes.map((name, i) => [name, values[i] ?? Number.NaN])
  }
  if (classes.length === 0) return named
  const values = new Map(named)
  for (const name of values.keys()) {
    if (!classes.includes(name))
      return `there is a probability for ${quoted(name)}, which is no class`
  }
  return classes.map((name) => [name, values.get(name) ?? 0])
}

/** The threshold decides before the code does, as it does for models; then the likeliest class. */
function winner(
  { classes, threshold }: CustomPredictionPlan,
  prediction: CustomRow['prediction'],
  probas: Probas | null,
): string | null {
  const [first, second] = classes
  const score = probas?.[1]?.[1]
  if (threshold !== null && first !== undefined && second !== undefined && score !== undefined) {
    return score >= threshold ? second : first
  }
  if (prediction !== null && !Number.isNaN(prediction)) return String(prediction)
  let best: readonly [string, number] | null = null
  for (const entry of probas ?? []) if (entry[1] > (best?.[1] ?? -1)) best = entry
  return best?.[0] ?? null
}

function refused(reason: string): EncodedRow {
  return { kind: 'refused', reason }
}
