/**
 * A failure as an answer: the JSON object and the headers that go with its status, the same from
 * both adapters and from the admin API.
 */

import { type AppError, errorBody } from '../base/errors.ts'
import { newRequestId } from '../base/ids.ts'

export interface FailureAnswer {
  readonly status: number
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

export interface FailureOptions {
  readonly headers?: Readonly<Record<string, string>>
  /** When the log names it too. */
  readonly requestId?: string
}

/** What is full or not ready now may be free in a moment; a client must not ask in a tight loop. */
const TRY_AGAIN = { 'Retry-After': '1' }
/** Never Basic: browsers would keep the key and send it for any page that asks. */
const CHALLENGE = { 'WWW-Authenticate': 'Bearer realm="switchyard"' }
const OF_STATUS: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  401: CHALLENGE,
  429: TRY_AGAIN,
  503: TRY_AGAIN,
}

/**
 * A request that hangs may cost its process, which is then replaced: the caller that comes back
 * must meet the new one, and on the same connection it never would.
 */
export function endsConnection(status: number): boolean {
  return status === 504
}

export function failureAnswer(error: AppError, options: FailureOptions = {}): FailureAnswer {
  const body = JSON.stringify(errorBody(error, options.requestId ?? newRequestId()))
  const headers = { ...OF_STATUS[error.status], ...error.headers, ...options.headers }
  return { status: error.status, body, headers }
}
