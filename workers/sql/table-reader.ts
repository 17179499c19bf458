/**
 * Rows of a database's table by key, for lookups. The key's values are bound by the server; names
 * of tables and columns come from the bundle and are quoted.
 */

import { createHash } from 'node:crypto'
import { AppError } from '../../core/base/errors.ts'
import type { ColumnType, TablePlan } from '../../core/bundle/plan.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import type { RuntimeContext } from '../runtime.ts'
import { type Argument, isInteger, isNumber, utcTimestamp } from './arguments.ts'
import { connectionSource, leasePool } from './pools.ts'
import { runSteps } from './run.ts'
import { type Row, SqlFailure, type Statement, type StatementResult } from './session.ts'
import { nativeText } from './statements.ts'

export interface TableReader {
  /**
   * Up to two rows, cells as texts in the order of the plan's columns. Values are in the order of
   * the plan's key; a null finds nothing. Rejects with an AppError.
   */
  rows(keyValues: readonly KeyValue[], endMs: number): Promise<readonly Row[]>
  release(): void
}

export type KeyValue = string | number | boolean | null

export function openTableReader(
  settings: ConnectionSettings,
  table: TablePlan,
  report: RuntimeContext['report'],
): TableReader {
  const { kind } = settings
  const quote = (name: string): string => quoted(name, kind)
  const columns = table.columns.map(({ name }) => quote(name)).join(', ')
  const where = table.key.map((name) => `${quote(name)} = ?`).join(' AND ')
  const from = tableName(table, kind)
  const text = `SELECT ${columns} FROM ${from} WHERE ${where} LIMIT 2`
  const statement = {
    text: nativeText(text, kind),
    name: `t${createHash('sha256').update(text).digest('hex').slice(0, 24)}`,
  }
  const types = new Map(table.columns.map(({ name, type }) => [name, type]))
  const lease = leasePool(connectionSource(settings), report)
  const rows = async (values: readonly KeyValue[], endMs: number): Promise<readonly Row[]> => {
    const bound = table.key.flatMap(
      (name, at) => keyArgument(values[at] ?? null, types.get(name)) ?? [],
    )
    if (bound.length < table.key.length) return []
    const bounds = { endMs, rowsMax: 2, bytesMax: Number.POSITIVE_INFINITY }
    const steps = [{ statement, values: bound }]
    try {
      const run = { steps, bounds, commit: false, isStateful: false }
      return (await runSteps(lease.pool, run)).rows
    } catch (error) {
      // A key that is no value of the column's type is the key of no row.
      if (error instanceof SqlFailure && error.kind === 'value') return []
      throw readFailure(error, lease.pool.subject)
    }
  }
  return { rows, release: () => lease.release() }
}

/**
 * Null: no row can have this key. What goes to the server has the type of its column: MySQL would
 * make a number of any text that it compares with one, and 0 is what it makes of a word.
 */
function keyArgument(value: KeyValue, type: ColumnType | undefined): Argument | null {
  if (value === null) return null
  const text = String(value)
  switch (type) {
    case 'integer':
      return isInteger(text) ? { type, text, json: 'string' } : null
    case 'number':
      return isNumber(text) ? { type, text, json: 'string' } : null
    case 'boolean':
      return text === 'true' || text === 'false' ? { type, text, json: 'boolean' } : null
    case 'timestamp': {
      // MySQL takes no letters in a timestamp.
      const utc = utcTimestamp(text)
      return utc === null ? null : { type, text: utc, json: 'string' }
    }
    default:
      return { type: null, text, json: 'string' }
  }
}

export interface RemoteColumn {
  readonly name: string
  readonly type: ColumnType
}

/** What a table has, asked of the database itself; rejects with an AppError. */
export async function readTableColumns(
  settings: ConnectionSettings,
  from: string,
  endMs: number,
): Promise<readonly RemoteColumn[]> {
  const text = `SELECT * FROM ${quotedPath(from, settings.kind)} WHERE 1 = 0`
  return columnsOf(await askOnce(settings, { text, name: 'table_columns' }, endMs))
}

/** Most names that are read: they are only there to find the nearest. */
const NAMES_MAX = 5_000

const NAMES = {
  postgresql:
    'SELECT CASE WHEN table_schema = ANY (current_schemas(false)) THEN table_name::text ' +
    "ELSE table_schema || '.' || table_name END FROM information_schema.tables " +
    "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
  mysql: 'SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()',
} as const

/** Tables and views that the connection can see; rejects with an AppError. */
export async function readTableNames(
  settings: ConnectionSettings,
  endMs: number,
): Promise<readonly string[]> {
  const text = `${NAMES[settings.kind]} LIMIT ${NAMES_MAX}`
  const { rows } = await askOnce(settings, { text, name: 'table_names' }, endMs)
  return rows.flatMap(([name]) => name ?? [])
}

/** In a session that nobody gets afterwards. */
async function askOnce(
  settings: ConnectionSettings,
  statement: Statement,
  endMs: number,
): Promise<StatementResult> {
  let why = ''
  const lease = leasePool(connectionSource(settings), ({ up, detail }) => {
    if (!up) why = detail
  })
  const bounds = { endMs, rowsMax: NAMES_MAX, bytesMax: 10_000_000 }
  try {
    const steps = [{ statement, values: [] }]
    return await runSteps(lease.pool, { steps, bounds, commit: false, isStateful: true })
  } catch (error) {
    const failure = readFailure(error, lease.pool.subject)
    if (failure.code !== 'ERR_DATABASE_DOWN' || why === '') throw failure
    throw new AppError('ERR_DATABASE_DOWN', why)
  } finally {
    lease.release()
  }
}

function columnsOf({ columns }: StatementResult): RemoteColumn[] {
  return (columns ?? []).map(({ name, type }) => ({ name, type: columnType(type) }))
}

function columnType(type: string): ColumnType {
  if (/^(?:(?:tiny|small|medium|big)?int(?: unsigned)?|smallint|integer|year|oid)$/.test(type)) {
    return 'integer'
  }
  if (/^(?:decimal|numeric|real|float|double(?: precision)?)$/.test(type)) return 'number'
  if (type === 'boolean' || type === 'date') return type
  return /^(?:timestamp|datetime)/.test(type) ? 'timestamp' : 'string'
}

function readFailure(error: unknown, subject: string): AppError {
  if (error instanceof AppError) return error
  if (!(error instanceof SqlFailure)) return new AppError('ERR_INTERNAL')
  if (error.kind === 'down' || error.kind === 'login') {
    return new AppError('ERR_DATABASE_DOWN', subject)
  }
  if (error.kind === 'stopped') return new AppError('ERR_DEADLINE', `${subject} was too slow`)
  return new AppError('ERR_QUERY_FAILED', error.message.slice(0, 500))
}

function tableName({ name, database }: TablePlan, kind: ConnectionSettings['kind']): string {
  return quotedPath(database?.from ?? name, kind)
}

function quotedPath(path: string, kind: ConnectionSettings['kind']): string {
  return path
    .split('.')
    .map((name) => quoted(name, kind))
    .join('.')
}

function quoted(name: string, kind: ConnectionSettings['kind']): string {
  const mark = kind === 'mysql' ? '`' : '"'
  return `${mark}${name.replaceAll(mark, `${mark}${mark}`)}${mark}`
}
