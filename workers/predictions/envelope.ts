/**
 * The JSON around answers: `result`, `results` or `response`, then `timing` and `apiContext`. All
 * that the answers of an endpoint share is built once.
 */

import type { EndpointPlan } from '../../core/bundle/plan.ts'
import type { BatchJob } from '../protocol.ts'

interface Generation {
  readonly serviceId: string
  readonly generationId: string
}

/** Text behind the last time of `timing`, up to the end of the answer. */
export function envelopeTail(plan: EndpointPlan, generation: Generation): string {
  const { serviceId, generationId: serviceGeneration } = generation
  const context = { serviceId, endpointId: plan.id, serviceGeneration }
  return `},"apiContext":${JSON.stringify(context)}}`
}

/** Text that opens `timing`, with the time that the request waited in its lane. */
export function timingHead(job: BatchJob, index: number): string {
  return `,"timing":{"wait":${asMilliseconds(job.waitUs[index] ?? 0)}`
}

/** To the microsecond; what is less than nothing is nothing. */
export function milliseconds(ms: number): string {
  return asMilliseconds(Math.max(0, Math.round(ms * 1_000)))
}

/** What follows the whole milliseconds, by the microseconds that are left. */
const FRACTIONS = Array.from({ length: 1_000 }, (_, us) => String(us / 1_000).slice(1))

/** V8 keeps the texts of whole numbers; that of a fraction it makes for each answer anew. */
function asMilliseconds(us: number): string {
  const whole = Math.floor(us / 1_000)
  return `${whole}${FRACTIONS[us - 1_000 * whole]}`
}

/** When the last caller of these has stopped waiting, on the clock of nowMs(). */
export function endOfWaiting(job: BatchJob, timeoutMs: number, startMs: number): number {
  let least = Number.POSITIVE_INFINITY
  for (const waitUs of job.waitUs) if (waitUs < least) least = waitUs
  return startMs + timeoutMs - (Number.isFinite(least) ? least / 1_000 : 0)
}
