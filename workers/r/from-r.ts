/**
 * From R to JSON text. A vector of one element is a scalar unless it says `I(x)`; with names it is
 * an object, as a named list is. What JSON has no word for (NA, NaN, Inf) is null. Factors are
 * their labels, dates ISO 8601, a data frame an array of records, a matrix an array of rows.
 */

import { isOfClass, NA_INTEGER, namesOf, type RValue, type Vector } from './xdr.ts'

/** The value holds what has no form in JSON; the message names where and what. */
export class AnswerRefused extends Error {}

type Atomic = Extract<RValue, { kind: 'logical' | 'integer' | 'double' | 'string' | 'list' }>

/** `where` is how R would name the value, for messages. */
export function fromR(value: RValue, where = 'the answer'): string {
  if (value.kind === 'null') return 'null'
  if (value.kind === 'opaque') throw new AnswerRefused(`${where} is ${value.what}`)
  if (value.kind === 'raw') return `"${Buffer.from(value.values).toString('base64')}"`
  if (isOfClass(value, 'data.frame') && value.kind === 'list') return records(value, where)
  const cell = cellsOf(value, where)
  const sizes = dimensions(value)
  if (sizes !== null && sizes.length > 1) return nested(cell, sizes)
  const names = namesOf(value) ?? (sizes === null ? null : firstDimnames(value))
  const { length } = value.values
  if (names !== null) return object(uniqueKeys(names, length), cell)
  const isArray = value.kind === 'list' || length !== 1 || isOfClass(value, 'AsIs')
  return isArray ? `[${join(length, cell)}]` : cell(0)
}

function join(length: number, textOf: (index: number) => string): string {
  const texts = new Array<string>(length)
  for (let i = 0; i < length; i++) texts[i] = textOf(i)
  return texts.join(',')
}

function object(keys: readonly string[], cell: (index: number) => string): string {
  return `{${join(keys.length, (i) => `${JSON.stringify(keys[i])}:${cell(i)}`)}}`
}

/** JSON text of each element. */
function cellsOf(value: Atomic, where: string): (index: number) => string {
  switch (value.kind) {
    case 'list': {
      const names = namesOf(value)
      return (i) => fromR(value.values[i] ?? { kind: 'null' }, `${where}${step(names?.[i], i)}`)
    }
    case 'string':
      return (i) => JSON.stringify(value.values[i] ?? null)
    case 'logical':
      return (i) => logical(value.values[i])
    case 'integer':
      return integerCells(value)
    default:
      return doubleCells(value)
  }
}

/** `$name`, or `[[3]]` where there is no name. */
function step(name: string | null | undefined, index: number): string {
  return name === null || name === undefined || name === '' ? `[[${index + 1}]]` : `$${name}`
}

function logical(value: number | undefined): string {
  if (value === undefined || value === NA_INTEGER) return 'null'
  return value === 0 ? 'false' : 'true'
}

function integerCells(value: Extract<RValue, { kind: 'integer' }>): (index: number) => string {
  const { values, attributes } = value
  const levels = attributes.get('levels')
  if (isOfClass(value, 'factor') && levels?.kind === 'string') {
    return (i) => JSON.stringify(levels.values[(values[i] ?? 0) - 1] ?? null)
  }
  const textOf = timeText(value) ?? String
  return (i) => {
    const number = values[i]
    return number === undefined || number === NA_INTEGER ? 'null' : textOf(number)
  }
}

function doubleCells(value: Extract<RValue, { kind: 'double' }>): (index: number) => string {
  const { values } = value
  if (isOfClass(value, 'integer64')) return integer64Cells(values)
  const textOf = timeText(value) ?? String
  return (i) => {
    const number = values[i]
    return number !== undefined && Number.isFinite(number) ? textOf(number) : 'null'
  }
}

/** Package bit64 keeps 64-bit integers in the bits of doubles; the lowest is its NA. */
function integer64Cells(values: Float64Array): (index: number) => string {
  const integers = new BigInt64Array(values.buffer, values.byteOffset, values.length)
  return (i) => {
    const integer = integers[i] ?? 0n
    if (integer === -(2n ** 63n)) return 'null'
    return Number.isSafeInteger(Number(integer)) ? String(integer) : `"${integer}"`
  }
}

const DAY_MS = 86_400_000

/** How a number is written that stands for a day or a moment; null: it is just a number. */
function timeText(value: Vector): ((number: number) => string) | null {
  if (isOfClass(value, 'Date')) {
    return (days) => iso(Math.floor(days) * DAY_MS, (text) => text.slice(0, text.indexOf('T')))
  }
  if (isOfClass(value, 'POSIXct')) {
    return (seconds) => iso(Math.round(seconds * 1_000), (text) => text)
  }
  return null
}

function iso(ms: number, shorten: (text: string) => string): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? 'null' : `"${shorten(date.toISOString())}"`
}

function records(value: Extract<RValue, { kind: 'list' }>, where: string): string {
  const keys = uniqueKeys(namesOf(value) ?? [], value.values.length)
  const columns = value.values.map((column, i) => columnOf(column, `${where}$${keys[i]}`))
  const rows = rowCount(value, columns)
  return `[${join(rows, (row) => object(keys, (i) => columns[i]?.cell(row) ?? 'null'))}]`
}

interface Column {
  readonly rows: number
  readonly cell: (row: number) => string
}

/** A column may be a matrix: then each of its rows is an array. */
function columnOf(column: RValue, where: string): Column {
  if (column.kind === 'null' || column.kind === 'opaque' || column.kind === 'raw') {
    throw new AnswerRefused(`${where} is no column that JSON has a form for`)
  }
  if (isOfClass(column, 'data.frame')) throw new AnswerRefused(`${where} is a data frame`)
  const cell = cellsOf(column, where)
  const [rows = column.values.length, ...sizes] = dimensions(column) ?? []
  return { rows, cell: sizes.length === 0 ? cell : (row) => block(cell, row, rows, sizes) }
}

/** A data frame without columns still has rows; R writes 1:n as c(NA, -n). */
function rowCount(frame: Vector, columns: readonly Column[]): number {
  if (columns.length > 0) return columns[0]?.rows ?? 0
  const names = frame.attributes.get('row.names')
  return names?.kind === 'string' ? names.values.length : 0
}

/** Sizes of a matrix or array; null: it is none, or an empty one. */
function dimensions(value: Atomic): readonly number[] | null {
  const dim = value.attributes.get('dim')
  if (dim?.kind !== 'integer' || dim.values.length === 0) return null
  const sizes = [...dim.values]
  const size = sizes.reduce((product, length) => product * length, 1)
  return size > 0 && size === value.values.length ? sizes : null
}

/** R's arrays have the first index run fastest; in JSON it is the outermost. */
function nested(cell: (index: number) => string, sizes: readonly number[]): string {
  const [rows = 0, ...rest] = sizes
  return `[${join(rows, (row) => block(cell, row, rows, rest))}]`
}

function block(
  cell: (index: number) => string,
  offset: number,
  stride: number,
  sizes: readonly number[],
): string {
  const [length, ...rest] = sizes
  if (length === undefined) return cell(offset)
  return `[${join(length, (i) => block(cell, offset + i * stride, stride * length, rest))}]`
}

/** Of a table with one dimension, as `table(x)` makes it. */
function firstDimnames(value: Vector): readonly (string | null)[] | null {
  const dimnames = value.attributes.get('dimnames')
  const [first] = dimnames?.kind === 'list' ? dimnames.values : []
  return first?.kind === 'string' ? first.values : null
}

/** JSON's readers keep one of equal keys, so a second `a` is `a.1`; no name: the position. */
function uniqueKeys(names: readonly (string | null)[], length: number): string[] {
  const uses = new Map<string, number>()
  return Array.from({ length }, (_, i) => {
    const name = names[i] ?? ''
    const key = name === '' ? String(i + 1) : name
    const used = uses.get(key) ?? 0
    uses.set(key, used + 1)
    return used === 0 ? key : `${key}.${used}`
  })
}
