/** The look-ups of an endpoint that has some. */

import type { EndpointPlan } from '../../core/bundle/plan.ts'
import type { Enricher } from '../lookup/enrich.ts'
import type { RuntimeContext } from '../runtime.ts'

/** Loads what reads tables only where there are look-ups: it is native code. */
export async function enricherOf(
  { enrich }: Pick<EndpointPlan, 'enrich'>,
  context: RuntimeContext,
): Promise<Enricher | null> {
  if (enrich === undefined) return null
  const { openEnricher } = await import('../lookup/enrich.ts')
  return openEnricher(enrich, context)
}
