/**
 * What a database has to be able to do for the node, whichever it is. A session is one connection;
 * it runs one statement at a time.
 */

import type { Argument } from './arguments.ts'

export interface ResultColumn {
  readonly name: string
  /** As the database calls it, in lower case. */
  readonly type: string
}

export type Row = readonly (string | null)[]

/** `columns` null: the statement has no rows to give, not even none. */
export interface StatementResult {
  readonly columns: readonly ResultColumn[] | null
  readonly rows: readonly Row[]
  readonly changedRows: number
}

/** One statement as a session runs it; made once, when the endpoint is opened. */
export interface Statement {
  /** With the database's own placeholders. */
  readonly text: string
  /** Unique for the text within a session. */
  readonly name: string
}

export interface Bounds {
  /** Of the monotonic clock: the server is told to end the statement then. */
  readonly endMs: number
  readonly rowsMax: number
  readonly bytesMax: number
}

export interface Session {
  run(statement: Statement, values: readonly Argument[], bounds: Bounds): Promise<StatementResult>
  begin(): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  /** Asks the server, from elsewhere, to end what runs; rejects when that cannot be asked. */
  cancel(): Promise<void>
  /** The connection is gone, or must not be used again. */
  readonly isLost: boolean
  /** Runs once, as soon as the connection is gone. */
  onLost(listener: () => void): void
  /** At once, whatever runs. */
  destroy(): void
}

export interface Driver {
  /** `PostgreSQL 15.18`, known once a session has been opened. */
  readonly program: string
  /** Rejects with SqlFailure. */
  open(): Promise<Session>
  /** When no session will be asked for any more. */
  close?(): void
}

/**
 * `down`: the database cannot be reached or is going away. `login`: it refuses who asks. `value`:
 * an argument does not fit. `stopped`: time is up. `stale`: a prepared statement is no longer good.
 */
export type SqlFailureKind = 'down' | 'login' | 'value' | 'stopped' | 'stale' | 'refused'

/** The message is the database's own, for callers to read. */
export class SqlFailure extends Error {
  readonly kind: SqlFailureKind

  constructor(kind: SqlFailureKind, message: string) {
    super(message)
    this.kind = kind
  }
}

/** Counts what a result takes, so that no answer fills the memory. */
export class RowCollector {
  readonly rows: Row[] = []
  readonly #bounds: Bounds
  #bytes = 0
  #isOver = false

  constructor(bounds: Bounds) {
    this.#bounds = bounds
  }

  /** False: there is one too many, and what was collected is of no use. */
  add(row: Row): boolean {
    if (this.#isOver) return false
    for (const value of row) this.#bytes += (value?.length ?? 0) + 8
    this.#isOver = this.rows.length >= this.#bounds.rowsMax || this.#bytes > this.#bounds.bytesMax
    if (this.#isOver) this.rows.length = 0
    else this.rows.push(row)
    return !this.#isOver
  }

  get isOver(): boolean {
    return this.#isOver
  }

  tooMany(): SqlFailure {
    const { rowsMax, bytesMax } = this.#bounds
    const limit =
      this.#bytes > bytesMax ? `${Math.round(bytesMax / 1024 / 1024)} MiB` : `${rowsMax} rows`
    return new SqlFailure('refused', `the query finds more than the ${limit} that are allowed`)
  }
}
