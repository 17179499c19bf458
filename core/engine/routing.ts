/**
 * The routing snapshot: every path that leads to an endpoint, which depends on the endpoint's type.
 * Immutable and replaced in one assignment, so a switch can never be seen half done; a request
 * costs one look-up.
 */

import { type KeyMeter, Quotas } from '../auth/quotas.ts'
import type { Ticket } from '../auth/ticket.ts'
import { AppError } from '../base/errors.ts'
import { PATH_VERBS, type PathVerb } from '../bundle/kinds.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import type { CorsPolicy, DesiredKey, DesiredService, DesiredState } from '../channel/messages.ts'
import type { Lane } from '../dispatch/lane.ts'
import type { Generation } from './generation.ts'

export const QUERY_BASE = '/public/api/v1'

/** What a request needs of the generation that answers it. */
export type Held = Pick<
  Generation,
  | 'desired'
  | 'serves'
  | 'state'
  | 'reason'
  | 'isPublic'
  | 'accepts'
  | 'token'
  | 'lane'
  | 'lanes'
  | 'takeLease'
  | 'endLease'
>

export interface Target {
  readonly generation: Held
  readonly lane: Lane
  /** Sum of the shares up to and with this target; the last one's is 1. */
  readonly upTo: number
}

export interface Route {
  readonly serviceId: string
  readonly endpointId: string
  /** Those that answer POST; empty where the path is for GET alone. */
  readonly targets: readonly Target[]
  /** Those that answer GET, with shares of their own; empty for nearly all. */
  readonly forGet: readonly Target[]
  /** Which web pages may read the answers; null: none of another origin, as for nearly all. */
  readonly cors: CorsPolicy | null
  /**
   * A generation of the service asks for a key or a token, so whoever is sent on to it must show
   * what it came with.
   */
  readonly keepsAuthorization: boolean
}

export interface Grant {
  readonly keyId: string
  /** Null: all services. */
  readonly services: ReadonlySet<string> | null
  /** One for all requests of the key. */
  readonly ticket: Ticket
  /** The same, where the key has limits. */
  readonly meter: KeyMeter | null
}

export interface Routing {
  readonly routes: ReadonlyMap<string, Route>
  readonly services: ReadonlyMap<string, DesiredService>
  /** By digest of the secret. */
  readonly grants: ReadonlyMap<string, Grant>
}

/** The generation that is held for a service, if any. */
export type Find = (serviceId: string, generationId: string) => Held | null

/** What the process holds: one generation, or all of a service, mapped or not. */
export interface Holding {
  readonly find: Find
  readonly held: (serviceId: string) => readonly Held[]
}

/** One generation of a service, ready to answer, and one of its endpoints. */
interface Able {
  readonly generation: Held
  readonly proba: number
  readonly plan: EndpointPlan
}

export const EMPTY_ROUTING: Routing = { routes: new Map(), services: new Map(), grants: new Map() }

/** `quotas` outlives the routings that are made with it. */
export function buildRouting(
  state: DesiredState,
  holding: Holding,
  quotas = new Quotas(1),
): Routing {
  quotas.keepOnly(state.keys)
  const routes = new Map<string, Route>()
  for (const service of state.services) {
    if (service.enabled) addRoutes(routes, service, holding)
  }
  return {
    routes,
    services: new Map(state.services.map((service) => [service.serviceId, service])),
    grants: new Map(state.keys.map((key) => [key.sha256, grantOf(key, quotas)])),
  }
}

function grantOf(key: DesiredKey, quotas: Quotas): Grant {
  const { id: keyId, allowedServices } = key
  const services = allowedServices.length === 0 ? null : new Set(allowedServices)
  const meter = quotas.meterOf(key)
  const ticket = meter ?? Object.freeze({ callerId: keyId, settled: () => {} })
  return { keyId, services, ticket, meter }
}

function addRoutes(routes: Map<string, Route>, service: DesiredService, { find, held }: Holding) {
  const { serviceId } = service
  const keepsAuthorization = held(serviceId).some(({ isPublic }) => !isPublic)
  const shared = { serviceId, cors: service.cors ?? null, keepsAuthorization }
  const able = service.mapping.flatMap(({ generationId, proba }) => {
    const generation = find(serviceId, generationId)
    if (generation?.serves !== true) return []
    return generation.desired.plan.endpoints.map((plan): Able => ({ generation, proba, plan }))
  })
  for (const endpointId of new Set(able.map(({ plan }) => plan.id))) {
    const ours = able.filter(({ plan }) => plan.id === endpointId)
    // Generations may differ in the endpoint's type; a path leads to those that have it.
    for (const verb of new Set(ours.flatMap(({ plan }) => PATH_VERBS[plan.type]))) {
      const route = { ...shared, endpointId, ...targetsFor(ours, verb) }
      routes.set(`${QUERY_BASE}/${serviceId}/${endpointId}/${verb[0]}`, route)
    }
  }
}

function targetsFor(ours: readonly Able[], verb: PathVerb): Pick<Route, 'targets' | 'forGet'> {
  const having = ours.filter(({ plan }) => PATH_VERBS[plan.type].includes(verb))
  if (verb[2] === 'GET') return { targets: [], forGet: targetsOf(having, verb) }
  const getting = having.filter(({ plan }) => answersGet(plan))
  return { targets: targetsOf(having, verb), forGet: targetsOf(getting, verb) }
}

function answersGet(plan: EndpointPlan): boolean {
  if (plan.type === 'PYTHON_FUNCTION') return plan.python.get
  return plan.type === 'R_FUNCTION' && plan.r.get
}

/** Shares of the generations, scaled so that they sum to 1. */
function targetsOf(having: readonly Able[], [, verb]: PathVerb): Target[] {
  const able = having.flatMap(({ generation, proba, plan }) => {
    const lane = generation.lane(plan.id, verb)
    return lane === null ? [] : [{ generation, lane, proba }]
  })
  const sum = able.reduce((total, { proba }) => total + proba, 0)
  let upTo = 0
  return able.map(({ generation, lane, proba }, index) => {
    upTo = index === able.length - 1 ? 1 : upTo + proba / sum
    return { generation, lane, upTo }
  })
}

/** `chance` is uniform in [0, 1); only drawn where the traffic is split. */
export function targetOf(targets: readonly Target[], chance: () => number): Target | null {
  const [first] = targets
  if (targets.length <= 1) return first ?? null
  const drawn = chance()
  return targets.find(({ upTo }) => drawn < upTo) ?? first ?? null
}

/** Verbs of Dataiku's API node that nothing here answers, and what they are for. */
export const NOT_SUPPORTED: ReadonlyMap<string, string> = new Map([
  ['forecast', 'time series forecasts'],
  ['predict-effect', 'causal effects'],
  ['predict-effect-multi', 'causal effects'],
])

interface Wanted {
  readonly serviceId: string
  readonly endpointId: string
  /** As the path says it. */
  readonly verb?: string
}

/** Why a path like that of a query leads nowhere, from the outside in. */
export function whyUnroutable(
  routing: Routing,
  find: Find,
  { serviceId, endpointId, verb = '' }: Wanted,
): AppError {
  const service = routing.services.get(serviceId)
  if (service === undefined) return new AppError('ERR_SERVICE_UNKNOWN', serviceId)
  if (!service.enabled) return new AppError('ERR_SERVICE_DISABLED', serviceId)
  if (service.unusable !== undefined) return new AppError('ERR_POOL_DOWN', service.unusable)
  if (service.mapping.length === 0)
    return new AppError('ERR_NO_GENERATION', `switch "${serviceId}" to one`)
  const held = service.mapping.map(({ generationId }) => find(serviceId, generationId))
  const serving = held.filter((generation) => generation?.serves === true)
  const unsupported = NOT_SUPPORTED.get(verb)
  if (unsupported !== undefined) {
    const how = `no endpoint type of Switchyard computes ${unsupported}, so "${verb}" has no answer`
    return new AppError('ERR_NOT_SUPPORTED', how)
  }
  if (serving.length > 0) return notThere(serving, serviceId, endpointId)
  const failed = held.find((generation) => generation?.state === 'failed')
  if (failed?.reason != null) return new AppError('ERR_POOL_DOWN', failed.reason)
  return new AppError('ERR_STARTING', `${serviceId} is loading`)
}

/** The service answers, only not at this path. */
function notThere(held: readonly (Held | null)[], serviceId: string, endpointId: string): AppError {
  const plans = held.flatMap((generation) => generation?.desired.plan.endpoints ?? [])
  const plan = plans.find(({ id }) => id === endpointId)
  if (plan === undefined) {
    return new AppError('ERR_ENDPOINT_UNKNOWN', `${serviceId} has no endpoint "${endpointId}"`)
  }
  const paths = PATH_VERBS[plan.type].map(
    ([name, , method = 'POST']) => `${method} ${QUERY_BASE}/${serviceId}/${endpointId}/${name}`,
  )
  const use = `"${endpointId}" is a ${plan.type}: use ${paths.join(' or ')}`
  return new AppError('ERR_PATH_UNKNOWN', use)
}
