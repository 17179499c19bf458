/**
 * Forges an endpoint that is an ONNX model: find its model, load it, settle its plan, try it, run
 * its test queries. What is wrong comes back as faults, told with those of all other endpoints.
 */

import { join } from 'node:path'
import { nowMs } from '../../core/base/clock.ts'
import type { ErrorCode } from '../../core/base/errors.ts'
import type {
  CostModel,
  EndpointReport,
  EnrichPlan,
  OnnxEndpointPlan,
  PredictionPlan,
} from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { onnxScorer } from '../explanations/onnx-scorer.ts'
import { Predictor } from '../onnx/predictor.ts'
import { openOnnx } from '../onnx/runtime.ts'
import { type Model, openModel } from '../onnx/session.ts'
import type { Runtime } from '../runtime.ts'
import { withExplanations } from './explanations.ts'
import { listText } from './inputs.ts'
import { labelsFor, type ModelFile } from './model-file.ts'
import { enrichPlan } from './plans.ts'
import { examplesPart, type QueriesRun, runTestQueries, tryBody } from './queries.ts'
import { isGuess, rawBodies, withGivenRanks } from './raw.ts'
import { isOutOfMemory, loadReason, shortReason } from './reasons.ts'
import { planPrediction, type Signature } from './signature.ts'
import {
  commonPlan,
  type EndpointForged,
  type EndpointTask,
  type Of,
  refusal,
  roundedMs,
  WARM_UPS,
  warmUp,
} from './task.ts'
import {
  foreignLabel,
  type Judged,
  judgeRaw,
  judgeRows,
  type RowTrial,
  tryAsRows,
} from './trial.ts'

type ModelTask = EndpointTask<Of<'STD_PREDICTION'>>

type Found = Extract<ModelFile, { kind: 'found' }>

export async function forgeModel(task: ModelTask): Promise<EndpointForged> {
  const { endpoint } = task
  const name = endpoint.model
  task.say('loading', `endpoint ${endpoint.id}: ${name}`)
  const enriched = enrichPlan(task)
  if (enriched.kind === 'faults') {
    return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults: enriched.faults }
  }
  const file = await task.modelFile(name)
  if (file.kind === 'refused') return modelRefused(task, file.reason)
  const startMs = nowMs()
  let model: Model
  try {
    model = await openModel(join(task.directory, file.file))
  } catch (error) {
    return modelRefused(task, loadReason(name, error), error)
  }
  const loadMs = nowMs() - startMs
  const timed = timedModel(model)
  try {
    return await tryModel(task, {
      file,
      model: timed,
      loadMs,
      enrich: enriched.part.enrich ?? null,
    })
  } finally {
    await model.release()
  }
}

/** A refusal by the runtime; `thrown` tells a lack of memory from a fault of the model. */
function modelRefused(task: ModelTask, reason: string, thrown: unknown = reason) {
  const code: ErrorCode = isOutOfMemory(thrown) ? 'ERR_MODEL_LIMITS' : 'ERR_MODEL_REFUSED'
  const faults = [{ path: `${task.path}.model`, reason }]
  return { kind: 'refused', code, faults } as const
}

interface TimedModel extends Model {
  /** How long the first run took that succeeded; 0 before. */
  readonly firstRunMs: () => number
}

function timedModel(model: Model): TimedModel {
  let firstRunMs = 0
  return {
    ...model,
    firstRunMs: () => firstRunMs,
    async run(feeds, outputs) {
      const startMs = nowMs()
      const fetched = await model.run(feeds, outputs)
      if (firstRunMs === 0) firstRunMs = nowMs() - startMs
      return fetched
    },
  }
}

interface Loaded {
  readonly enrich: EnrichPlan | null
  readonly file: Found
  readonly model: TimedModel
  readonly loadMs: number
}

async function tryModel(task: ModelTask, loaded: Loaded): Promise<EndpointForged> {
  const { endpoint, path } = task
  const { file, model } = loaded
  task.say('testing', `endpoint ${endpoint.id}: first runs`)
  const signature: Signature = {
    model: file.file,
    inputs: withGivenRanks(model.inputs, endpoint),
    outputs: model.outputs,
    labels: labelsFor(file.labels, endpoint),
  }
  const trial = await tryAsRows(model, signature, endpoint)
  const outputs = trial?.outputs ?? signature.outputs
  const planned = planPrediction({ ...signature, outputs }, endpoint, path)
  if (planned.kind === 'faults') {
    return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults: planned.faults }
  }
  const foreign = trial === null ? null : foreignLabel(planned.plan, trial)
  if (foreign !== null) return wrongClasses(path, foreign, planned.plan)
  const tested = await testRun(task, { ...loaded, plan: planned.plan, trial })
  if (tested.kind === 'refused') return tested
  task.say('measuring', `endpoint ${endpoint.id}`)
  const judged =
    planned.plan.kind === 'RAW' || trial === null
      ? await judgeRaw(model, planned.plan, tested.warmUp[0] ?? null)
      : await judgeRows(planned.plan, trial, endpoint)
  const result = forged(task, { ...loaded, plan: planned.plan, judged, tested })
  const { prediction } = result.plan
  const { features, batchable, maxRows } = prediction
  const scorer = (_: readonly string[], rowsMax?: number) => onnxScorer(model, prediction, rowsMax)
  const mayBeLarger = batchable && maxRows === LIMITS.batchRowsMax && endpoint.maxRows === undefined
  return withExplanations(task, result, { features, scorer, mayBeLarger })
}

function wrongClasses(path: string, label: string, plan: PredictionPlan): EndpointForged {
  const classes = listText(plan.classes)
  const reason = `the model answered the label "${label}", the classes are ${classes}`
  const faults = [{ path: `${path}.classes`, reason }]
  return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults }
}

interface Trying extends Loaded {
  readonly plan: PredictionPlan
  readonly trial: RowTrial | null
}

interface Tested {
  readonly kind: 'tested'
  readonly queries: QueriesRun['outcomes']
  readonly examples: QueriesRun['examples']
  readonly warmUp: readonly string[]
  /** What the model said to made-up bodies that it refused, where that proves nothing. */
  readonly note: string | null
}

type TestResult = Tested | Extract<EndpointForged, { kind: 'refused' }>

/** Test queries, or made-up bodies where there are none, run as they will be when served. */
async function testRun(task: ModelTask, trying: Trying): Promise<TestResult> {
  const { endpoint, path } = task
  const untried = endpointPlan(task, { ...trying, prediction: trying.plan, ...UNTRIED })
  if (untried.enrich !== undefined) return enrichedRun(task, untried)
  const predictor = new Predictor(trying.model, untried, task)
  const run = await runTestQueries(predictor, endpoint, path)
  if (run.faults.length > 0) return { kind: 'refused', code: 'ERR_TEST_QUERY', faults: run.faults }
  if (run.answered.length > 0) {
    return { ...testedBy(run), note: null }
  }
  const { answered, refusal } = await tryMadeUp(predictor, trying)
  const made = { name: 'made-up row', passed: answered.length > 0 }
  const queries = [...run.outcomes, made]
  if (refusal === null || answered.length > 0) {
    return { kind: 'tested', queries, examples: [], warmUp: warmUp(answered), note: null }
  }
  const note = `no test queries, and the model refused every made-up row: ${shortReason(refusal)}`
  const name = endpoint.model
  if (isOutOfMemory(refusal) || !isGuessed(trying)) {
    const reason = `${name} fails when it is run: ${shortReason(refusal)}`
    return modelRefused(task, reason, refusal)
  }
  return { kind: 'tested', queries, examples: [], warmUp: [], note }
}

function testedBy({ outcomes, examples, answered }: QueriesRun) {
  return { kind: 'tested', queries: outcomes, examples, warmUp: warmUp(answered) } as const
}

const UNTRIED = { bodies: [], worstBatchMs: 0, cost: { fixedUs: 0, perRowUs: 0 } }

/** With look-ups in front; made-up rows would have no key that a table knows. */
async function enrichedRun(task: ModelTask, plan: OnnxEndpointPlan): Promise<TestResult> {
  let runtime: Runtime
  try {
    runtime = await openOnnx(plan, task.context)
  } catch (error) {
    return refusal(error, `${task.path}.enrich`)
  }
  try {
    const run = await runTestQueries(runtime, task.endpoint, task.path)
    if (run.faults.length > 0) {
      return { kind: 'refused', code: 'ERR_TEST_QUERY', faults: run.faults }
    }
    const note = run.answered.length > 0 ? null : 'no test query was answered with its look-ups'
    return { ...testedBy(run), note }
  } finally {
    await runtime.release()
  }
}

/** Made-up bodies that were answered, up to three, else the last refusal. */
async function tryMadeUp(predictor: Predictor, { plan, trial }: Trying) {
  const bodies =
    plan.kind === 'RAW' || trial === null
      ? rawBodies(plan.inputs)
      : trial.rows.accepted.slice(0, WARM_UPS).map(({ row }) => JSON.stringify({ features: row }))
  let refusal = trial?.rows.refusal ?? null
  const answered: string[] = []
  for (const body of bodies) {
    const tried = await tryBody(predictor, body)
    if (tried.kind === 'answered') answered.push(body)
    else refusal = tried.detail
    if (answered.length > 0 && plan.kind === 'RAW') break
  }
  return { answered, refusal }
}

/** True when a person would know better values than zeros and random ones. */
function isGuessed({ plan, trial }: Trying): boolean {
  if (plan.kind === 'RAW' || trial === null) return isGuess(plan.inputs)
  if (trial.rows.accepted.length > 0) return false
  return plan.features.some(({ type, categories }) => type === 'string' && categories === null)
}

interface Settled {
  readonly enrich: EnrichPlan | null
  readonly prediction: PredictionPlan
  readonly bodies: readonly string[]
  readonly worstBatchMs: number
  readonly cost: CostModel
}

function endpointPlan(
  { endpoint }: ModelTask,
  { prediction, bodies, worstBatchMs, cost, enrich }: Settled,
): OnnxEndpointPlan {
  const common = commonPlan(endpoint, endpoint.model)
  const plan = { ...common, type: 'STD_PREDICTION', worstBatchMs, cost, prediction } as const
  return { ...plan, ...(enrich === null ? {} : { enrich }), warmUp: bodies }
}

interface Finished extends Loaded {
  readonly plan: PredictionPlan
  readonly judged: Judged
  readonly tested: Tested
}

function forged(task: ModelTask, finished: Finished) {
  const { judged, tested, file, model, loadMs, enrich } = finished
  const { batchable, maxRows, cost } = judged
  const weights = file.weights === null ? {} : { weights: file.weights }
  const prediction = { ...finished.plan, batchable, maxRows, ...weights }
  const worstBatchMs = roundedMs(judged.worstBatchMs)
  const report: EndpointReport = {
    endpointId: task.endpoint.id,
    modelBytes: file.bytes,
    loadMs: roundedMs(loadMs),
    firstRunMs: roundedMs(model.firstRunMs()),
    inputs: model.inputs,
    outputs: prediction.outputs,
    zipMap: file.zipMap,
    batchable,
    batchReason: tested.note ?? judged.reason,
    maxRows,
    cost,
    worstBatchMs,
    testQueries: tested.queries,
  }
  const settled = { prediction, bodies: tested.warmUp, worstBatchMs, cost, enrich }
  const plan = { ...endpointPlan(task, settled), ...examplesPart(tested) }
  return { kind: 'forged', plan, report } as const
}
