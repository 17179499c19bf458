/** R_FUNCTION: arguments in, whatever the function returns out, as JSON in our envelope. */

import { nowMs } from '../../core/base/clock.ts'
import { type ErrorCode, toAppError } from '../../core/base/errors.ts'
import type { REndpointPlan } from '../../core/bundle/plan.ts'
import { endOfWaiting, envelopeTail, milliseconds, timingHead } from '../predictions/envelope.ts'
import type { BatchJob, RowFailure, WorkerOutcome } from '../protocol.ts'
import { argumentsOf } from './arguments.ts'
import type { RCall, RReply } from './dialect.ts'
import { AnswerRefused, fromR } from './from-r.ts'

export type CallR = (call: RCall, endMs: number) => Promise<RReply>

interface Generation {
  readonly serviceId: string
  readonly generationId: string
}

type Answer =
  | { readonly kind: 'json'; readonly text: string }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string }

/** Never throws: what goes wrong with one request is told of that request. */
export function functionRunner(plan: REndpointPlan, generation: Generation, call: CallR) {
  const tail = envelopeTail(plan, generation)
  return async (job: BatchJob): Promise<WorkerOutcome> => {
    const startMs = nowMs()
    const endMs = endOfWaiting(job, plan.timeoutMs, startMs)
    const failures: RowFailure[] = []
    const runs = Array.from(job.ends, async (end, index) => {
      const body = job.bytes.subarray(index === 0 ? 0 : job.ends[index - 1], end)
      const answer = await run(body, index)
      if (answer.kind === 'json') {
        const execution = milliseconds(nowMs() - startMs)
        const timing = `${timingHead(job, index)},"execution":${execution}`
        return `{"response":${answer.text}${timing}${tail}`
      }
      failures.push({ index, code: answer.code, detail: answer.detail })
      return ''
    })
    const bodies = await Promise.all(runs)
    const executeUs = Math.round((nowMs() - startMs) * 1_000)
    return { kind: 'answers', bodies, failures: failures.length > 0 ? failures : null, executeUs }

    async function run(body: Uint8Array, index: number): Promise<Answer> {
      const given = argumentsOf(body, job.requests?.[index])
      if (given.kind === 'refused') {
        const code = given.isBody ? 'ERR_BODY_INVALID' : 'ERR_ARGUMENT_INVALID'
        return { kind: 'failed', code, detail: given.reason }
      }
      try {
        const [row] = await call([given.values], endMs)
        if (row?.kind === 'failed') return row
        return { kind: 'json', text: fromR(row?.value ?? { kind: 'null' }) }
      } catch (error) {
        return failureOf(error)
      }
    }
  }
}

export function failureOf(error: unknown) {
  if (error instanceof AnswerRefused) {
    return { kind: 'failed', code: 'ERR_ANSWER_INVALID', detail: error.message } as const
  }
  const { code, detail } = toAppError(error)
  return { kind: 'failed', code, detail: detail ?? '' } as const
}
