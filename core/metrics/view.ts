/** What the JSON and Prometheus views are made of: the series of the store, types only. */

import type { HeldBytes, LoadDelta, ShedCount } from './delta.ts'
import type { LogLines } from './log-lines.ts'
import type { Series } from './series.ts'

/** Series of one service. Maps, because ids come from outside. */
export interface ServiceSeries {
  /** By generation, then endpoint. */
  readonly generations: Map<string, Map<string, Series>>
  /** What deleted generations counted, by endpoint. */
  readonly retired: Map<string, Series>
  /** Requests that reached no endpoint. */
  readonly unrouted: Series
  /** Null: none of its queries were to be logged so far. */
  log: LogLines | null
  /** Wall clock, when it last answered from an endpoint; null: not since the start. */
  lastCallMs: number | null
}

export interface MetricsView {
  readonly services: ReadonlyMap<string, ServiceSeries>
  /** The whole node since control started, deleted services included. */
  readonly node: Series
  readonly loads: readonly LoadDelta[]
  readonly activeRequests: number
  readonly connections: number
  readonly held: HeldBytes
  readonly sheds: readonly ShedCount[]
  readonly nowMs: number
}
