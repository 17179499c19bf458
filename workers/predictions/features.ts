/**
 * The features of one row as the code of a bundle gets them: what the manifest declares is checked,
 * converted and put in order, by the rules that ONNX models have too. What it does not declare is
 * not passed on.
 */

import type { FeaturePlan } from '../../core/bundle/plan.ts'
import {
  type FeatureMap,
  isMissing,
  isPassable,
  isRounded,
  kindOf,
  numeric,
  ownValue,
  quoted,
  ROUNDED,
  type RowProblem,
  truth,
} from './values.ts'

export type CheckedRow = { readonly kind: 'row'; readonly features: FeatureMap } | RowProblem

type Scalar = number | string | boolean
type Converted =
  | { readonly kind: 'value'; readonly value: Scalar }
  | { readonly kind: 'refused'; readonly unknown: boolean; readonly reason: string }

/** Made once per endpoint; without declared features a row is passed on as it came. */
export function featureRules(
  plans: readonly FeaturePlan[] | null,
): (features: FeatureMap) => CheckedRow {
  if (plans === null) return (features) => ({ kind: 'row', features })
  const rules = plans.map((plan) => ({ plan, convert: converter(plan) }))
  return (features) => {
    const checked: [string, Scalar][] = []
    for (const { plan, convert } of rules) {
      const value = checkedValue(plan, ownValue(features, plan.name), convert)
      if (typeof value === 'object') return value
      checked.push([plan.name, value])
    }
    return { kind: 'row', features: Object.fromEntries(checked) }
  }
}

function checkedValue(
  plan: FeaturePlan,
  given: unknown,
  convert: (value: unknown) => Converted,
): Scalar | RowProblem {
  if (isMissing(given, plan)) return settle(plan, plan.onMissing, 'is missing')
  const converted = convert(given)
  if (converted.kind === 'value') return converted.value
  return settle(plan, converted.unknown ? plan.onUnknown : plan.onInvalid, converted.reason)
}

function settle(plan: FeaturePlan, rule: FeaturePlan['onMissing'], why: string) {
  const detail = `feature "${plan.name}" ${why}`
  if (rule === 'IGNORE') return { kind: 'ignore', detail } as const
  if (rule === 'ERROR' || plan.value === null) return { kind: 'error', detail } as const
  return plan.value
}

function converter(plan: FeaturePlan): (value: unknown) => Converted {
  if (plan.type === 'boolean') {
    return (value) => {
      const flag = truth(value)
      if (flag === null) return refused(`must be a boolean, got ${kindOf(value)}`)
      return { kind: 'value', value: flag === 1 }
    }
  }
  if (plan.type !== 'string') return (value) => toNumber(value, plan.type)
  const categories = plan.categories === null ? null : new Set(plan.categories)
  return (value) => toText(value, categories)
}

function toNumber(value: unknown, type: FeaturePlan['type']): Converted {
  const given = numeric(value)
  if (given === null) return refused(`must be a ${type}, got ${kindOf(value)}`)
  const number = Number(given)
  if (!Number.isFinite(number)) return refused('is out of the range of float64')
  if (type === 'integer' && !Number.isSafeInteger(number)) {
    return refused(`must be an integer of at most 2^53, got ${given}`)
  }
  return { kind: 'value', value: number }
}

function toText(value: unknown, categories: ReadonlySet<string> | null): Converted {
  if (typeof value === 'number' && isRounded(value)) return refused(ROUNDED)
  const text = typeof value === 'number' && Number.isFinite(value) ? String(value) : value
  if (typeof text !== 'string') return refused(`must be a string, got ${kindOf(value)}`)
  if (!isPassable(text)) return refused('holds a NUL or half of a surrogate pair')
  if (categories === null || categories.has(text)) return { kind: 'value', value: text }
  return { kind: 'refused', unknown: true, reason: `has the unknown category ${quoted(text)}` }
}

function refused(reason: string): Converted {
  return { kind: 'refused', unknown: false, reason }
}
