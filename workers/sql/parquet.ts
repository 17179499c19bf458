/**
 * Reads a Parquet file of a bundle through DuckDB, a piece at a time. Cells come as text, as those
 * of a CSV file do, so that both are checked and converted by the same rules.
 */

import type { DuckDBConnection, DuckDBType } from '@duckdb/node-api'
import type { ColumnType } from '../../core/bundle/plan.ts'
import { openDatabase } from './duckdb.ts'

export interface ParquetColumn {
  readonly name: string
  /** Null: cells of this type are no single value. */
  readonly type: ColumnType | null
  /** As DuckDB calls it, for people. */
  readonly sqlType: string
}

export interface ParquetFile {
  readonly columns: readonly ParquetColumn[]
  /** Can be read once. Cells of columns without a type are null. */
  rows(): AsyncIterable<readonly (readonly (string | null)[])[]>
  close(): void
}

/** Throws what DuckDB says of the file. */
export async function openParquet(path: string): Promise<ParquetFile> {
  const instance = await openDatabase(':memory:', {
    threads: '1',
    memory_limit: '256MB',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  })
  let connection: DuckDBConnection | null = null
  const close = (): void => {
    connection?.closeSync()
    instance.closeSync()
  }
  try {
    const opened = await instance.connect()
    connection = opened
    await opened.run("SET TimeZone = 'UTC'")
    const source = `read_parquet(${literal(path)})`
    const head = await opened.run(`SELECT * FROM ${source} LIMIT 0`)
    const types = head.columnTypes()
    const columns = head.columnNames().map((name, i) => columnOf(name, types[i]))
    return { columns, rows: () => readRows(opened, source, columns), close }
  } catch (error) {
    close()
    throw error
  }
}

async function* readRows(
  connection: DuckDBConnection,
  source: string,
  columns: readonly ParquetColumn[],
): AsyncGenerator<readonly (readonly (string | null)[])[]> {
  const cells = columns.map(textOf)
  const result = await connection.stream(`SELECT ${cells.join(', ')} FROM ${source}`)
  for await (const chunk of result) {
    yield chunk.getRows().map((row) => row.map((cell) => (cell === null ? null : String(cell))))
  }
}

/** A double first, because the text of a float is that of its nearest neighbours. */
function textOf({ name, type }: ParquetColumn): string {
  if (type === null) return 'NULL'
  const column = `"${name.replaceAll('"', '""')}"`
  return type === 'number' ? `${column}::DOUBLE::VARCHAR` : `${column}::VARCHAR`
}

/** A path, and no pattern: what DuckDB takes for a wildcard stands for itself in brackets. */
function literal(path: string): string {
  return `'${path.replace(/[*?[]/g, '[$&]').replaceAll("'", "''")}'`
}

function columnOf(name: string, type: DuckDBType | undefined): ParquetColumn {
  const sqlType = String(type)
  return { name, sqlType, type: columnType(sqlType) }
}

const TYPES: Readonly<Record<string, ColumnType>> = {
  BOOLEAN: 'boolean',
  TINYINT: 'integer',
  SMALLINT: 'integer',
  INTEGER: 'integer',
  BIGINT: 'integer',
  UTINYINT: 'integer',
  USMALLINT: 'integer',
  UINTEGER: 'integer',
  UBIGINT: 'integer',
  HUGEINT: 'integer',
  UHUGEINT: 'integer',
  FLOAT: 'number',
  DOUBLE: 'number',
  VARCHAR: 'string',
  UUID: 'string',
  TIME: 'string',
  DATE: 'date',
  TIMESTAMP: 'timestamp',
  TIMESTAMP_S: 'timestamp',
  TIMESTAMP_MS: 'timestamp',
  TIMESTAMP_NS: 'timestamp',
  'TIMESTAMP WITH TIME ZONE': 'timestamp',
}

function columnType(sqlType: string): ColumnType | null {
  if (sqlType.startsWith('ENUM')) return 'string'
  const decimal = /^DECIMAL\((\d+),\s*(\d+)\)$/.exec(sqlType)
  if (decimal !== null) return decimal[2] === '0' ? 'integer' : 'number'
  return TYPES[sqlType] ?? null
}
