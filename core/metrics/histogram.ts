/**
 * HDR histograms of durations in microseconds; the one importer of hdr-histogram-js.
 *
 * Two significant digits from 1 µs to 60 s are 2,560 buckets. Serve counts in 32 bits (10 KB) and
 * is emptied every few seconds; control adds up for months, so its counts are 53 bits wide (20 KB).
 * The library's own recordValue() costs 150 ns, most of it in log2, min and max. The bucket of an
 * integer is two machine instructions, so we compute it here and hand the library an index; a test
 * holds the two formulas together.
 */

import { Float64Histogram, Int32Histogram } from 'hdr-histogram-js'
import { assert } from '../base/assert.ts'
import type { HistogramDelta } from './delta.ts'

export const DURATION_US_MIN = 1
export const DURATION_US_MAX = 60_000_000

const SIGNIFICANT_DIGITS = 2
/** Half of a bucket's linear steps is 2 to this power: what two significant digits need. */
const HALF_MAGNITUDE = 7
/** Leading zeros of the largest integer that the first, unit-wide bucket holds. */
const UNIT_LEADING_ZEROS = 31 - HALF_MAGNITUDE

/** A whole number that every histogram here can hold, whatever the caller measured. */
export function clampUs(us: number): number {
  // Written so that NaN fails the first comparison and becomes the minimum.
  if (!(us > DURATION_US_MIN)) return DURATION_US_MIN
  return us < DURATION_US_MAX ? (us + 0.5) | 0 : DURATION_US_MAX
}

/** Index of the bucket that counts a clamped duration. */
export function bucketOf(clampedUs: number): number {
  const zeros = UNIT_LEADING_ZEROS - Math.clz32(clampedUs)
  const shift = zeros > 0 ? zeros : 0
  return (shift << HALF_MAGNITUDE) + (clampedUs >>> shift)
}

function isCount(count: number): boolean {
  return count > 0 && Number.isSafeInteger(count)
}

/** The side that records: cheap to fill, emptied at every collection. No memory before use. */
export class RecordingHistogram {
  #counts: Int32Histogram | null = null

  /** Never throws and, after the first call, allocates nothing. */
  record(us: number): void {
    const counts = this.#counts ?? this.#open()
    counts.incrementCountAtIndex(bucketOf(clampUs(us)))
    counts.incrementTotalCount()
  }

  /** The same duration for `count` requests; what is no positive integer counts nothing. */
  recordMany(us: number, count: number): void {
    if (!isCount(count)) return
    const counts = this.#counts ?? this.#open()
    counts.addToCountAtIndex(bucketOf(clampUs(us)), count)
    counts.addToTotalCount(count)
  }

  /** Hands over everything recorded since the last call, as pairs in rising order. */
  drain(): HistogramDelta {
    const counts = this.#counts
    if (counts === null || counts.totalCount === 0) return new Uint32Array(0)
    const pairs = pairsOf(counts)
    counts.clearCounts()
    counts.setTotalCount(0)
    return pairs
  }

  free(): void {
    this.#counts = null
  }

  #open(): Int32Histogram {
    const counts = new Int32Histogram(DURATION_US_MIN, DURATION_US_MAX, SIGNIFICANT_DIGITS)
    assert(counts.subBucketHalfCountMagnitude === HALF_MAGNITUDE, 'bucketOf() fits the histogram')
    this.#counts = counts
    return counts
  }
}

function pairsOf(counts: Int32Histogram): HistogramDelta {
  const length = counts.countsArrayLength
  let used = 0
  for (let index = 0; index < length; index += 1) if (counts.getCountAtIndex(index) > 0) used += 1
  const pairs = new Uint32Array(2 * used)
  let next = 0
  for (let index = 0; index < length; index += 1) {
    const count = counts.getCountAtIndex(index)
    if (count === 0) continue
    pairs[next] = counts.valueFromIndex(index)
    pairs[next + 1] = count
    next += 2
  }
  return pairs
}

/** The side that adds up and is asked. No memory before the first value. */
export class LatencyHistogram {
  #counts: Float64Histogram | null = null

  get count(): number {
    return this.#counts?.totalCount ?? 0
  }

  addPairs(pairs: HistogramDelta): void {
    if (pairs.length === 0) return
    const counts = this.#counts ?? this.#open()
    for (let at = 0; at + 1 < pairs.length; at += 2) {
      const count = pairs[at + 1] ?? 0
      counts.addToCountAtIndex(bucketOf(clampUs(pairs[at] ?? 0)), count)
      counts.addToTotalCount(count)
    }
  }

  add(other: LatencyHistogram): void {
    const theirs = other.#counts
    if (theirs === null || theirs.totalCount === 0) return
    const counts = this.#counts ?? this.#open()
    for (let index = 0; index < theirs.countsArrayLength; index += 1) {
      const count = theirs.getCountAtIndex(index)
      if (count > 0) counts.addToCountAtIndex(index, count)
    }
    counts.addToTotalCount(theirs.totalCount)
  }

  /** Upper edge of the bucket below which `percentile` per cent lie; 100 is the maximum. */
  percentileUs(percentile: number): number {
    if (this.#counts === null || this.#counts.totalCount === 0) return 0
    return Math.min(this.#counts.getValueAtPercentile(percentile), DURATION_US_MAX)
  }

  /**
   * How many durations are at most each of these rising bounds. A bucket counts as soon as its
   * lowest value is within the bound, so a duration that equals a bound is always inside it.
   */
  cumulative(boundsUs: readonly number[]): readonly number[] {
    const counts = this.#counts
    if (counts === null) return boundsUs.map(() => 0)
    let sum = 0
    let index = 0
    return boundsUs.map((bound) => {
      const last = bucketOf(clampUs(bound))
      for (; index <= last; index += 1) sum += counts.getCountAtIndex(index)
      return sum
    })
  }

  reset(): void {
    this.#counts?.clearCounts()
    this.#counts?.setTotalCount(0)
  }

  #open(): Float64Histogram {
    this.#counts = new Float64Histogram(DURATION_US_MIN, DURATION_US_MAX, SIGNIFICANT_DIGITS)
    return this.#counts
  }
}
