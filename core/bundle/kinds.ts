/** What follows from an endpoint's type: where it runs, and which paths lead to it. */

import type { EndpointType } from './endpoint-types.ts'
import type { EndpointPlan, GenerationPlan } from './plan.ts'

/** `explain`: predictions with explanations; no path of its own, requests are sent on to it. */
export type Verb = 'single' | 'multi' | 'explain'

/** The last segment of an endpoint's paths, what a request there is, and its method if not POST. */
export type PathVerb = readonly [name: string, verb: Verb, method?: 'GET']

const PREDICTION: readonly PathVerb[] = [
  ['predict', 'single'],
  ['predict-multi', 'multi'],
  ['predict-simple', 'single', 'GET'],
]
const FUNCTION: readonly PathVerb[] = [['run', 'single']]

export const PATH_VERBS: Readonly<Record<EndpointType, readonly PathVerb[]>> = {
  STD_PREDICTION: PREDICTION,
  CUSTOM_PREDICTION: PREDICTION,
  CUSTOM_R_PREDICTION: PREDICTION,
  R_PREDICTION: PREDICTION,
  PYTHON_FUNCTION: FUNCTION,
  R_FUNCTION: FUNCTION,
  SQL_QUERY: [['query', 'single']],
  DATASET_LOOKUP: [
    ['lookup', 'single'],
    ['lookup-multi', 'multi'],
  ],
}

/** The lanes of an endpoint. */
export function verbsOf(plan: EndpointPlan): readonly Verb[] {
  const verbs = new Set(PATH_VERBS[plan.type].map(([, verb]) => verb))
  if (plan.explanations !== undefined) verbs.add('explain')
  return [...verbs]
}

/** `cpu`: threads that compute. `io`: one thread that waits for children and databases. */
export type PoolKind = 'cpu' | 'io'

/** A model whose features come from a database waits too, so it runs where waiting is done. */
export function poolOf(plan: EndpointPlan, { tables = [] }: GenerationPlan): PoolKind {
  const steps = [...(plan.enrich?.steps ?? [])]
  if (plan.type === 'DATASET_LOOKUP') steps.push(...plan.lookup.steps)
  else if (plan.type !== 'STD_PREDICTION') return 'io'
  const isRemote = (name: string): boolean =>
    tables.some((table) => table.name === name && table.database !== null)
  return steps.some(({ table }) => isRemote(table)) ? 'io' : 'cpu'
}

/** Whether a loaded generation holds processes beside its threads. */
export function hasChildren({ endpoints }: GenerationPlan): boolean {
  return endpoints.some((plan) => 'python' in plan || 'r' in plan)
}
