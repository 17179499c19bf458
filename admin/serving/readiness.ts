/** What an observed state says about a desired one; pure, so that every case is easily tested. */

import { refKey } from '../../core/base/ids.ts'
import type {
  DesiredState,
  GenerationState,
  ObservedGeneration,
  ObservedState,
} from '../../core/channel/messages.ts'
import type { WarmOutcome } from '../contracts.ts'

/** The newest report of a serving process, or how the process ended that made it. */
export type Observation =
  | { readonly kind: 'state'; readonly state: ObservedState }
  | { readonly kind: 'ended'; readonly how: string; readonly last: ObservedState | null }

function find(
  state: ObservedState | null,
  serviceId: string,
  generationId: string,
): ObservedGeneration | undefined {
  return state?.generations.find(
    (one) => one.serviceId === serviceId && one.generationId === generationId,
  )
}

/** Routing is in force and no generation that receives traffic is still on its way. */
export function isSettled(desired: DesiredState, observed: ObservedState | null): boolean {
  if (observed === null || observed.revision < desired.revision) return false
  return desired.services.every(
    ({ serviceId, enabled, mapping }) =>
      !enabled ||
      mapping.every(({ generationId }) =>
        isDecided(find(observed, serviceId, generationId)?.state ?? 'loading'),
      ),
  )
}

function isDecided(state: GenerationState): boolean {
  return state === 'warm' || state === 'active' || state === 'failed'
}

/** Whether the generation is warm; undefined: not known yet. */
export function warmth(
  observation: Observation,
  serviceId: string,
  generationId: string,
): WarmOutcome | undefined {
  if (observation.kind === 'ended') {
    // The process may have died of this very load; the next one must not be asked to try again.
    const lost = find(observation.last, serviceId, generationId)?.state === 'loading'
    const reason = `the serving process ended (${observation.how}) while it loaded the generation`
    return lost ? { kind: 'failed', reason } : undefined
  }
  const found = find(observation.state, serviceId, generationId)
  if (found?.state === 'warm' || found?.state === 'active') return { kind: 'warm' }
  if (found?.state !== 'failed') return undefined
  return { kind: 'failed', reason: found.reason ?? 'the serving process gave no reason' }
}

/** What stays true of a report once `desired` holds: what left it says nothing any more. */
export function without(observed: ObservedState, desired: DesiredState): ObservedState {
  const held = new Set(desired.generations.map(refKey))
  const generations = observed.generations.filter(
    (one) => one.state !== 'failed' || held.has(refKey(one)),
  )
  return { ...observed, generations }
}
