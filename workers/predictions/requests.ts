/** From parsed bodies of predict and predict-multi to the features of their rows. */

import type { ErrorCode } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { FeatureMap } from './values.ts'

export interface Refused {
  readonly kind: 'refused'
  readonly reason: string
  /** Absent: ERR_BODY_INVALID. */
  readonly code?: ErrorCode
}

/** Its answer comes from another lane. */
export interface Elsewhere {
  readonly kind: 'elsewhere'
}

export type Features =
  | { readonly kind: 'features'; readonly features: FeatureMap }
  | Refused
  | Elsewhere

/** Of one row: the body of predict, or an item of predict-multi. */
export function featuresOf(body: unknown): Features {
  if (!isObject(body)) return refused('it must be an object such as {"features": {…}}')
  const features = Object.hasOwn(body, 'features') ? body['features'] : undefined
  if (features === undefined) return refused('"features" is missing')
  if (!isObject(features)) return refused('"features" must be an object, name to value')
  const reason = contextFault(body)
  return reason === null ? { kind: 'features', features } : refused(reason)
}

export function itemsOf(body: unknown): readonly unknown[] | Refused {
  const items = isObject(body) && Object.hasOwn(body, 'items') ? body['items'] : undefined
  if (!Array.isArray(items)) return refused('"items" must be an array of {"features": {…}}')
  if (items.length > LIMITS.multiRowsMax) {
    return refused(`"items" has ${items.length} rows, at most ${LIMITS.multiRowsMax} are allowed`)
  }
  const reason = isObject(body) ? contextFault(body) : null
  return reason === null ? items : refused(reason)
}

/** What callers want to find in logs: nothing is ever computed with it. */
function contextFault({ context }: Readonly<Record<string, unknown>>): string | null {
  if (context === undefined || context === null || isObject(context)) return null
  return '"context" must be an object or null'
}

function refused(reason: string): Refused {
  return { kind: 'refused', reason }
}
