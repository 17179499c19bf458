/** First calls are slow; bodies that worked in the forge are answered before a caller waits. */

import { toAppError } from '../core/base/errors.ts'
import type { EndpointPlan } from '../core/bundle/plan.ts'
import type { Session } from './children/member.ts'
import type { ExplainState } from './explanations/types.ts'
import type { BatchJob, WorkerOutcome } from './protocol.ts'

const encoder = new TextEncoder()

/** One body as the batch that dispatch would make of it. */
export function jobOf(body: string, endpoint = 0): BatchJob {
  const bytes = encoder.encode(body)
  const ends = Uint32Array.of(bytes.length)
  return { endpoint, verb: 'single', bytes, ends, waitUs: new Uint32Array(1) }
}

/** One slice of an explanation: it converts the background sample, which the first waits for. */
export function explainJobOf(
  { explanations, warmUp: [body] }: EndpointPlan,
  endpoint: number,
): BatchJob | null {
  if (explanations === undefined || body === undefined) return null
  const state: ExplainState = { verb: 'single', request: explanations }
  return { ...jobOf(body, endpoint), verb: 'explain', state }
}

/** `runner` makes what runs an endpoint out of one child; rejects when the child is lost. */
export async function warmChild<Call, Reply>(
  [body]: readonly string[],
  session: Session<Call, Reply>,
  runner: (call: (call: Call) => Promise<Reply>) => (job: BatchJob) => Promise<WorkerOutcome>,
): Promise<void> {
  if (body === undefined) return
  let failure: unknown = null
  const run = runner(async (call) => {
    try {
      return await session.call(call)
    } catch (error) {
      failure = error
      throw error
    }
  })
  await run(jobOf(body))
  // An answer that is an error is an answer; a child that is lost is none.
  if (failure !== null) throw toAppError(failure)
}
