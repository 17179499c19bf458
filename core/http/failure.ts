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

const NO_HEADERS = Object.freeze({})
/** What is full or not ready now may be free in a moment; a client must not ask in a tight loop. */
const TRY_AGAIN = Object.freeze({ 'Retry-After': '1' })

/** `requestId`: when the log names it too. */
export function failureAnswer(error: AppError, requestId: string = newRequestId()): FailureAnswer {
  const { status } = error
  const headers = status === 429 || status === 503 ? TRY_AGAIN : NO_HEADERS
  return { status, body: JSON.stringify(errorBody(error, requestId)), headers }
}
