/**
 * Look-ups before a prediction: the key is taken from features, and columns of the row become
 * features. What a table gives wins over what the caller sent, so that nobody can bring along the
 * figures that a table is there to provide.
 */

import type { EnrichPlan } from '../../core/bundle/plan.ts'
import type { Enrich, Enriched } from '../predictions/custom.ts'
import type { FeatureMap } from '../predictions/values.ts'
import type { RuntimeContext } from '../runtime.ts'
import { cellValue } from './cells.ts'
import { type Lookups, type Outcome, openLookups } from './lookups.ts'

export interface Enricher {
  /** One entry per row, in order. Never throws. */
  readonly run: Enrich
  release(): Promise<void>
}

export async function openEnricher(plan: EnrichPlan, context: RuntimeContext): Promise<Enricher> {
  const lookups = await openLookups(plan.steps, context, {
    withoutKey: 'unmatched',
    code: 'ERR_FEATURE_INVALID',
    noun: 'feature',
  })
  return {
    run: (rows, endMs) => enrichAll(plan, lookups, { rows, endMs }),
    release: () => lookups.close(),
  }
}

interface Asked {
  readonly rows: readonly FeatureMap[]
  readonly endMs: number
}

async function enrichAll(
  plan: EnrichPlan,
  lookups: Lookups,
  { rows, endMs }: Asked,
): Promise<readonly Enriched[]> {
  const outcomes = rows.map((features) => lookups.run(features, endMs))
  const isLater = outcomes.some((outcome) => outcome instanceof Promise)
  const settled = isLater ? await Promise.all(outcomes) : outcomes
  return rows.map((features, i) => {
    const outcome = settled[i]
    if (outcome === undefined || outcome instanceof Promise) throw new Error('an outcome is open')
    return enriched(plan, features, outcome)
  })
}

function enriched(plan: EnrichPlan, given: FeatureMap, outcome: Outcome): Enriched {
  if (outcome.kind === 'failed') return outcome
  if (outcome.kind === 'ignored') {
    const { reason, detail } = outcome
    const more = detail === null ? '' : `,"ignoreDetail":${JSON.stringify(detail)}`
    return { kind: 'result', text: `{"ignored":true,"ignoreReason":"${reason}"${more}}` }
  }
  const features: Record<string, unknown> = { ...given }
  for (const [i, { columns }] of plan.steps.entries()) {
    const cells = outcome.rows[i]
    for (let at = 0; at < columns.length; at++) {
      features[columns[at]?.as ?? ''] = cellValue(cells?.[at] ?? 'null')
    }
  }
  const dump = plan.dump ? `,"postEnrich":${JSON.stringify(features)}` : ''
  return { kind: 'row', features, dump }
}
