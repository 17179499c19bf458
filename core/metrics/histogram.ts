/**
 * HDR histograms of durations in microseconds; the one importer of hdr-histogram-js.
 *
 * Two significant digits from 1 µs to 60 s are 2,560 buckets. Serve counts in 32 bits (10 KB) and
 * is emptied every few seconds; control adds up for months, so its counts are 53 bits wide (20 KB).
 * The library's own recordValue() costs 150 ns, most of it in log2, min and max. The bucket of an
 * integer is two machine instructions, so we compute it here and hand the library an index; a test
 * holds the two formulas together.
 */

import float64 from 'hdr-histogram-js/dist/Float64Histogram.js'
import int32 from 'hdr-histogram-js/dist/Int32Histogram.js'
import { assert } from '../base/assert.ts'
import type { HistogramDelta } from './delta.ts'

// By file: the package as a whole also loads its WebAssembly and compression, which takes a fifth
// of the time in which a serving process starts.
const Float64Histogram = float64.default
const Int32Histogram = int32.default
type Float64Histogram = InstanceType<typeof Float64Histogram>
type Int32Histogram = InstanceType<typeof Int32Histogram>

const DURATION_US_MIN = 1
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
  const shift = Math.max(UNIT_LEADING_ZEROS - Math.clz32(clampedUs), 0)
  return (shift << HALF_MAGNITUDE) + (clampedUs >>> shift)
}

function isCount(count: number): boolean {
  return count > 0 && Number.isSafeInteger(count)
}

/** The side that records: cheap to fill, emptied at every collection. No memory before use. */
export class RecordingHistogram {
  #counts: Int32Histogram | null = null
  /** One bit for every 128 buckets that hold something, so that emptying visits only those. */
  #usedBlocks = 0

  /** Never throws and, after the first call, allocates nothing. */
  record(us: number): void {
    const counts = this.#counts ?? this.#open()
    const bucket = bucketOf(clampUs(us))
    counts.incrementCountAtIndex(bucket)
    this.#usedBlocks |= 1 << (bucket >>> HALF_MAGNITUDE)
  }

  /** The same duration for `count` requests; what is no positive integer counts nothing. */
  recordMany(us: number, count: number): void {
    if (!isCount(count)) return
    const counts = this.#counts ?? this.#open()
    const bucket = bucketOf(clampUs(us))
    counts.addToCountAtIndex(bucket, count)
    this.#usedBlocks |= 1 << (bucket >>> HALF_MAGNITUDE)
  }

  /** Hands over everything recorded since the last call, as pairs in rising order. */
  drain(): HistogramDelta {
    if (this.#counts === null || this.#usedBlocks === 0) return new Uint32Array(0)
    const pairs: number[] = []
    for (let block = 0; this.#usedBlocks >>> block !== 0; block += 1) {
      if ((this.#usedBlocks >>> block) & 1) drainBlock(this.#counts, block, pairs)
    }
    this.#usedBlocks = 0
    return Uint32Array.from(pairs)
  }

  /** Gives the memory back; what was not drained is lost. */
  free(): void {
    this.#counts = null
    this.#usedBlocks = 0
  }

  #open(): Int32Histogram {
    const counts = new Int32Histogram(DURATION_US_MIN, DURATION_US_MAX, SIGNIFICANT_DIGITS)
    assert(counts.subBucketHalfCountMagnitude === HALF_MAGNITUDE, 'bucketOf() fits the histogram')
    this.#counts = counts
    return counts
  }
}

function drainBlock(counts: Int32Histogram, block: number, pairs: number[]): void {
  const first = block << HALF_MAGNITUDE
  const end = first + (1 << HALF_MAGNITUDE)
  for (let bucket = first; bucket < end; bucket += 1) {
    const count = counts.getCountAtIndex(bucket)
    if (count === 0) continue
    pairs.push(counts.valueFromIndex(bucket), count)
    counts.setCountAtIndex(bucket, 0)
  }
}

/** What is at rest is unfolded into it to be read; nobody keeps it. */
let scratch: Float64Histogram | null = null

function newCounts(): Float64Histogram {
  return new Float64Histogram(DURATION_US_MIN, DURATION_US_MAX, SIGNIFICANT_DIGITS)
}

/** The side that adds up and is asked. No memory before the first value, and little at rest. */
export class LatencyHistogram {
  #counts: Float64Histogram | null = null
  /** At rest: pairs bucket, count, of those that hold something. */
  #folded: Float64Array | null = null

  get count(): number {
    return this.#read()?.totalCount ?? 0
  }

  /** Nothing comes for a while: a few hundred bytes are left of 20 KB, until something does. */
  rest(): void {
    const counts = this.#counts
    if (counts === null) return
    const pairs: number[] = []
    for (let index = 0; index < counts.countsArrayLength; index += 1) {
      const count = counts.getCountAtIndex(index)
      if (count > 0) pairs.push(index, count)
    }
    this.#folded = pairs.length > 0 ? Float64Array.from(pairs) : null
    this.#counts = null
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
    const theirs = other.#read()
    if (theirs === null || theirs.totalCount === 0) return
    const counts = this.#counts ?? this.#open()
    for (let index = 0; index < theirs.countsArrayLength; index += 1) {
      const count = theirs.getCountAtIndex(index)
      if (count > 0) counts.addToCountAtIndex(index, count)
    }
    counts.addToTotalCount(theirs.totalCount)
  }

  /**
   * For each of these rising thousandths the upper edge of the bucket that holds the duration of
   * that rank; 1000 is the maximum. Thousandths and not per cent, so that ranks are exact integers.
   */
  quantilesUs(thousandths: readonly number[]): readonly number[] {
    const counts = this.#read()
    if (counts === null || counts.totalCount === 0) return thousandths.map(() => 0)
    let bucket = 0
    let sum = counts.getCountAtIndex(0)
    return thousandths.map((part) => {
      const rank = Math.ceil((part * counts.totalCount) / 1000)
      while (sum < rank) sum += counts.getCountAtIndex(++bucket)
      const edge = counts.highestEquivalentValue(counts.valueFromIndex(bucket))
      return Math.min(edge, DURATION_US_MAX)
    })
  }

  /**
   * How many durations are at most each of these rising bounds. A bucket counts as soon as its
   * lowest value is within the bound, so a duration that equals a bound is always inside it.
   */
  cumulative(boundsUs: readonly number[]): readonly number[] {
    const counts = this.#read()
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
    this.#counts = null
    this.#folded = null
  }

  /** To be looked at, before anything else is. */
  #read(): Float64Histogram | null {
    if (this.#folded === null) return this.#counts
    scratch ??= newCounts()
    scratch.clearCounts()
    scratch.setTotalCount(0)
    unfold(this.#folded, scratch)
    return scratch
  }

  #open(): Float64Histogram {
    this.#counts = newCounts()
    if (this.#folded !== null) unfold(this.#folded, this.#counts)
    this.#folded = null
    return this.#counts
  }
}

function unfold(folded: Float64Array, counts: Float64Histogram): void {
  for (let at = 0; at + 1 < folded.length; at += 2) {
    const count = folded[at + 1] ?? 0
    counts.addToCountAtIndex(folded[at] ?? 0, count)
    counts.addToTotalCount(count)
  }
}
