/**
 * What control and serve say to each other: data only, versioned. Control sends the whole desired
 * state, serve sends the observed state; preload, switch, delete and restart are all this message.
 */

import type { GenerationPlan } from '../bundle/plan.ts'
import type { MetricsDelta } from '../metrics/delta.ts'

export const CHANNEL_VERSION = 1

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
}

/** A generation that serve must hold in memory, mapped or not. */
export interface DesiredGeneration {
  readonly serviceId: string
  readonly generationId: string
  readonly directory: string
  readonly plan: GenerationPlan
}

export interface DesiredKey {
  readonly id: string
  /** SHA-256 of the secret, lower-case hex. */
  readonly sha256: string
  /** Empty: all services. */
  readonly allowedServices: readonly string[]
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
  /** Endpoints that were stopped because their runs do not end. */
  readonly stoppedEndpoints: readonly string[]
}

export interface ObservedState {
  /** The newest desired revision whose routing is in force. */
  readonly revision: number
  readonly generations: readonly ObservedGeneration[]
  readonly connections: number
}

export type ToServe =
  | { readonly kind: 'configure'; readonly channel: number; readonly config: ServeConfig }
  | { readonly kind: 'desired'; readonly state: DesiredState }
  /** Open the query port; sent when the first state is applied. */
  | { readonly kind: 'listen' }
  | { readonly kind: 'collect'; readonly id: number }
  | { readonly kind: 'stop' }

export type ToControl =
  | { readonly kind: 'listening'; readonly port: number; readonly server: 'uws' | 'node' }
  | { readonly kind: 'listenFailed'; readonly reason: string }
  | { readonly kind: 'observed'; readonly state: ObservedState }
  | { readonly kind: 'metrics'; readonly id: number; readonly delta: MetricsDelta }
  /** All requests are answered; the last metrics are in it. The process ends now. */
  | { readonly kind: 'drained'; readonly delta: MetricsDelta }
