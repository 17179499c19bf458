/**
 * The routing snapshot: every path that leads to an endpoint, which depends on the endpoint's type.
 * Where they lead never changes; it is replaced in one assignment, so a switch can never be seen
 * half done. A request costs one look-up, but for the first of a service, which makes its paths.
 */

import { type KeyMeter, Quotas } from '../auth/quotas.ts'
import type { Ticket } from '../auth/ticket.ts'
import { AppError } from '../base/errors.ts'
import { PATH_VERBS, type PathVerb } from '../bundle/kinds.ts'
import { readPlan } from '../bundle/late-plan.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import type { CorsPolicy, DesiredKey, DesiredService, DesiredState } from '../channel/messages.ts'
import type { Lane } from '../dispatch/lane.ts'
import type { Generation } from './generation.ts'
import { KeptRoutes, type Paths } from './kept-routes.ts'

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
  /** By path, of the services that were asked. */
  readonly routes: ReadonlyMap<string, Route>
  /** Of any service. */
  routeOf(path: string, serviceId: string): Route | undefined
  /** Takes back what the first request of a service has made. */
  forget(serviceId: string): void
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

export const EMPTY_ROUTING: Routing = {
  routes: new Map(),
  routeOf: () => undefined,
  forget: () => {},
  services: new Map(),
  grants: new Map(),
}

/** `quotas` and `kept` outlive the routings that are made with them. */
export function buildRouting(
  state: DesiredState,
  holding: Holding,
  quotas = new Quotas(),
  kept = new KeptRoutes(),
): Routing {
  quotas.keepOnly(state.keys)
  const services = new Map(state.services.map((service) => [service.serviceId, service]))
  const grants = new Map(state.keys.map((key) => [key.sha256, grantOf(key, quotas)]))
  const routes = new Map<string, Route>()
  const add = (paths: Paths): void => {
    for (const [path, route] of paths) routes.set(path, route)
  }
  for (const serviceId of kept.names()) {
    const service = services.get(serviceId)
    const paths = service?.enabled ? kept.pathsOf(service, holding.held(serviceId)) : null
    if (paths !== null) add(paths)
    else kept.forget(serviceId)
  }
  const open = (serviceId: string): void => {
    const service = services.get(serviceId)
    if (service?.enabled !== true) return
    const held = holding.held(serviceId)
    if (kept.pathsOf(service, held) !== null) return
    const paths = routesOf(service, holding)
    kept.keep(service, held, paths)
    add(paths)
  }
  const routeOf = (path: string, serviceId: string): Route | undefined => {
    if (!routes.has(path)) open(serviceId)
    return routes.get(path)
  }
  const forget = (serviceId: string): void => {
    for (const path of kept.forget(serviceId).keys()) routes.delete(path)
  }
  return { routes, routeOf, forget, services, grants }
}

function grantOf(key: DesiredKey, quotas: Quotas): Grant {
  const { id: keyId, allowedServices } = key
  const services = allowedServices.length === 0 ? null : new Set(allowedServices)
  const meter = quotas.meterOf(key)
  const ticket = meter ?? Object.freeze({ callerId: keyId, settled: () => {} })
  return { keyId, services, ticket, meter }
}

function routesOf(service: DesiredService, { find, held }: Holding): Map<string, Route> {
  const routes = new Map<string, Route>()
  const { serviceId } = service
  const keepsAuthorization = held(serviceId).some(({ isPublic }) => !isPublic)
  const shared = { serviceId, cors: service.cors ?? null, keepsAuthorization }
  const able = service.mapping.flatMap(({ generationId, proba }) => {
    const generation = find(serviceId, generationId)
    if (generation?.serves !== true) return []
    const { endpoints } = readPlan(generation.desired.plan)
    return endpoints.map((plan): Able => ({ generation, proba, plan }))
  })
  for (const endpointId of new Set(able.map(({ plan }) => plan.id))) {
    const ours = able.filter(({ plan }) => plan.id === endpointId)
    // Generations may differ in the endpoint's type; a path leads to those that have it.
    for (const verb of new Set(ours.flatMap(({ plan }) => PATH_VERBS[plan.type]))) {
      const route = { ...shared, endpointId, ...targetsFor(ours, verb) }
      routes.set(`${QUERY_BASE}/${serviceId}/${endpointId}/${verb[0]}`, route)
    }
  }
  return routes
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
  const plans = held.flatMap((one) => (one === null ? [] : readPlan(one.desired.plan).endpoints))
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
