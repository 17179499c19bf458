/**
 * What is in a table, so that nobody has to write it down: the names of its columns and the types
 * that all of their values have. A type is only claimed where it loses nothing: `007` is a text.
 */

import { readFile, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { isObject } from '../../core/base/json.ts'
import { delimiterOf, isJson } from '../../core/bundle/file-names.ts'
import type { ColumnType } from '../../core/bundle/plan.ts'
import { CELL_READERS, cellValue } from '../lookup/cells.ts'
import { CsvRefused, readCsv } from '../lookup/csv.ts'
import type { ColumnDraft, ColumnsDraft } from '../protocol.ts'
import type { Say } from './draft.ts'
import { DraftRefused } from './refused.ts'

type Cell = string | number | boolean | null

/** More distinct values are no classes. */
const VALUES_MAX = 100

export async function draftColumns(file: string, say: Say): Promise<ColumnsDraft> {
  if (isJson(file)) return ofMaps(await readMaps(file))
  if (file.toLowerCase().endsWith('.parquet')) return ofParquet(file)
  const columns: Column[] = []
  let first: readonly (string | null)[] | null = null
  for await (const { cells, share } of readTable(file, (names) => {
    columns.push(...names.map((name) => new Column(name)))
  })) {
    first ??= cells
    for (const [i, column] of columns.entries()) column.add(cells[i] ?? null)
    say(`reading ${basename(file)}`, share)
  }
  const drafts = columns.map((column) => column.draft())
  const cells = first ?? []
  const row = drafts.map(({ name, type }, i) => [name, valueIn(cells[i] ?? null, type)] as const)
  return { kind: 'columns', columns: drafts, first: Object.fromEntries(first === null ? [] : row) }
}

export interface TableRow {
  readonly cells: readonly (string | null)[]
  /** For people: `line 17`. */
  readonly place: () => string
  /** Of the file, from 0 to 1. */
  readonly share: number
}

/** Rows of a CSV file below its header; a row that does not fit the header is refused. */
export async function* readTable(
  file: string,
  onHeader: (names: readonly string[]) => void,
): AsyncGenerator<TableRow> {
  const name = basename(file)
  const { size } = await stat(file)
  let header: readonly string[] | null = null
  try {
    for await (const batch of readCsv(file, delimiterOf({ file }))) {
      const [fault] = batch.faults
      if (fault !== undefined) {
        throw new DraftRefused(`${name} ${batch.placeOf(fault.row)} ${fault.reason}`)
      }
      for (const [i, cells] of batch.rows.entries()) {
        if (header === null) {
          header = headerOf(cells, name)
          onHeader(header)
          continue
        }
        if (cells.length !== header.length) {
          const count = `${cells.length} values, the header has ${header.length}`
          throw new DraftRefused(`${name} ${batch.placeOf(i)} has ${count}`)
        }
        yield { cells, place: () => batch.placeOf(i), share: batch.doneBytes / size }
      }
    }
  } catch (error) {
    throw error instanceof CsvRefused ? new DraftRefused(`${name} ${error.message}`) : error
  }
  if (header === null) throw new DraftRefused(`${name} is empty: its first line is the header`)
}

function headerOf(cells: readonly (string | null)[], name: string): string[] {
  return cells.map((cell, i) => {
    if (cell === null) throw new DraftRefused(`${name}: column ${i + 1} has no name in the header`)
    if (cells.indexOf(cell) < i) {
      throw new DraftRefused(`${name}: two columns are called ${JSON.stringify(cell)}`)
    }
    return cell
  })
}

/** A JSON array of flat objects. */
export async function readMaps(file: string): Promise<Record<string, Cell>[]> {
  const name = basename(file)
  let parsed: unknown
  try {
    parsed = JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new DraftRefused(`${name} is not JSON: ${error.message}`)
  }
  if (!Array.isArray(parsed)) throw new DraftRefused(`${name} must be an array of objects`)
  return parsed.map((row: unknown, i) => {
    if (!isObject(row)) throw new DraftRefused(`${name}[${i}] must be an object, name to value`)
    return Object.fromEntries(
      Object.entries(row).map(([key, value]) => [key, cellOf(value, `${name}[${i}].${key}`)]),
    )
  })
}

function cellOf(value: unknown, place: string): Cell {
  if (value === null || typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return value
  throw new DraftRefused(`${place} must be a text, a number, a truth value or null`)
}

function ofMaps(rows: readonly Record<string, Cell>[]): ColumnsDraft {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  const columns = names.map((name): ColumnDraft => {
    const cells = rows.map((row) => row[name] ?? null).filter((cell) => cell !== null)
    const texts = [...new Set(cells.map(String))]
    return { name, type: typeOfCells(cells), values: texts.length > VALUES_MAX ? null : texts }
  })
  return { kind: 'columns', columns, first: rows[0] ?? {} }
}

function typeOfCells(cells: readonly (string | number | boolean)[]): ColumnType {
  if (cells.length === 0) return 'string'
  if (cells.every((cell) => typeof cell === 'boolean')) return 'boolean'
  if (!cells.every((cell) => typeof cell === 'number')) return 'string'
  return cells.every((cell) => Number.isSafeInteger(cell)) ? 'integer' : 'number'
}

async function ofParquet(file: string): Promise<ColumnsDraft> {
  const { openParquet } = await import('../sql/parquet.ts')
  const opened = await openParquet(file).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error)
    throw new DraftRefused(`${basename(file)} cannot be read as Parquet: ${reason.slice(0, 300)}`)
  })
  try {
    const columns = opened.columns.map(({ name, type }) => ({ name, type, values: null }))
    for await (const [row = []] of opened.rows()) {
      const cells = columns.map(({ name, type }, i) => [name, valueIn(row[i] ?? null, type)])
      return { kind: 'columns', columns, first: Object.fromEntries(cells) }
    }
    return { kind: 'columns', columns, first: {} }
  } finally {
    opened.close()
  }
}

function valueIn(cell: string | null, type: ColumnType | null): Cell {
  if (cell === null || type === null) return cell
  const json = CELL_READERS[type](cell)
  return json === null ? cell : cellValue(json)
}

/** From the narrowest to the widest; each takes a text only where it can give it back. */
const CANDIDATES: readonly (readonly [ColumnType, RegExp])[] = [
  ['boolean', /^(?:true|false)$/i],
  ['integer', /^(?:0|-?[1-9]\d{0,18})$/],
  ['number', /^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$|^nan$/i],
  ['date', /^\d{4}-\d\d-\d\d$/],
  ['timestamp', /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/],
]

/** What is known of a column so far. */
class Column {
  readonly #name: string
  #types = CANDIDATES
  #values: Set<string> | null = new Set()
  #isEmpty = true

  constructor(name: string) {
    this.#name = name
  }

  add(cell: string | null): void {
    if (cell === null) return
    this.#isEmpty = false
    if (this.#values !== null && this.#values.add(cell).size > VALUES_MAX) this.#values = null
    if (this.#types.every(([type, pattern]) => isOf(cell, type, pattern))) return
    this.#types = this.#types.filter(([type, pattern]) => isOf(cell, type, pattern))
  }

  draft(): ColumnDraft {
    const type = this.#isEmpty ? 'string' : (this.#types[0]?.[0] ?? 'string')
    return { name: this.#name, type, values: this.#values === null ? null : [...this.#values] }
  }
}

function isOf(cell: string, type: ColumnType, pattern: RegExp): boolean {
  return pattern.test(cell) && CELL_READERS[type](cell) !== null
}
