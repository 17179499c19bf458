/**
 * The metrics of the node, kept by control: they survive a serving process but not control itself.
 *
 * A request counts when it named a service that exists, whatever its answer; an error is an answer
 * of 500 and above or 429. When a generation is deleted its counts move to its service's endpoints,
 * so that a service's counters only ever grow; when a service is deleted they stay in the node's.
 */

import { nowMs, wallMs } from '../base/clock.ts'
import type { EndpointDelta, MetricsDelta, QueryLogDelta, ServiceDelta } from './delta.ts'
import { type MetricsJson, metricsJson } from './json.ts'
import { LoadTotals } from './loads.ts'
import { LogLines, type LogTrouble } from './log-lines.ts'
import { type NodeInfo, prometheusText } from './prometheus.ts'
import { Series, WINDOW_HALF_MS } from './series.ts'
import { ShedTotals } from './sheds.ts'
import type { MetricsView, ServiceSeries } from './view.ts'

const NO_TROUBLE: LogTrouble = { isDropping: false, code: null }

type Gauges = Pick<MetricsDelta, 'activeRequests' | 'connections' | 'held'>

export class MetricsStore {
  readonly #services = new Map<string, ServiceSeries>()
  readonly #node = new Series()
  /** Those that something was added to; the others are at rest. */
  readonly #awake = new Set<Series>()
  #lookedMs = 0
  readonly #keyUses = new Map<string, number>()
  readonly #loads = new LoadTotals()
  readonly #sheds = new ShedTotals()
  readonly #nowMs: () => number
  /** What is going on in each serving process that lives. */
  readonly #gauges = new Map<number, Gauges>()

  constructor(clockMs: () => number = nowMs) {
    this.#nowMs = clockMs
  }

  /** `source` is the number of the serving process that counted. */
  add(delta: MetricsDelta, source: number): void {
    const now = this.#nowMs()
    for (const endpoint of delta.endpoints) this.#addEndpoint(endpoint, now)
    for (const service of delta.services) this.#addService(service, now)
    this.#addLog(delta.queryLog ?? [], source, now)
    this.#loads.add(delta.loads ?? [])
    this.#sheds.add(delta.sheds ?? [])
    for (const keyId of delta.usedKeys) this.#keyUses.set(keyId, wallMs())
    const { activeRequests, connections, held } = delta
    this.#gauges.set(source, { activeRequests, connections, ...(held ? { held } : {}) })
    this.#letRest(now)
  }

  /** A serving process is gone and its requests and connections with it; counters stay. */
  disconnected(source: number): void {
    this.#gauges.delete(source)
    for (const { log } of this.#services.values()) log?.calm(source)
  }

  /** After a delete, and after the collection that brought the last counts. */
  forget(serviceId: string, generationId?: string): void {
    if (generationId === undefined) this.#forgetService(serviceId)
    else this.#retire(serviceId, generationId)
  }

  /**
   * Counts that come after a delete make a series again; this takes it away. `generationId` null
   * asks for the service.
   */
  keepOnly(exists: (serviceId: string, generationId: string | null) => boolean): void {
    for (const [serviceId, { generations }] of this.#services) {
      if (!exists(serviceId, null)) this.forget(serviceId)
      for (const id of generations.keys()) if (!exists(serviceId, id)) this.forget(serviceId, id)
    }
  }

  /** When a service was last called with this key, to the collection; null: not since the start. */
  lastUse(keyId: string): number | null {
    return this.#keyUses.get(keyId) ?? null
  }

  /** When a service last answered from one of its endpoints; null: not since the start. */
  lastCall(serviceId: string): number | null {
    return this.#services.get(serviceId)?.lastCallMs ?? null
  }

  /** Of the query log of a service, to the collection. */
  logTrouble(serviceId: string): LogTrouble {
    return this.#services.get(serviceId)?.log?.trouble(this.#nowMs()) ?? NO_TROUBLE
  }

  json(): MetricsJson {
    return metricsJson(this.#view())
  }

  prometheus(info: NodeInfo): string {
    return prometheusText(this.#view(), info)
  }

  #view(): MetricsView {
    const gauges = [...this.#gauges.values()]
    return {
      services: this.#services,
      node: this.#node,
      loads: this.#loads.all(),
      activeRequests: gauges.reduce((sum, { activeRequests }) => sum + activeRequests, 0),
      connections: gauges.reduce((sum, { connections }) => sum + connections, 0),
      held: {
        bodies: gauges.reduce((sum, { held }) => sum + (held?.bodies ?? 0), 0),
        answers: gauges.reduce((sum, { held }) => sum + (held?.answers ?? 0), 0),
      },
      sheds: this.#sheds.all(),
      nowMs: this.#nowMs(),
    }
  }

  #addEndpoint(delta: EndpointDelta, now: number): void {
    const service = this.#service(delta.serviceId)
    service.lastCallMs = wallMs()
    const { generations } = service
    const endpoints = generations.get(delta.generationId) ?? new Map<string, Series>()
    generations.set(delta.generationId, endpoints)
    const series = seriesIn(endpoints, delta.endpointId)
    series.addEndpoint(delta, now)
    this.#awake.add(series)
    this.#node.addEndpoint(delta, now)
  }

  #addService(delta: ServiceDelta, now: number): void {
    this.#service(delta.serviceId).unrouted.addService(delta, now)
    this.#node.addService(delta, now)
  }

  #addLog(deltas: readonly QueryLogDelta[], source: number, now: number): void {
    for (const { log } of this.#services.values()) log?.calm(source)
    for (const delta of deltas) {
      const service = this.#service(delta.serviceId)
      service.log ??= new LogLines()
      service.log.add(delta, source, now)
    }
  }

  #forgetService(serviceId: string): void {
    const { generations, retired } = this.#services.get(serviceId) ?? {}
    for (const endpoints of [...(generations?.values() ?? []), retired ?? new Map()]) {
      for (const series of endpoints.values()) this.#awake.delete(series)
    }
    this.#services.delete(serviceId)
  }

  #retire(serviceId: string, generationId: string): void {
    const service = this.#services.get(serviceId)
    if (service === undefined) return
    const now = this.#nowMs()
    for (const [endpointId, series] of service.generations.get(generationId) ?? []) {
      const retired = seriesIn(service.retired, endpointId)
      retired.merge(series, now)
      this.#awake.add(retired)
      this.#awake.delete(series)
    }
    service.generations.delete(generationId)
  }

  /** A thousand services that were called once should not take 100 KB each for ever. */
  #letRest(now: number): void {
    if (now - this.#lookedMs < WINDOW_HALF_MS) return
    this.#lookedMs = now
    for (const series of this.#awake) if (series.restIfIdle(now)) this.#awake.delete(series)
  }

  #service(serviceId: string): ServiceSeries {
    const known = this.#services.get(serviceId)
    if (known !== undefined) return known
    const series = { generations: new Map(), retired: new Map(), unrouted: new Series() }
    const made: ServiceSeries = { ...series, log: null, lastCallMs: null }
    this.#services.set(serviceId, made)
    return made
  }
}

function seriesIn(endpoints: Map<string, Series>, endpointId: string): Series {
  const known = endpoints.get(endpointId)
  if (known !== undefined) return known
  const made = new Series()
  endpoints.set(endpointId, made)
  return made
}
