/**
 * The answer of `GET /admin/api/metrics`: the keys of the admin API's schema, and beside them
 * percentiles for each service, endpoint and generation. Every duration is in milliseconds.
 */

import type { LogLines } from './log-lines.ts'
import { type Phase, type Series, sumOf, type Totals } from './series.ts'
import { sortedStatuses } from './status.ts'
import type { MetricsView, ServiceSeries } from './view.ts'

/** All 0 when `count` is 0. `mean` is exact, the others are within 1 %. */
export interface DurationsMs {
  readonly count: number
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p95: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export interface SeriesJson {
  readonly requestCount: number
  /** Over the requests that reached an endpoint; the others are answered at once. */
  readonly averageLatencyMs: number
  /** Answers of 500 and above, or 429. */
  readonly errorCount: number
  readonly statuses: Readonly<Record<string, number>>
  readonly batches: { readonly count: number; readonly meanRows: number }
  readonly latencyMs: {
    readonly sinceStart: {
      readonly total: DurationsMs
      readonly queue: DurationsMs
      /** Of batches, not of requests. */
      readonly execute: DurationsMs
    }
    /** What was collected in the last 30 to 60 s. */
    readonly lastMinute: {
      readonly requestCount: number
      readonly errorCount: number
      readonly total: DurationsMs
    }
  }
}

export interface GenerationJson extends SeriesJson {
  readonly endpoints: Readonly<Record<string, SeriesJson>>
}

export interface ServiceJson extends GenerationJson {
  readonly generations: Readonly<Record<string, GenerationJson>>
  /** Lines of its query log; absent where none were to be written. */
  readonly queryLog?: { readonly written: number; readonly dropped: number }
}

export interface MetricsJson extends Omit<SeriesJson, 'requestCount'> {
  readonly totalRequests: number
  readonly activeRequests: number
  readonly connections: number
  readonly serviceMetrics: Readonly<Record<string, ServiceJson>>
}

/** p50, p90, p95, p99, p999 and max, in the order that durationsMs() takes them apart. */
const THOUSANDTHS = [500, 900, 950, 990, 999, 1000]

export function metricsJson(view: MetricsView): MetricsJson {
  const { requestCount, ...node } = seriesJson(view.node, view.nowMs)
  return {
    totalRequests: requestCount,
    activeRequests: view.activeRequests,
    connections: view.connections,
    ...node,
    serviceMetrics: mapped(view.services, (service) => serviceJson(service, view.nowMs)),
  }
}

function serviceJson(service: ServiceSeries, nowMs: number): ServiceJson {
  const endpoints = endpointSums(service, nowMs)
  const refused = service.unrouted.total.requests > 0 ? [service.unrouted] : []
  const all = sumOf([...endpoints.values(), ...refused], nowMs)
  return {
    ...seriesJson(all, nowMs),
    endpoints: mapped(endpoints, (series) => seriesJson(series, nowMs)),
    generations: mapped(service.generations, (generation) => generationJson(generation, nowMs)),
    ...(service.log === null ? {} : { queryLog: linesJson(service.log) }),
  }
}

function linesJson({ written, dropped }: LogLines) {
  return { written, dropped }
}

function generationJson(endpoints: ReadonlyMap<string, Series>, nowMs: number): GenerationJson {
  return {
    ...seriesJson(sumOf([...endpoints.values()], nowMs), nowMs),
    endpoints: mapped(endpoints, (series) => seriesJson(series, nowMs)),
  }
}

/** Each endpoint over all generations that have it, deleted ones included. */
function endpointSums(service: ServiceSeries, nowMs: number): Map<string, Series> {
  const parts = new Map<string, Series[]>()
  for (const endpoints of [service.retired, ...service.generations.values()]) {
    for (const [id, series] of endpoints) parts.set(id, [...(parts.get(id) ?? []), series])
  }
  return new Map([...parts].map(([id, series]) => [id, sumOf(series, nowMs)]))
}

function seriesJson(series: Series, nowMs: number): SeriesJson {
  const recent = series.recent(nowMs)
  const { batches, batchRows, total } = series
  return {
    requestCount: total.requests,
    averageLatencyMs: meanMs(total),
    errorCount: total.errors,
    statuses: Object.fromEntries(sortedStatuses(series.statuses)),
    batches: { count: batches, meanRows: batches === 0 ? 0 : batchRows / batches },
    latencyMs: {
      sinceStart: {
        total: durationsMs(total),
        queue: durationsMs(series.queue),
        execute: durationsMs(series.execute),
      },
      lastMinute: {
        requestCount: recent.requests,
        errorCount: recent.errors,
        total: durationsMs(recent),
      },
    },
  }
}

function durationsMs(part: Totals | Phase): DurationsMs {
  const { durations } = part
  const quantiles = durations.quantilesUs(THOUSANDTHS).map((us) => us / 1000)
  const [p50 = 0, p90 = 0, p95 = 0, p99 = 0, p999 = 0, max = 0] = quantiles
  return { count: durations.count, mean: meanMs(part), p50, p90, p95, p99, p999, max }
}

function meanMs(part: Totals | Phase): number {
  return part.durations.count === 0 ? 0 : part.sumUs / part.durations.count / 1000
}

function mapped<From, To>(
  from: ReadonlyMap<string, From>,
  convert: (value: From) => To,
): Record<string, To> {
  return Object.fromEntries([...from].map(([id, value]) => [id, convert(value)]))
}
