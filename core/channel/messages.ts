/**
 * What control and serve say to each other: data only, versioned. Control sends the whole desired
 * state, serve sends the observed state; preload, switch, delete and restart are all this message.
 */

import type { AnyPlan } from '../bundle/late-plan.ts'
import type { RuntimeStatus } from '../children/spec.ts'
import type { IssuerSettings } from '../config/issuers.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import type { MetricsDelta } from '../metrics/delta.ts'

export const CHANNEL_VERSION = 10

/** First message to a serving process; all that it may know of the configuration. */
export interface ServeConfig {
  readonly host: string
  readonly port: number
  /** Paths of PEM files; null: plain HTTP. */
  readonly tlsCert: string | null
  readonly tlsKey: string | null
  /** Threads of a pool whose manifest is silent. */
  readonly threads: number
  /** Batches of models that it may compute at once; null: what the processes leave each other. */
  readonly modelCores: number | null
  readonly strictHeaders: boolean
  readonly bodyBytesMax: number
  readonly bodyBytesTotalMax: number
  /** All large answers that wait for slow readers. */
  readonly unreadBytesMax: number
  readonly connectionsMax: number
  readonly hangMs: number
  readonly drainMs: number
  readonly capacity: Capacity
  /** While this file exists `/isAlive/` answers 503. */
  readonly notAliveFile: string
  readonly version: string
  readonly logLevel: string
  /** Serving processes that share the port and the cores, this one included. */
  readonly processes: number
  /** Which of them this one is, from 0; one that takes another's place has its number. */
  readonly place: number
  /**
   * Where to note which endpoints are inside a run, or null: only asked for after a serving process
   * has crashed, since it costs two writes a batch.
   */
  readonly witnessFile: string | null
  /** For endpoints that are no ONNX model. */
  readonly runtimes: RuntimeSettings
  /** Whose tokens services may accept. */
  readonly issuers: readonly IssuerSettings[]
  readonly queryLog: QueryLogSettings
}

/** How much one serving process may have in memory; what is beyond that is cold. */
export interface Capacity {
  /** Null: as many as there is memory for. */
  readonly generationsMax: number | null
  /** Of the estimates in DesiredGeneration. */
  readonly bytesMax: number | null
}

/** Where queries are logged, and how much of it is kept. */
export interface QueryLogSettings {
  /** One folder per service below it; files carry the process's id, so that no two share one. */
  readonly directory: string
  /** A file that has grown to this is followed by another. */
  readonly fileBytesMax: number
  /** Per service: the oldest files go. */
  readonly totalBytesMax: number
}

/** Which queries of a service are logged; `share` of those that succeeded, 0 to 1. */
export interface QueryLogPolicy {
  readonly mode: 'off' | 'failures' | 'sample' | 'all'
  /** 0 of off and failures, 1 of all. */
  readonly share: number
}

/** Which web pages may read the answers of a service. */
export interface CorsPolicy {
  /** Origins such as `https://app.example.org`, or `*` alone. */
  readonly origins: readonly string[]
}

/** Limits of one key over the whole node; null: none. */
export interface KeyQuota {
  readonly requestsPerSecond: number | null
  readonly concurrentRequests: number | null
}

/** What of a key's quota one process may let through by itself; Infinity: there is no limit. */
export interface QuotaShares {
  /** Requests in the window of the rate. */
  readonly rate: number
  /** Requests at once. */
  readonly concurrent: number
}

/** What serving processes and control say of one key. */
interface OfQuota {
  readonly keyId: string
  /** By which the sender goes; whoever goes by other limits meanwhile passes the message over. */
  readonly quota: KeyQuota
}

/** A process has used up its shares and asks for more. */
export type QuotaAsk = OfQuota

/** Give back what you do not need, and do with the rest until then; see quota-leases.ts. */
export interface QuotaGive extends OfQuota {
  readonly round: number
  /** What a process that needs more itself may keep. */
  readonly fair: QuotaShares
  /** On the clock of the machine. */
  readonly untilMs: number
}

export interface QuotaGave extends OfQuota {
  readonly round: number
  /** What it has left. */
  readonly has: QuotaShares
}

/** Answer to QuotaAsk: may be no more than before. */
export interface QuotaGrant extends OfQuota {
  readonly shares: QuotaShares
  /** On the clock of the machine: until then what is over the even share is lent. */
  readonly untilMs: number
}

export interface MappingEntry {
  readonly generationId: string
  /** Share of the traffic, 0 to 1; a service's entries sum to 1. */
  readonly proba: number
}

export interface DesiredService {
  readonly serviceId: string
  readonly enabled: boolean
  /** Empty: no active generation, or none that can be used. */
  readonly mapping: readonly MappingEntry[]
  /** Why none of the mapped generations can be used; absent when one can, or none is mapped. */
  readonly unusable?: string
  /** Absent: nothing is logged. */
  readonly queryLog?: QueryLogPolicy
  /** Absent: no page of another origin may. */
  readonly cors?: CorsPolicy
}

/** A generation that serve must know, and hold in memory as `hold` says; mapped or not. */
export interface DesiredGeneration {
  readonly serviceId: string
  readonly generationId: string
  readonly directory: string
  readonly plan: AnyPlan
  /** Why its files must not be loaded (any more); whoever has it in memory serves it on. */
  readonly damaged?: string
  /**
   * Absent: it must be in memory. `free`: it is while there is room, and else it is cold and loaded
   * when somebody asks for it. `previous`: the same, and the first to make room.
   */
  readonly hold?: 'free' | 'previous'
  /** What it takes of a serving process's memory, estimated; absent: nothing that counts. */
  readonly bytes?: number
  /** What it takes beside that and has in common with others; absent: nothing. */
  readonly shared?: readonly SharedBytes[]
}

/** In memory once for the node, whoever has it: the weights of a compiled model. */
export interface SharedBytes {
  readonly key: string
  /** The part of one serving process. */
  readonly bytes: number
}

export interface DesiredKey {
  readonly id: string
  /** SHA-256 of the secret, lower-case hex. */
  readonly sha256: string
  /** Empty: all services. */
  readonly allowedServices: readonly string[]
  /** Absent: as much as it likes. */
  readonly quota?: KeyQuota
}

/** An endpoint that must not be run any more, because its runs do harm. */
export interface StoppedEndpoint {
  readonly serviceId: string
  readonly generationId: string
  readonly endpointId: string
  /** `hangs`: its runs do not end. `crashes`: they end the process. */
  readonly cause: 'hangs' | 'crashes'
}

/** As it travels, without what was sent before; see wire-state.ts. */
export interface SentState {
  readonly revision: number
  /** By service. */
  readonly services: Changes<DesiredService>
  /** By "service/generation". */
  readonly generations: Changes<SentGeneration>
  /** Null: as they were. */
  readonly keys: DesiredState['keys'] | null
}

export interface Changes<One> {
  readonly gone: readonly string[]
  /** Those that are new or other than before. */
  readonly puts: readonly One[]
}

export interface SentGeneration extends Omit<DesiredGeneration, 'plan'> {
  /** As JSON; null: sent before. */
  readonly plan: string | null
}

export interface DesiredState {
  readonly revision: number
  readonly services: readonly DesiredService[]
  /** Of those that may be cold the first ones are loaded without being asked for. */
  readonly generations: readonly DesiredGeneration[]
  readonly keys: readonly DesiredKey[]
}

/** `cold` is known and answers, but is loaded first. */
export type GenerationState =
  | 'cold'
  | 'loading'
  | 'warm'
  | 'active'
  | 'draining'
  | 'closed'
  | 'failed'

export interface ObservedGeneration {
  readonly serviceId: string
  readonly generationId: string
  readonly state: GenerationState
  /** Why it failed; of a cold one why its last load did; null else. */
  readonly reason: string | null
  readonly threads: number
  readonly threadsLost: number
  readonly loadMs: number | null
  readonly queued: number
  readonly running: number
  /** Endpoints that are stopped because control said so. */
  readonly stoppedEndpoints: readonly string[]
  /** Runs that were given up as hung since the process started, by endpoint; only where any. */
  readonly hangs: Readonly<Record<string, number>>
  /** Connections and children that its endpoints depend on. */
  readonly runtimes: readonly RuntimeStatus[]
}

export interface ObservedState {
  /** The newest desired revision whose routing is in force. */
  readonly revision: number
  /**
   * They load in this order, one at a time: of those that are `loading` the others wait. What is
   * cold and has nothing to tell is left out: there may be thousands.
   */
  readonly generations: readonly ObservedGeneration[]
  readonly connections: number
}

export type ToServe =
  | { readonly kind: 'configure'; readonly channel: number; readonly config: ServeConfig }
  | {
      readonly kind: 'desired'
      readonly state: SentState
      /** Endpoints to refuse at once; one that leaves the list is run again. */
      readonly stopped: readonly StoppedEndpoint[]
    }
  /** Open the query port; sent when the first state is applied. */
  | { readonly kind: 'listen' }
  | { readonly kind: 'collect'; readonly id: number }
  /**
   * Another process listens on the port: close the listener in a quiet turn of the loop, only then
   * announce `Connection: close` in answers, and end when no connection is left.
   */
  | { readonly kind: 'retire' }
  | { readonly kind: 'quotaGive'; readonly give: QuotaGive }
  | { readonly kind: 'quotaGrant'; readonly grant: QuotaGrant }
  | { readonly kind: 'stop' }

export type ToControl =
  | { readonly kind: 'listening'; readonly port: number; readonly server: 'uws' | 'node' }
  | { readonly kind: 'listenFailed'; readonly reason: string }
  /** Answer to `retire`: new connections go elsewhere from now on. */
  | { readonly kind: 'retired'; readonly connections: number }
  | { readonly kind: 'observed'; readonly state: ObservedState }
  | { readonly kind: 'metrics'; readonly id: number; readonly delta: MetricsDelta }
  | { readonly kind: 'quotaAsk'; readonly ask: QuotaAsk }
  | { readonly kind: 'quotaGave'; readonly gave: QuotaGave }
  /** All requests are answered; the last metrics are in it. The process ends now. */
  | { readonly kind: 'drained'; readonly delta: MetricsDelta }
