/** Tables of the manifest and the look-ups that ask them: what a schema cannot say. */

import type { Fault } from '../base/errors.ts'
import { fileFaults } from './check-files.ts'
import type { ManifestLookup } from './endpoint-schemas.ts'
import { join, nearest, oneOf, shown } from './sentences.ts'
import type { ManifestTable } from './table-schema.ts'

/** By the end of its name; whether it is one of values between delimiters. */
const TABLE_FILES: Readonly<Record<string, boolean>> = {
  '.csv': true,
  '.tsv': true,
  '.txt': true,
  '.parquet': false,
}

export function tableFaults(tables: readonly ManifestTable[], files: ReadonlySet<string>): Fault[] {
  const faults: Fault[] = []
  const names = new Map<string, number>()
  for (const [i, table] of tables.entries()) {
    const path = `tables[${i}]`
    // Databases do not tell names apart by their case.
    const name = table.name.toLowerCase()
    const before = names.get(name)
    if (before === undefined) names.set(name, i)
    else {
      const reason = `${shown(table.name)} is the name of tables[${before}] already`
      faults.push({ path: `${path}.name`, reason })
    }
    faults.push(...sourceFaults(table, path, files), ...keyFaults(table, path))
  }
  return faults
}

function sourceFaults(
  { name, file, connection, from, delimiter }: ManifestTable,
  path: string,
  files: ReadonlySet<string>,
): Fault[] {
  const faults: Fault[] = []
  if (file === undefined && connection === undefined) {
    const reason = `table ${shown(name)} needs "file", or "connection" to a database`
    return [{ path: join(path, 'file'), reason }]
  }
  if (file !== undefined && connection !== undefined) {
    const reason = `table ${shown(name)} has a file already; only one of both can hold its rows`
    return [{ path: join(path, 'connection'), reason }]
  }
  if (from !== undefined && connection === undefined) {
    faults.push({ path: join(path, 'from'), reason: 'from belongs to tables with "connection"' })
  }
  const ending = endingOf(file ?? '')
  if (delimiter !== undefined && TABLE_FILES[ending] !== true) {
    faults.push({ path: join(path, 'delimiter'), reason: 'delimiter belongs to CSV files' })
  }
  if (file === undefined) return faults
  if (TABLE_FILES[ending] === undefined) {
    const endings = oneOf(Object.keys(TABLE_FILES))
    faults.push({ path: join(path, 'file'), reason: `${shown(file)} must end in ${endings}` })
  }
  return [...faults, ...fileFaults(file, join(path, 'file'), files)]
}

function endingOf(file: string): string {
  return file.slice(Math.max(0, file.lastIndexOf('.'))).toLowerCase()
}

function keyFaults({ key = [] }: ManifestTable, path: string): Fault[] {
  const faults: Fault[] = []
  for (const [i, column] of key.entries()) {
    if (key.indexOf(column) === i) continue
    faults.push({ path: `${path}.key[${i}]`, reason: `${shown(column)} is there twice` })
  }
  return faults
}

/** Of an endpoint's look-ups, or of those of its enrichment. */
export function lookupFaults(
  lookups: readonly ManifestLookup[],
  path: string,
  tables: readonly ManifestTable[],
): Fault[] {
  const faults: Fault[] = []
  const taken = new Map<string, string>()
  for (const [i, lookup] of lookups.entries()) {
    const where = `${path}[${i}]`
    faults.push(...oneLookup(lookup, where, tables))
    for (const { name, place } of namesOf(lookup, where)) {
      const before = taken.get(name)
      if (before === undefined) taken.set(name, place)
      else {
        const reason = `${before} gives a ${shown(name)} already; rename one of both`
        faults.push({ path: place, reason })
      }
    }
  }
  return faults
}

function oneLookup(
  lookup: ManifestLookup,
  path: string,
  tables: readonly ManifestTable[],
): Fault[] {
  const table = tables.find(({ name }) => name === lookup.table)
  if (table === undefined) {
    return [{ path: join(path, 'table'), reason: unknownTable(lookup.table, tables) }]
  }
  if (table.key === undefined) {
    const reason = `table ${shown(table.name)} has no "key", so no row can be looked up in it`
    return [{ path: join(path, 'table'), reason }]
  }
  const faults: Fault[] = []
  for (const column of Object.keys(lookup.key ?? {})) {
    if (table.key.includes(column)) continue
    const key = table.key.map(shown).join(', ')
    const reason = `${shown(column)} is not part of the key of ${table.name}, which is ${key}`
    faults.push({ path: join(join(path, 'key'), column), reason })
  }
  return faults
}

function unknownTable(name: string, tables: readonly ManifestTable[]): string {
  if (tables.length === 0) return `${shown(name)} is no table: the manifest has no "tables"`
  const names = tables.map((table) => table.name)
  const near = nearest(name, names)
  const hint = near === null ? `; there are ${names.join(', ')}` : `; did you mean "${near}"?`
  return `${shown(name)} is none of the tables${hint}`
}

interface TakenName {
  readonly name: string
  readonly place: string
}

/** The names that its columns get, as far as the manifest alone says them. */
function namesOf({ columns }: ManifestLookup, path: string): TakenName[] {
  if (columns === undefined) return []
  if (Array.isArray(columns)) {
    return columns.map((name: string, i) => ({ name, place: `${path}.columns[${i}]` }))
  }
  return Object.entries(columns).map(([column, name]) => {
    return { name, place: join(`${path}.columns`, column) }
  })
}
