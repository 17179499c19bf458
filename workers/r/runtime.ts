/** R endpoints: a crew of Rscript processes behind the same interface as every other runtime. */

import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import type { REndpointPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { ChildHost } from '../children/child-host.ts'
import { Crew } from '../children/crew.ts'
import { CustomPredictor } from '../predictions/custom.ts'
import type { BatchJob, WorkerOutcome } from '../protocol.ts'
import type { OpenRuntime, Runtime, RuntimeContext } from '../runtime.ts'
import { type RCall, type RReply, rDialect } from './dialect.ts'
import { type CallR, functionRunner } from './functions.ts'
import { Listener } from './listener.ts'
import { rowCaller } from './predictions.ts'

const HOW_TO_INSTALL =
  'this bundle needs R: install it with "apt-get install r-base-core", or name Rscript with ' +
  '--rscript'

export const openR: OpenRuntime<REndpointPlan> = async (plan, context) => {
  const { settings, children } = context
  if (settings.rscript === null) throw new AppError('ERR_INTERPRETER_MISSING', HOW_TO_INSTALL)
  if (children === null) throw new AppError('ERR_INTERNAL', 'this thread starts no processes')
  const listener = await Listener.open()
  try {
    const dialect = rDialect({ plan, context, rscript: settings.rscript, listener })
    const crew = await startCrew(plan, context, { children, dialect })
    return runtimeOf(plan, context, { crew, listener })
  } catch (error) {
    await listener.close()
    throw error
  }
}

interface CrewParts {
  readonly children: ChildHost
  readonly dialect: ReturnType<typeof rDialect>
}

function startCrew(plan: REndpointPlan, context: RuntimeContext, parts: CrewParts) {
  return Crew.start<RCall, RReply>({
    subject: `endpoint ${plan.id}`,
    size: plan.r.children ?? context.settings.children,
    host: parts.children,
    dialect: parts.dialect,
    log: context.log,
    report: context.report,
  })
}

interface Parts {
  readonly crew: Crew<RCall, RReply>
  readonly listener: Listener
}

function runtimeOf(
  plan: REndpointPlan,
  context: RuntimeContext,
  { crew, listener }: Parts,
): Runtime {
  const call: CallR = (rows, endMs) => crew.run(rows, { deadlineMs: endMs - nowMs() })
  return {
    program: crew.program,
    run: runner(plan, context, call),
    release: async () => {
      await crew.release()
      await listener.close()
    },
  }
}

function runner(
  plan: REndpointPlan,
  context: RuntimeContext,
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
    enrich: null,
    call: rowCaller(call),
  })
  return (job) => predictor.run(job)
}
