/**
 * What control knows of one group of requests: an endpoint of a generation, or several added up.
 *
 * Only the finest groups are kept; a service, an endpoint over its generations or a generation over
 * its endpoints is a sum made when somebody looks, so the hot direction (deltas) stays short.
 */

import type { EndpointDelta, ServiceDelta } from './delta.ts'
import { LatencyHistogram } from './histogram.ts'
import { addStatuses, mergeStatuses } from './status.ts'

/** A window is two halves of which the older is dropped, so it spans 30 s to 60 s, never more. */
export const WINDOW_HALF_MS = 30_000

/** Requests with their answers' total time; the only thing that a window keeps. */
export class Totals {
  requests = 0
  errors = 0
  sumUs = 0
  readonly durations = new LatencyHistogram()

  add(other: Totals): void {
    this.requests += other.requests
    this.errors += other.errors
    this.sumUs += other.sumUs
    this.durations.add(other.durations)
  }

  reset(): void {
    this.requests = 0
    this.errors = 0
    this.sumUs = 0
    this.durations.reset()
  }
}

/** Batches or waits: durations with their exact sum. */
export class Phase {
  sumUs = 0
  readonly durations = new LatencyHistogram()

  add(other: Phase): void {
    this.sumUs += other.sumUs
    this.durations.add(other.durations)
  }
}

export class Series {
  readonly statuses = new Map<number, number>()
  readonly total = new Totals()
  readonly queue = new Phase()
  readonly execute = new Phase()
  batches = 0
  batchRows = 0
  #current = new Totals()
  #previous = new Totals()
  /** Number of the half window that #current belongs to; halves are counted on a common clock. */
  #half = 0
  /** When something was added last. */
  #addedMs = 0

  addEndpoint(delta: EndpointDelta, nowMs: number): void {
    this.#rotate(nowMs)
    this.#addedMs = nowMs
    const requests = addStatuses(this.statuses, delta.statuses)
    for (const totals of [this.total, this.#current]) {
      totals.requests += requests
      totals.errors += delta.errors
      totals.sumUs += delta.totalSumUs
      totals.durations.addPairs(delta.total)
    }
    this.queue.sumUs += delta.queueSumUs
    this.queue.durations.addPairs(delta.queue)
    this.execute.sumUs += delta.executeSumUs
    this.execute.durations.addPairs(delta.execute)
    this.batches += delta.batches
    this.batchRows += delta.batchRows
  }

  /** Requests that reached no endpoint: they have a status but no time worth keeping. */
  addService(delta: ServiceDelta, nowMs: number): void {
    this.#rotate(nowMs)
    const requests = addStatuses(this.statuses, delta.statuses)
    for (const totals of [this.total, this.#current]) {
      totals.requests += requests
      totals.errors += delta.errors
    }
  }

  merge(other: Series, nowMs: number): void {
    this.#rotate(nowMs)
    other.#rotate(nowMs)
    this.#addedMs = Math.max(this.#addedMs, other.#addedMs)
    mergeStatuses(this.statuses, other.statuses)
    this.total.add(other.total)
    this.queue.add(other.queue)
    this.execute.add(other.execute)
    this.batches += other.batches
    this.batchRows += other.batchRows
    this.#current.add(other.#current)
    this.#previous.add(other.#previous)
  }

  /** Takes little memory from now on, if nothing came for so long that its windows are empty. */
  restIfIdle(nowMs: number): boolean {
    if (nowMs - this.#addedMs < 2 * WINDOW_HALF_MS) return false
    this.#rotate(nowMs)
    for (const { durations } of [this.total, this.queue, this.execute]) durations.rest()
    return true
  }

  /** The requests collected in the last 30 s to 60 s. */
  recent(nowMs: number): Totals {
    this.#rotate(nowMs)
    const totals = new Totals()
    totals.add(this.#current)
    totals.add(this.#previous)
    return totals
  }

  #rotate(nowMs: number): void {
    const half = Math.floor(nowMs / WINDOW_HALF_MS)
    if (half <= this.#half) return
    const oldest = this.#previous
    this.#previous = this.#current
    this.#current = oldest
    oldest.reset()
    if (half - this.#half > 1) this.#previous.reset()
    this.#half = half
  }
}

/** The parts added up; a single part is its own sum, which spares most services any copying. */
export function sumOf(parts: readonly Series[], nowMs: number): Series {
  const [only] = parts
  if (only !== undefined && parts.length === 1) return only
  const sum = new Series()
  for (const part of parts) sum.merge(part, nowMs)
  return sum
}
