/**
 * Makes one database file of a bundle's CSV and Parquet files, for the embedded SQL. Values keep
 * all they have: a CSV file's by its declared types, a Parquet file's as they are.
 */

import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { MADE_FOLDER } from '../../core/bundle/content.ts'
import { delimiterOf } from '../../core/bundle/file-names.ts'
import type { ColumnType } from '../../core/bundle/plan.ts'
import type { ManifestTable } from '../../core/bundle/table-schema.ts'
import { noSpace } from '../forge/no-space.ts'
import { openDatabase } from './duckdb.ts'

const FILE = `${MADE_FOLDER}/tables.duckdb`

/** The forge's address space is bounded, and that of what a table takes with it. */
const OPTIONS = {
  threads: '1',
  memory_limit: '384MB',
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
  preserve_insertion_order: 'true',
}

/** As a CSV file is read. */
const SQL_TYPES: Readonly<Record<ColumnType, string>> = {
  string: 'VARCHAR',
  integer: 'BIGINT',
  number: 'DOUBLE',
  boolean: 'BOOLEAN',
  date: 'DATE',
  timestamp: 'TIMESTAMPTZ',
}

/** As the manifest has them; those without a file are left out. */
export type SourceTable = Pick<ManifestTable, 'name' | 'file' | 'columns' | 'key' | 'delimiter'>

type Run = (sql: string) => Promise<readonly (readonly unknown[])[]>

/**
 * Returns the file's path below the directory; it is complete and closed. Throws ERR_BUNDLE_INVALID
 * with the line of the first row that does not fit; a full disk is thrown as it is told.
 */
export async function buildDuckdb(
  tables: readonly SourceTable[],
  directory: string,
): Promise<string> {
  await mkdir(join(directory, MADE_FOLDER), { recursive: true })
  const path = join(directory, FILE)
  // What a forge that was killed has left behind.
  await rm(path, { force: true })
  const instance = await openDatabase(path, OPTIONS)
  const connection = await instance.connect()
  const run: Run = async (sql) => (await connection.run(sql)).getRowsJson()
  try {
    await run("SET TimeZone = 'UTC'")
    for (const [index, table] of tables.entries()) await addTable(run, table, index, directory)
    await run('CHECKPOINT')
  } finally {
    connection.disconnectSync()
    instance.closeSync()
  }
  await rm(`${path}.wal`, { force: true })
  return FILE
}

async function addTable(
  run: Run,
  table: SourceTable,
  index: number,
  directory: string,
): Promise<void> {
  const { name, file, key = [] } = table
  if (file === undefined) return
  try {
    const source = await sourceOf(table, join(directory, file))
    await run(`CREATE TABLE ${quoted(name)} AS ${source}`)
    // A question by key then need not read the whole table.
    if (key.length > 0) {
      const columns = key.map(quoted).join(', ')
      await run(`CREATE INDEX ${quoted(`${name}_key`)} ON ${quoted(name)} (${columns})`)
    }
  } catch (error) {
    if (noSpace(error)) throw error
    const reason = readable(messageOf(error), directory)
    const fault = { path: `tables[${index}].file`, reason: `${file}: ${reason}` }
    throw new AppError('ERR_BUNDLE_INVALID', `${fault.path}: ${fault.reason}`, [fault])
  }
}

async function sourceOf(table: SourceTable, path: string): Promise<string> {
  const { file = '', columns = {} } = table
  if (file.toLowerCase().endsWith('.parquet')) return `FROM read_parquet(${pathLiteral(path)})`
  const delimiter = delimiterOf(table)
  const names = await headerOf(path, delimiter)
  const typeOf = (name: string): ColumnType =>
    Object.hasOwn(columns, name) ? (columns[name] ?? 'string') : 'string'
  const typed = names.map((name) => `${literal(name)}: '${SQL_TYPES[typeOf(name)]}'`)
  const options = [
    'auto_detect=false',
    'header=true',
    'strict_mode=true',
    'null_padding=false',
    `delim=${literal(delimiter)}`,
    `quote='"'`,
    `escape='"'`,
    // An empty cell is null whatever its type, as for look-ups.
    "nullstr=''",
    `columns={${typed.join(', ')}}`,
  ]
  // Read with their zone and kept in UTC: as plain timestamps they would lose the zone unseen.
  const cells = names.map((name) =>
    typeOf(name) === 'timestamp'
      ? `${quoted(name)} AT TIME ZONE 'UTC' AS ${quoted(name)}`
      : quoted(name),
  )
  return `SELECT ${cells.join(', ')} FROM read_csv(${pathLiteral(path)}, ${options.join(', ')})`
}

const HEADER_BYTES_MAX = 1024 * 1024

/** Names of a CSV file's columns; DuckDB wants to be told them, or it guesses the types too. */
async function headerOf(path: string, delimiter: string): Promise<string[]> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES_MAX), 0)
    const text = buffer.toString('utf8', 0, bytesRead).replace(/^\ufeff/, '')
    return splitHeader(text, delimiter)
  } finally {
    await file.close()
  }
}

export function splitHeader(text: string, delimiter: string): string[] {
  const names: string[] = []
  let name = ''
  let isQuoted = false
  for (let at = 0; at < text.length; at++) {
    const mark = text[at] ?? ''
    if (isQuoted && mark === '"' && text[at + 1] === '"') at += 1
    else if (mark === '"') {
      isQuoted = !isQuoted
      continue
    } else if (!isQuoted && (mark === delimiter || mark === '\n' || mark === '\r')) {
      names.push(name)
      name = ''
      if (mark !== delimiter) return names
      continue
    }
    name += mark
  }
  return [...names, name]
}

/** What DuckDB says of a row, without the settings that it lists behind. */
function readable(message: string, directory: string): string {
  const [first = ''] = message.replaceAll(`${directory}/`, '').split(/\n\s*(?:file ?=|Possible)/)
  const line = /CSV Error on Line: (\d+)/.exec(first)?.[1]
  const text = first
    .replace(/^.*CSV Error on Line: \d+\s*/s, '')
    .replace(/\s+/g, ' ')
    .trim()
  return (line === undefined ? text : `line ${line}: ${text}`).slice(0, 500)
}

/** A path, and no pattern: what DuckDB takes for a wildcard stands for itself in brackets. */
function pathLiteral(path: string): string {
  return literal(path.replace(/[*?[]/g, '[$&]'))
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
