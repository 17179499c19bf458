/**
 * Reads the background sample that a bundle brings: CSV with a header, or a JSON array of feature
 * maps. Of many rows a random sample is kept, the same each time; each row still knows its place in
 * the file, so that what is wrong with it can be told.
 */

import { readFile } from 'node:fs/promises'
import { isObject } from '../../core/base/json.ts'
import { isJson } from '../../core/bundle/file-names.ts'
import type { FeaturePlan } from '../../core/bundle/plan.ts'
import { nearest, shown } from '../../core/bundle/sentences.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { CsvRefused, readCsv } from '../lookup/csv.ts'
import { numeric, truth } from '../predictions/values.ts'
import { randomOf } from './chance.ts'

export interface SampleRow {
  /** For people: `line 17`. */
  readonly place: string
  /** In the order of the features. */
  readonly cells: readonly unknown[]
}

export interface SampleFile {
  readonly features: readonly string[]
  readonly rows: readonly SampleRow[]
}

/** What is wrong with the file, as one sentence without a subject. */
export class SampleRefused extends Error {}

/** `plans`: what the endpoint declares; null: all keys of a JSON file are features. */
export function readSample(
  path: string,
  plans: readonly FeaturePlan[] | null,
): Promise<SampleFile> {
  return isJson(path) ? readMaps(path, plans) : readTable(path, plans ?? [])
}

/** Every row is as likely to be kept, however many there are: a reservoir. */
class Reservoir {
  readonly #rows: { readonly index: number; readonly row: SampleRow }[] = []
  readonly #rowsMax: number
  readonly #random = randomOf(0x5eed)
  #seen = 0

  constructor(features: number) {
    const fitting = Math.floor(LIMITS.backgroundCellsMax / Math.max(1, features))
    this.#rowsMax = Math.max(1, Math.min(LIMITS.backgroundRowsMax, fitting))
  }

  /** `make` is called for rows that are kept, for now. */
  offer(make: () => SampleRow): void {
    const index = this.#seen
    this.#seen += 1
    const isOpen = this.#rows.length < this.#rowsMax
    const at = isOpen ? index : Math.floor(this.#random() * this.#seen)
    if (at < this.#rowsMax) this.#rows[at] = { index, row: make() }
  }

  rows(): SampleRow[] {
    if (this.#rows.length === 0) throw new SampleRefused('has no rows')
    return this.#rows.toSorted((a, b) => a.index - b.index).map(({ row }) => row)
  }
}

async function readTable(path: string, plans: readonly FeaturePlan[]): Promise<SampleFile> {
  const kept = new Reservoir(plans.length)
  let header: readonly (string | null)[] | null = null
  let columns: readonly number[] = []
  try {
    for await (const batch of readCsv(path, path.toLowerCase().endsWith('.tsv') ? '\t' : ',')) {
      const [fault] = batch.faults
      if (fault !== undefined) {
        throw new SampleRefused(`${batch.placeOf(fault.row)} ${fault.reason}`)
      }
      for (const [i, cells] of batch.rows.entries()) {
        if (header === null) {
          header = cells
          columns = columnsOf(cells, plans)
          continue
        }
        if (cells.length !== header.length) {
          const count = `${cells.length} values, the header has ${header.length}`
          throw new SampleRefused(`${batch.placeOf(i)} has ${count}`)
        }
        kept.offer(() => ({
          place: batch.placeOf(i),
          cells: plans.map((plan, at) => typed(cells[columns[at] ?? 0] ?? null, plan)),
        }))
      }
    }
  } catch (error) {
    throw error instanceof CsvRefused ? new SampleRefused(error.message) : error
  }
  return { features: plans.map(({ name }) => name), rows: kept.rows() }
}

/** Columns that are no features are passed over: samples often have the target beside them. */
function columnsOf(header: readonly (string | null)[], plans: readonly FeaturePlan[]): number[] {
  return plans.map(({ name }) => {
    const column = header.indexOf(name)
    if (column >= 0) return column
    const near = nearest(
      name,
      header.filter((one) => one !== null),
    )
    const hint = near === null ? '' : `; did you mean "${near}"?`
    throw new SampleRefused(`has no column ${shown(name)} in its header${hint}`)
  })
}

/** What is no value of its type stays as it is: the rules of the feature will say so. */
function typed(cell: string | null, { type }: FeaturePlan): unknown {
  if (cell === null || type === 'string') return cell
  if (type === 'boolean') {
    const flag = truth(cell)
    return flag === null ? cell : flag === 1
  }
  const number = numeric(cell)
  return number === null || (!Number.isSafeInteger(Number(number)) && typeof number === 'bigint')
    ? cell
    : Number(number)
}

async function readMaps(path: string, plans: readonly FeaturePlan[] | null): Promise<SampleFile> {
  let parsed: unknown
  try {
    parsed = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new SampleRefused(`is not JSON: ${error.message}`)
  }
  if (!Array.isArray(parsed)) throw new SampleRefused('must be an array of objects, one per row')
  const maps = parsed.map((row: unknown, i) => {
    if (!isObject(row)) throw new SampleRefused(`[${i}] must be an object, feature to value`)
    return row
  })
  const keys = new Set(maps.flatMap((row) => Object.keys(row)))
  const features = plans?.map(({ name }) => name) ?? [...keys]
  const missing = features.find((name) => !keys.has(name))
  if (missing !== undefined) throw new SampleRefused(`has no row with ${shown(missing)}`)
  const kept = new Reservoir(features.length)
  for (const [i, row] of maps.entries()) {
    kept.offer(() => ({ place: `[${i}]`, cells: features.map((name) => cellOf(row, name, i)) }))
  }
  return { features, rows: kept.rows() }
}

function cellOf(row: Readonly<Record<string, unknown>>, name: string, index: number): unknown {
  const value = Object.hasOwn(row, name) ? row[name] : null
  if (typeof value !== 'object' || value === null) return value
  throw new SampleRefused(`[${index}].${name} must be a text, a number, a truth value or null`)
}
