/**
 * How many rows of explanations may run together. Nobody else's row is in such a run, and most of a
 * small run is overhead, so more than a batch of predictions are tried: the rows of the background
 * must get the scores they have, and the run must be short beside a slice.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import type { ExplanationRun } from '../../core/bundle/depth-plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { type Background, rowsOf } from '../explanations/background.ts'
import { MixedRows } from '../explanations/mixed-rows.ts'
import { isRefused } from '../explanations/slice.ts'
import type { Scorer } from '../explanations/types.ts'

/** Runs at least this often fit into a slice. */
const RUNS_PER_SLICE = 4
const REPETITIONS = 5

const RELATIVE = 1e-5
/** Rounding of values near zero is judged by the size of the largest score. */
const OF_LARGEST = 1e-7

/** Undefined: what is right for predictions is right for explanations. */
export async function largerRuns<Held>(
  scored: Background,
  scorerOf: (rowsMax: number) => Scorer<Held> | null,
  { from, to }: { readonly from: number; readonly to: number },
): Promise<ExplanationRun | undefined> {
  let found: ExplanationRun | undefined
  for (let rowsMax = 2 * from; rowsMax <= to; rowsMax *= 2) {
    const scorer = scorerOf(rowsMax)
    const ms = scorer === null ? null : await msOf(scored, scorer)
    if (ms === null || ms > LIMITS.explanationSliceMs / RUNS_PER_SLICE) break
    found = { rowsMax, ms: Math.round(ms * 1_000) / 1_000 }
  }
  return found
}

/** The shortest of some full runs: the machine may be busy. Null: the rows are not scored alike. */
async function msOf<Held>(scored: Background, scorer: Scorer<Held>): Promise<number | null> {
  const { features, rowsMax, hold, score } = scorer
  const maps = rowsOf(scored)
  const background = hold(maps)
  const explained = hold(maps.slice(0, 1))
  if (isRefused(background) || isRefused(explained)) return null
  const rows = new MixedRows(rowsMax, features.length)
  for (let i = 0; i < rowsMax; i++) rows.start(1 + (i % maps.length))
  const times: number[] = []
  try {
    for (let i = 0; i < REPETITIONS; i++) {
      const startMs = nowMs()
      const scores = await score({ rows, explained, background }, startMs + LIMITS.hangMs)
      times.push(nowMs() - startMs)
      if (!isSame(scores, scored.scores, scorer)) return null
    }
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    return null
  }
  return Math.min(...times)
}

function isSame(
  got: Float64Array,
  wanted: Background['scores'],
  { rowsMax, outputs }: { readonly rowsMax: number; readonly outputs: number },
): boolean {
  const floor = OF_LARGEST * Math.max(...wanted.flat().map(Math.abs))
  for (let i = 0; i < rowsMax * outputs; i++) {
    const row = wanted[Math.floor(i / outputs) % wanted.length]
    const [a, b] = [got[i] ?? Number.NaN, row?.[i % outputs] ?? Number.NaN]
    const near = Math.max(floor, RELATIVE * Math.max(Math.abs(a), Math.abs(b)))
    if (!(Math.abs(a - b) <= near)) return false
  }
  return true
}
