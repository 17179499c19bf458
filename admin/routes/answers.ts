/** The few forms of answer that the admin API gives. */

import type { AppError } from '../../core/base/errors.ts'
import type { Answer } from '../../core/http/exchange.ts'
import { failureAnswer } from '../../core/http/failure.ts'

export function json(value: unknown): Answer {
  return { status: 200, body: JSON.stringify(value) }
}

/** Clients of the other dialect parse the answer of an action, so it is never empty. */
export function done(more: object = {}): Answer {
  return json({ ok: true, ...more })
}

export const NO_CONTENT: Answer = { status: 204 }

export interface FailureOptions {
  readonly headers?: Readonly<Record<string, string>>
  /** When the log names it too. */
  readonly requestId?: string
}

export function failure(error: AppError, options: FailureOptions = {}): Answer {
  const answer = failureAnswer(error, options.requestId)
  const challenge = answer.status === 401 ? CHALLENGE : {}
  return { ...answer, headers: { ...answer.headers, ...challenge, ...options.headers } }
}

/** Never Basic: browsers would keep the key and send it for any page that asks. */
const CHALLENGE = { 'WWW-Authenticate': 'Bearer realm="switchyard"' }
