/** Features of the manifest: what a schema cannot say of them. */

import type { Fault } from '../base/errors.ts'
import type { ManifestFeature } from './manifest-features.ts'
import { join, shown } from './sentences.ts'

export function featureFaults(feature: ManifestFeature, path: string): Fault[] {
  const faults: Fault[] = []
  const { type, value, categories } = feature
  const rules = (['onMissing', 'onInvalid', 'onUnknown'] as const).filter(
    (rule) => feature[rule] === 'IMPUTE',
  )
  if (value === undefined && rules.length > 0) {
    const say = rules.length > 1 ? 'say' : 'says'
    const reason = `value is required: ${rules.join(' and ')} ${say} IMPUTE`
    faults.push({ path: join(path, 'value'), reason })
  }
  if (type !== undefined && value !== undefined) faults.push(...valueFaults(feature, type, path))
  const { onUnknown = 'ERROR' } = feature
  if (onUnknown !== 'ERROR' && categories === undefined) {
    const reason = `categories is required: onUnknown says ${onUnknown}, and all texts are known`
    faults.push({ path: join(path, 'categories'), reason })
  }
  if (type !== undefined && type !== 'string' && categories !== undefined) {
    const reason = `categories belong to string features, "${feature.name}" is ${type}`
    faults.push({ path: join(path, 'categories'), reason })
  }
  return faults
}

type FeatureType = NonNullable<ManifestFeature['type']>

/** Whether `value` can stand in for the feature; used again when the model has told the type. */
export function valueFaults(feature: ManifestFeature, type: FeatureType, path: string): Fault[] {
  const { value, categories } = feature
  if (value === undefined) return []
  const wanted = WANTED[type]
  const fits = type === 'integer' ? Number.isSafeInteger(value) : typeof value === wanted.js
  if (!fits) {
    const reason = `value must be ${wanted.text} for "${feature.name}", not ${shown(value)}`
    return [{ path: join(path, 'value'), reason }]
  }
  if (categories !== undefined && !categories.includes(String(value))) {
    return [{ path: join(path, 'value'), reason: `value ${shown(value)} is not in categories` }]
  }
  return []
}

const WANTED = {
  number: { js: 'number', text: 'a number' },
  integer: { js: 'number', text: 'a whole number' },
  string: { js: 'string', text: 'a text' },
  boolean: { js: 'boolean', text: 'true or false' },
} as const satisfies Record<FeatureType, { js: string; text: string }>
