/** What observed states say about a desired one; pure, so that every case is easily tested. */

import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import type {
  DesiredState,
  GenerationState,
  ObservedGeneration,
  ObservedState,
} from '../../core/channel/messages.ts'
import type { WarmOutcome } from '../contracts.ts'

/** The newest report of one process. */
export interface Report {
  /** Null: it has not reported yet. */
  readonly observed: ObservedState | null
  /** Another process has taken its place: it answers who is connected, and ends. */
  readonly leaves: boolean
}

function findIn(
  state: ObservedState | null,
  serviceId: string,
  generationId: string,
): ObservedGeneration | undefined {
  return state?.generations.find(
    (one) => one.serviceId === serviceId && one.generationId === generationId,
  )
}

/**
 * Routing is in force and nothing that is waited for is still on its way: what receives traffic,
 * or `all` that is to be in memory. A process that takes the place of one that serves waits for
 * all of it, for what is warm there may be switched to at any moment.
 */
export function isSettled(
  desired: DesiredState,
  observed: ObservedState | null,
  scope: 'mapped' | 'all',
): boolean {
  if (observed === null || observed.revision < desired.revision) return false
  const states = new Map(observed.generations.map((one) => [refKey(one), one.state]))
  const mapped = scope === 'all' ? null : new Set(mappedIn(desired).map(refKey))
  return desired.generations.every((one) => {
    const key = refKey(one)
    if (mapped?.has(key) === false) return true
    // What a report leaves out is cold: it answers, and is loaded when somebody asks.
    const state = states.get(key) ?? 'cold'
    return isDecided(state) || (state === 'cold' && one.hold !== undefined)
  })
}

/** What receives traffic. */
function mappedIn({ services }: DesiredState): GenerationRef[] {
  return services.flatMap(({ serviceId, enabled, mapping }) =>
    enabled ? mapping.map(({ generationId }) => ({ serviceId, generationId })) : [],
  )
}

/** What `next` could not load and `current` has: it had better not take its place. */
export function whatIsLost(
  current: ObservedState | null,
  next: ObservedState | null,
): string | null {
  const lost = next?.generations.find(({ serviceId, generationId, state }) => {
    const had = findIn(current, serviceId, generationId)?.state
    return state === 'failed' && (had === 'warm' || had === 'active')
  })
  if (lost === undefined) return null
  return `a new process could not load ${refKey(lost)}: ${lost.reason ?? 'it gave no reason'}`
}

function isDecided(state: GenerationState): boolean {
  return state === 'warm' || state === 'active' || state === 'failed'
}

/**
 * Whether the generation is warm wherever queries are answered; undefined: not known yet. A failure
 * counts at once, but not that of a process that leaves: it may be the very reason why it leaves.
 */
export function warmth(
  reports: readonly Report[],
  serviceId: string,
  generationId: string,
): WarmOutcome | undefined {
  const found = reports.map(({ observed, leaves }) => ({
    leaves,
    one: findIn(observed, serviceId, generationId),
  }))
  const failed = found.find(({ leaves, one }) => !leaves && one?.state === 'failed')
  if (failed !== undefined) {
    return { kind: 'failed', reason: failed.one?.reason ?? 'the serving process gave no reason' }
  }
  const allDecided = found.every(({ one }) => one !== undefined && isDecided(one.state))
  return allDecided && found.some(({ leaves }) => !leaves) ? { kind: 'warm' } : undefined
}

/** The process may have died of this very load; the next one must not be asked to try again. */
export function lostLoad(
  { how, last }: { readonly how: string; readonly last: ObservedState | null },
  serviceId: string,
  generationId: string,
): WarmOutcome | undefined {
  if (findIn(last, serviceId, generationId)?.state !== 'loading') return undefined
  const reason = `the serving process ended (${how}) while it loaded the generation`
  return { kind: 'failed', reason }
}

/** What stays true of a report once `desired` holds: what left it says nothing any more. */
export function without(observed: ObservedState, desired: DesiredState): ObservedState {
  const held = new Set(desired.generations.map(refKey))
  const generations = observed.generations.filter(
    (one) => one.state !== 'failed' || held.has(refKey(one)),
  )
  return { ...observed, generations }
}

/** Why no process should be replaced without need; null: nothing is lost by it. */
export function whyKeep(desired: DesiredState | null): string | null {
  if (desired === null) return null
  const mapped = new Set(mappedIn(desired).map(refKey))
  const lost = desired.generations.find(
    (one) => one.damaged !== undefined && mapped.has(refKey(one)),
  )
  return lost === undefined ? null : `${refKey(lost)} could not be loaded again: ${lost.damaged}`
}
