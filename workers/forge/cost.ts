/**
 * What a run costs: `fixedUs + rows * perRowUs`, fitted to runs of growing size. Dispatch shares
 * the threads by it, so it is measured here once and not guessed while serving.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { CostModel } from '../../core/bundle/plan.ts'

export interface Measured {
  readonly cost: CostModel
  /** Longest run seen or, where the largest batch was too slow to try, expected. */
  readonly worstBatchMs: number
  /** Most rows that may run together: less than asked for where the model refused a size. */
  readonly maxRows: number
}

const BUDGET_MS = 1_000
const REPETITIONS = 5

/** `run` makes one run of that many rows; a model that refuses a size is not asked for more. */
export async function measureCost(
  run: (rows: number) => Promise<unknown>,
  rowsMax: number,
): Promise<Measured> {
  const endMs = nowMs() + BUDGET_MS
  const points: Point[] = []
  let worstMs = 0
  let maxRows = rowsMax
  for (const rows of sizes(rowsMax)) {
    const times = await timesOf(() => run(rows), endMs)
    if (times.length === 0) {
      maxRows = points.at(-1)?.rows ?? 1
      break
    }
    points.push({ rows, us: median(times) * 1_000 })
    worstMs = Math.max(worstMs, ...times)
    // The next size may take twice as long as this one.
    if (nowMs() + 2 * Math.min(...times) > endMs) break
  }
  const cost = fit(points)
  const expectedMs = (cost.fixedUs + maxRows * cost.perRowUs) / 1_000
  const complete = points.at(-1)?.rows === maxRows
  return { cost, maxRows, worstBatchMs: complete ? worstMs : Math.max(worstMs, expectedMs) }
}

/** 1, 2, 4 … and the largest. */
function sizes(rowsMax: number): number[] {
  const all: number[] = []
  for (let rows = 1; rows < rowsMax; rows *= 2) all.push(rows)
  return [...all, rowsMax]
}

async function timesOf(run: () => Promise<unknown>, endMs: number): Promise<number[]> {
  const times: number[] = []
  try {
    while (times.length < REPETITIONS && (times.length === 0 || nowMs() < endMs)) {
      const startMs = nowMs()
      await run()
      times.push(nowMs() - startMs)
    }
  } catch {
    return []
  }
  return times
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

interface Point {
  readonly rows: number
  readonly us: number
}

/** Least squares; a line that would be negative anywhere is replaced by the nearest that is not. */
export function fit(points: readonly Point[]): CostModel {
  const n = points.length
  const [only] = points
  if (only === undefined) return { fixedUs: 0, perRowUs: 0 }
  const meanRows = points.reduce((sum, { rows }) => sum + rows, 0) / n
  const meanUs = points.reduce((sum, { us }) => sum + us, 0) / n
  const spread = points.reduce((sum, { rows }) => sum + (rows - meanRows) ** 2, 0)
  const slope = points.reduce((sum, { rows, us }) => sum + (rows - meanRows) * (us - meanUs), 0)
  if (spread === 0 || slope <= 0) return rounded(meanUs, 0)
  const perRowUs = slope / spread
  const fixedUs = meanUs - perRowUs * meanRows
  return fixedUs >= 0 ? rounded(fixedUs, perRowUs) : rounded(0, meanUs / meanRows)
}

function rounded(fixedUs: number, perRowUs: number): CostModel {
  return { fixedUs: Math.round(fixedUs * 100) / 100, perRowUs: Math.round(perRowUs * 100) / 100 }
}
