/** Opens the file of a table, CSV or Parquet: which columns it has, and then its rows. */

import { stat } from 'node:fs/promises'
import { messageOf } from '../../core/base/errors.ts'
import { delimiterOf } from '../../core/bundle/file-names.ts'
import type { ColumnPlan, ColumnType } from '../../core/bundle/plan.ts'
import { nearest, shown } from '../../core/bundle/sentences.ts'
import type { ManifestTable } from '../../core/bundle/table-schema.ts'
import { CsvRefused, type RowBatch, readCsv } from './csv.ts'

export type OpenedFile =
  | {
      readonly kind: 'opened'
      readonly columns: readonly ColumnPlan[]
      readonly rows: AsyncIterable<RowBatch>
      readonly totalBytes: number
      close(): Promise<void>
    }
  | { readonly kind: 'refused'; readonly reasons: readonly string[] }

/** Throws CsvRefused or ParquetRefused; so do its rows. */
export async function openTableFile(path: string, table: ManifestTable): Promise<OpenedFile> {
  const totalBytes = (await stat(path)).size
  const isParquet = path.toLowerCase().endsWith('.parquet')
  return isParquet ? openParquetFile(path, table, totalBytes) : openCsv(path, table, totalBytes)
}

const NO_DELIMITER = new Set(['"', '\n', '\r', '\ufeff'])

async function openCsv(
  path: string,
  table: ManifestTable,
  totalBytes: number,
): Promise<OpenedFile> {
  const delimiter = delimiterOf(table)
  if (NO_DELIMITER.has(delimiter)) return refused(`${shown(delimiter)} cannot be a delimiter`)
  const batches = readCsv(path, delimiter)
  const close = async (): Promise<void> => {
    await batches.return(undefined)
  }
  for (;;) {
    const next = await batches.next()
    if (next.done === true) return refused('has no header row')
    const [header] = next.value.rows
    if (header === undefined) continue
    const names = header.map((name) => name ?? '')
    const columns = names.map(
      (name) => ({ name, type: declared(table, name) ?? 'string' }) as const,
    )
    const reasons = [...headerFaults(names), ...tableFaults(table, names)]
    if (reasons.length > 0) {
      await close()
      return { kind: 'refused', reasons }
    }
    return { kind: 'opened', columns, totalBytes, close, rows: withoutHeader(next.value, batches) }
  }
}

/** The header is the first row that is not blank, so the batch that holds it lacks one. */
async function* withoutHeader(
  first: RowBatch,
  others: AsyncIterable<RowBatch>,
): AsyncGenerator<RowBatch> {
  yield {
    rows: first.rows.slice(1),
    placeOf: (row) => first.placeOf(row + 1),
    doneBytes: first.doneBytes,
    faults: first.faults.map(({ row, reason }) => ({ row: row - 1, reason })),
  }
  yield* others
}

function declared({ columns }: ManifestTable, name: string): ColumnType | null {
  return columns !== undefined && Object.hasOwn(columns, name) ? (columns[name] ?? null) : null
}

function headerFaults(names: readonly string[]): string[] {
  return names.flatMap((name, i) => {
    if (name === '') return [`has no name for column ${i + 1} in its header`]
    const before = names.indexOf(name)
    return before < i ? [`names the columns ${before + 1} and ${i + 1} ${shown(name)}`] : []
  })
}

/** What the manifest says of columns that are not there. */
function tableFaults({ columns = {}, key = [] }: ManifestTable, names: readonly string[]) {
  return [...new Set([...key, ...Object.keys(columns)])]
    .filter((name) => !names.includes(name))
    .map((name) => {
      const near = nearest(name, names)
      const others = names.slice(0, 50).join(', ')
      const hint = near === null ? `; it has ${others}` : `; did you mean "${near}"?`
      return `has no column ${shown(name)}${hint}`
    })
}

async function openParquetFile(
  path: string,
  table: ManifestTable,
  totalBytes: number,
): Promise<OpenedFile> {
  const { openParquet } = await import('../sql/parquet.ts')
  const file = await openParquet(path).catch(refuseParquet)
  const names = file.columns.map(({ name }) => name)
  const wanted = new Set([...(table.key ?? []), ...Object.keys(table.columns ?? {})])
  const reasons = [...headerFaults(names), ...tableFaults(table, names)]
  for (const { name, type, sqlType } of file.columns) {
    if (type !== null || !wanted.has(name)) continue
    reasons.push(`has the type ${sqlType} in column ${shown(name)}, which is no single value`)
  }
  if (reasons.length > 0) {
    file.close()
    return { kind: 'refused', reasons }
  }
  // Cells that are lists or bytes are read as null, and so are not offered.
  const kept = file.columns.flatMap(({ name, type }, index) =>
    type === null ? [] : [{ name, type: declared(table, name) ?? type, index }],
  )
  const columns = kept.map(({ name, type }) => ({ name, type }))
  const indexes = kept.map(({ index }) => index)
  const rows = parquetBatches(readable(file.rows()), indexes, totalBytes)
  return { kind: 'opened', columns, totalBytes, rows, close: async () => file.close() }
}

async function* parquetBatches(
  batches: AsyncIterable<readonly (readonly (string | null)[])[]>,
  indexes: readonly number[],
  totalBytes: number,
): AsyncGenerator<RowBatch> {
  let before = 0
  for await (const batch of batches) {
    const first = before + 1
    before += batch.length
    yield {
      rows: batch.map((row) => indexes.map((index) => row[index] ?? null)),
      placeOf: (row) => `row ${first + row}`,
      doneBytes: totalBytes,
      faults: [],
    }
  }
}

/** The file cannot be read as Parquet. */
class ParquetRefused extends Error {}

function refuseParquet(error: unknown): never {
  // DuckDB names the path of this machine.
  const reason = messageOf(error).replace(/(?:\/[^\s/'"]+){2,}/g, '…')
  throw new ParquetRefused(`cannot be read as Parquet: ${reason.slice(0, 300)}`)
}

/** What goes wrong in here is the reading: what becomes of the rows is not. */
async function* readable<Batch>(batches: AsyncIterable<Batch>): AsyncGenerator<Batch> {
  try {
    yield* batches
  } catch (error) {
    refuseParquet(error)
  }
}

/** A sentence when the file itself is wrong; null: it is something else. */
export function fileRefusal(error: unknown): string | null {
  return error instanceof CsvRefused || error instanceof ParquetRefused ? error.message : null
}

function refused(reason: string): OpenedFile {
  return { kind: 'refused', reasons: [reason] }
}
