/**
 * The `result` object of one row that the code of a bundle has scored, as JSON text. Field by field
 * the same as of an ONNX model, and `customKeys` for what the code adds.
 */

import type { ErrorCode } from '../../core/base/errors.ts'
import type { CustomPredictionPlan } from '../../core/bundle/plan.ts'
import { rowReason } from '../lookup/reasons.ts'
import type { RowFailure } from '../protocol.ts'
import { quoted } from './values.ts'

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
  | { readonly kind: 'result'; readonly text: string }
  | { readonly kind: 'refused'; readonly reason: string }

export type CustomRowEncoder = (row: CustomRow) => EncodedRow

const NOT_PREDICTED = 'the code gave no prediction'

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

/** Made once per endpoint. */
export function customRowEncoder(plan: CustomPredictionPlan): CustomRowEncoder {
  return plan.kind === 'REGRESSION' ? encodeRegression : (row) => encodeClass(plan, row)
}

function encodeRegression({ prediction, customKeys }: CustomRow): EncodedRow {
  if (prediction === null || Number.isNaN(prediction)) return result(ignoredRow(NOT_PREDICTED))
  if (typeof prediction !== 'number') {
    return refused(`a regression must predict a number, got ${quoted(String(prediction))}`)
  }
  const value = Number.isFinite(prediction) ? String(prediction) : 'null'
  return result(`{"prediction":${value}${customPart(customKeys)},"ignored":false}`)
}

function encodeClass(plan: CustomPredictionPlan, row: CustomRow): EncodedRow {
  const probas = byClass(plan.classes, row.probas)
  if (typeof probas === 'string') return refused(probas)
  const label = winner(plan, row.prediction, probas)
  if (label === null) return result(ignoredRow(NOT_PREDICTED))
  if (plan.classes.length > 0 && !plan.classes.includes(label)) {
    return refused(`${quoted(label)} is none of the classes`)
  }
  const texts = probas?.map(([name, value]) => `${JSON.stringify(name)}:${jsonNumber(value)}`)
  const scores = texts === undefined ? '' : `,"probas":{${texts.join(',')}}`
  const percentile = row.probaPercentile
  const rank = percentile === undefined ? '' : `,"probaPercentile":${jsonNumber(percentile)}`
  const head = `{"prediction":${JSON.stringify(label)}${scores}${rank}`
  return result(`${head}${customPart(row.customKeys)},"ignored":false}`)
}

type Probas = readonly (readonly [string, number])[]

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

function customPart(customKeys: string | null): string {
  return customKeys === null ? '' : `,"customKeys":${customKeys}`
}

function jsonNumber(value: number): string {
  return Number.isFinite(value) ? String(value) : 'null'
}

function result(text: string): EncodedRow {
  return { kind: 'result', text }
}

function refused(reason: string): EncodedRow {
  return { kind: 'refused', reason }
}
