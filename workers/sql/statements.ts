/**
 * From the `query` of a manifest to its statements, each with the parameters of its `?`.
 *
 * Values never become part of the text: a statement's text is settled when its bundle is imported,
 * and the database binds what callers send.
 */

import type { Fault } from '../../core/base/errors.ts'
import type { ColumnType, SqlParameterPlan, SqlPlan } from '../../core/bundle/plan.ts'
import { type Dialect, type Piece, scan } from './scan.ts'

export type StatementPlan = SqlPlan['statements'][number]
export type ParameterSource = string | { readonly name: string; readonly type?: ColumnType }

export type PlannedStatements =
  | { readonly kind: 'statements'; readonly statements: readonly StatementPlan[] }
  /** Paths are `query` and `parameters`, as in the manifest's endpoint. */
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }

/** Parameters are matched with the `?` of all statements in order. */
export function planStatements(
  text: string,
  parameters: readonly ParameterSource[],
  dialect: Dialect,
): PlannedStatements {
  const split = new Splitter(text, dialect)
  const faults = [...split.faults]
  const { placeholders, pieces } = split
  if (faults.length === 0 && pieces.length === 0) {
    faults.push({ path: 'query', reason: 'it holds no statement' })
  }
  if (faults.length === 0 && placeholders.length !== parameters.length) {
    faults.push(countFault(text, placeholders, parameters.length))
  }
  faults.push(...typeFaults(parameters))
  if (faults.length > 0) return { kind: 'faults', faults }
  const left = parameters.map(parameterPlan)
  const statements = pieces.map((one) => ({
    text: one.text,
    parameters: left.splice(0, one.placeholders),
  }))
  return { kind: 'statements', statements }
}

/** `?` becomes what the database calls a parameter. */
export function nativeText(text: string, dialect: Dialect): string {
  let count = 0
  let native = ''
  for (const { kind, start, end } of scan(text, dialect)) {
    if (kind === 'placeholder' && dialect !== 'mysql') {
      count += 1
      native += `$${count}`
    } else native += kind === 'question' ? '?' : text.slice(start, end)
  }
  return native
}

/** A procedure that is called may do what the others say, and leave a transaction open. */
const SESSION_WORDS =
  /^(?:SET|RESET|USE|LOCK|UNLOCK|CREATE|PREPARE|DEALLOCATE|DISCARD|LISTEN|DECLARE|DO|HANDLER|CALL)$/

/**
 * Whether a statement may leave something behind in the session that runs it, so that the session
 * must not be given to the next request.
 */
export function changesSession(text: string, dialect: Dialect): boolean {
  return SESSION_WORDS.test(firstWord(text, dialect))
}

function firstWord(text: string, dialect: Dialect): string {
  for (const { kind, start, end } of scan(text, dialect)) {
    if (kind === 'word') return text.slice(start, end).toUpperCase()
  }
  return ''
}

interface StatementPiece {
  readonly text: string
  readonly placeholders: number
}

const TRANSACTION_WORDS = /^(?:BEGIN|START|COMMIT|ROLLBACK|ABORT|END|SAVEPOINT|RELEASE|XA)$/

/**
 * They break out of what the node allows: DuckDB ends its process when it cannot write its log, and
 * runs any text that `query` is given.
 */
const DUCKDB_FORBIDDEN = /^(?:enable_logging|disable_logging|query|query_table)$/i

class Splitter {
  readonly faults: Fault[] = []
  readonly pieces: StatementPiece[] = []
  /** Where each is. */
  readonly placeholders: number[] = []
  readonly #text: string
  readonly #dialect: Dialect
  #start = 0
  #counted = 0
  #hasCode = false

  constructor(text: string, dialect: Dialect) {
    this.#text = text
    this.#dialect = dialect
    for (const piece of scan(text, dialect)) this.#take(piece)
    this.#close(text.length)
  }

  #take(piece: Piece): void {
    const reason = this.#reasonAgainst(piece)
    if (reason !== null) this.#fault(piece.start, reason)
    switch (piece.kind) {
      case 'space':
      case 'comment':
        return
      case 'separator':
        this.#close(piece.start)
        this.#start = piece.end
        return
      default:
        if (piece.kind === 'placeholder') this.placeholders.push(piece.start)
        this.#hasCode = true
    }
  }

  #reasonAgainst({ kind, start, end }: Piece): string | null {
    const text = this.#text.slice(start, end)
    if (kind === 'unclosed') return `what ${text.slice(0, 2).trim()} opens is never closed`
    if (kind === 'foreign') return `${text} is not a placeholder here; write ? for a parameter`
    if (kind === 'hidden') return 'a comment that the database runs is not allowed'
    if (kind === 'word' && !this.#hasCode && TRANSACTION_WORDS.test(text.toUpperCase())) {
      return `${text.toUpperCase()} is not allowed; "commit": true runs all in one transaction`
    }
    if (this.#dialect !== 'duckdb' || (kind !== 'word' && kind !== 'quoted')) return null
    if (!DUCKDB_FORBIDDEN.test(text.replaceAll('"', '')) || !this.#isCalled(end)) return null
    return `the function ${text} is not allowed`
  }

  #isCalled(end: number): boolean {
    for (const piece of scan(this.#text.slice(end), this.#dialect)) {
      if (piece.kind === 'space' || piece.kind === 'comment') continue
      return this.#text[end + piece.start] === '('
    }
    return false
  }

  #close(end: number): void {
    const text = this.#text.slice(this.#start, end).trim()
    const placeholders = this.placeholders.length - this.#counted
    if (this.#hasCode) this.pieces.push({ text, placeholders })
    this.#counted = this.placeholders.length
    this.#hasCode = false
  }

  #fault(at: number, reason: string): void {
    this.faults.push({ path: 'query', reason: `${placeOf(this.#text, at)}: ${reason}` })
  }
}

function placeOf(text: string, at: number): string {
  const before = text.slice(0, at)
  const line = before.split('\n').length
  return `line ${line}, column ${at - (before.lastIndexOf('\n') + 1) + 1}`
}

function countFault(text: string, placeholders: readonly number[], named: number): Fault {
  const extra = placeholders[named]
  const has = `the query has ${placeholders.length} ?, "parameters" names ${named}`
  if (extra === undefined) return { path: `parameters[${placeholders.length}]`, reason: has }
  return { path: 'query', reason: `${placeOf(text, extra)}: ? has no parameter; ${has}` }
}

function parameterPlan(source: ParameterSource): SqlParameterPlan {
  if (typeof source === 'string') return { name: source, type: null }
  return { name: source.name, type: source.type ?? null }
}

/** A name that comes twice is one argument, so it has one type. */
function typeFaults(parameters: readonly ParameterSource[]): Fault[] {
  const types = new Map<string, ColumnType | null>()
  return parameters.map(parameterPlan).flatMap(({ name, type }, index) => {
    const known = types.get(name)
    types.set(name, known ?? type)
    if (known === undefined || known === type) return []
    const reason = `"${name}" is ${type ?? 'without a type'} here and ${known ?? 'without'} before`
    return [{ path: `parameters[${index}]`, reason }]
  })
}
