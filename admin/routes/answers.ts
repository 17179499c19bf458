/** The few forms of answer that the admin API gives. */

import { type AppError, errorBody } from '../../core/base/errors.ts'
import { newRequestId } from '../../core/base/ids.ts'
import type { Answer } from '../../core/http/exchange.ts'

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
  const body = JSON.stringify(errorBody(error, options.requestId ?? newRequestId()))
  return { status: error.status, body, headers: { ...headersOf(error.status), ...options.headers } }
}

/** Never a Basic challenge: browsers would keep the key and send it for any page that asks. */
function headersOf(status: number): Readonly<Record<string, string>> {
  if (status === 401) return { 'WWW-Authenticate': 'Bearer realm="switchyard"' }
  return status === 503 ? { 'Retry-After': '1' } : {}
}
