/**
 * May rows of strangers share a run? A free first dimension does not say so: a graph that reduces
 * over it answers one caller with a stranger's data. So it is proven by running the same rows
 * alone, together and beside other neighbours; a model that fails, or cannot be tried, runs row by
 * row.
 */

import type { PredictionPlan, TensorSpec } from '../../core/bundle/plan.ts'
import type { Fetched, Tensor } from '../onnx/session.ts'
import type { FeatureMap } from '../predictions/values.ts'
import { shapeText } from './inputs.ts'
import { shortReason } from './reasons.ts'
import { extremeRow, type RowRunner, type TriedRow, type TriedRows } from './rows.ts'

/** Different rows that a proof needs. */
export const PROOF_ROWS = 8

/** Rows of the largest run of a proof; the runner must hold so many. */
export const PROOF_ROWS_MAX = 4 * PROOF_ROWS

export interface Batchable {
  readonly batchable: boolean
  readonly reason: string
}

export interface Proof {
  readonly plan: PredictionPlan
  /** The manifest's `batch: false`. */
  readonly forbidden: boolean
  readonly runner: RowRunner
  readonly rows: TriedRows
}

export async function proveBatchable(proof: Proof): Promise<Batchable> {
  const { plan, rows } = proof
  const obstacle = proof.forbidden ? 'the manifest says batch: false' : obstacleOf(plan)
  if (obstacle !== null) return { batchable: false, reason: obstacle }
  if (rows.accepted.length < PROOF_ROWS) return { batchable: false, reason: tooFew(rows) }
  const difference = await firstDifference(proof)
  if (difference !== null) return { batchable: false, reason: difference }
  const count = rows.accepted.length
  const reason = `${count} different rows gave the same answers alone, together and among others`
  return { batchable: true, reason }
}

/** What the signature alone says against it. */
function obstacleOf(plan: PredictionPlan): string | null {
  if (plan.kind === 'RAW') return 'whole tensors are run one request at a time'
  const fixed = (role: string) => (spec: TensorSpec) =>
    spec.shape[0] === null
      ? []
      : [`${role} "${spec.name}" has shape ${shapeText(spec.shape)}: no free first dimension`]
  const found = [...plan.inputs.flatMap(fixed('input')), ...plan.outputs.flatMap(fixed('output'))]
  if (found[0] !== undefined) return found[0]
  return plan.maxRows === 1 ? 'maxRows is 1' : null
}

function tooFew({ accepted, refusal }: TriedRows): string {
  const count = accepted.length === 0 ? 'none' : `only ${accepted.length}`
  if (refusal === null) return `a proof needs ${PROOF_ROWS} different rows, and ${count} were found`
  const why = shortReason(refusal)
  return `no test queries to prove it with: of made-up rows the model took ${count} (${why})`
}

/** The reason why not, or null when every row always gets its own answer. */
async function firstDifference(proof: Proof): Promise<string | null> {
  const { rows, runner } = proof
  const [first] = rows.accepted
  if (first === undefined) return 'there is no row to try'
  const again = await attempt(runner, [first], 0)
  if (again !== null) return 'the same row gets different answers from run to run'
  for (const line of await lineUps(proof)) {
    const difference = await attempt(runner, line, line.length)
    if (difference !== null) return difference
  }
  return null
}

/** Every order of neighbours that is tried. */
async function lineUps({ plan, rows, runner }: Proof): Promise<TriedRow[][]> {
  const rowsTried = rows.accepted.slice(0, PROOF_ROWS)
  const extremes: TriedRow[] = []
  for (const { row } of rowsTried) {
    const extreme = await alone(runner, extremeRow(plan.features, row))
    if (extreme !== null) extremes.push(extreme)
  }
  const backwards = rowsTried.toReversed()
  const among = backwards.flatMap((row, i) => [row, extremes[i] ?? rowsTried[i] ?? row])
  const pairs = rowsTried.map((row, i) => [extremes[i] ?? rowsTried.at(i - 1) ?? row, row])
  return [rowsTried, backwards, among, [...among, ...rowsTried], ...pairs]
}

async function alone(runner: RowRunner, row: FeatureMap): Promise<TriedRow | null> {
  try {
    return { row, outputs: await runner.run([row]) }
  } catch {
    return null
  }
}

/** Runs a line of rows and holds each answer against the one its row got alone. */
async function attempt(
  runner: RowRunner,
  line: readonly TriedRow[],
  rows: number,
): Promise<string | null> {
  let together: Fetched
  try {
    together = await runner.run(line.map(({ row }) => row))
  } catch (error) {
    return `the model does not take ${rows} rows at once (${shortReason(error)})`
  }
  for (const [i, tried] of line.entries()) {
    const difference = compareRow(together, tried.outputs, { row: i, rows: line.length })
    if (difference !== null) return difference
  }
  return null
}

interface Place {
  readonly row: number
  readonly rows: number
}

function compareRow(together: Fetched, own: Fetched, place: Place): string | null {
  for (const [name, expected] of Object.entries(own)) {
    const tensor = together[name]
    if (tensor === undefined || tensor.dims[0] !== place.rows || expected.dims[0] !== 1) {
      return `output "${name}" does not hold one entry per row`
    }
    if (!sameEntry(tensor, expected, place)) {
      return `output "${name}" of a row changes with the other rows of its run`
    }
  }
  return null
}

const RELATIVE = 1e-5
/** Rounding of values near zero is judged by the size of the output's largest value. */
const OF_LARGEST = 1e-7

function sameEntry(tensor: Tensor, expected: Tensor, { row, rows }: Place): boolean {
  const width = tensor.data.length / rows
  if (width !== expected.data.length) return false
  const exact = !tensor.type.startsWith('float')
  const floor = exact ? 0 : OF_LARGEST * largest(expected)
  for (let i = 0; i < width; i++) {
    const got = tensor.data[row * width + i]
    const wanted = expected.data[i]
    if (got === wanted || (Number.isNaN(got) && Number.isNaN(wanted))) continue
    if (exact || !isClose(Number(got), Number(wanted), floor)) return false
  }
  return true
}

function isClose(a: number, b: number, floor: number): boolean {
  return Math.abs(a - b) <= Math.max(RELATIVE * Math.max(Math.abs(a), Math.abs(b)), floor)
}

function largest(tensor: Tensor): number {
  let size = 0
  for (const value of tensor.data) size = Math.max(size, Math.abs(Number(value)) || 0)
  return size
}
