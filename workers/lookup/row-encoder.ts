/**
 * From the cells of one row to what is stored of it: its key, and its cells as JSON texts one
 * behind the other. JSON has no raw line feeds, so one between two cells tells them apart.
 */

import type { ColumnPlan } from '../../core/bundle/plan.ts'
import { shown } from '../../core/bundle/sentences.ts'
import { CELL_READERS, type CellReader, TYPE_NOUNS } from './cells.ts'
import { isStorable, joinKey, KEY_BYTES_MAX, keyPartOfCell } from './keys.ts'

const BETWEEN = '\n'

export type EncodedRow =
  | { readonly kind: 'row'; readonly key: string; readonly value: string }
  | { readonly kind: 'refused'; readonly reason: string }

/** The cells of a stored row. */
export function storedCells(value: string): string[] {
  return value.split(BETWEEN)
}

interface Column extends ColumnPlan {
  readonly read: CellReader
}

export class RowEncoder {
  readonly #columns: readonly Column[]
  readonly #key: readonly { readonly index: number; readonly column: Column }[]
  readonly #parts: string[]

  constructor(columns: readonly ColumnPlan[], key: readonly string[]) {
    this.#columns = columns.map((column) => ({ ...column, read: CELL_READERS[column.type] }))
    this.#key = key.flatMap((name) =>
      this.#columns.flatMap((column, index) => (column.name === name ? [{ index, column }] : [])),
    )
    this.#parts = key.map(() => '')
  }

  encode(cells: readonly (string | null)[]): EncodedRow {
    const columns = this.#columns
    if (cells.length !== columns.length) {
      return refused(`has ${cells.length} cells, its header has ${columns.length}`)
    }
    const texts = new Array<string>(columns.length)
    for (let i = 0; i < columns.length; i++) {
      const cell = cells[i] ?? null
      const column = columns[i]
      if (cell === null || column === undefined) {
        texts[i] = 'null'
        continue
      }
      const json = column.read(cell)
      if (json === null) return refusedCell(column, cell)
      texts[i] = json
    }
    return this.#withKey(cells, texts)
  }

  #withKey(cells: readonly (string | null)[], texts: readonly string[]): EncodedRow {
    for (let i = 0; i < this.#key.length; i++) {
      const part = this.#key[i]
      if (part === undefined) continue
      const { index, column } = part
      const cell = cells[index] ?? null
      const text = texts[index] ?? 'null'
      if (cell === null || text === 'null') {
        return refused(`has no value in the key column ${shown(column.name)}`)
      }
      this.#parts[i] = keyPartOfCell(column.type, cell, text)
    }
    const key = joinKey(this.#parts)
    if (isStorable(key)) return { kind: 'row', key, value: texts.join(BETWEEN) }
    return refused(`has a key of ${Buffer.byteLength(key)} bytes, at most ${KEY_BYTES_MAX} can be`)
  }
}

function refusedCell({ name, type }: ColumnPlan, cell: string): EncodedRow {
  return refused(`column ${shown(name)}: ${shown(cell)} is no ${TYPE_NOUNS[type]}`)
}

function refused(reason: string): EncodedRow {
  return { kind: 'refused', reason }
}
