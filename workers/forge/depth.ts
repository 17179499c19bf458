/** Percentiles and overrides of the manifest as workers follow them; both are checked before. */

import type { Depth } from '../../core/bundle/check-depth.ts'
import type { ConditionPlan, DepthPlan, OverrideEffect } from '../../core/bundle/depth-plan.ts'
import type { ManifestCondition, ManifestEffect } from '../../core/bundle/depth-schema.ts'

export function depthPlan({ percentiles, overrides }: Depth): DepthPlan {
  const rules = overrides?.map((rule) => {
    const then = effectPlan(rule.then)
    return { name: rule.name, when: rule.when.map(conditionPlan), then }
  })
  return {
    ...(percentiles === undefined ? {} : { percentiles }),
    ...(rules === undefined ? {} : { overrides: rules }),
  }
}

function conditionPlan(condition: ManifestCondition): ConditionPlan {
  const { feature, equals, missing, min = null, max = null } = condition
  if (missing !== undefined) return { kind: 'missing', feature, negated: !missing }
  if (equals !== undefined) return { kind: 'in', feature, values: [equals], negated: false }
  const { in: among, notIn } = condition
  if (among !== undefined) return { kind: 'in', feature, values: among, negated: false }
  if (notIn !== undefined) return { kind: 'in', feature, values: notIn, negated: true }
  return { kind: 'range', feature, min, max }
}

function effectPlan(effect: ManifestEffect): OverrideEffect {
  const { class: forced, value, min = null, max = null } = effect
  if (forced !== undefined) return { kind: 'class', value: String(forced) }
  return value === undefined ? { kind: 'clip', min, max } : { kind: 'value', value }
}
