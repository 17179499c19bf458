/**
 * DuckDB, the database inside the process. Only this file speaks to its library.
 *
 * Bundles' statements see it read-only and locked: no files, no network, no extensions, no
 * settings. It runs few queries at once, since each holds one of the threads that the whole process
 * needs for its files and for names of hosts.
 */

import {
  type DuckDBConnection,
  DuckDBDateValue,
  DuckDBInstance,
  type DuckDBPreparedStatement,
  type DuckDBResult,
  DuckDBTimestampValue,
  DuckDBTypeId,
  StatementType,
} from '@duckdb/node-api'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { type Argument, isInteger } from './arguments.ts'
import { rowsOf, typeNameOf } from './duckdb-values.ts'
import {
  type Bounds,
  type Driver,
  RowCollector,
  type Session,
  SqlFailure,
  type Statement,
  type StatementResult,
} from './session.ts'

export const EMBEDDED_SESSIONS = 2

/** The order matters: what comes behind `enable_external_access` may no longer name files. */
const LOCKED = {
  temp_directory: '',
  memory_limit: '1GB',
  threads: '2',
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
  enable_external_access: 'false',
  lock_configuration: 'true',
}

/** Null: no tables; statements then only compute. */
export function duckdbDriver(path: string | null): Driver {
  let opening: Promise<DuckDBInstance> | null = null
  const instance = (): Promise<DuckDBInstance> => {
    opening ??=
      path === null
        ? DuckDBInstance.create(':memory:', LOCKED)
        : DuckDBInstance.create(path, { access_mode: 'READ_ONLY', ...LOCKED })
    return opening
  }
  const forget = (): void => {
    opening = null
  }
  return {
    program: 'DuckDB',
    async open() {
      try {
        return new DuckdbSession(await (await instance()).connect(), forget)
      } catch (error) {
        forget()
        throw new SqlFailure('down', messageOf(error))
      }
    },
    close() {
      // One that could not be opened needs no closing, and has been told of.
      opening?.then((opened) => opened.closeSync()).catch(forget)
    },
  }
}

/** Refuses, when an endpoint is opened, what is no question: nothing can be written here. */
export async function checkEmbedded(
  session: Session,
  statements: readonly Statement[],
): Promise<void> {
  if (!(session instanceof DuckdbSession)) return
  for (const [index, statement] of statements.entries()) {
    const reason = await session.refusal(statement)
    if (reason !== null) {
      throw new AppError('ERR_CODE_REFUSED', `statement ${index + 1} of the query: ${reason}`)
    }
  }
}

class DuckdbSession implements Session {
  readonly #connection: DuckDBConnection
  readonly #prepared = new Map<string, DuckDBPreparedStatement>()
  readonly #forget: () => void
  #isLost = false
  #isRunning = false

  constructor(connection: DuckDBConnection, forget: () => void) {
    this.#connection = connection
    this.#forget = forget
  }

  get isLost(): boolean {
    return this.#isLost
  }

  /** It is in this process: it can only be lost by destroy(). */
  onLost(): void {}

  destroy(): void {
    if (this.#isLost) return
    this.#isLost = true
    // A connection that is closed while a query runs takes the process with it.
    if (this.#isRunning) this.#connection.interrupt()
    else this.#close()
  }

  #close(): void {
    for (const statement of this.#prepared.values()) statement.destroySync()
    this.#prepared.clear()
    this.#connection.disconnectSync()
  }

  async refusal({ text }: Statement): Promise<string | null> {
    try {
      const { statementType } = await this.#prepare(text)
      const isQuestion =
        statementType === StatementType.SELECT || statementType === StatementType.EXPLAIN
      return isQuestion ? null : 'only SELECT is possible in the embedded database'
    } catch (error) {
      return shortMessage(error)
    }
  }

  async run(
    { text }: Statement,
    values: readonly Argument[],
    bounds: Bounds,
  ): Promise<StatementResult> {
    this.#isRunning = true
    try {
      const statement = await this.#prepare(text)
      for (const [at, value] of values.entries()) bind(statement, at + 1, value)
      return await collect(await statement.stream(), bounds)
    } catch (error) {
      throw this.#failureOf(error)
    } finally {
      this.#isRunning = false
      if (this.#isLost) this.#close()
    }
  }

  async #prepare(text: string): Promise<DuckDBPreparedStatement> {
    const known = this.#prepared.get(text)
    if (known !== undefined) return known
    const prepared = await this.#connection.prepare(text)
    this.#prepared.set(text, prepared)
    return prepared
  }

  #failureOf(error: unknown): SqlFailure {
    if (error instanceof SqlFailure) return error
    const message = shortMessage(error)
    if (/^INTERRUPT/.test(message)) return new SqlFailure('stopped', message)
    if (/^FATAL|database has been invalidated/.test(message)) {
      this.#isLost = true
      this.#forget()
      return new SqlFailure('down', message)
    }
    const isValue = /^(?:Conversion|Out of Range) Error/.test(message)
    return new SqlFailure(isValue ? 'value' : 'refused', message)
  }

  /** Nothing is ever written, so each statement is as good as a transaction. */
  async begin(): Promise<void> {}
  async commit(): Promise<void> {}
  async rollback(): Promise<void> {}

  async cancel(): Promise<void> {
    this.#connection.interrupt()
  }
}

async function collect(result: DuckDBResult, bounds: Bounds): Promise<StatementResult> {
  const collector = new RowCollector(bounds)
  const types = result.columnTypes()
  const names = result.columnNames()
  for (;;) {
    const chunk = await result.fetchChunk()
    if (chunk === null || chunk.rowCount === 0) break
    for (const row of rowsOf(chunk, types)) {
      if (!collector.add(row)) throw collector.tooMany()
    }
  }
  const columns = types.map((type, at) => ({ name: names[at] ?? '', type: typeNameOf(type) }))
  return { columns, rows: collector.rows, changedRows: 0 }
}

/** Exact numbers go as texts, which DuckDB reads by the type that the statement wants. */
const READ_FROM_TEXT: readonly number[] = [
  DuckDBTypeId.VARCHAR,
  DuckDBTypeId.DECIMAL,
  DuckDBTypeId.HUGEINT,
  DuckDBTypeId.UBIGINT,
]

/**
 * A number that is compared with a number goes as one: from a text, 1.5 would be rounded to the
 * integer that a column holds. Where the statement leaves the type open, the value decides it.
 */
function bind(statement: DuckDBPreparedStatement, index: number, argument: Argument): void {
  const { type, text, json } = argument
  const wanted = statement.parameterTypeId(index)
  const kind = type ?? json
  const isNumber = kind === 'integer' || kind === 'number'
  if (text === null) statement.bindNull(index)
  else if (isNumber && !READ_FROM_TEXT.includes(wanted)) bindNumber(statement, index, text)
  else if (wanted !== DuckDBTypeId.INVALID) statement.bindVarchar(index, text)
  else if (kind === 'boolean') statement.bindBoolean(index, text === 'true')
  else if (kind === 'date') statement.bindDate(index, dateOf(text))
  else if (kind === 'timestamp') statement.bindTimestamp(index, timestampOf(text))
  else statement.bindVarchar(index, text)
}

function bindNumber(statement: DuckDBPreparedStatement, index: number, text: string): void {
  if (isInteger(text)) statement.bindBigInt(index, BigInt(text.replace(/^\+/, '')))
  else statement.bindDouble(index, Number(text))
}

function dateOf(text: string): DuckDBDateValue {
  return new DuckDBDateValue(Date.parse(`${text}T00:00:00Z`) / 86_400_000)
}

function timestampOf(text: string): DuckDBTimestampValue {
  const [whole = '', fraction = ''] = text.split('.')
  const ms = Date.parse(`${whole.replace(' ', 'T')}Z`)
  return new DuckDBTimestampValue(BigInt(ms) * 1_000n + BigInt(fraction.padEnd(6, '0')))
}

/** Without the picture of the statement that DuckDB draws below its messages. */
function shortMessage(error: unknown): string {
  return messageOf(error)
    .replace(/\n\nLINE [\s\S]*$/, '')
    .replace(/\s+/g, ' ')
    .trim()
}

/** For files of a bundle that are read before anything is locked. */
export function openDatabase(
  path: string,
  options: Readonly<Record<string, string>>,
): Promise<DuckDBInstance> {
  return DuckDBInstance.create(path, { ...options })
}
