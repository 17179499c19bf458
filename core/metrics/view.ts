/** What the JSON and Prometheus views are made of: the series of the store, types only. */

import type { Series } from './series.ts'

/** Series of one service. Maps, because ids come from outside. */
export interface ServiceSeries {
  /** By generation, then endpoint. */
  readonly generations: Map<string, Map<string, Series>>
  /** What deleted generations counted, by endpoint. */
  readonly retired: Map<string, Series>
  /** Requests that reached no endpoint. */
  readonly unrouted: Series
}

export interface MetricsView {
  readonly services: ReadonlyMap<string, ServiceSeries>
  /** The whole node since control started, deleted services included. */
  readonly node: Series
  readonly activeRequests: number
  readonly connections: number
  readonly nowMs: number
}
