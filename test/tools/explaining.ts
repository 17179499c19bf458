/**
 * Explaining without a worker: models that are functions, exact Shapley values by enumerating all
 * coalitions of features, and estimates run to their end in runs of any size.
 */

import { Table } from '../../workers/explanations/background.ts'
import {
  type Estimate,
  type EstimateState,
  freshState,
} from '../../workers/explanations/estimate.ts'
import { Ice } from '../../workers/explanations/ice.ts'
import { AS_BEFORE, MixedRows } from '../../workers/explanations/mixed-rows.ts'
import { Shapley } from '../../workers/explanations/shapley.ts'

export type Row = readonly number[]
export type ModelFunction = (row: Row) => number

function tableOf(rows: readonly Row[], model: ModelFunction): Table {
  const features = (rows[0] ?? []).map((_, i) => `x${i}`)
  return new Table({ features, rows, scores: rows.map((row) => [model(row)]) })
}

function featuresOf(row: Row): Record<string, number> {
  return Object.fromEntries(row.map((value, i) => [`x${i}`, value]))
}

/** The mean over the background of the exact values for each of its rows. */
export function exactShapley(model: ModelFunction, row: Row, background: readonly Row[]): number[] {
  const size = row.length
  const weights = Array.from({ length: size }, (_, n) => weightOf(n, size))
  const values = new Array<number>(size).fill(0)
  for (const other of background) {
    const scores = Array.from({ length: 2 ** size }, (_, set) =>
      model(row.map((value, i) => (isIn(set, i) ? value : (other[i] ?? 0)))),
    )
    for (let set = 0; set < 2 ** size; set++) {
      const weight = (weights[countOf(set)] ?? 0) / background.length
      for (let i = 0; i < size; i++) {
        if (isIn(set, i)) continue
        const change = (scores[set + 2 ** i] ?? 0) - (scores[set] ?? 0)
        values[i] = (values[i] ?? 0) + weight * change
      }
    }
  }
  return values
}

/** Share of the orders in which exactly these n features come before the next. */
function weightOf(n: number, size: number): number {
  let weight = 1 / size
  for (let i = 1; i <= n; i++) weight *= i / (size - i)
  return weight
}

function isIn(set: number, feature: number): boolean {
  return Math.floor(set / 2 ** feature) % 2 === 1
}

function countOf(set: number): number {
  return set === 0 ? 0 : (set % 2) + countOf(Math.floor(set / 2))
}

export interface Explaining {
  readonly model: ModelFunction
  readonly row: Row
  readonly background: readonly Row[]
  readonly method?: 'SHAPLEY' | 'ICE'
  readonly seed?: number
  readonly permutations?: number
  /** Rows of the runs, in turn; default: 64. */
  readonly runs?: readonly number[]
  /** Goes on from a copy of the state after every run, in an object of its own. */
  readonly isSliced?: boolean
}

export interface Explained {
  readonly contributions: readonly number[]
  readonly base: number | null
  readonly rows: number
}

export function explain(asked: Explaining): Explained {
  const { model, row, background, method = 'SHAPLEY', runs = [64], isSliced = false } = asked
  const table = tableOf(background, model)
  const open = (state: EstimateState): Estimate => {
    const sample = table.sample(featuresOf(row), 0)
    const { seed = 1, permutations = 100 } = asked
    return method === 'ICE'
      ? new Ice(sample, state)
      : new Shapley({ sample, seed, permutations }, state)
  }
  let estimate = open(freshState(method, row.length))
  let total = 0
  for (let run = 0; ; run++) {
    const rowsMax = runs[run % runs.length] ?? 1
    const rows = new MixedRows(rowsMax, row.length)
    estimate.next(rows, rowsMax)
    if (rows.count === 0) break
    total += rows.count
    const scores = mixed(rows, [row, ...background]).map(model)
    estimate.take(Float64Array.from(scores), rows.count)
    if (isSliced) estimate = open(structuredClone(estimate.state()))
  }
  return { contributions: [...estimate.contributions()], base: estimate.base(), rows: total }
}

function mixed(rows: MixedRows, sources: readonly Row[]): Row[] {
  const made: Row[] = []
  for (let at = 0, change = 0; at < rows.count; at++) {
    const start = rows.starts[at] ?? 0
    const row = [...((start === AS_BEFORE ? made[at - 1] : sources[start]) ?? [])]
    for (const end = rows.ends[at] ?? 0; change < end; change++) {
      const feature = rows.features[change] ?? 0
      row[feature] = sources[rows.sources[change] ?? 0]?.[feature] ?? Number.NaN
    }
    made.push(row)
  }
  return made
}
