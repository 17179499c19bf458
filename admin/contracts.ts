/** What the parts of the control plane expect of each other; types only. */

import type { DesiredState, ObservedState } from '../core/channel/messages.ts'
import type { ForgeMessage, ForgePhase, ForgeRequest } from '../workers/protocol.ts'

export type WarmOutcome =
  | { readonly kind: 'warm' }
  | { readonly kind: 'failed'; readonly reason: string }

/** The serving process as the operations of the admin API see it, whichever process that is now. */
export interface Serving {
  /** Makes this the desired state; a process that starts later gets the newest one. */
  publish(state: DesiredState): void
  /** True when serve has this revision's routing in force; false after LIMITS.applyMs. */
  whenApplied(revision: number): Promise<boolean>
  /**
   * Settles when the generation is warm (or active) in serve, has failed, or LIMITS.loadMs passed.
   */
  whenWarm(serviceId: string, generationId: string): Promise<WarmOutcome>
  /** What serve last reported; null while none runs. */
  observed(): ObservedState | null
  /** Asks serve for what it counted since the last time; waits at most 250 ms. */
  collect(): Promise<void>
  /** For health: the process that serves, since when, and how many were replaced. */
  status(): ServingStatus
}

export interface ServingStatus {
  readonly pid: number | null
  readonly listening: boolean
  readonly server: 'uws' | 'node' | null
  /** Serving processes that died and were replaced since control started. */
  readonly replaced: number
  readonly lastExit: string | null
}

export type ForgeOutcome = Extract<ForgeMessage, { kind: 'forged' | 'refused' }>

/** Runs one bundle through a child process under limits of time and memory. Never throws. */
export interface Forge {
  run(
    request: ForgeRequest,
    archiveBytes: number,
    onPhase: (phase: ForgePhase, detail: string) => void,
  ): Promise<ForgeOutcome>
}
