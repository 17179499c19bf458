/** The table that `probaPercentile` is read from. */

import { DraftRefused } from './refused.ts'

/** Each percent has its own; of fewer scores every one is a quantile. */
const POINTS_MAX = 101
/** As exact as a float32 is. */
const DIGITS = 7

/** Evenly spaced from the least to the largest, between two scores on the line through both. */
export function quantiles(scores: readonly number[]): number[] {
  if (scores.length < 2) {
    throw new DraftRefused(`percentiles need 2 rows with a score, there are ${scores.length}`)
  }
  const sorted = Float64Array.from(scores).sort()
  const points = Math.min(POINTS_MAX, sorted.length)
  return Array.from({ length: points }, (_, i) => {
    const at = ((sorted.length - 1) * i) / (points - 1)
    const [below = 0, above = below] = sorted.subarray(Math.floor(at), Math.floor(at) + 2)
    const value = below + (above - below) * (at - Math.floor(at))
    return Math.min(1, Math.max(0, Number(value.toPrecision(DIGITS))))
  })
}
