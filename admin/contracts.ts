/** What the parts of the control plane expect of each other; types only. */

import type { DesiredState, ObservedState, StoppedEndpoint } from '../core/channel/messages.ts'
import type {
  CompileMessage,
  CompileRequest,
  ForgeMessage,
  ForgePhase,
  ForgeProgress,
  ForgeRequest,
} from '../workers/protocol.ts'

export type WarmOutcome =
  | { readonly kind: 'warm' }
  | { readonly kind: 'failed'; readonly reason: string }

/** Why a serving process was, or is to be, replaced. */
export type ReplaceReason =
  | 'died'
  | 'crashed'
  | 'hung'
  | 'silent'
  | 'memory'
  | 'asked'
  | 'certificates'

export type ReplaceOutcome =
  | { readonly kind: 'replaced'; readonly processes: number; readonly ms: number }
  /** Where it failed the processes of before go on; no further place is tried. */
  | {
      readonly kind: 'failed'
      readonly reason: string
      /** Present where some listen that began after this was asked for; monotonic clock. */
      readonly listeningSinceMs?: number
    }

/** The serving processes as the operations of the admin API see them, whichever those are now. */
export interface Serving {
  /** Makes this the desired state; a process that starts later gets the newest one. */
  publish(state: DesiredState): void
  /**
   * True when every process that answers queries has this revision's routing in force; false after
   * LIMITS.applyMs.
   */
  whenApplied(revision: number): Promise<boolean>
  /**
   * Settles when the generation is warm (or active) in every process that answers queries, has
   * failed in one that is to stay, or LIMITS.loadMs passed.
   */
  whenWarm(serviceId: string, generationId: string): Promise<WarmOutcome>
  /** What the processes last reported, as one; null while none has. */
  observed(): ObservedState | null
  /** Asks for what was counted since the last time; waits at most 250 ms. */
  collect(): Promise<void>
  /**
   * Puts new processes in the place of all that serve, one after the other, without a failed
   * request; settles when the last new one listens. The old ones end by themselves.
   * `listeningSinceMs` of a failed outcome undoes it: only those that began since are replaced.
   */
  replace(reason: ReplaceReason, listeningSinceMs?: number): Promise<ReplaceOutcome>
  /** An operator asks for these endpoints to be run again; what they did before is forgotten. */
  pardon(serviceId: string, generationId: string): void
  /** For health and metrics. */
  status(): ServingStatus
}

export interface ServingStatus {
  /** How many are to serve (`--processes`). */
  readonly wanted: number
  readonly processes: readonly ServingProcess[]
  /** At least one answers queries. */
  readonly listening: boolean
  readonly server: 'uws' | 'node' | null
  /** Of the query API; null while it is not open. */
  readonly port: number | null
  /** Processes that were replaced since control started, by reason; only where any. */
  readonly replacements: Readonly<Partial<Record<ReplaceReason, number>>>
  readonly lastExit: string | null
  /** Endpoints that are refused because their runs hang or crash. */
  readonly stopped: readonly StoppedEndpoint[]
  /** A process is over its limit of memory, and a new one is too: replacing it does not help. */
  readonly overMemory: boolean
  /** Whether the kernel saves connections that are being made while a listener closes. */
  readonly tcpMigrateReq: boolean | null
}

export interface ServingProcess {
  readonly pid: number | null
  /** `starting` loads and does not listen yet; `retiring` answers who is connected, and leaves. */
  readonly state: 'starting' | 'serving' | 'retiring'
  /** Wall clock, ms. */
  readonly startedOn: number
  /** Null when it cannot be read. */
  readonly residentBytes: number | null
}

export type ForgeOutcome = Extract<ForgeMessage, { kind: 'forged' | 'refused' }>

/** What the forge tells while it works. */
export interface ForgeListener {
  onPhase(phase: ForgePhase, detail: string, progress: ForgeProgress | null): void
  /** The generation id, once the manifest is read. */
  onNamed(generationId: string): void
}

/** Settings are the node's and not the bundle's: the forge's client adds them. */
export type ForgeTask = Omit<ForgeRequest, 'settings'>

/** Runs one bundle through a child process under limits of time and memory. Never throws. */
export interface Forge {
  run(request: ForgeTask, archiveBytes: number, listener: ForgeListener): Promise<ForgeOutcome>
}

export type CompileOutcome = Exclude<CompileMessage, { kind: 'step' }>

export interface CompileTask extends Omit<CompileRequest, 'settings'> {
  /** For the limits of its process. */
  readonly modelBytes: number
}
