/**
 * Rules that have the last word: which of them a row falls under, by its features as they were sent
 * or looked up. A text that is a number is one here too, but what a model gets in place of a
 * missing value is nothing that was said of the row.
 */

import type { ConditionPlan, OverrideEffect, OverridePlan } from '../../core/bundle/depth-plan.ts'
import type { FeaturePlan } from '../../core/bundle/plan.ts'
import { type FeatureMap, isMissing, numeric, ownValue, truth } from './values.ts'

type Scalar = string | number | boolean

export interface Rule {
  /** As JSON. */
  readonly name: string
  readonly then: OverrideEffect
}

/** The first whose conditions all hold, or null. */
export type FindRule = (features: FeatureMap) => Rule | null

type Holds = (features: FeatureMap) => boolean

export function ruleFinder(
  plans: readonly OverridePlan[],
  features: readonly FeaturePlan[] | null,
): FindRule {
  const rules = plans.map(({ name, when, then }) => ({
    rule: { name: JSON.stringify(name), then },
    holds: when.map((condition) => conditionOf(condition, features)),
  }))
  return (row) => rules.find(({ holds }) => holds.every((one) => one(row)))?.rule ?? null
}

function conditionOf(condition: ConditionPlan, features: readonly FeaturePlan[] | null): Holds {
  const { feature } = condition
  const read = reader(
    feature,
    features?.find(({ name }) => name === feature),
  )
  switch (condition.kind) {
    case 'missing':
      return (row) => (read(row) === null) !== condition.negated
    case 'in': {
      const values = new Set<Scalar>(condition.values)
      return (row) => {
        const value = read(row)
        return value !== null && values.has(value) !== condition.negated
      }
    }
    default: {
      const { min, max } = condition
      return (row) => {
        const value = read(row)
        if (typeof value !== 'number') return false
        return (min === null || value >= min) && (max === null || value <= max)
      }
    }
  }
}

/** Null: missing, or nothing that the feature could be. */
function reader(name: string, plan: FeaturePlan | undefined): (row: FeatureMap) => Scalar | null {
  if (plan === undefined) return (row) => scalarOf(ownValue(row, name))
  return (row) => {
    const value = ownValue(row, name)
    if (isMissing(value, plan)) return null
    if (plan.type === 'boolean') {
      const flag = truth(value)
      return flag === null ? null : flag === 1
    }
    if (plan.type === 'string') return typeof value === 'number' ? String(value) : scalarOf(value)
    const number = numeric(value)
    return number === null ? null : Number(number)
  }
}

function scalarOf(value: unknown): Scalar | null {
  if (typeof value === 'number') return Number.isNaN(value) ? null : value
  return typeof value === 'string' || typeof value === 'boolean' ? value : null
}
