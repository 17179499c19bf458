/**
 * Forges an endpoint that is no ONNX model, by the very runtime that will serve it: its processes
 * are started, its test queries run, and what they cost is measured. Nothing is made up for code
 * and for statements, whose effects nobody here knows: only the queries of the manifest are run.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError, ERROR_TABLE, type Fault } from '../../core/base/errors.ts'
import type { RunType } from '../../core/bundle/endpoint-types.ts'
import type { CostModel, CustomPredictionPlan, EndpointReport } from '../../core/bundle/plan.ts'
import { join } from '../../core/bundle/sentences.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { openRuntime } from '../open-runtime.ts'
import type { Runtime } from '../runtime.ts'
import { measureCost } from './cost.ts'
import { withExplanations } from './explanations.ts'
import { type Planned, planEndpoint, type RuntimeEndpoint, type RuntimePlan } from './plans.ts'
import { examplesPart, type Part, type QueriesRun, runTestQueries, tryBodies } from './queries.ts'
import { shortReason } from './reasons.ts'
import { proveRows } from './row-proof.ts'
import { isReadOnly } from './sql-effects.ts'
import {
  type EndpointForged,
  type EndpointRefused,
  type EndpointTask,
  type Of,
  roundedMs,
  warmUp,
} from './task.ts'
import { limited } from './trial.ts'

export type RuntimeTask = EndpointTask<RuntimeEndpoint>

export async function forgeRuntime(task: RuntimeTask): Promise<EndpointForged> {
  const { endpoint } = task
  let planned: Planned
  try {
    planned = planEndpoint(task)
  } catch (error) {
    return refusedBy(error, task)
  }
  if (planned.kind === 'faults') {
    return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults: planned.faults }
  }
  const { plan } = planned
  task.say('loading', `endpoint ${endpoint.id}: ${plan.modelRef}`)
  const startMs = nowMs()
  let runtime: Runtime
  try {
    runtime = await openRuntime(oneChild(plan), task.context)
  } catch (error) {
    return refusedBy(error, task)
  }
  const loadMs = nowMs() - startMs
  try {
    return await tryRuntime(task, { plan, runtime, loadMs })
  } finally {
    await runtime.release()
  }
}

/** One process is enough to try the code; the others would only cost their start. */
function oneChild(plan: RuntimePlan): RuntimePlan {
  if ('python' in plan) return { ...plan, python: { ...plan.python, children: 1 } }
  if ('r' in plan) return { ...plan, r: { ...plan.r, children: 1 } }
  return plan
}

/** Which key of an endpoint is to blame when its runtime cannot be opened. */
const BLAMED: Readonly<Record<string, string>> = {
  ERR_CODE_REFUSED: 'file',
  ERR_INTERPRETER_MISSING: 'type',
  ERR_CONNECTION_UNUSABLE: 'connection',
}

function refusedBy(error: unknown, { path, endpoint }: RuntimeTask): EndpointRefused {
  // What is no statement about the bundle is a fault of ours.
  if (!(error instanceof AppError) || error.status >= 500) throw error
  const { code, faults } = error
  if (faults.length > 0) {
    const placed = faults.map((one) => ({ ...one, path: join(path, one.path) }))
    return { kind: 'refused', code, faults: placed }
  }
  if (code === 'ERR_ENVIRONMENT_FAILED') {
    return { kind: 'refused', code, faults: [{ path: 'python', reason: reasonOf(error) }] }
  }
  const key = BLAMED[code]
  const known = key !== undefined && (key === 'type' || key in endpoint)
  const fault: Fault = { path: known ? `${path}.${key}` : path, reason: reasonOf(error) }
  return { kind: 'refused', code, faults: [fault] }
}

function reasonOf({ code, detail }: AppError): string {
  return detail === null ? ERROR_TABLE[code].message : shortReason(detail)
}

const PARTS: Readonly<Record<RunType, Part>> = {
  STD_PREDICTION: 'result',
  CUSTOM_PREDICTION: 'result',
  CUSTOM_R_PREDICTION: 'result',
  PYTHON_FUNCTION: 'response',
  R_FUNCTION: 'response',
  SQL_QUERY: 'answer',
  DATASET_LOOKUP: 'data',
}

interface Opened {
  readonly plan: RuntimePlan
  readonly runtime: Runtime
  readonly loadMs: number
}

async function tryRuntime(task: RuntimeTask, opened: Opened): Promise<EndpointForged> {
  const { endpoint, path } = task
  const { runtime } = opened
  task.say('testing', `endpoint ${endpoint.id}: test queries`)
  const firstMs: number[] = []
  const timed: Pick<Runtime, 'run'> = {
    async run(job) {
      const startMs = nowMs()
      const outcome = await runtime.run(job)
      firstMs.push(nowMs() - startMs)
      return outcome
    },
  }
  const run = await runTestQueries(timed, endpoint, path, PARTS[endpoint.type])
  if (run.faults.length > 0) return { kind: 'refused', code: 'ERR_TEST_QUERY', faults: run.faults }
  task.say('measuring', `endpoint ${endpoint.id}`)
  const judged = await judge(task, opened, run, firstMs)
  const result = forged(task, opened, { run, judged, firstRunMs: firstMs[0] ?? 0 })
  const prediction = predictionOf(opened.plan)
  if (prediction === null || !isPrediction(endpoint)) return result
  const { features } = prediction
  // Whether rows share a call is known by now, but not to the runtime that was opened to find out.
  const batch = judged.batchable ? judged.maxRows : 1
  const scorer = (names: readonly string[], rowsMax = batch) => {
    const found = runtime.scorer?.(names)
    return found === undefined ? null : { ...found, rowsMax }
  }
  const mayBeLarger = batch === LIMITS.batchRowsMax && endpoint.maxRows === undefined
  return withExplanations({ ...task, endpoint }, result, { features, scorer, mayBeLarger })
}

interface Judged {
  readonly batchable: boolean
  readonly reason: string
  readonly maxRows: number
  readonly cost: CostModel
  readonly worstBatchMs: number
}

/** Batching and cost. */
async function judge(
  task: RuntimeTask,
  { plan, runtime }: Opened,
  run: QueriesRun,
  timesMs: readonly number[],
): Promise<Judged> {
  const { endpoint } = task
  const prediction = predictionOf(plan)
  const rows =
    prediction === null ? null : await proveRows({ task, plan: prediction, runtime, run })
  const alone = { batchable: false, reason: rows?.reason ?? REASONS[endpoint.type], maxRows: 1 }
  const bodies = rows !== null && rows.bodies.length > 0 ? rows.bodies : run.answered
  const worstMs = Math.max(0, ...timesMs)
  if (bodies.length === 0 || !isRepeatable(plan)) {
    const fixedUs = Math.round(worstMs * 1_000)
    return { ...alone, cost: { fixedUs, perRowUs: 0 }, worstBatchMs: worstMs }
  }
  const batch = (count: number): string[] =>
    Array.from({ length: count }, (_, i) => bodies[i % bodies.length] ?? '')
  const runRows = (count: number) => tryBodies(runtime, batch(count), PARTS[endpoint.type])
  if (rows === null || !rows.batchable) return { ...alone, ...(await measureCost(runRows, 1)) }
  const measured = await measureCost(runRows, prediction?.maxRows ?? 1)
  const judged = { batchable: true, reason: rows.reason, ...measured }
  return limited(judged, 'maxRows' in endpoint ? endpoint : {})
}

function isPrediction(endpoint: RuntimeEndpoint): endpoint is PredictionEndpoint {
  return endpoint.type === 'CUSTOM_PREDICTION' || endpoint.type === 'CUSTOM_R_PREDICTION'
}

type PredictionEndpoint = Of<'CUSTOM_PREDICTION' | 'CUSTOM_R_PREDICTION'>

const REASONS: Readonly<Record<RunType, string>> = {
  STD_PREDICTION: '',
  CUSTOM_PREDICTION: '',
  CUSTOM_R_PREDICTION: '',
  PYTHON_FUNCTION: 'each call of a function is a run of its own',
  R_FUNCTION: 'each call of a function is a run of its own',
  SQL_QUERY: 'each query is a run of its own',
  DATASET_LOOKUP: 'rows are looked up one by one',
}

function predictionOf(plan: RuntimePlan): CustomPredictionPlan | null {
  if ('python' in plan) return plan.python.prediction
  return 'r' in plan ? plan.r.prediction : null
}

/** Whether a query may be run again only to see how long that takes. */
function isRepeatable(plan: RuntimePlan): boolean {
  return plan.type !== 'SQL_QUERY' || isReadOnly(plan.sql)
}

interface Finished {
  readonly run: QueriesRun
  readonly judged: Judged
  readonly firstRunMs: number
}

function forged(task: RuntimeTask, opened: Opened, finished: Finished) {
  const { plan, runtime, loadMs } = opened
  const { run, judged, firstRunMs } = finished
  const worstBatchMs = roundedMs(judged.worstBatchMs)
  const bodies = isRepeatable(plan) ? warmUp(run.answered) : []
  const report: EndpointReport = {
    endpointId: plan.id,
    ...(runtime.program === undefined ? {} : { program: runtime.program }),
    modelBytes: 'file' in task.endpoint ? (task.files.get(task.endpoint.file) ?? 0) : 0,
    loadMs: roundedMs(loadMs),
    firstRunMs: roundedMs(firstRunMs),
    inputs: [],
    outputs: [],
    zipMap: 'none',
    batchable: judged.batchable,
    batchReason: judged.reason,
    maxRows: judged.maxRows,
    cost: judged.cost,
    worstBatchMs,
    testQueries: run.outcomes,
  }
  return {
    kind: 'forged',
    plan: {
      ...settled(withArguments(plan, runtime), judged),
      worstBatchMs,
      cost: judged.cost,
      warmUp: bodies,
      ...examplesPart(run),
    },
    report,
  } as const
}

/** What a function takes, for documents. */
function withArguments(plan: RuntimePlan, { arguments: told }: Runtime): RuntimePlan {
  if (told === undefined || plan.type !== 'PYTHON_FUNCTION') return plan
  return { ...plan, python: { ...plan.python, arguments: told } }
}

function settled(plan: RuntimePlan, { batchable, maxRows }: Judged): RuntimePlan {
  const found = { batchable, maxRows }
  if ('python' in plan && plan.python.prediction !== null) {
    return {
      ...plan,
      python: { ...plan.python, prediction: { ...plan.python.prediction, ...found } },
    }
  }
  if ('r' in plan && plan.r.prediction !== null) {
    return { ...plan, r: { ...plan.r, prediction: { ...plan.r.prediction, ...found } } }
  }
  return plan
}
