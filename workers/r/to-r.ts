/**
 * From JSON to R. Numbers are doubles. An array of scalars of one type is a vector, in which null
 * is NA; any other array is a list, in which null is NULL; so is an object, with names.
 */

import { isObject } from '../../core/base/json.ts'
import { isPassable } from '../predictions/values.ts'
import { doubles, NA_INTEGER, NO_ATTRIBUTES, R_NULL, type RValue } from './xdr.ts'

/** A text that R cannot hold; the message goes on after the name of the argument. */
export class TextRefused extends Error {}

export const R_NA: RValue = logicals([null])

export function toR(value: unknown): RValue {
  if (typeof value === 'number') return doubleVector([value])
  if (typeof value === 'string') return strings([value])
  if (typeof value === 'boolean') return logicals([value])
  if (Array.isArray(value)) return fromArray(value)
  return isObject(value) ? namedList(Object.entries(value).map(([k, v]) => [k, toR(v)])) : R_NULL
}

export function namedList(entries: readonly (readonly [string, RValue])[]): RValue {
  const names = strings(entries.map(([name]) => name))
  const values = entries.map(([, value]) => value)
  return { kind: 'list', values, attributes: new Map([['names', names]]) }
}

export function list(values: readonly RValue[]): RValue {
  return { kind: 'list', values, attributes: NO_ATTRIBUTES }
}

export function strings(values: readonly (string | null)[]): RValue {
  for (const value of values) {
    if (value !== null && !isPassable(value)) {
      throw new TextRefused('holds a NUL or half of a surrogate pair, which R cannot')
    }
  }
  return { kind: 'string', values, attributes: NO_ATTRIBUTES }
}

function doubleVector(values: readonly (number | null)[]): RValue {
  return { kind: 'double', values: doubles(values), attributes: NO_ATTRIBUTES }
}

function logicals(values: readonly (boolean | null)[]): RValue {
  const flags = Int32Array.from(values, (value) => (value === null ? NA_INTEGER : Number(value)))
  return { kind: 'logical', values: flags, attributes: NO_ATTRIBUTES }
}

function fromArray(values: readonly unknown[]): RValue {
  if (values.length === 0) return list([])
  if (values.every(isNumberOrNull)) {
    return values.every((value) => value === null) ? logicals(values) : doubleVector(values)
  }
  if (values.every(isStringOrNull)) return strings(values)
  if (values.every(isBooleanOrNull)) return logicals(values)
  return list(values.map(toR))
}

function isNumberOrNull(value: unknown): value is number | null {
  return value === null || typeof value === 'number'
}

function isStringOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string'
}

function isBooleanOrNull(value: unknown): value is boolean | null {
  return value === null || typeof value === 'boolean'
}
