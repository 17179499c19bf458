/**
 * The look-ups of one endpoint for one record after the other: keys are taken from its fields, each
 * table is asked, and what the manifest says of missing and multiple rows is done. Answers at once
 * where all tables are in the bundle, and later where one is in a database.
 */

import { AppError, type ErrorCode } from '../../core/base/errors.ts'
import type { ColumnType, LookupStep, TablePlan } from '../../core/bundle/plan.ts'
import { shown } from '../../core/bundle/sentences.ts'
import type { RuntimeContext } from '../runtime.ts'
import { keyPartOfValue } from './keys.ts'
import { type Found, Table } from './table.ts'

export interface LookupFailure {
  readonly kind: 'failed'
  readonly code: ErrorCode
  readonly detail: string
}

export type IgnoreReason = 'NO_LOOKUP_MATCH' | 'MULTIPLE_LOOKUP_MATCHES'

/** For each step the JSON texts of its columns, or null where they are null. */
export type Outcome =
  | { readonly kind: 'rows'; readonly rows: readonly (readonly string[] | null)[] }
  /** `detail`: what the caller has forgotten; null: the tables had their say. */
  | { readonly kind: 'ignored'; readonly reason: IgnoreReason; readonly detail: string | null }
  | LookupFailure

export type Fields = Readonly<Record<string, unknown>>

/** What asks one table. */
export interface Source {
  find(parts: readonly string[], endMs: number): Found | Promise<Found | LookupFailure>
  close(): Promise<void>
}

interface KeyField {
  readonly field: string
  readonly type: ColumnType
}

interface Step {
  readonly plan: LookupStep
  readonly source: Source
  readonly key: readonly KeyField[]
  /** Of each column that is taken, where its cell is in a row. */
  readonly cells: readonly number[]
}

export interface LookupsOptions {
  /**
   * A record without a value for a key: `refused` fails it, `unmatched` treats it as any key that
   * no row has.
   */
  readonly withoutKey: 'refused' | 'unmatched'
  /** Code and noun for a field that does not fit. */
  readonly code: ErrorCode
  readonly noun: string
}

/** Opens every table once, however many steps ask it. */
export async function openLookups(
  steps: readonly LookupStep[],
  context: RuntimeContext,
  options: LookupsOptions,
): Promise<Lookups> {
  const sources = new Map<string, Source>()
  try {
    const ready: Step[] = []
    for (const plan of steps) {
      const table = context.tables.find(({ name }) => name === plan.table)
      if (table === undefined) throw new AppError('ERR_INTERNAL', `no table ${plan.table}`)
      const source = sources.get(table.name) ?? (await openSource(table, context))
      sources.set(table.name, source)
      ready.push(stepOf(plan, table, source))
    }
    return new Lookups(ready, [...sources.values()], options)
  } catch (error) {
    for (const source of sources.values()) await source.close()
    throw error
  }
}

async function openSource(table: TablePlan, context: RuntimeContext): Promise<Source> {
  if (table.database === null) {
    return new Table(context.directory, context.settings.runDirectory, table)
  }
  const { openDatabaseSource } = await import('./database-source.ts')
  return openDatabaseSource(table, context)
}

function stepOf(plan: LookupStep, table: TablePlan, source: Source): Step {
  const names = table.columns.map(({ name }) => name)
  const typeOf = (column: string): ColumnType =>
    table.columns.find(({ name }) => name === column)?.type ?? 'string'
  return {
    plan,
    source,
    key: plan.key.map(({ column, field }) => ({ field, type: typeOf(column) })),
    cells: plan.columns.map(({ column }) => names.indexOf(column)),
  }
}

export class Lookups {
  readonly #steps: readonly Step[]
  readonly #sources: readonly Source[]
  readonly #options: LookupsOptions

  constructor(steps: readonly Step[], sources: readonly Source[], options: LookupsOptions) {
    this.#steps = steps
    this.#sources = sources
    this.#options = options
  }

  /** Never throws. `endMs` is when nobody waits any more, on the clock of nowMs(). */
  run(fields: Fields, endMs: number): Outcome | Promise<Outcome> {
    return this.#from(0, { fields, endMs, rows: [] })
  }

  async close(): Promise<void> {
    for (const source of this.#sources) await source.close()
  }

  #from(first: number, record: Progress): Outcome | Promise<Outcome> {
    for (let i = first; i < this.#steps.length; i++) {
      const step = this.#steps[i]
      if (step === undefined) break
      const parts = this.#keyOf(step, record.fields)
      if (typeof parts !== 'string' && 'kind' in parts) return parts
      const found = typeof parts === 'string' ? NO_ROW : step.source.find(parts, record.endMs)
      if (found instanceof Promise) return this.#later(i, found, record)
      const end = settle(step, found, record)
      if (end?.kind === 'ignored' && typeof parts === 'string') return { ...end, detail: parts }
      if (end !== null) return end
    }
    return { kind: 'rows', rows: record.rows }
  }

  async #later(
    at: number,
    asked: Promise<Found | LookupFailure>,
    record: Progress,
  ): Promise<Outcome> {
    const found = await asked
    const step = this.#steps[at]
    if (step === undefined) return { kind: 'rows', rows: record.rows }
    return settle(step, found, record) ?? this.#from(at + 1, record)
  }

  /** A text: why the record has no value for a part, so that no row can have its key. */
  #keyOf({ key, plan }: Step, fields: Fields): string[] | LookupFailure | string {
    const parts = new Array<string>(key.length)
    for (let i = 0; i < key.length; i++) {
      const part = key[i]
      if (part === undefined) continue
      const { field, type } = part
      const value = Object.hasOwn(fields, field) ? fields[field] : undefined
      if (value === undefined || value === null) {
        const what = value === null ? 'is null' : 'is missing'
        const failure = this.#refused(field, `${what}, table ${plan.table} is asked by it`)
        const isUnmatched = this.#options.withoutKey === 'unmatched' && plan.onMissing !== 'ERROR'
        return isUnmatched ? failure.detail : failure
      }
      const text = keyPartOfValue(type, value)
      if (text === null) return this.#refused(field, `must be ${NOUNS[type]}, got ${shown(value)}`)
      parts[i] = text
    }
    return parts
  }

  #refused(field: string, why: string): LookupFailure {
    const { code, noun } = this.#options
    return { kind: 'failed', code, detail: `${noun} ${shown(field)} ${why}` }
  }
}

const NOUNS: Readonly<Record<ColumnType, string>> = {
  string: 'a string or a number within 2^53',
  integer: 'a 64-bit integer, as a text beyond 2^53',
  number: 'a number',
  boolean: 'a boolean',
  date: 'a date such as "2026-03-01"',
  timestamp: 'a timestamp such as "2026-03-01T12:00:00Z"',
}

interface Progress {
  readonly fields: Fields
  readonly endMs: number
  readonly rows: (readonly string[] | null)[]
}

const NO_ROW: Found = { kind: 'missing' }

/** Null: the next step may be taken. */
function settle(step: Step, found: Found | LookupFailure, record: Progress): Outcome | null {
  if (!('kind' in found)) {
    record.rows.push(step.cells.map((cell) => found[cell] ?? 'null'))
    return null
  }
  if (found.kind === 'failed') return found
  const isMissing = found.kind === 'missing'
  const rule = isMissing ? step.plan.onMissing : step.plan.onMultiple
  if (rule === 'NULL') {
    record.rows.push(null)
    return null
  }
  if (rule === 'IGNORE') {
    const reason = isMissing ? 'NO_LOOKUP_MATCH' : 'MULTIPLE_LOOKUP_MATCHES'
    return { kind: 'ignored', reason, detail: null }
  }
  const { plan } = step
  const key = plan.key
    .map(({ column, field }) => `${column} = ${shown(record.fields[field])}`)
    .join(', ')
  if (isMissing) {
    const detail = `table ${plan.table} has no row with ${key}`
    return { kind: 'failed', code: 'ERR_LOOKUP_MISSING', detail }
  }
  const detail = `table ${plan.table} has ${found.rows ?? 'several'} rows with ${key}`
  return { kind: 'failed', code: 'ERR_LOOKUP_MULTIPLE', detail }
}
