/**
 * Makes a table of a bundle ready to be looked up: its file is read once, every cell is checked
 * against the declared type, and the rows go into an LMDB environment in the order of their keys.
 * Memory does not grow with the file.
 */

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Fault } from '../../core/base/errors.ts'
import { MADE_FOLDER } from '../../core/bundle/content.ts'
import type { ColumnPlan, TablePlan } from '../../core/bundle/plan.ts'
import type { ManifestTable } from '../../core/bundle/table-schema.ts'
import type { RowBatch } from './csv.ts'
import { DATA_FILE, writeEnvironment } from './environment.ts'
import { RowEncoder } from './row-encoder.ts'
import { RowSorter } from './sorter.ts'
import { fileRefusal, openTableFile } from './table-file.ts'

export interface TableProgress {
  readonly rows: number
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface BuildTableOptions {
  /** Absolute path of the unpacked generation. */
  readonly directory: string
  /** Whether rows of the table are looked up; else only its columns are found out. */
  readonly wantsLmdb: boolean
  readonly onProgress?: (progress: TableProgress) => void
  /** Where faults are said to be; default: the name of the table. */
  readonly path?: string
}

export type BuiltTable =
  | { readonly kind: 'built'; readonly plan: TablePlan; readonly made: string[] }
  | { readonly kind: 'faults'; readonly faults: Fault[] }

/** Of more rows only the number is told. */
const FAULTS_MAX = 20

/** Folder of the environments, below the generation's directory. */
const TABLES = `${MADE_FOLDER}/tables`

/** A table with a file; what is wrong with the file is told, what the machine lacks is thrown. */
export async function buildTable(
  table: ManifestTable,
  options: BuildTableOptions,
): Promise<BuiltTable> {
  const file = table.file ?? ''
  const path = options.path ?? table.name
  const faulty = (reasons: readonly string[]): BuiltTable => {
    return {
      kind: 'faults',
      faults: reasons.map((reason) => ({ path, reason: `${file} ${reason}` })),
    }
  }
  try {
    const opened = await openTableFile(join(options.directory, file), table)
    if (opened.kind === 'refused') return faulty(opened.reasons)
    try {
      const plan = planOf(table, opened.columns)
      if (!options.wantsLmdb || plan.key.length === 0) return { kind: 'built', plan, made: [] }
      const load = new Load(plan, options, opened.totalBytes)
      const reasons = await load.run(opened.rows)
      if (reasons.length > 0) return faulty(reasons)
      const lmdb = `${TABLES}/${table.name}`
      return {
        kind: 'built',
        plan: { ...plan, lmdb, rows: load.rows },
        made: [`${lmdb}/${DATA_FILE}`],
      }
    } finally {
      await opened.close()
    }
  } catch (error) {
    const refusal = fileRefusal(error)
    if (refusal === null) throw error
    return faulty([refusal])
  }
}

function planOf(table: ManifestTable, columns: readonly ColumnPlan[]): TablePlan {
  const { name, file = null, key = [] } = table
  return { name, file, lmdb: null, database: null, key, columns, rows: null }
}

class Load {
  rows = 0
  readonly #encoder: RowEncoder
  readonly #sorter: RowSorter
  readonly #folder: string
  readonly #onProgress: ((progress: TableProgress) => void) | undefined
  readonly #totalBytes: number
  readonly #reasons: string[] = []
  #refused = 0

  constructor(plan: TablePlan, options: BuildTableOptions, totalBytes: number) {
    this.#folder = join(options.directory, TABLES, plan.name)
    this.#encoder = new RowEncoder(plan.columns, plan.key)
    this.#sorter = new RowSorter(join(this.#folder, 'runs'))
    this.#onProgress = options.onProgress
    this.#totalBytes = totalBytes
  }

  /** What is wrong with the rows; nothing is left of a table that is not whole. */
  async run(batches: AsyncIterable<RowBatch>): Promise<string[]> {
    rmSync(this.#folder, { recursive: true, force: true })
    mkdirSync(this.#folder, { recursive: true })
    let isWhole = false
    try {
      for await (const batch of batches) {
        this.#add(batch)
        this.#tell(batch.doneBytes)
        // A file in the cache of the system is read without ever waiting.
        await turn()
      }
      if (this.#refused === 0) {
        await writeEnvironment(this.#folder, this.#sorter.sorted())
        isWhole = true
      }
    } finally {
      this.#sorter.close()
      if (!isWhole) rmSync(this.#folder, { recursive: true, force: true })
    }
    return this.#allReasons()
  }

  #add(batch: RowBatch): void {
    for (const { row, reason } of batch.faults) this.#refuse(batch, row, reason)
    const { rows } = batch
    for (let i = 0; i < rows.length; i++) {
      const encoded = this.#encoder.encode(rows[i] ?? [])
      if (encoded.kind === 'refused') this.#refuse(batch, i, encoded.reason)
      else if (this.#refused === 0) this.#sorter.add(encoded.key, encoded.value)
    }
    this.rows += rows.length
  }

  #refuse(batch: RowBatch, row: number, reason: string): void {
    this.#refused += 1
    if (this.#refused <= FAULTS_MAX) this.#reasons.push(`${batch.placeOf(row)} ${reason}`)
  }

  #allReasons(): string[] {
    const more = this.#refused - FAULTS_MAX
    if (more <= 0) return this.#reasons
    return [...this.#reasons, `has ${more} more rows with faults`]
  }

  #tell(doneBytes: number): void {
    this.#onProgress?.({ rows: this.rows, doneBytes, totalBytes: this.#totalBytes })
  }
}
