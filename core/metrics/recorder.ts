/**
 * What the serving process counts, on its main thread, for every request.
 *
 * A lane keeps its EndpointRecorder and calls it with plain numbers: no look-up, no allocation and
 * no way to throw. Memory comes with the first request of an endpoint, and goes with its generation
 * or when nobody has asked it for a while.
 * Nothing is ever lost: what is recorded after forget() still leaves with the next drain.
 */

import { refKey } from '../base/ids.ts'
import type {
  EndpointDelta,
  HeldBytes,
  HistogramDelta,
  LoadDelta,
  MetricsDelta,
  ServiceDelta,
} from './delta.ts'
import { RecordingHistogram } from './histogram.ts'
import { StatusRecorder } from './status.ts'

/** Drains in a row that find nothing until the memory goes: with control's beat, a minute. */
const EMPTY_DRAINS_MAX = 12

interface EndpointIds {
  readonly serviceId: string
  readonly generationId: string
  readonly endpointId: string
}

/** State of the process at the moment of a drain. */
export interface Gauges {
  readonly activeRequests: number
  readonly connections: number
  /** Absent: nothing is held. */
  readonly held?: HeldBytes
}

/** Durations and their exact sum, which sits in an array because a number field would allocate. */
class Durations {
  readonly #histogram = new RecordingHistogram()
  readonly #sumUs = new Float64Array(1)

  record(us: number): void {
    this.#histogram.record(us)
    if (us > 0 && us < Number.POSITIVE_INFINITY) this.#sumUs[0] = (this.#sumUs[0] ?? 0) + us
  }

  drain(): { readonly pairs: HistogramDelta; readonly sumUs: number } {
    const sumUs = this.#sumUs[0] ?? 0
    this.#sumUs[0] = 0
    return { pairs: this.#histogram.drain(), sumUs }
  }

  free(): void {
    this.#histogram.free()
  }
}

export class EndpointRecorder {
  readonly #ids: EndpointIds
  readonly #live: Set<EndpointRecorder>
  readonly #statuses = new StatusRecorder()
  readonly #total = new Durations()
  readonly #queue = new Durations()
  readonly #execute = new Durations()
  #batches = 0
  #batchRows = 0
  #emptyDrains = 0
  #isLive = false
  #isForgotten = false

  constructor(ids: EndpointIds, live: Set<EndpointRecorder>) {
    this.#ids = ids
    this.#live = live
  }

  /** One answer, of any status, and the time from the last byte of its body to its answer. */
  answered(status: number, totalUs: number): void {
    if (!this.#isLive) this.#join()
    this.#statuses.count(status)
    this.#total.record(totalUs)
  }

  /** One request that left the lane after this wait. */
  queued(us: number): void {
    if (!this.#isLive) this.#join()
    this.#queue.record(us)
  }

  /** The waits of a whole batch, as the job carries them. */
  queuedBatch(waitUs: Uint32Array): void {
    if (!this.#isLive) this.#join()
    // By index: an iterator would be an allocation for every batch.
    for (let index = 0; index < waitUs.length; index += 1) this.#queue.record(waitUs[index] ?? 0)
  }

  /** One batch that ran: how many requests were in it and how long the worker took. */
  batch(rows: number, executeUs: number): void {
    if (!this.#isLive) this.#join()
    this.#batches += 1
    this.#batchRows += rows
    this.#execute.record(executeUs)
  }

  /** Called by Recorder only; null when nothing happened since the last drain. */
  drain(): EndpointDelta | null {
    const { statuses, errors } = this.#statuses.drain()
    const total = this.#total.drain()
    const queue = this.#queue.drain()
    const execute = this.#execute.drain()
    const batches = this.#batches
    const batchRows = this.#batchRows
    this.#batches = 0
    this.#batchRows = 0
    const isEmpty = statuses.length + total.pairs.length + queue.pairs.length + batches === 0
    this.#emptyDrains = isEmpty ? this.#emptyDrains + 1 : 0
    if (this.#isForgotten || this.#emptyDrains >= EMPTY_DRAINS_MAX) this.#free()
    if (isEmpty) return null
    return {
      ...this.#ids,
      statuses,
      errors,
      total: total.pairs,
      queue: queue.pairs,
      execute: execute.pairs,
      totalSumUs: total.sumUs,
      queueSumUs: queue.sumUs,
      executeSumUs: execute.sumUs,
      batches,
      batchRows,
    }
  }

  /** Called by Recorder only: memory goes with the next drain. */
  forget(): void {
    this.#isForgotten = true
  }

  #join(): void {
    this.#isLive = true
    this.#live.add(this)
  }

  #free(): void {
    this.#isLive = false
    this.#emptyDrains = 0
    this.#live.delete(this)
    this.#statuses.free()
    this.#total.free()
    this.#queue.free()
    this.#execute.free()
  }
}

/** Answers to requests that named a service we know but reached none of its endpoints. */
export class ServiceRecorder {
  readonly #serviceId: string
  readonly #statuses = new StatusRecorder()
  #emptyDrains = 0

  constructor(serviceId: string) {
    this.#serviceId = serviceId
  }

  answered(status: number): void {
    this.#statuses.count(status)
  }

  /** Called by Recorder only; null when nothing happened since the last drain. */
  drain(): ServiceDelta | null {
    const { statuses, errors } = this.#statuses.drain()
    this.#emptyDrains = statuses.length === 0 ? this.#emptyDrains + 1 : 0
    if (this.#emptyDrains >= EMPTY_DRAINS_MAX) this.#statuses.free()
    return statuses.length === 0 ? null : { serviceId: this.#serviceId, statuses, errors }
  }
}

export class Recorder {
  /** By service and generation, then by endpoint. */
  readonly #generations = new Map<string, Map<string, EndpointRecorder>>()
  readonly #services = new Map<string, ServiceRecorder>()
  /** Recorders that hold counts, forgotten ones among them until their last drain. */
  readonly #live = new Set<EndpointRecorder>()
  readonly #forgottenServices: ServiceRecorder[] = []
  readonly #usedKeys = new Set<string>()
  readonly #loads = new Map<string, LoadDelta>()

  /** The same object for the same ids; keep it, the look-up is not for every request. */
  endpoint(serviceId: string, generationId: string, endpointId: string): EndpointRecorder {
    const key = refKey({ serviceId, generationId })
    const endpoints = this.#generations.get(key) ?? new Map<string, EndpointRecorder>()
    this.#generations.set(key, endpoints)
    const known = endpoints.get(endpointId)
    if (known !== undefined) return known
    const made = new EndpointRecorder({ serviceId, generationId, endpointId }, this.#live)
    endpoints.set(endpointId, made)
    return made
  }

  /** Only for services that exist: callers must not be able to make up ids that take memory. */
  service(serviceId: string): ServiceRecorder {
    const known = this.#services.get(serviceId)
    if (known !== undefined) return known
    const made = new ServiceRecorder(serviceId)
    this.#services.set(serviceId, made)
    return made
  }

  /** A service was called with this key. */
  keyUsed(keyId: string): void {
    this.#usedKeys.add(keyId)
  }

  /** A generation was loaded, or could not be. */
  loaded(cause: string, ms: number): void {
    const { count, sumMs } = this.#loads.get(cause) ?? { count: 0, sumMs: 0 }
    this.#loads.set(cause, { cause, count: count + 1, sumMs: sumMs + ms })
  }

  /** Everything counted since the last drain, each count exactly once. */
  drain(gauges: Gauges): MetricsDelta {
    const endpoints = [...this.#live].map((recorder) => recorder.drain())
    const forgotten = this.#forgottenServices.splice(0)
    const services = [...this.#services.values(), ...forgotten].map((recorder) => recorder.drain())
    const usedKeys = [...this.#usedKeys]
    this.#usedKeys.clear()
    const loads = [...this.#loads.values()]
    this.#loads.clear()
    return {
      usedKeys,
      ...(loads.length > 0 ? { loads } : {}),
      endpoints: endpoints.filter((delta) => delta !== null),
      services: services.filter((delta) => delta !== null),
      ...gauges,
    }
  }

  /** The generation is closed: its memory goes when the next drain has taken its counts. */
  forget(serviceId: string, generationId: string): void {
    const key = refKey({ serviceId, generationId })
    for (const recorder of this.#generations.get(key)?.values() ?? []) recorder.forget()
    this.#generations.delete(key)
  }

  /** The service is gone; its generations are forgotten one by one. */
  forgetService(serviceId: string): void {
    const recorder = this.#services.get(serviceId)
    if (recorder === undefined) return
    this.#services.delete(serviceId)
    this.#forgottenServices.push(recorder)
  }
}
