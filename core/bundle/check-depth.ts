/**
 * Percentiles and overrides: what a schema cannot say of them. Judged twice for models, by what the
 * manifest says and again by what the model has told, so that all are judged in the same words.
 */

import type { Fault } from '../base/errors.ts'
import type { ManifestCondition, ManifestEffect, ManifestOverride } from './depth-schema.ts'
import { nearest, shown } from './sentences.ts'

export interface Depth {
  readonly percentiles?: readonly number[] | undefined
  readonly overrides?: readonly ManifestOverride[] | undefined
}

/** Of the prediction, as far as it is known. */
export interface KnownPrediction {
  /** Undefined: the model will tell. */
  readonly kind: string | undefined
  /** Null: not known, or none are declared. */
  readonly classes: readonly string[] | null
  /** Null: not known, or whatever comes; a type may be for the model to tell. */
  readonly features: readonly KnownFeature[] | null
}

export interface KnownFeature {
  readonly name: string
  readonly type?: 'number' | 'integer' | 'string' | 'boolean' | undefined
}

const BINARY = 'BINARY_CLASSIFICATION'

export function depthFaults(depth: Depth, known: KnownPrediction, path: string): Fault[] {
  const { percentiles, overrides = [] } = depth
  const faults: Fault[] = []
  const { kind } = known
  if (percentiles !== undefined) {
    const where = `${path}.percentiles`
    if (kind !== undefined && kind !== BINARY) {
      faults.push({ path: where, reason: `percentiles belong to ${BINARY}, not to ${kind}` })
    }
    faults.push(...orderFaults(percentiles, where))
  }
  if (overrides.length > 0 && kind === 'RAW') {
    const reason = 'overrides belong to predictions of rows; RAW takes whole tensors'
    return [...faults, { path: `${path}.overrides`, reason }]
  }
  for (const [i, { name, when, then }] of overrides.entries()) {
    const where = `${path}.overrides[${i}]`
    if (overrides.findIndex((other) => other.name === name) < i) {
      faults.push({ path: `${where}.name`, reason: `${shown(name)} is the name of a rule already` })
    }
    for (const [at, condition] of when.entries()) {
      faults.push(...conditionFaults(condition, known, `${where}.when[${at}]`))
    }
    faults.push(...effectFaults(then, known, `${where}.then`))
  }
  return faults
}

function orderFaults(percentiles: readonly number[], path: string): Fault[] {
  const at = percentiles.findIndex((value, i) => value < (percentiles[i - 1] ?? 0))
  if (at < 0) return []
  const reason = `percentiles must ascend: ${percentiles[at]} follows ${percentiles[at - 1]}`
  return [{ path: `${path}[${at}]`, reason }]
}

const TESTS = ['equals', 'in', 'notIn', 'missing'] as const

function conditionFaults(
  condition: ManifestCondition,
  { features }: KnownPrediction,
  path: string,
): Fault[] {
  const { feature, min, max } = condition
  const isRange = min !== undefined || max !== undefined
  const tests = TESTS.filter((key) => condition[key] !== undefined)
  if (tests.length + Number(isRange) !== 1) {
    const rule = 'one of equals, in, notIn, missing, or min and max'
    const got = tests.length === 0 && !isRange ? 'none' : 'more'
    return [{ path, reason: `a condition has ${rule}, not ${got}` }]
  }
  if (min !== undefined && max !== undefined && min > max) {
    return [{ path: `${path}.min`, reason: `min ${min} is over max ${max}: no value is between` }]
  }
  if (features === null) return []
  const found = features.find(({ name }) => name === feature)
  if (found !== undefined) return typeFaults(condition, found, path)
  const names = features.map(({ name }) => name)
  const near = nearest(feature, names)
  const hint = near === null ? '' : `; did you mean "${near}"?`
  return [{ path: `${path}.feature`, reason: `${shown(feature)} is no feature${hint}` }]
}

const WANTED = {
  number: { js: 'number', text: 'a number' },
  integer: { js: 'number', text: 'a number' },
  string: { js: 'string', text: 'a text' },
  boolean: { js: 'boolean', text: 'true or false' },
} as const

function typeFaults(condition: ManifestCondition, feature: KnownFeature, path: string): Fault[] {
  const { name, type } = feature
  if (type === undefined) return []
  const wanted = WANTED[type]
  for (const key of ['min', 'max'] as const) {
    if (condition[key] === undefined || wanted.js === 'number') continue
    const reason = `${key} is for numbers, "${name}" is ${type}`
    return [{ path: `${path}.${key}`, reason }]
  }
  for (const key of ['equals', 'in', 'notIn'] as const) {
    const odd = [condition[key] ?? []].flat().find((value) => typeof value !== wanted.js)
    if (odd === undefined) continue
    const reason = `${key} must be ${wanted.text} for "${name}", not ${shown(odd)}`
    return [{ path: `${path}.${key}`, reason }]
  }
  return []
}

function effectFaults(then: ManifestEffect, known: KnownPrediction, path: string): Fault[] {
  const { class: forced, value, min, max } = then
  const isClip = min !== undefined || max !== undefined
  const effects = Number(forced !== undefined) + Number(value !== undefined) + Number(isClip)
  if (effects !== 1) {
    const got = effects === 0 ? 'none' : 'more'
    return [{ path, reason: `then has one of class, value, or min and max, not ${got}` }]
  }
  if (min !== undefined && max !== undefined && min > max) {
    return [{ path: `${path}.min`, reason: `min ${min} is over max ${max}: no value is between` }]
  }
  const { kind, classes } = known
  const isRegression = kind === 'REGRESSION'
  if (kind !== undefined && isRegression === (forced !== undefined)) {
    const key = (['class', 'value', 'min', 'max'] as const).find((one) => then[one] !== undefined)
    const owner = isRegression ? 'classification' : 'REGRESSION'
    return [{ path: `${path}.${key}`, reason: `${key} belongs to ${owner}, not to ${kind}` }]
  }
  if (forced === undefined || classes === null || classes.includes(String(forced))) return []
  const reason = `${shown(forced)} is none of the classes ${classes.map(shown).join(', ')}`
  return [{ path: `${path}.class`, reason }]
}
