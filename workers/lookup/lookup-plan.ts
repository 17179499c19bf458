/**
 * From the look-ups of a manifest to the steps that workers follow, once it is known which columns
 * the tables have: defaults are filled in, and what does not exist is told with the nearest name.
 */

import type { Fault } from '../../core/base/errors.ts'
import type { ManifestLookup } from '../../core/bundle/endpoint-schemas.ts'
import type { LookupStep, TablePlan } from '../../core/bundle/plan.ts'
import { join, nearest, shown } from '../../core/bundle/sentences.ts'

export type PlannedLookups =
  | { readonly kind: 'steps'; readonly steps: readonly LookupStep[] }
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }

/** `path` is where the look-ups are in the manifest, such as `endpoints[0].lookups`. */
export function lookupSteps(
  lookups: readonly ManifestLookup[],
  tables: readonly TablePlan[],
  path: string,
): PlannedLookups {
  const faults: Fault[] = []
  const steps: LookupStep[] = []
  const taken = new Map<string, string>()
  for (const [i, lookup] of lookups.entries()) {
    const where = `${path}[${i}]`
    const table = tables.find(({ name }) => name === lookup.table)
    if (table === undefined || table.key.length === 0) {
      faults.push({ path: join(where, 'table'), reason: tableFault(lookup.table, table, tables) })
      continue
    }
    const found = [...keyFaults(lookup, table, where), ...columnFaults(lookup, table, where)]
    const step = stepOf(lookup, table)
    faults.push(...found, ...nameFaults(step, where, taken))
    steps.push(step)
  }
  return faults.length > 0 ? { kind: 'faults', faults } : { kind: 'steps', steps }
}

function tableFault(
  name: string,
  table: TablePlan | undefined,
  tables: readonly TablePlan[],
): string {
  if (table !== undefined)
    return `table ${shown(name)} has no key, so no row can be looked up in it`
  return `${shown(name)} is no table${hint(
    name,
    tables.map((one) => one.name),
  )}`
}

function hint(name: string, known: readonly string[]): string {
  const near = nearest(name, known)
  if (near !== null) return `; did you mean "${near}"?`
  return known.length === 0 ? '' : `; there are ${known.slice(0, 50).join(', ')}`
}

function keyFaults({ key = {} }: ManifestLookup, table: TablePlan, where: string): Fault[] {
  const faults: Fault[] = []
  for (const column of Object.keys(key)) {
    if (table.key.includes(column)) continue
    const near = hint(column, table.key)
    const reason = `${shown(column)} is not part of the key of ${table.name}${near}`
    faults.push({ path: join(`${where}.key`, column), reason })
  }
  const names = table.columns.map(({ name }) => name)
  for (const column of table.key) {
    if (names.includes(column)) continue
    const near = hint(column, names)
    const reason = `the key column ${shown(column)} is not in table ${table.name}${near}`
    faults.push({ path: join(where, 'table'), reason })
  }
  return faults
}

function columnFaults({ columns }: ManifestLookup, table: TablePlan, where: string): Fault[] {
  const names = table.columns.map(({ name }) => name)
  return takenColumns(columns).flatMap(({ column, place }) => {
    if (names.includes(column)) return []
    const reason = `${shown(column)} is no column of ${table.name}${hint(column, names)}`
    return [{ path: `${where}.columns${place}`, reason }]
  })
}

function takenColumns(columns: ManifestLookup['columns']) {
  if (columns === undefined) return []
  if (Array.isArray(columns)) {
    return columns.map((column: string, i) => ({ column, as: column, place: `[${i}]` }))
  }
  return Object.entries(columns).map(([column, as]) => ({ column, as, place: `.${column}` }))
}

function stepOf(lookup: ManifestLookup, table: TablePlan): LookupStep {
  const fields = lookup.key ?? {}
  const others = table.columns.filter(({ name }) => !table.key.includes(name))
  const columns =
    lookup.columns === undefined
      ? others.map(({ name }) => ({ column: name, as: name }))
      : takenColumns(lookup.columns).map(({ column, as }) => ({ column, as }))
  return {
    table: table.name,
    key: table.key.map((column) => {
      return { column, field: Object.hasOwn(fields, column) ? (fields[column] ?? column) : column }
    }),
    columns,
    onMissing: lookup.onMissing ?? 'ERROR',
    onMultiple: lookup.onMultiple ?? 'ERROR',
  }
}

/** Two columns of one name: the answer could hold only one. */
function nameFaults(step: LookupStep, where: string, taken: Map<string, string>): Fault[] {
  return step.columns.flatMap(({ column, as }) => {
    const path = `${where}.columns`
    if (as === '') return [{ path, reason: `column ${shown(column)} has no name to be given by` }]
    if (as === '__proto__') return [{ path, reason: 'a column cannot be called "__proto__"' }]
    const before = taken.get(as)
    taken.set(as, `${where} (table ${step.table})`)
    if (before === undefined) return []
    return [{ path, reason: `${before} gives a ${shown(as)} already; rename one of both` }]
  })
}
