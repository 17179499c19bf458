/**
 * One cell of a table: from the text of a file to the JSON text that answers hold, by the declared
 * type. Tables keep cells as JSON text, so that an answer is put together and never encoded again,
 * and a 64-bit integer never passes through a double.
 */

import type { ColumnType } from '../../core/bundle/plan.ts'

/** JSON text of a cell that is not empty; null: the text is none of this type. */
export type CellReader = (text: string) => string | null

export const CELL_READERS: Readonly<Record<ColumnType, CellReader>> = {
  string: jsonString,
  integer: integerCell,
  number: numberCell,
  boolean: booleanCell,
  date: dateCell,
  timestamp: timestampCell,
}

/** For messages: `"abc" is no integer`. */
export const TYPE_NOUNS: Readonly<Record<ColumnType, string>> = {
  string: 'text',
  integer: '64-bit integer',
  number: 'finite number',
  boolean: 'boolean (true, false, 1 or 0)',
  date: 'date (YYYY-MM-DD)',
  timestamp: 'timestamp (ISO 8601)',
}

const PLAIN = /^[ !#-[\]-~]*$/

/** JSON.stringify for texts, of which most need no escape. */
export function jsonString(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text)
}

const SHORT_INTEGER = /^(?:0|-?[1-9]\d{0,14})$/
const INTEGER = /^[+-]?\d{1,400}$/
const INT64_MAX = 2n ** 63n - 1n

/** A number where a double holds it, else a text, as everywhere in the product. */
function integerCell(text: string): string | null {
  if (SHORT_INTEGER.test(text)) return text
  const trimmed = text.trim()
  if (trimmed === '') return 'null'
  if (!INTEGER.test(trimmed)) return null
  const value = BigInt(trimmed.startsWith('+') ? trimmed.slice(1) : trimmed)
  if (value > INT64_MAX || value < -INT64_MAX - 1n) return null
  const isSafe = Number.isSafeInteger(Number(value))
  return isSafe ? String(value) : `"${value}"`
}

const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i

/** NaN is what data frames write where a number is missing. */
function numberCell(text: string): string | null {
  const trimmed = text.trim()
  if (NUMBER.test(trimmed)) return numberText(Number(trimmed))
  return trimmed === '' || trimmed.toLowerCase() === 'nan' ? 'null' : null
}

/** One text for each number, so that keys agree; null for what JSON cannot say. */
export function numberText(value: number): string | null {
  return Number.isFinite(value) ? String(value === 0 ? 0 : value) : null
}

const BOOLEANS: ReadonlyMap<string, string> = new Map([
  ['true', 'true'],
  ['1', 'true'],
  ['false', 'false'],
  ['0', 'false'],
  ['', 'null'],
])

function booleanCell(text: string): string | null {
  return BOOLEANS.get(text.trim().toLowerCase()) ?? null
}

function dateCell(text: string): string | null {
  const trimmed = text.trim()
  if (trimmed === '') return 'null'
  return isDate(trimmed) ? `"${trimmed}"` : null
}

/** Date alone would take the 30th of February for the 1st of March. */
function isDate(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return false
  const ms = Date.parse(`${text}T00:00:00Z`)
  return Number.isFinite(ms) && new Date(ms).toISOString().startsWith(text)
}

const TIMESTAMP =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)? ?(Z|[+-]\d\d(?::?\d\d)?)?$/i

/** In UTC and to the millisecond; without a zone the text is taken as UTC. */
function timestampCell(text: string): string | null {
  const trimmed = text.trim()
  if (trimmed === '') return 'null'
  const match = TIMESTAMP.exec(trimmed)
  if (match === null) return null
  const [, date = '', minutes = '00:00', seconds = '00', fraction = '', zone = 'Z'] = match
  if (!isDate(date)) return null
  const millis = fraction.slice(0, 3).padEnd(3, '0')
  const ms = Date.parse(`${date}T${minutes}:${seconds}.${millis}${isoZone(zone)}`)
  return Number.isFinite(ms) ? `"${new Date(ms).toISOString()}"` : null
}

/** `+02`, `+0200` and `+02:00` are one zone; Date reads only the last. */
function isoZone(zone: string): string {
  if (zone.length === 1) return 'Z'
  const digits = zone.replace(':', '')
  return `${digits.slice(0, 3)}:${digits.slice(3) || '00'}`
}

/** The value that a cell's JSON text stands for. */
export function cellValue(json: string): string | number | boolean | null {
  const first = json.charCodeAt(0)
  if (first === 0x22) return JSON.parse(json)
  if (json === 'null') return null
  if (first === 0x74 || first === 0x66) return json === 'true'
  return Number(json)
}
