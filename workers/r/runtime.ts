/** R endpoints: a crew of Rscript processes behind the same interface as every other runtime. */

import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import type { REndpointPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { Crew } from '../children/crew.ts'
import { codeScorer } from '../explanations/code-scorer.ts'
import { openExplainer } from '../explanations/explainer.ts'
import type { Enricher } from '../lookup/enrich.ts'
import { type CodeExplainer, CustomPredictor } from '../predictions/custom.ts'
import { enricherOf } from '../predictions/enricher.ts'
import type { BatchJob, WorkerOutcome } from '../protocol.ts'
import type { OpenRuntime, RuntimeContext } from '../runtime.ts'
import { warmChild } from '../warm-up.ts'
import { type RCall, type RReply, type RSession, rDialect } from './dialect.ts'
import { type CallR, functionRunner } from './functions.ts'
import { rscript } from './interpreter.ts'
import { Listener } from './listener.ts'
import { rowCaller } from './predictions.ts'

interface Parts {
  readonly plan: REndpointPlan
  readonly context: RuntimeContext
  readonly enricher: Enricher | null
  readonly explainer: CodeExplainer | null
}

export const openR: OpenRuntime<REndpointPlan> = async (plan, context) => {
  const program = rscript(context.settings)
  const explainer: CodeExplainer | null = await openExplainer(context.directory, {
    ...context,
    plan,
  })
  const listener = await Listener.open()
  const enricher = await enricherOf(plan, context).catch(async (error: unknown) => {
    await listener.close()
    throw error
  })
  const parts: Parts = { plan, context, enricher, explainer }
  const crew = await startCrew(parts, program, listener).catch(async (error: unknown) => {
    await listener.close()
    await enricher?.release()
    throw error
  })
  const ask: CallR = (rows, endMs) => crew.run(rows, { deadlineMs: endMs - nowMs() })
  return {
    program: crew.program,
    run: runner(parts, ask),
    ...scorerPart(plan, ask),
    release: async () => {
      await crew.release()
      await listener.close()
      await enricher?.release()
    },
  }
}

/** For the forge, which scores rows before there is anything that explains. */
function scorerPart({ r: { prediction } }: REndpointPlan, ask: CallR) {
  if (prediction === null) return {}
  const { maxRows: rowsMax } = prediction
  const scorer = (features: readonly string[]) =>
    codeScorer({ plan: prediction, features, rowsMax, call: rowCaller(ask) })
  return { scorer }
}

async function startCrew(
  parts: Parts,
  rscript: string,
  listener: Listener,
): Promise<Crew<RCall, RReply>> {
  const { plan, context } = parts
  const { children: host, spares, settings, log, report } = context
  if (host === null) throw new AppError('ERR_INTERNAL', 'nobody here starts children')
  const warmUp = (session: RSession): Promise<void> =>
    warmChild(plan.warmUp, session, (call) => runner(parts, call))
  return Crew.start<RCall, RReply>({
    subject: `endpoint ${plan.id}`,
    size: plan.r.children ?? settings.children,
    spares,
    host,
    dialect: rDialect({ plan, context, rscript, listener, warmUp }),
    log,
    report,
  })
}

function runner(
  { plan, context, enricher, explainer }: Parts,
  call: CallR,
): (job: BatchJob) => Promise<WorkerOutcome> {
  const { prediction } = plan.r
  if (prediction === null) return functionRunner(plan, context, call)
  const predictor = new CustomPredictor({
    endpoint: plan,
    plan: prediction,
    serviceId: context.serviceId,
    generationId: context.generationId,
    // Each row is a run of the function by itself, so that rows of one call never see each other.
    rowsMax: Math.max(prediction.maxRows, LIMITS.batchRowsMax),
    enrich: enricher?.run ?? null,
    explainer,
    call: rowCaller(call),
  })
  return (job) => predictor.run(job)
}
