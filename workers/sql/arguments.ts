/**
 * From the body of a query to one checked value per parameter. The body is the map of arguments
 * itself, name to scalar; clients send none at all where there is nothing to say.
 */

import { isObject } from '../../core/base/json.ts'
import type { ColumnType } from '../../core/bundle/plan.ts'
import { parseText } from '../bodies.ts'
import type { StatementPlan } from './statements.ts'

/**
 * A checked value. `text` is how the database reads it, exact to the last digit; what it stands for
 * is in `type`, null where the manifest does not say.
 */
export interface Argument {
  readonly type: ColumnType | null
  /** Null is SQL's NULL. */
  readonly text: string | null
  /** What JSON held, for databases that want to know whether a text or a number was sent. */
  readonly json: 'string' | 'number' | 'boolean' | 'null'
}

export type Arguments =
  | { readonly kind: 'values'; readonly values: ReadonlyMap<string, Argument> }
  | {
      readonly kind: 'refused'
      readonly code: 'ERR_BODY_INVALID' | 'ERR_ARGUMENT_INVALID'
      readonly reason: string
    }

/** Longest text of one argument. */
const TEXT_BYTES_MAX = 1024 * 1024
const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n

/** What can be wrong with a value; the message says so, without the value. */
class Refused extends Error {}

/** Names and types of all statements' parameters. */
export function declaredTypes(
  statements: readonly StatementPlan[],
): ReadonlyMap<string, ColumnType | null> {
  const all = statements.flatMap(({ parameters }) => parameters)
  return new Map(all.map(({ name, type }) => [name, type]))
}

export function readArguments(
  body: Uint8Array,
  declared: ReadonlyMap<string, ColumnType | null>,
): Arguments {
  const map = bodyMap(body)
  if ('kind' in map) return map
  const unknown = Object.keys(map.fields).filter((name) => !declared.has(name))
  if (unknown.length > 0) {
    const names = [...declared.keys()].map((name) => JSON.stringify(name)).join(', ')
    return refused(`${quoted(unknown)} is no parameter; there is ${names || 'none'}`)
  }
  const missing = [...declared.keys()].filter((name) => !Object.hasOwn(map.fields, name))
  if (missing.length > 0) return refused(`${quoted(missing)} is missing`)
  return readAll(map.fields, declared)
}

function readAll(
  fields: Readonly<Record<string, unknown>>,
  declared: ReadonlyMap<string, ColumnType | null>,
): Arguments {
  const values = new Map<string, Argument>()
  for (const [name, type] of declared) {
    try {
      values.set(name, readValue(fields[name], type))
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return refused(`parameter ${JSON.stringify(name)}: ${error.message}`)
    }
  }
  return { kind: 'values', values }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function bodyMap(body: Uint8Array): { readonly fields: Record<string, unknown> } | Arguments {
  if (body.length === 0) return { fields: {} }
  let text: string
  try {
    text = utf8.decode(body)
  } catch {
    return { kind: 'refused', code: 'ERR_BODY_INVALID', reason: 'the body is not valid UTF-8' }
  }
  if (text.trim() === '') return { fields: {} }
  const parsed = parseText(text)
  if (parsed.kind === 'refused') return { ...parsed, code: 'ERR_BODY_INVALID' }
  if (isObject(parsed.value)) return { fields: parsed.value }
  const reason = 'the body must be an object, parameter to value'
  return { kind: 'refused', code: 'ERR_BODY_INVALID', reason }
}

function refused(reason: string): Arguments {
  return { kind: 'refused', code: 'ERR_ARGUMENT_INVALID', reason }
}

function quoted(names: readonly string[]): string {
  return names
    .map((name) => JSON.stringify(name.slice(0, 100)))
    .join(', ')
    .slice(0, 400)
}

function readValue(value: unknown, type: ColumnType | null): Argument {
  if (value === null) return { type, text: null, json: 'null' }
  if (typeof value === 'string') return { type, text: readText(value, type), json: 'string' }
  if (typeof value === 'number') return { type, text: readNumber(value, type), json: 'number' }
  if (typeof value === 'boolean') return { type, text: readBoolean(value, type), json: 'boolean' }
  const found = Array.isArray(value) ? 'an array' : 'an object'
  throw new Refused(`${found} is not allowed; allowed is ${allowedText(type)}`)
}

function allowedText(type: ColumnType | null): string {
  if (type === null) return 'a text, a number, true, false or null'
  return type === 'date' || type === 'timestamp' ? `an ISO 8601 ${type} or null` : `${type} or null`
}

function readBoolean(value: boolean, type: ColumnType | null): string {
  if (type === null || type === 'boolean' || type === 'string') return String(value)
  throw new Refused(`a boolean is not allowed; allowed is ${allowedText(type)}`)
}

function readNumber(value: number, type: ColumnType | null): string {
  // JSON's 1e999.
  if (!Number.isFinite(value)) throw new Refused('the number is too large')
  if (type === 'boolean' || type === 'date' || type === 'timestamp') {
    throw new Refused(`a number is not allowed; allowed is ${allowedText(type)}`)
  }
  if (Number.isInteger(value)) return readInteger(value, type)
  if (type === 'integer') throw new Refused('the number is not an integer')
  return String(value)
}

/** A number of JSON that is over 2^53 has lost digits before it was seen here. */
function readInteger(value: number, type: ColumnType | null): string {
  if (Number.isSafeInteger(value)) return String(value === 0 ? 0 : value)
  if (type === 'number') return String(value)
  throw new Refused('the integer is beyond 2^53; send it as a text, so that it stays exact')
}

const INTEGER = /^[+-]?\d{1,19}$/
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?$/

function readText(value: string, type: ColumnType | null): string {
  if (value.includes('\0')) throw new Refused('the text holds a NUL character')
  if (Buffer.byteLength(value) > TEXT_BYTES_MAX) throw new Refused('the text is over 1 MiB')
  if (type === null || type === 'string') return value
  if (type === 'integer' && isInteger(value)) return value
  if (type === 'number' && isNumber(value)) return value
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value
  if (type === 'date' && isDate(value)) return value
  const timestamp = type === 'timestamp' ? utcTimestamp(value) : null
  if (timestamp !== null) return timestamp
  throw new Refused(`the text is not allowed; allowed is ${allowedText(type)}`)
}

/** A text that is a 64-bit integer. */
export function isInteger(text: string): boolean {
  if (!INTEGER.test(text)) return false
  const value = BigInt(text.replace(/^\+/, ''))
  return value >= INT64_MIN && value <= INT64_MAX
}

export function isNumber(text: string): boolean {
  return text.length <= 1_000 && NUMBER.test(text)
}

function isDate(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return false
  const date = new Date(`${text}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text)
}

const TIMESTAMP =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?$/

/** `YYYY-MM-DD hh:mm:ss.ffffff` in UTC, which all databases read alike; null: no timestamp. */
export function utcTimestamp(text: string): string | null {
  const found = TIMESTAMP.exec(text)
  if (found === null) return null
  const [, day = '', time = '00:00', seconds = '00', fraction = '', zone = 'Z'] = found
  if (!isDate(day) || time > '23:59' || seconds > '59') return null
  const offset =
    zone === 'Z' ? 'Z' : `${zone.slice(0, 3)}:${zone.slice(3).replace(':', '') || '00'}`
  const at = new Date(`${day}T${time}:${seconds}${offset}`)
  if (Number.isNaN(at.getTime()) || at.getUTCFullYear() < 0) return null
  const whole = at.toISOString().slice(0, 19).replace('T', ' ')
  return fraction === '' ? whole : `${whole}.${fraction}`
}
