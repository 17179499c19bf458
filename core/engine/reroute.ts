/**
 * Where a request goes that its first worker wants answered elsewhere: what decides that stands in
 * the body, which only workers read. Looked up when it is needed, in the routing of that moment, so
 * that a mapping that changes under requests fails none of them.
 */

import type { Reroute } from '../../workers/protocol.ts'
import { AppError } from '../base/errors.ts'
import type { Verb } from '../bundle/kinds.ts'
import type { MappingEntry } from '../channel/messages.ts'
import type { Lane, Whereto } from '../dispatch/lane.ts'
import type { Held, Routing } from './routing.ts'
import { stickyChoice } from './sticky.ts'

/** The lane that had the request first. */
export interface Origin {
  readonly generation: Held
  readonly endpointId: string
  readonly verb: Verb
}

/** Who asks, for a generation other than the one that let the request in. */
export interface Visit {
  readonly generation: Held
  readonly serviceId: string
  readonly authorization: string
}

/** Null: it may. Counts nothing: the request was counted where it came in. */
export type MayVisit = (visit: Visit) => AppError | null | Promise<AppError | null>

export interface RerouteOptions {
  readonly routing: () => Routing
  readonly held: (serviceId: string) => readonly Held[]
  readonly mayVisit: MayVisit
}

export class Rerouter {
  readonly #options: RerouteOptions

  constructor(options: RerouteOptions) {
    this.#options = options
  }

  whereTo(
    from: Origin,
    reroute: Reroute,
    { authorization }: { readonly authorization: string | null },
  ): Whereto | Promise<Whereto> {
    if (reroute.kind === 'explain') {
      const lane = from.generation.lane(from.endpointId, 'explain')
      const why = `"${from.endpointId}" has no explanations in service.json`
      return lane ?? new AppError('ERR_EXPLANATION_UNAVAILABLE', why)
    }
    const target = this.#target(from, reroute)
    if (target instanceof AppError) return target
    const refusal = this.#refusal(from, target, authorization)
    if (!(refusal instanceof Promise)) return refusal ?? this.#lane(from, target)
    return refusal.then((late) => {
      if (late !== null) return late
      // What was chosen may have gone while the token was looked at.
      const again = target.serves ? target : this.#target(from, reroute)
      if (again instanceof AppError) return again
      return again === target ? this.#lane(from, again) : this.#lane(from, from.generation)
    })
  }

  #target(from: Origin, reroute: Exclude<Reroute, { kind: 'explain' }>): Held | AppError {
    const { serviceId } = from.generation.desired
    const serving = this.#options.held(serviceId).filter(({ serves }) => serves)
    if (reroute.kind === 'generation') {
      const { generationId } = reroute
      const named = serving.find(({ desired }) => desired.generationId === generationId)
      return named ?? notLoaded(generationId, serving)
    }
    const mapping = this.#options.routing().services.get(serviceId)?.mapping ?? []
    const able = serving.filter((one) => one.lane(from.endpointId, from.verb) !== null)
    const chosen = stickyChoice(reroute.dispatchKey, sharesOf(mapping, able))
    // Nothing is mapped any more: whoever has the request answers it.
    return able.find(({ desired }) => desired.generationId === chosen) ?? from.generation
  }

  /** Generations may differ in whom they let in. */
  #refusal(
    from: Origin,
    target: Held,
    authorization: string | null,
  ): AppError | null | Promise<AppError | null> {
    if (target === from.generation || target.isPublic) return null
    const { serviceId } = target.desired
    return this.#options.mayVisit({
      generation: target,
      serviceId,
      authorization: authorization ?? '',
    })
  }

  #lane({ endpointId, verb }: Origin, target: Held): Lane | AppError {
    const { generationId } = target.desired
    const why = `generation "${generationId}" has no "${endpointId}" that can do this`
    return target.lane(endpointId, verb) ?? new AppError('ERR_ENDPOINT_UNKNOWN', why)
  }
}

function sharesOf(mapping: readonly MappingEntry[], able: readonly Held[]): MappingEntry[] {
  const ids = new Set(able.map(({ desired }) => desired.generationId))
  return mapping.filter(({ generationId }) => ids.has(generationId))
}

function notLoaded(generationId: string, serving: readonly Held[]): AppError {
  const loaded = serving.map(({ desired }) => `"${desired.generationId}"`).join(', ')
  const why = `"${generationId}" is not loaded; loaded: ${loaded === '' ? 'none' : loaded}`
  return new AppError('ERR_GENERATION_UNKNOWN', why)
}
