/**
 * Rows of features as Python children get them. What is a table of numbers travels as doubles, so
 * that neither side writes or reads a digit; the rest is JSON, column by column or row by row.
 */

import type { CustomPredictionPlan, FeaturePlan } from '../../core/bundle/plan.ts'
import { type FeatureMap, isMissing, kindOf, numeric, ownValue } from '../predictions/values.ts'
import type { PythonCall } from './dialect.ts'

/** Rows that have the same columns: only such rows can be one table. */
export interface RowGroup {
  readonly columns: readonly string[]
  readonly rows: readonly FeatureMap[]
  /** Where each of them was among the rows that were given. */
  readonly indexes: readonly number[]
}

export type Packed =
  | { readonly kind: 'call'; readonly call: PythonCall }
  /** A row that cannot be a row of the table. */
  | { readonly kind: 'refused'; readonly row: number; readonly detail: string }

/**
 * A row with other columns than its neighbours gets a table of its own: a stranger's feature must
 * not become a column of mine.
 */
export function groupRows(plan: CustomPredictionPlan, rows: readonly FeatureMap[]): RowGroup[] {
  const all = rows.map((_, index) => index)
  if (plan.features !== null) {
    return [{ columns: plan.features.map(({ name }) => name), rows, indexes: all }]
  }
  if (plan.input === 'records') return [{ columns: [], rows, indexes: all }]
  const groups = new Map<string, { columns: string[]; rows: FeatureMap[]; indexes: number[] }>()
  for (const [index, row] of rows.entries()) {
    const columns = Object.keys(row)
    const key = JSON.stringify(columns.toSorted())
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { columns, rows: [row], indexes: [index] })
    else {
      group.rows.push(row)
      group.indexes.push(index)
    }
  }
  return [...groups.values()]
}

export function packRows(plan: CustomPredictionPlan, { columns, rows }: RowGroup): Packed {
  const header = { rows: rows.length }
  if (plan.input === 'records') {
    return called({ ...header, form: 'records' }, JSON.stringify(rows))
  }
  const kinds = plan.features?.map(({ name, type }) => [name, type]) ?? []
  const areNumbers = plan.features?.every(({ type }) => type === 'number') ?? false
  if (plan.input === 'numpy' || areNumbers) return matrix(columns, rows)
  const values = columns.map((name) => rows.map((row) => ownValue(row, name) ?? null))
  return called({ ...header, form: 'columns', columns, kinds }, JSON.stringify(values))
}

function matrix(columns: readonly string[], rows: readonly FeatureMap[]): Packed {
  const values = new Float64Array(rows.length * columns.length)
  let at = 0
  for (const [index, row] of rows.entries()) {
    for (const name of columns) {
      const value = double(ownValue(row, name))
      if (value === null) {
        const detail = `feature "${name}" must be a number, got ${kindOf(ownValue(row, name))}`
        return { kind: 'refused', row: index, detail }
      }
      values[at] = value
      at += 1
    }
  }
  const header = { rows: rows.length, form: 'matrix', columns }
  // Little-endian is what every machine has that Node runs on here.
  return called(header, new Uint8Array(values.buffer))
}

const UNDECLARED: FeaturePlan = {
  name: '',
  type: 'number',
  onMissing: 'ERROR',
  onInvalid: 'ERROR',
  onUnknown: 'ERROR',
  categories: null,
  value: null,
}

/** Null: it is no number. What is missing is NaN, as numpy has it. */
function double(value: unknown): number | null {
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return value ? 1 : 0
  if (isMissing(value, UNDECLARED)) return Number.NaN
  const number = numeric(value)
  return number === null ? null : Number(number)
}

function called(header: PythonCall['header'], body: Uint8Array | string): Packed {
  return { kind: 'call', call: { header, body } }
}
