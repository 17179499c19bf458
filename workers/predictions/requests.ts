/** From parsed bodies of predict and predict-multi to the features of their rows. */

import { isObject } from '../../core/base/json.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { FeatureMap } from './values.ts'

export interface Refused {
  readonly kind: 'refused'
  readonly reason: string
}

export type Features = { readonly kind: 'features'; readonly features: FeatureMap } | Refused

export function featuresOf(body: unknown): Features {
  if (!isObject(body)) return refused('it must be an object such as {"features": {…}}')
  const features = Object.hasOwn(body, 'features') ? body['features'] : undefined
  if (features === undefined) return refused('"features" is missing')
  if (!isObject(features)) return refused('"features" must be an object, name to value')
  return { kind: 'features', features }
}

export function itemsOf(body: unknown): readonly unknown[] | Refused {
  const items = isObject(body) && Object.hasOwn(body, 'items') ? body['items'] : undefined
  if (!Array.isArray(items)) return refused('"items" must be an array of {"features": {…}}')
  if (items.length > LIMITS.multiRowsMax) {
    return refused(`"items" has ${items.length} rows, at most ${LIMITS.multiRowsMax} are allowed`)
  }
  return items
}

function refused(reason: string): Refused {
  return { kind: 'refused', reason }
}
