/**
 * What control and serve say to each other: data only, versioned. Control sends the whole desired
 * state, serve sends the observed state; preload, switch, delete and restart are all this message.
 */

import type { GenerationPlan } from '../bundle/plan.ts'
import type { RuntimeStatus } from '../children/spec.ts'
import type { IssuerSettings } from '../config/issuers.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import type { MetricsDelta } from '../metrics/delta.ts'

export const CHANNEL_VERSION = 4

/** First message to a serving process; all that it may know of the configuration. */
export interface ServeConfig {
  readonly host: string
  readonly port: number
  /** Paths of PEM files; null: plain HTTP. */
  readonly tlsCert: string | null
  readonly tlsKey: string | null
  /** Threads of a pool whose manifest is silent. */
  readonly threads: number
  readonly strictHeaders: boolean
  readonly bodyBytesMax: number
  readonly bodyBytesTotalMax: number
  readonly connectionsMax: number
  readonly hangMs: number
  readonly drainMs: number
  /** While this file exists `/isAlive/` answers 503. */
  readonly notAliveFile: string
  readonly version: string
  readonly logLevel: string
  /** Serving processes that share the port and the cores, this one included. */
  readonly processes: number
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

/** A generation that serve must hold in memory, mapped or not. */
export interface DesiredGeneration {
  readonly serviceId: string
  readonly generationId: string
  readonly directory: string
  readonly plan: GenerationPlan
  /** Why its files must not be loaded (any more); whoever has it in memory serves it on. */
  readonly damaged?: string
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

export interface DesiredState {
  readonly revision: number
  readonly services: readonly DesiredService[]
  readonly generations: readonly DesiredGeneration[]
  readonly keys: readonly DesiredKey[]
}

export type GenerationState = 'loading' | 'warm' | 'active' | 'draining' | 'closed' | 'failed'

export interface ObservedGeneration {
  readonly serviceId: string
  readonly generationId: string
  readonly state: GenerationState
  /** Why it failed; null else. */
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
  /** They load in this order, one at a time: of those that are `loading` the others wait. */
  readonly generations: readonly ObservedGeneration[]
  readonly connections: number
}

export type ToServe =
  | { readonly kind: 'configure'; readonly channel: number; readonly config: ServeConfig }
  | {
      readonly kind: 'desired'
      readonly state: DesiredState
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
  | { readonly kind: 'stop' }

export type ToControl =
  | { readonly kind: 'listening'; readonly port: number; readonly server: 'uws' | 'node' }
  | { readonly kind: 'listenFailed'; readonly reason: string }
  /** Answer to `retire`: new connections go elsewhere from now on. */
  | { readonly kind: 'retired'; readonly connections: number }
  | { readonly kind: 'observed'; readonly state: ObservedState }
  | { readonly kind: 'metrics'; readonly id: number; readonly delta: MetricsDelta }
  /** All requests are answered; the last metrics are in it. The process ends now. */
  | { readonly kind: 'drained'; readonly delta: MetricsDelta }
