/**
 * The metrics of the node, kept by control: they survive a serving process but not control itself.
 *
 * A request counts when it named a service that exists, whatever its answer; an error is an answer
 * of 500 and above or 429. When a generation is deleted its counts move to its service's endpoints,
 * so that a service's counters only ever grow; when a service is deleted they stay in the node's.
 */

import { nowMs, wallMs } from '../base/clock.ts'
import type { EndpointDelta, MetricsDelta, ServiceDelta } from './delta.ts'
import { type MetricsJson, metricsJson } from './json.ts'
import { type NodeInfo, prometheusText } from './prometheus.ts'
import { Series } from './series.ts'
import type { MetricsView, ServiceSeries } from './view.ts'

type Gauges = Pick<MetricsDelta, 'activeRequests' | 'connections'>

export class MetricsStore {
  readonly #services = new Map<string, ServiceSeries>()
  readonly #node = new Series()
  readonly #keyUses = new Map<string, number>()
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
    for (const keyId of delta.usedKeys) this.#keyUses.set(keyId, wallMs())
    const { activeRequests, connections } = delta
    this.#gauges.set(source, { activeRequests, connections })
  }

  /** A serving process is gone and its requests and connections with it; counters stay. */
  disconnected(source: number): void {
    this.#gauges.delete(source)
  }

  /** After a delete, and after the collection that brought the last counts. */
  forget(serviceId: string, generationId?: string): void {
    if (generationId === undefined) this.#services.delete(serviceId)
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
      activeRequests: gauges.reduce((sum, { activeRequests }) => sum + activeRequests, 0),
      connections: gauges.reduce((sum, { connections }) => sum + connections, 0),
      nowMs: this.#nowMs(),
    }
  }

  #addEndpoint(delta: EndpointDelta, now: number): void {
    const { generations } = this.#service(delta.serviceId)
    const endpoints = generations.get(delta.generationId) ?? new Map<string, Series>()
    generations.set(delta.generationId, endpoints)
    seriesIn(endpoints, delta.endpointId).addEndpoint(delta, now)
    this.#node.addEndpoint(delta, now)
  }

  #addService(delta: ServiceDelta, now: number): void {
    this.#service(delta.serviceId).unrouted.addService(delta, now)
    this.#node.addService(delta, now)
  }

  #retire(serviceId: string, generationId: string): void {
    const service = this.#services.get(serviceId)
    if (service === undefined) return
    const now = this.#nowMs()
    for (const [endpointId, series] of service.generations.get(generationId) ?? []) {
      seriesIn(service.retired, endpointId).merge(series, now)
    }
    service.generations.delete(generationId)
  }

  #service(serviceId: string): ServiceSeries {
    const known = this.#services.get(serviceId)
    if (known !== undefined) return known
    const made = { generations: new Map(), retired: new Map(), unrouted: new Series() }
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
