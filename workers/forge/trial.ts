/**
 * The first runs of a model's life: rows that it takes, the shapes of its answers, whether rows may
 * share a run and what a run costs. A model given row by row is tried with rows, any other with
 * whole tensors.
 */

import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { PredictionPlan, TensorSpec } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { Fetched, Model } from '../onnx/session.ts'
import { decodeTensors } from '../onnx/tensors.ts'
import { type Batchable, PROOF_ROWS, PROOF_ROWS_MAX, proveBatchable } from './batchable.ts'
import { type Measured, measureCost } from './cost.ts'
import { notTabular, planInputs } from './inputs.ts'
import { candidateRows, givenRows, RowRunner, type TriedRows, tryRows } from './rows.ts'
import { completeShapes } from './shapes.ts'
import { blankPlan, rowsMaxOf, type Signature } from './signature.ts'

export interface RowTrial {
  readonly runner: RowRunner
  readonly rows: TriedRows
  readonly outputs: readonly TensorSpec[]
}

/** Null when the model does not take rows, or the manifest is wrong about its inputs. */
export async function tryAsRows(
  model: Model,
  signature: Signature,
  endpoint: StdPredictionEndpoint,
): Promise<RowTrial | null> {
  if (endpoint.prediction === 'RAW' || notTabular(signature.inputs) !== null) return null
  const { inputs, features, faults } = planInputs(signature.inputs, endpoint, '')
  if (faults.length > 0) return null
  const plan = { ...blankPlan(signature), inputs, features }
  const rowsMax = Math.max(rowsMaxOf(endpoint, features.length), PROOF_ROWS_MAX)
  const runner = new RowRunner(model, plan, rowsMax)
  const candidates = candidateRows(features, givenRows(endpoint))
  const rows = await tryRows(runner, candidates, PROOF_ROWS)
  const one = rows.accepted[0]?.outputs
  if (one === undefined) return { runner, rows, outputs: signature.outputs }
  const two = await twoRows(runner, rows, signature.inputs)
  return { runner, rows, outputs: completeShapes(signature.outputs, one, two) }
}

async function twoRows(
  runner: RowRunner,
  { accepted }: TriedRows,
  inputs: readonly TensorSpec[],
): Promise<Fetched | null> {
  if (inputs.some(({ shape }) => shape[0] !== null)) return null
  const [first, second] = accepted
  if (first === undefined) return null
  try {
    return await runner.run([first.row, second?.row ?? first.row])
  } catch {
    // A model that takes one row at a time although it declares more: the proof will say so.
    return null
  }
}

/** A label that the model gave in its trial and that is no class, nor the index of one. */
export function foreignLabel(plan: PredictionPlan, { rows }: RowTrial): string | null {
  const { label, classes } = plan
  if (label === null || classes.length === 0) return null
  const byIndex = !classes.every((name) => String(Number(name)) === name)
  for (const { outputs } of rows.accepted) {
    const value = outputs[label]?.data[0]
    const isIndex = byIndex && typeof value !== 'string' && classes[Number(value)] !== undefined
    if (value !== undefined && !isIndex && !classes.includes(String(value))) return String(value)
  }
  return null
}

export interface Judged extends Batchable, Measured {}

/** Batching and cost of a model that takes rows. */
export async function judgeRows(
  plan: PredictionPlan,
  trial: RowTrial,
  endpoint: StdPredictionEndpoint,
): Promise<Judged> {
  const { runner, rows } = trial
  const forbidden = endpoint.batch === false
  const proven = await proveBatchable({ plan, forbidden, runner, rows })
  const rowsMax = proven.batchable ? plan.maxRows : 1
  const some = rows.accepted.map(({ row }) => row)
  const [first] = some
  if (first === undefined) return { ...proven, ...NOT_MEASURED }
  const batch = (count: number) =>
    Array.from({ length: count }, (_, i) => some[i % some.length] ?? first)
  const measured = await measureCost((count) => runner.run(batch(count)), rowsMax)
  return limited({ ...proven, ...measured }, endpoint)
}

const NOT_MEASURED: Measured = {
  cost: { fixedUs: 0, perRowUs: 0 },
  worstBatchMs: 0,
  maxRows: 1,
}

/** A full batch should be done before its permit runs out, unless the manifest wants it so. */
export function limited(
  judged: Judged,
  endpoint: { readonly maxRows?: number | undefined },
): Judged {
  const { fixedUs, perRowUs } = judged.cost
  if (endpoint.maxRows !== undefined || !judged.batchable || perRowUs === 0) return judged
  const rows = Math.max(1, Math.floor((LIMITS.permitMs * 1_000 - fixedUs) / perRowUs))
  if (rows >= judged.maxRows) return judged
  const worstBatchMs = (fixedUs + rows * perRowUs) / 1_000
  const reason = `${judged.reason}; ${rows} rows are what ${LIMITS.permitMs} ms are enough for`
  return { ...judged, maxRows: rows, worstBatchMs, reason }
}

/** Cost of a model that takes whole tensors, by a body that it has answered; null: none. */
export async function judgeRaw(
  model: Model,
  plan: PredictionPlan,
  body: string | null,
): Promise<Judged> {
  const proven = { batchable: false, reason: 'whole tensors are run one request at a time' }
  if (body === null) return { ...proven, ...NOT_MEASURED }
  const parsed: unknown = JSON.parse(body)
  const features: unknown =
    typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, 'features') : null
  const tensors = typeof features === 'object' && features !== null ? { ...features } : {}
  const feeds = decodeTensors(tensors, plan.inputs)
  return { ...proven, ...(await measureCost(() => model.run(feeds), 1)) }
}
