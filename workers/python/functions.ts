/**
 * PYTHON_FUNCTION: one request, one call. The body goes to the child as it came, and what the child
 * answers is put into the envelope as it comes.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError, toAppError } from '../../core/base/errors.ts'
import { isDeeperThan } from '../../core/base/json.ts'
import type { PythonEndpointPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { envelopeTail, milliseconds, timingHead } from '../predictions/envelope.ts'
import type { BatchJob, RawAnswer, RequestFacts, RowFailure, WorkerOutcome } from '../protocol.ts'
import { rawAnswer } from './custom-response.ts'
import type { PythonCall, PythonReply } from './dialect.ts'

/** Runs one call on a child; rejects with an AppError. */
export type RunCall = (call: PythonCall, deadlineMs: number) => Promise<PythonReply>

export interface FunctionOptions {
  readonly plan: PythonEndpointPlan
  readonly serviceId: string
  readonly generationId: string
  readonly run: RunCall
}

type Answer =
  | { readonly kind: 'body'; readonly body: Uint8Array }
  | { readonly kind: 'raw'; readonly raw: RawAnswer }
  | { readonly kind: 'failed'; readonly failure: RowFailure }

const NO_BYTES = new Uint8Array(0)

export class FunctionRunner {
  readonly #options: FunctionOptions
  readonly #tail: string

  constructor(options: FunctionOptions) {
    this.#options = options
    this.#tail = envelopeTail(options.plan, options)
  }

  /** Never throws: what goes wrong with one request is told of that request. */
  async run(job: BatchJob): Promise<WorkerOutcome> {
    const startMs = nowMs()
    const answers = await Promise.all(Array.from(job.ends, (_, i) => this.#one(job, i, startMs)))
    const failures: RowFailure[] = []
    const raw: RawAnswer[] = []
    for (const answer of answers) {
      if (answer.kind === 'failed') failures.push(answer.failure)
      else if (answer.kind === 'raw') raw.push(answer.raw)
    }
    return {
      kind: 'answers',
      bodies: answers.map((answer) => (answer.kind === 'body' ? answer.body : '')),
      failures: failures.length > 0 ? failures : null,
      ...(raw.length > 0 ? { raw } : {}),
      executeUs: Math.round((nowMs() - startMs) * 1_000),
    }
  }

  async #one(job: BatchJob, index: number, startMs: number): Promise<Answer> {
    try {
      const body = job.bytes.subarray(job.ends[index - 1] ?? 0, job.ends[index])
      const waitedMs = (job.waitUs[index] ?? 0) / 1_000
      const deadlineMs = this.#options.plan.timeoutMs - waitedMs - (nowMs() - startMs)
      if (deadlineMs <= 0) throw new AppError('ERR_DEADLINE')
      const call = this.#call(body, job.requests?.[index])
      const reply = await this.#options.run(call, deadlineMs)
      return this.#answer(job, index, reply, nowMs() - startMs)
    } catch (error) {
      const { code, detail } = toAppError(error)
      return failed({ index, code, detail: detail ?? '' })
    }
  }

  #call(body: Uint8Array, request: RequestFacts | undefined): PythonCall {
    const { get, requestMetadata } = this.#options.plan.python
    const meta =
      requestMetadata && request !== undefined
        ? { meta: { path: request.path, headers: request.headers } }
        : {}
    if (get && request?.method === 'GET') {
      return { header: { query: request.query, ...meta }, body: NO_BYTES }
    }
    if (isTooDeep(body)) {
      const detail = `the JSON is nested over ${LIMITS.jsonDepthMax} levels`
      throw new AppError('ERR_BODY_INVALID', detail)
    }
    return { header: meta, body }
  }

  #answer(job: BatchJob, index: number, reply: PythonReply, ranMs: number): Answer {
    if (reply.kind === 'failed') {
      const { code, detail, status } = reply
      return failed({ index, code, detail, ...(status === null ? {} : { status }) })
    }
    if (reply.custom !== null) {
      const raw = rawAnswer(index, reply.custom, reply.body)
      if (typeof raw !== 'string') return { kind: 'raw', raw }
      return failed({ index, code: 'ERR_ANSWER_INVALID', detail: raw })
    }
    const inCode = milliseconds(reply.codeUs / 1_000)
    const times = `,"execution":${milliseconds(ranMs)},"functionInternal":${inCode}`
    const tail = `${timingHead(job, index)}${times}${this.#tail}`
    return { kind: 'body', body: spliced(reply.body, tail) }
  }
}

function failed(failure: RowFailure): Answer {
  return { kind: 'failed', failure }
}

const HEAD = '{"response":'

/** All text around the answer is ASCII. The memory is exactly the answer's, so it can be moved. */
function spliced(answer: Buffer, tail: string): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(HEAD.length + answer.length + tail.length)
  bytes.write(HEAD, 0, 'latin1')
  answer.copy(bytes, HEAD.length)
  bytes.write(tail, HEAD.length + answer.length, 'latin1')
  return new Uint8Array(bytes.buffer, 0, bytes.length)
}

/** A body with few brackets cannot be deep: the others are looked at as text. */
function isTooDeep(body: Uint8Array): boolean {
  if (body.length <= LIMITS.jsonDepthMax) return false
  let opening = 0
  for (const byte of body) if (byte === 91 || byte === 123) opening += 1
  if (opening <= LIMITS.jsonDepthMax) return false
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('latin1')
  return isDeeperThan(LIMITS.jsonDepthMax, text)
}
