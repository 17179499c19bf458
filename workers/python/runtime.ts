/** PYTHON_FUNCTION and CUSTOM_PREDICTION: a crew of Python children behind one endpoint. */

import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import type { FunctionArgument, PythonEndpointPlan } from '../../core/bundle/plan.ts'
import { Crew } from '../children/crew.ts'
import type { Session } from '../children/member.ts'
import { codeScorer } from '../explanations/code-scorer.ts'
import { openExplainer } from '../explanations/explainer.ts'
import { type CodeExplainer, CustomPredictor, type Enrich } from '../predictions/custom.ts'
import { enricherOf } from '../predictions/enricher.ts'
import type { BatchJob, RequestFacts, Reroute, RowFailure, WorkerOutcome } from '../protocol.ts'
import type { OpenRuntime, RuntimeContext } from '../runtime.ts'
import { warmChild } from '../warm-up.ts'
import { type PythonCall, type PythonReply, pythonDialect } from './dialect.ts'
import { ensureEnvironment } from './environment.ts'
import { FunctionRunner, type RunCall } from './functions.ts'
import { interpreter } from './interpreter.ts'
import { rowCaller } from './predictions.ts'

type Run = (job: BatchJob) => Promise<WorkerOutcome>

interface Parts {
  readonly plan: PythonEndpointPlan
  readonly context: RuntimeContext
  readonly enrich: Enrich | null
  readonly explainer: CodeExplainer | null
}

export const openPython: OpenRuntime<PythonEndpointPlan> = async (plan, context) => {
  const { settings, children, spares, log, report } = context
  refuseTexts(plan)
  // First, so that whoever has no interpreter needs no host for children either.
  const python = await interpreterOf(plan, context)
  if (children === null) throw new AppError('ERR_INTERNAL', 'nobody here starts children')
  const explainer: CodeExplainer | null = await openExplainer(context.directory, {
    ...context,
    plan,
  })
  const enricher = await enricherOf(plan, context)
  const parts: Parts = { plan, context, enrich: enricher?.run ?? null, explainer }
  const warmUp = (session: Session<PythonCall, PythonReply>) =>
    warmChild(plan.warmUp, session, (call) => runner(parts, call))
  const told: { arguments?: readonly FunctionArgument[] } = {}
  const onArguments = (found: readonly FunctionArgument[] | null): void => {
    if (found !== null) told.arguments = found
  }
  const crew = await Crew.start({
    subject: `endpoint ${plan.id}`,
    size: plan.python.children ?? settings.children,
    spares,
    host: children,
    dialect: pythonDialect({ plan, context, python, warmUp, onArguments }),
    log,
    report,
  }).catch(async (error: unknown) => {
    await enricher?.release()
    throw error
  })
  const release = async (): Promise<void> => {
    await crew.release()
    await enricher?.release()
  }
  const ask: RunCall = (call, deadlineMs) => crew.run(call, { deadlineMs })
  const { program } = crew
  return { run: runner(parts, ask), release, program, ...told, ...scorerPart(plan, ask) }
}

/** For the forge, which scores rows before there is anything that explains. */
function scorerPart({ python: { prediction } }: PythonEndpointPlan, run: RunCall) {
  if (prediction === null) return {}
  const { maxRows: rowsMax } = prediction
  const call = rowCaller({ plan: prediction, run, request: null })
  const scorer = (features: readonly string[]) =>
    codeScorer({ plan: prediction, features, rowsMax, call })
  return { scorer }
}

async function interpreterOf(plan: PythonEndpointPlan, context: RuntimeContext): Promise<string> {
  const { environment } = plan.python
  if (environment === null) return interpreter(context.settings)
  const { directory, settings, log } = context
  const onLine = (line: string): void => log('info', { endpoint: plan.id }, line)
  return ensureEnvironment(environment, { directory, settings, onLine })
}

/** What can be known before a child is started. */
function refuseTexts({ id, python: { prediction } }: PythonEndpointPlan): void {
  if (prediction === null || prediction.input !== 'numpy') return
  const text = prediction.features?.find(({ type }) => type === 'string')
  if (text === undefined) return
  const detail = `endpoint "${id}": feature "${text.name}" is a string, and "input": "numpy" is an`
  throw new AppError('ERR_CODE_REFUSED', `${detail} array of numbers: take "pandas" or "records"`)
}

function runner(parts: Parts, run: RunCall): Run {
  const { plan, context, enrich, explainer } = parts
  const { prediction } = plan.python
  if (prediction === null) {
    const functions = new FunctionRunner({ ...context, plan, run })
    return (job) => functions.run(job)
  }
  const predictor = (request: RequestFacts | null): CustomPredictor =>
    new CustomPredictor({
      endpoint: plan,
      plan: prediction,
      serviceId: context.serviceId,
      generationId: context.generationId,
      rowsMax: prediction.batchable ? prediction.maxRows : 1,
      enrich,
      explainer,
      call: rowCaller({ plan: prediction, run, request }),
    })
  const forAll = predictor(null)
  if (!plan.python.requestMetadata) return (job) => forAll.run(job)
  // What the code learns of one request must not be what it is told of another.
  return (job) => oneByOne(job, (request) => predictor(request))
}

async function oneByOne(
  job: BatchJob,
  predictor: (request: RequestFacts | null) => CustomPredictor,
): Promise<WorkerOutcome> {
  // There is one request, and its outcome may be that it goes on.
  if (job.verb === 'explain') return predictor(job.requests?.[0] ?? null).run(job)
  const startMs = nowMs()
  const outcomes = await Promise.all(
    Array.from(job.ends, (_, i) => predictor(job.requests?.[i] ?? null).run(single(job, i))),
  )
  const failures: RowFailure[] = []
  const reroutes: Reroute[] = []
  const bodies = outcomes.map((outcome, index) => {
    if (outcome.kind !== 'answers') {
      failures.push({ index, code: 'ERR_INTERNAL', detail: '' })
      return ''
    }
    for (const failure of outcome.failures ?? []) failures.push({ ...failure, index })
    for (const reroute of outcome.reroutes ?? []) reroutes.push({ ...reroute, index })
    return outcome.bodies[0] ?? ''
  })
  return {
    kind: 'answers',
    bodies,
    failures: failures.length > 0 ? failures : null,
    ...(reroutes.length > 0 ? { reroutes } : {}),
    executeUs: Math.round((nowMs() - startMs) * 1_000),
  }
}

function single(job: BatchJob, index: number): BatchJob {
  const bytes = job.bytes.subarray(job.ends[index - 1] ?? 0, job.ends[index])
  const request = job.requests?.[index]
  return {
    endpoint: job.endpoint,
    verb: job.verb,
    bytes,
    ends: Uint32Array.of(bytes.length),
    waitUs: job.waitUs.slice(index, index + 1),
    ...(request === undefined ? {} : { requests: [request] }),
    ...(job.split === undefined ? {} : { split: job.split }),
    ...(job.settled === undefined ? {} : { settled: job.settled.slice(index, index + 1) }),
  }
}
