/** `ignoreReason` of a record that failed within a request of many. */

import type { ErrorCode } from '../../core/base/errors.ts'

const LOOKUP_REASONS: ReadonlyMap<ErrorCode, string> = new Map([
  ['ERR_LOOKUP_MISSING', 'NO_LOOKUP_MATCH'],
  ['ERR_LOOKUP_MULTIPLE', 'MULTIPLE_LOOKUP_MATCHES'],
  ['ERR_DATABASE_DOWN', 'LOOKUP_FAILED'],
  ['ERR_QUERY_FAILED', 'LOOKUP_FAILED'],
  ['ERR_DEADLINE', 'LOOKUP_FAILED'],
])

/** Null: the failure is not one of look-ups. */
export function lookupReason(code: ErrorCode): string | null {
  return LOOKUP_REASONS.get(code) ?? null
}

/** Of a row of a prediction. */
export function rowReason(code: ErrorCode): string {
  return lookupReason(code) ?? 'INVALID_FEATURE'
}
