/**
 * A table that stays in its database: which columns it has is asked of the database itself, so that
 * a wrong name is told at import and not at the first request.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError, ERROR_TABLE, type Fault } from '../../core/base/errors.ts'
import type { ManifestLookup } from '../../core/bundle/endpoint-schemas.ts'
import type { ColumnPlan, ColumnType, TablePlan } from '../../core/bundle/plan.ts'
import { join, nearest, shown } from '../../core/bundle/sentences.ts'
import type { ManifestTable } from '../../core/bundle/table-schema.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import { usableConnection } from '../sql/connections.ts'
import type { RemoteColumn } from '../sql/table-reader.ts'
import { lookupsOf, type PrepareOptions } from './needs.ts'
import type { EndpointRefused } from './task.ts'

export type RemoteTable = { readonly kind: 'plan'; readonly plan: TablePlan } | EndpointRefused

/** How long a database may take to say which columns a table has. */
const COLUMNS_MS = 10_000
/** More names make no sentence. */
const NAMES_MAX = 50

/** Throws ERR_CONNECTION_UNUSABLE for a connection that the bundle may not use. */
export async function remoteTable(
  table: ManifestTable,
  path: string,
  { manifest, settings, serviceId }: PrepareOptions,
): Promise<RemoteTable> {
  const { name, connection = '', from = name } = table
  const usable = usableConnection(settings.connections, connection, serviceId)
  const taken = takenColumns(
    manifest.endpoints.flatMap(lookupsOf).filter((one) => one.table === name),
  )
  const { readTableColumns } = await import('../sql/table-reader.ts')
  let columns: readonly RemoteColumn[]
  try {
    columns = await readTableColumns(usable, from, nowMs() + COLUMNS_MS)
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    if (error.code === 'ERR_QUERY_FAILED') return noTable(table, path, usable, error)
    const declared = declaredColumns(table, taken)
    return declared === null ? notReached(table, path, error) : planOf(table, declared)
  }
  const faults = columnFaults(table, path, columns, usable.kind)
  if (faults.length > 0) return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults }
  return planOf(table, wantedColumns(table, columns, taken))
}

function planOf(table: ManifestTable, columns: readonly ColumnPlan[]): RemoteTable {
  const { name, connection = '', from = name, key = [] } = table
  const database = { connection, from }
  return {
    kind: 'plan',
    plan: { name, file: null, lmdb: null, database, key, columns, rows: null },
  }
}

/** Names that all look-ups together take; null: one of them takes whatever there is. */
function takenColumns(lookups: readonly ManifestLookup[]): ReadonlySet<string> | null {
  const names = new Set<string>()
  for (const { columns } of lookups) {
    if (columns === undefined) return null
    for (const name of Array.isArray(columns) ? columns : Object.keys(columns)) names.add(name)
  }
  return names
}

/** Null: what the manifest says is not enough without the database. */
function declaredColumns(
  { key = [], columns = {} }: ManifestTable,
  taken: ReadonlySet<string> | null,
): ColumnPlan[] | null {
  if (taken === null) return null
  const isDeclared = (name: string): boolean => Object.hasOwn(columns, name)
  if (![...key, ...taken].every(isDeclared)) return null
  return Object.entries(columns).map(([name, type]) => ({ name, type }))
}

/** Only what is asked for is read with every row, and may not be missing from the table later. */
function wantedColumns(
  { key = [], columns = {} }: ManifestTable,
  found: readonly RemoteColumn[],
  taken: ReadonlySet<string> | null,
): ColumnPlan[] {
  const plans = found.map(({ name, type }) => ({ name, type: typeIn(columns, name) ?? type }))
  const names = new Set(found.map(({ name }) => name))
  // A wrong name is told elsewhere, beside all that would have been right.
  if (taken === null || ![...taken].every((name) => names.has(name))) return plans
  return plans.filter(({ name }) => taken.has(name) || key.includes(name))
}

function typeIn(columns: Readonly<Record<string, ColumnType>>, name: string): ColumnType | null {
  return Object.hasOwn(columns, name) ? (columns[name] ?? null) : null
}

function columnFaults(
  { name, from = name, key = [], columns = {} }: ManifestTable,
  path: string,
  found: readonly RemoteColumn[],
  kind: ConnectionSettings['kind'],
): Fault[] {
  const known = new Map(found.map((column) => [column.name, column.type]))
  const faults: Fault[] = []
  const check = (column: string, place: string): void => {
    if (known.has(column)) return
    const names = [...known.keys()]
    const reason = `${shown(column)} is no column of ${from}${hint(column, names)}`
    faults.push({ path: place, reason })
  }
  for (const [i, column] of key.entries()) {
    check(column, `${path}.key[${i}]`)
    const declared = typeIn(columns, column)
    const real = known.get(column)
    if (declared === null || real === undefined || isComparable(declared, real, kind)) continue
    const reason = `the database has the key column ${shown(column)} as ${real}, not as ${declared}`
    faults.push({ path: join(`${path}.columns`, column), reason })
  }
  for (const column of Object.keys(columns)) {
    if (!key.includes(column)) check(column, join(`${path}.columns`, column))
  }
  return faults
}

/** MySQL compares a word with a number as if it were 0, and finds the wrong row. */
function isComparable(
  declared: ColumnType,
  real: ColumnType,
  kind: ConnectionSettings['kind'],
): boolean {
  if (declared === real) return true
  if (declared === 'boolean') return kind === 'mysql' && real === 'integer'
  const numbers = ['integer', 'number']
  return numbers.includes(declared) && numbers.includes(real)
}

async function noTable(
  { name, from = name }: ManifestTable,
  path: string,
  settings: ConnectionSettings,
  error: AppError,
): Promise<EndpointRefused> {
  const { readTableNames } = await import('../sql/table-reader.ts')
  // Who may not see the names gets the database's own words alone.
  const read = readTableNames(settings, nowMs() + COLUMNS_MS)
  const names = await read.catch((): readonly string[] => [])
  const near = names.includes(from) ? null : nearest(from, names)
  const meant = near === null ? '' : `; did you mean "${near}"?`
  const said = error.detail ?? ERROR_TABLE[error.code].message
  const reason = `the table ${shown(from)} of connection "${settings.name}" cannot be read: ${said}`
  const faults = [{ path: `${path}.from`, reason: `${reason}${meant}` }]
  return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', faults }
}

function notReached(
  { name, from = name, connection = '' }: ManifestTable,
  path: string,
  { detail }: AppError,
): EndpointRefused {
  const why = detail === null ? '' : ` (${detail})`
  const reason =
    `connection "${connection}" cannot be reached${why}, and it is asked which columns ` +
    `${shown(from)} has; import again when it is up, or name all columns that are used, ` +
    'with their types and in the look-ups'
  const faults = [{ path: `${path}.connection`, reason }]
  return { kind: 'refused', code: 'ERR_CONNECTION_UNUSABLE', faults }
}

function hint(name: string, known: readonly string[]): string {
  const near = nearest(name, known)
  return near === null
    ? `; it has ${known.slice(0, NAMES_MAX).join(', ')}`
    : `; did you mean "${near}"?`
}
