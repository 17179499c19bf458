/**
 * Latencies in microseconds, kept as an HDR histogram: the only importer of the library in bench/.
 * The JavaScript build is used, because the WebAssembly one leaks unless it is destroyed.
 */

import { build } from 'hdr-histogram-js'
import type { LoadWindow } from './sample.ts'

const MAX_US = 60_000_000

export interface Percentiles {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  readonly mean: number
}

export class Latency {
  readonly #histogram = build({
    bitBucketSize: 32,
    highestTrackableValue: MAX_US,
    numberOfSignificantValueDigits: 3,
  })

  /** Out of range or fractional values would throw or corrupt the histogram; both are cut. */
  recordUs(us: number): void {
    this.#histogram.recordValue(Math.min(MAX_US, Math.max(0, Math.round(us))))
  }

  percentiles(): Percentiles {
    const at = (percent: number) => this.#histogram.getValueAtPercentile(percent)
    const mean = Math.round(this.#histogram.mean)
    return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: at(100), mean }
  }
}

/** Latencies by when they belong to: one histogram for each window of time that has any. */
export class Windows {
  readonly #lengthMs: number
  readonly #windows = new Map<number, { latency: Latency; answered: number }>()

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs
  }

  recordUs(atMs: number, us: number): void {
    const index = Math.floor(atMs / this.#lengthMs)
    const window = this.#windows.get(index) ?? { latency: new Latency(), answered: 0 }
    this.#windows.set(index, window)
    window.latency.recordUs(us)
    window.answered += 1
  }

  /** In the order of time. */
  list(): LoadWindow[] {
    const sorted = [...this.#windows].sort(([one], [other]) => one - other)
    return sorted.map(([index, { latency, answered }]) => ({
      startMs: index * this.#lengthMs,
      answered,
      p99Us: latency.percentiles().p99,
    }))
  }
}

/** Median of samples; NaN for none, so that a figure without samples can never pass a gate. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
