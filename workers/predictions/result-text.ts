/**
 * The `result` object of a row that has a prediction, as JSON text: the same fields in the same
 * order whatever predicts. What an endpoint is configured to tell beyond the model's own answer
 * (its percentile, an override by a rule) is worked out here, and costs nothing where it is not.
 */

import type { DepthPlan } from '../../core/bundle/depth-plan.ts'
import type { FeaturePlan } from '../../core/bundle/plan.ts'
import { type FindRule, type Rule, ruleFinder } from './overrides.ts'
import type { FeatureMap } from './values.ts'

/** By class, in the order in which they are told. */
export type Probas = readonly (readonly [string, number])[]

export interface Scored {
  /** A class, or the number of a regression. */
  readonly prediction: string | number
  readonly probas: Probas | null
  /** Where the code knows it better than the endpoint. */
  readonly probaPercentile?: number
  /** JSON text of an object; null: none. */
  readonly customKeys: string | null
}

/** `features` are those of the row after look-ups. */
export type WriteResult = (scored: Scored, features: FeatureMap) => string

export interface WriterPlan extends DepthPlan {
  /** Null: the code declares none. */
  readonly features: readonly FeaturePlan[] | null
}

/** Made once per endpoint. */
export function resultWriter(plan: WriterPlan): WriteResult {
  const { percentiles, overrides } = plan
  const find: FindRule | null =
    overrides === undefined ? null : ruleFinder(overrides, plan.features)
  return (scored, features) => {
    const percentile = scored.probaPercentile ?? percentileOf(percentiles, scored.probas)
    const rank = percentile === null ? '' : `,"probaPercentile":${jsonNumber(percentile)}`
    const keys = scored.customKeys === null ? '' : `,"customKeys":${scored.customKeys}`
    const rest = `${keys},"ignored":false}`
    if (find === null) return `${answerText(scored, rank)}${rest}`
    const rule = find(features)
    if (rule === null) return `${answerText(scored, rank)},"override":{"ruleMatched":false}${rest}`
    return `${overridden(scored, rule, rank)}${rest}`
  }
}

function answerText({ prediction, probas }: Scored, rank: string): string {
  const scores = probas === null ? '' : `,"probas":${probasText(probas)}`
  return `{"prediction":${jsonScalar(prediction)}${rank}${scores}`
}

function overridden(scored: Scored, { name, then }: Rule, rank: string): string {
  const { prediction, probas } = scored
  const changed: Scored = {
    ...scored,
    prediction: effectOf(then, prediction),
    probas: then.kind === 'class' ? certain(probas, then.value) : probas,
  }
  const isChanged = !Object.is(changed.prediction, prediction)
  const raw = probas === null ? '' : `,"probabilities":${probasText(probas)}`
  const rawResult = `{"prediction":${jsonScalar(prediction)}${raw}}`
  const told = `"ruleMatched":true,"appliedRule":${name},"rawResult":${rawResult}`
  return `${answerText(changed, rank)},"override":{${told},"predictionChanged":${isChanged}}`
}

function effectOf(then: Rule['then'], prediction: string | number): string | number {
  if (then.kind !== 'clip') return then.value
  const { min, max } = then
  if (min !== null && Number(prediction) < min) return min
  return max !== null && Number(prediction) > max ? max : prediction
}

/** A rule leaves no doubt. */
function certain(probas: Probas | null, winner: string): Probas | null {
  return probas?.map(([name]) => [name, name === winner ? 1 : 0] as const) ?? null
}

function percentileOf(
  quantiles: readonly number[] | undefined,
  probas: Probas | null,
): number | null {
  const score = probas?.[1]?.[1]
  if (quantiles === undefined || score === undefined || !Number.isFinite(score)) return null
  return percentileIn(quantiles, score)
}

/**
 * The share of a sample whose probability is at most `score`, in percent, rounded up, 1 to 100.
 * Between two quantiles the sample is taken to be spread evenly.
 */
function percentileIn(quantiles: readonly number[], score: number): number {
  const above = firstAbove(quantiles, score)
  if (above === 0) return 1
  const below = quantiles[above - 1] ?? 0
  const next = quantiles[above]
  const part = next === undefined ? 0 : (score - below) / (next - below)
  const percent = ((above - 1 + part) * 100) / (quantiles.length - 1)
  return Math.min(100, Math.max(1, Math.ceil(percent)))
}

/** Index of the first entry over `score`, by halving. */
function firstAbove(ascending: readonly number[], score: number): number {
  let low = 0
  let high = ascending.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ascending[middle] ?? 0) > score) high = middle
    else low = middle + 1
  }
  return low
}

function probasText(probas: Probas): string {
  const texts = probas.map(([name, value]) => `${JSON.stringify(name)}:${jsonNumber(value)}`)
  return `{${texts.join(',')}}`
}

function jsonScalar(value: string | number): string {
  return typeof value === 'string' ? JSON.stringify(value) : jsonNumber(value)
}

function jsonNumber(value: number): string {
  return Number.isFinite(value) ? String(value) : 'null'
}
