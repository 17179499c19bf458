/** All endpoints of a generation that one thread runs: opened and warmed, and released together. */

import { AppError, type ErrorCode } from '../core/base/errors.ts'
import { poolOf } from '../core/bundle/kinds.ts'
import type { EndpointPlan } from '../core/bundle/plan.ts'
import { shortReason } from './forge/reasons.ts'
import { openRuntime } from './open-runtime.ts'
import type { RowFailure, WorkerOutcome, WorkerSetup } from './protocol.ts'
import type { Runtime, RuntimeContext } from './runtime.ts'
import { explainJobOf, jobOf } from './warm-up.ts'

/**
 * What a body that worked in the forge may fail with although the endpoint is as good as it was:
 * what it asks outside of the bundle is away or has changed. Others shall be served all the same.
 */
const OUTSIDE: readonly ErrorCode[] = [
  'ERR_DATABASE_DOWN',
  'ERR_QUERY_FAILED',
  'ERR_LOOKUP_MISSING',
  'ERR_LOOKUP_MULTIPLE',
  'ERR_CODE_RAISED',
  'ERR_DEADLINE',
]

/** By index of the endpoint in the plan; those of the other pool are not in it. */
export type Endpoints = ReadonlyMap<number, Runtime>

/** All or none: a model that is not released keeps its memory when the thread has ended. */
export async function openEndpoints(
  setup: WorkerSetup,
  context: RuntimeContext,
): Promise<Endpoints> {
  const opened = new Map<number, Runtime>()
  try {
    for (const [index, plan] of setup.plan.endpoints.entries()) {
      if (poolOf(plan, setup.plan) !== setup.pool) continue
      const runtime = await open(plan, context)
      opened.set(index, runtime)
      for (const body of plan.warmUp) {
        judge(plan, context, await runtime.run(jobOf(body, index)))
      }
      const explained = explainJobOf(plan, index)
      if (explained !== null) judge(plan, context, await runtime.run(explained))
    }
    return opened
  } catch (error) {
    // Why they could not be opened matters more than what went wrong afterwards.
    await releaseEndpoints(opened).catch(() => {})
    throw error
  }
}

/** All of them, also where one fails; rejects with why the first did. */
export async function releaseEndpoints(endpoints: Endpoints): Promise<void> {
  const ends = await Promise.allSettled([...endpoints.values()].map((one) => one.release()))
  const failed = ends.find((end) => end.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

async function open(plan: EndpointPlan, context: RuntimeContext): Promise<Runtime> {
  try {
    return await openRuntime(plan, context)
  } catch (error) {
    throw new AppError('ERR_LOAD_FAILED', `endpoint ${plan.id}: ${shortReason(error)}`)
  }
}

function judge(plan: EndpointPlan, { log }: RuntimeContext, outcome: WorkerOutcome): void {
  const failure = failureOf(outcome)
  if (failure === null) return
  const { code, detail } = failure
  if (OUTSIDE.includes(code)) {
    log('warn', { endpointId: plan.id, code, detail }, 'a warm-up failed')
    return
  }
  throw new AppError('ERR_LOAD_FAILED', `endpoint ${plan.id} failed its warm-up: ${detail}`)
}

function failureOf(outcome: WorkerOutcome): Pick<RowFailure, 'code' | 'detail'> | null {
  if (outcome.kind === 'failed') return outcome
  return outcome.kind === 'answers' ? (outcome.failures?.[0] ?? null) : null
}
