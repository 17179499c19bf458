/**
 * Latencies in microseconds, kept as an HDR histogram: the only importer of the library in bench/.
 * The JavaScript build is used, because the WebAssembly one leaks unless it is destroyed.
 */

import { build } from 'hdr-histogram-js'

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

/** Median of samples; NaN for none, so that a figure without samples can never pass a gate. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
