/**
 * What a feature's value may look like in JSON, whichever runtime takes it: the same text is the
 * same number for an ONNX model and for the code of a bundle.
 */

import type { FeaturePlan } from '../../core/bundle/plan.ts'

export type FeatureMap = Readonly<Record<string, unknown>>

/** Why a row is not scored: its caller gets an error, or an answer that says `ignored`. */
export interface RowProblem {
  readonly kind: 'error' | 'ignore'
  readonly detail: string
}

/** Names such as `toString` exist on every object, so only own keys count. */
export function ownValue(features: FeatureMap, name: string): unknown {
  return Object.hasOwn(features, name) ? features[name] : undefined
}

/** null and NaN are missing; so is the empty text, where a text is not what is asked for. */
export function isMissing(value: unknown, feature: FeaturePlan): boolean {
  if (value === undefined || value === null || Number.isNaN(value)) return true
  if (typeof value === 'function') return true
  if (typeof value !== 'string' || feature.type === 'string') return false
  const text = value.trim()
  return text === '' || text === 'NaN' || text === 'nan'
}

/**
 * ONNX Runtime ends a text at its first NUL and replaces lone surrogates, and R does alike: the
 * model would be asked something else than the caller did.
 */
export function isPassable(text: string): boolean {
  return !text.includes('\0') && !/\p{Surrogate}/u.test(text)
}

/**
 * An integer beyond 2^53: JSON's reader has rounded it, so its text is not the one that was sent.
 * Where texts are asked for, an id would silently become another one.
 */
export function isRounded(value: number): boolean {
  return Number.isInteger(value) && !Number.isSafeInteger(value)
}

export const ROUNDED = 'is a number beyond 2^53: give it as a text, so that it stays exact'

/** A number, or a text that is one; integers beyond 2^53 keep all digits when given as a text. */
export function numeric(value: unknown): number | bigint | null {
  if (typeof value === 'number') return value
  if (typeof value !== 'string') return null
  const text = value.trim()
  if (/^[+-]?\d{16,20}$/.test(text)) return BigInt(text)
  return /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(text) ? Number(text) : null
}

export function truth(value: unknown): number | null {
  if (value === true || value === 1) return 1
  if (value === false || value === 0) return 0
  if (typeof value !== 'string') return null
  const text = value.trim().toLowerCase()
  if (text === 'true' || text === '1') return 1
  return text === 'false' || text === '0' ? 0 : null
}

export function kindOf(value: unknown): string {
  if (typeof value === 'string') return quoted(value)
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object') return 'an object'
  return String(value)
}

export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text)
}
