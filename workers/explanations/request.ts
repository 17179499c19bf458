/**
 * What a body asks for under `explanations`. Clients send the key with nothing but nulls when their
 * user has asked for nothing: null stands for what the endpoint is configured to do.
 */

import { isObject } from '../../core/base/json.ts'
import type { ExplanationMethod, ExplanationPlan } from '../../core/bundle/depth-plan.ts'
import type { Asked } from './types.ts'

const STEPS_MIN = 25
const STEPS_MAX = 1_000

const METHODS: readonly ExplanationMethod[] = ['SHAPLEY', 'ICE']

const PLAIN: Asked = { kind: 'plain' }

/** `plan` is that of the endpoint; undefined: it has no background sample. */
export function requestOf(
  body: unknown,
  plan: ExplanationPlan | undefined,
  verb: 'single' | 'multi',
): Asked {
  const given = isObject(body) && Object.hasOwn(body, 'explanations') ? body['explanations'] : null
  if (given === null || given === undefined) {
    return plan?.enabled === true ? { kind: 'explain', state: { verb, request: plan } } : PLAIN
  }
  if (!isObject(given)) return refused('"explanations" must be an object')
  const enabled = given['enabled'] ?? plan?.enabled ?? false
  if (typeof enabled !== 'boolean') return refused('"explanations.enabled" must be true or false')
  if (!enabled) return PLAIN
  return plan === undefined ? UNAVAILABLE : explain(given, plan, verb)
}

const UNAVAILABLE: Asked = {
  kind: 'refused',
  code: 'ERR_EXPLANATION_UNAVAILABLE',
  detail: 'the endpoint has no background sample: "explanations" in its manifest names one',
}

function explain(
  given: Readonly<Record<string, unknown>>,
  plan: ExplanationPlan,
  verb: 'single' | 'multi',
): Asked {
  const method = METHODS.find((one) => one === (given['method'] ?? plan.method))
  if (method === undefined) {
    return refused(`"explanations.method" must be one of ${METHODS.join(', ')}`)
  }
  const nExplanations = count(given['nExplanations'] ?? plan.nExplanations, 1, COUNT_MAX)
  if (nExplanations === null) {
    return refused('"explanations.nExplanations" must be a whole number of at least 1')
  }
  const steps = given['nMonteCarloSteps'] ?? plan.nMonteCarloSteps
  const nMonteCarloSteps = count(steps, STEPS_MIN, STEPS_MAX)
  if (nMonteCarloSteps === null) {
    const range = `from ${STEPS_MIN} to ${STEPS_MAX}`
    return refused(`"explanations.nMonteCarloSteps" must be a whole number ${range}`)
  }
  return {
    kind: 'explain',
    state: { verb, request: { method, nExplanations, nMonteCarloSteps } },
  }
}

const COUNT_MAX = Number.MAX_SAFE_INTEGER

function count(value: unknown, least: number, most: number): number | null {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return null
  return value >= least && value <= most ? value : null
}

function refused(detail: string): Asked {
  return { kind: 'refused', code: 'ERR_BODY_INVALID', detail }
}
