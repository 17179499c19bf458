/** When a key ends, as programs write it: milliseconds since the epoch, or an ISO 8601 text. */

import { AppError } from '../../core/base/errors.ts'

/** Before 1973 as milliseconds: what was meant are seconds. */
const SECONDS_MAX = 100_000_000_000
/** The zone may be missing, as in what Python writes: then it is UTC, whatever the node's is. */
const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:?\d{2})?)?$/i

const HOW =
  'send milliseconds since the epoch, an ISO 8601 text such as 2030-01-31T12:00:00Z, or null'

/** Wall clock, ms; null: never. Throws 400 for what is no time, or a time that has passed. */
export function readExpiry(value: number | string | null, nowMs: number): number | null {
  if (value === null) return null
  const ms = typeof value === 'number' ? Math.trunc(value) : msOf(value)
  if (!Number.isSafeInteger(ms)) throw new AppError('ERR_PARAMETER_INVALID', `expiry: ${HOW}`)
  if (ms > nowMs) return ms
  const seconds = typeof value === 'number' && ms < SECONDS_MAX ? '; it looks like seconds' : ''
  throw new AppError('ERR_PARAMETER_INVALID', `expiry: it has passed${seconds}; ${HOW}`)
}

function msOf(text: string): number {
  const [, date, time, zone = 'Z'] = ISO.exec(text) ?? []
  if (date === undefined) return Number.NaN
  // A day that its month lacks would become one of the next month.
  const day = new Date(`${date}T00:00:00Z`)
  if (Number.isNaN(day.getTime()) || !day.toISOString().startsWith(date)) return Number.NaN
  return Date.parse(`${date}T${time ?? '00:00:00'}${zone.toUpperCase()}`)
}
