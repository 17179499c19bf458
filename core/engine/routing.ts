/**
 * The routing snapshot: every path that predicts, with what it leads to. Immutable and replaced in
 * one assignment, so a switch can never be seen half done; a request costs one look-up.
 */

import { AppError } from '../base/errors.ts'
import type { Verb } from '../bundle/kinds.ts'
import type { DesiredKey, DesiredService, DesiredState } from '../channel/messages.ts'
import type { Lane } from '../dispatch/lane.ts'
import type { Generation } from './generation.ts'

export const QUERY_BASE = '/public/api/v1'

export interface Target {
  readonly generation: Generation
  readonly lane: Lane
  /** Sum of the shares up to and with this target; the last one's is 1. */
  readonly upTo: number
}

export interface Route {
  readonly serviceId: string
  readonly targets: readonly Target[]
}

export interface Grant {
  readonly keyId: string
  /** Null: all services. */
  readonly services: ReadonlySet<string> | null
}

export interface Routing {
  readonly routes: ReadonlyMap<string, Route>
  readonly services: ReadonlyMap<string, DesiredService>
  /** By digest of the secret. */
  readonly grants: ReadonlyMap<string, Grant>
}

const VERBS: readonly (readonly [string, Verb])[] = [
  ['predict', 'single'],
  ['predict-multi', 'multi'],
]

/** The generation that is held for a service, if any. */
export type Find = (serviceId: string, generationId: string) => Generation | null

export const EMPTY_ROUTING: Routing = { routes: new Map(), services: new Map(), grants: new Map() }

export function buildRouting(state: DesiredState, find: Find): Routing {
  const routes = new Map<string, Route>()
  for (const service of state.services) {
    if (service.enabled) addRoutes(routes, service, find)
  }
  return {
    routes,
    services: new Map(state.services.map((service) => [service.serviceId, service])),
    grants: new Map(state.keys.map((key) => [key.sha256, grantOf(key)])),
  }
}

function grantOf(key: DesiredKey): Grant {
  const { id: keyId, allowedServices } = key
  return { keyId, services: allowedServices.length === 0 ? null : new Set(allowedServices) }
}

function addRoutes(routes: Map<string, Route>, service: DesiredService, find: Find): void {
  const { serviceId } = service
  const held = service.mapping.flatMap(({ generationId, proba }) => {
    const generation = find(serviceId, generationId)
    return generation?.serves === true ? [{ generation, proba }] : []
  })
  const endpointIds = new Set(held.flatMap(({ generation }) => generation.endpointIds))
  for (const endpointId of endpointIds) {
    for (const [name, verb] of VERBS) {
      const targets = targetsOf(held, endpointId, verb)
      routes.set(`${QUERY_BASE}/${serviceId}/${endpointId}/${name}`, { serviceId, targets })
    }
  }
}

/** Shares of generations that have the endpoint, scaled so that they sum to 1. */
function targetsOf(
  held: readonly { readonly generation: Generation; readonly proba: number }[],
  endpointId: string,
  verb: Verb,
): Target[] {
  const able = held.flatMap(({ generation, proba }) => {
    const lane = generation.lane(endpointId, verb)
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
export function targetOf(route: Route, chance: () => number): Target | null {
  const [first] = route.targets
  if (route.targets.length <= 1) return first ?? null
  const drawn = chance()
  return route.targets.find(({ upTo }) => drawn < upTo) ?? first ?? null
}

/** Why a path that predicts leads nowhere, from the outside in. */
export function whyUnroutable(
  routing: Routing,
  find: Find,
  serviceId: string,
  endpointId: string,
): AppError {
  const service = routing.services.get(serviceId)
  if (service === undefined) return new AppError('ERR_SERVICE_UNKNOWN', serviceId)
  if (!service.enabled) return new AppError('ERR_SERVICE_DISABLED', serviceId)
  if (service.unusable !== undefined) return new AppError('ERR_POOL_DOWN', service.unusable)
  if (service.mapping.length === 0)
    return new AppError('ERR_NO_GENERATION', `switch "${serviceId}" to one`)
  const held = service.mapping.map(({ generationId }) => find(serviceId, generationId))
  if (held.some((generation) => generation?.serves === true)) {
    return new AppError('ERR_ENDPOINT_UNKNOWN', `${serviceId} has no endpoint "${endpointId}"`)
  }
  const failed = held.find((generation) => generation?.state === 'failed')
  if (failed?.reason != null) return new AppError('ERR_POOL_DOWN', failed.reason)
  return new AppError('ERR_STARTING', `${serviceId} is loading`)
}
