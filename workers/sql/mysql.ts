/**
 * MySQL and MariaDB. Statements are always prepared by the server (`execute`): the library's own
 * way of putting values into the text is never used.
 */

import mysql from 'mysql2'
import { nowMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import type { Argument } from './arguments.ts'
import { type Field, readTexts, typeName } from './mysql-types.ts'
import {
  type Bounds,
  type Driver,
  RowCollector,
  type Session,
  SqlFailure,
  type Statement,
  type StatementResult,
} from './session.ts'

/** The server's own limit is set in steps of this, so that most requests need not set it anew. */
const TIMEOUT_STEP_MS = 250

export function mysqlDriver(settings: ConnectionSettings): Driver {
  let program = 'MySQL'
  return {
    get program() {
      return program
    },
    async open() {
      const connection = newConnection(settings)
      const session = new MysqlSession(connection, settings)
      let late: NodeJS.Timeout | undefined
      try {
        await connected(connection)
        // The library's limit ends with its greeting, and what is asked then may wait for ever.
        late = setTimeout(() => session.destroy(), settings.connectMs)
        const version = await session.setUp()
        session.isMariaDb = /mariadb/i.test(version)
        program = `${session.isMariaDb ? 'MariaDB' : 'MySQL'} ${version.split('-')[0] ?? ''}`
        return session
      } catch (error) {
        session.destroy()
        throw failureOf(error, true)
      } finally {
        clearTimeout(late)
      }
    },
  }
}

function newConnection(settings: ConnectionSettings): mysql.Connection {
  const { host, port, database, user, password, connectMs, tls, ca } = settings
  const isVerified = tls === 'verify'
  const checks = { rejectUnauthorized: isVerified, verifyIdentity: isVerified }
  return mysql.createConnection({
    host,
    port,
    database,
    user,
    password: password ?? '',
    connectTimeout: connectMs,
    enableKeepAlive: true,
    charset: 'utf8mb4',
    supportBigNumbers: true,
    bigNumberStrings: true,
    dateStrings: true,
    jsonStrings: true,
    timezone: 'Z',
    multipleStatements: false,
    // Else a server may ask for files of this machine.
    flags: ['-LOCAL_FILES'],
    ...(tls === 'off' ? {} : { ssl: ca === null ? checks : { ...checks, ca } }),
  })
}

function connected(connection: mysql.Connection): Promise<void> {
  return new Promise((resolve, reject) => {
    connection.once('connect', () => resolve())
    connection.once('error', reject)
  })
}

class MysqlSession implements Session {
  isMariaDb = false
  readonly #connection: mysql.Connection
  readonly #settings: ConnectionSettings
  #isLost = false
  #listener: (() => void) | null = null
  #timeoutMs = 0
  /** The library tells a lost connection to the connection, not to what runs on it. */
  #failRunning: (error: Error) => void = () => {}

  constructor(connection: mysql.Connection, settings: ConnectionSettings) {
    this.#connection = connection
    this.#settings = settings
    connection.on('error', (error) => this.#lose(messageOf(error)))
    connection.on('end', () => this.#lose('the connection was closed'))
  }

  get isLost(): boolean {
    return this.#isLost
  }

  onLost(listener: () => void): void {
    this.#listener = listener
  }

  #lose(reason: string): void {
    if (this.#isLost) return
    this.#isLost = true
    this.#failRunning(new SqlFailure('down', reason))
    this.#listener?.()
  }

  destroy(): void {
    this.#lose('the connection was cut')
    destroy(this.#connection)
  }

  /** Returns the server's version. */
  async setUp(): Promise<string> {
    await this.#command("SET time_zone = '+00:00'")
    const rows = await this.#command('SELECT VERSION() AS version')
    return String(Object.values(Object(rows)[0] ?? {})[0])
  }

  async run(
    statement: Statement,
    values: readonly Argument[],
    bounds: Bounds,
  ): Promise<StatementResult> {
    try {
      await this.#limitTime(bounds.endMs)
      if (this.#isLost) throw new SqlFailure('down', 'the connection was lost')
      return await this.#execute(statement, values, bounds)
    } catch (error) {
      const failure = failureOf(error, false)
      if (failure.kind === 'down') this.destroy()
      throw failure
    }
  }

  #execute(
    { text }: Statement,
    values: readonly Argument[],
    bounds: Bounds,
  ): Promise<StatementResult> {
    const { promise, resolve, reject } = promiseParts<StatementResult>()
    let fields: readonly Field[] | null = null
    let collector = new RowCollector(bounds)
    let changedRows = 0
    this.#failRunning = reject
    const query = this.#connection.execute({
      sql: text,
      values: values.map(bound),
      rowsAsArray: true,
    })
    query.on('error', reject)
    query.on('fields', (found?: readonly Field[]) => {
      // Procedures may answer with several sets of rows; a last one without any is their end.
      if (found === undefined) return
      fields = found
      collector = new RowCollector(bounds)
    })
    query.on('result', (result: unknown) => {
      if (!Array.isArray(result)) {
        changedRows += Number(Object(result).affectedRows ?? 0)
      } else if (!collector.isOver && !collector.add(readTexts(result, fields ?? []))) {
        reject(collector.tooMany())
        // The server would go on sending; it stops when nobody reads any more.
        this.destroy()
      }
    })
    query.on('end', () => {
      const columns = fields?.map((field) => ({ name: field.name, type: typeName(field) })) ?? null
      resolve({ columns, rows: collector.rows, changedRows })
    })
    return promise
  }

  /** MySQL's own limit is for SELECT only; the deadline's cancellation is for all statements. */
  async #limitTime(endMs: number): Promise<void> {
    const leftMs = Math.max(1, endMs - nowMs())
    const timeoutMs = Math.ceil(leftMs / TIMEOUT_STEP_MS) * TIMEOUT_STEP_MS
    if (timeoutMs === this.#timeoutMs) return
    const limit = this.isMariaDb
      ? `max_statement_time = ${timeoutMs / 1_000}`
      : `max_execution_time = ${timeoutMs}`
    await this.#command(`SET SESSION ${limit}`)
    this.#timeoutMs = timeoutMs
  }

  async begin(): Promise<void> {
    await this.#command('START TRANSACTION')
  }

  async commit(): Promise<void> {
    await this.#command('COMMIT')
  }

  async rollback(): Promise<void> {
    await this.#command('ROLLBACK')
  }

  /** Its rows, where it has any. */
  #command(text: string): Promise<unknown> {
    const { promise, resolve, reject } = promiseParts<unknown>()
    this.#failRunning = reject
    this.#connection.query(text, (error, rows) => {
      if (error === null) resolve(rows)
      else reject(failureOf(error, false))
    })
    return promise
  }

  async cancel(): Promise<void> {
    const { threadId } = this.#connection
    const helper = newConnection(this.#settings)
    helper.on('error', () => {})
    try {
      await connected(helper)
      await new Promise<void>((resolve, reject) => {
        helper.query(`KILL QUERY ${threadId}`, (error) => {
          if (error === null) resolve()
          else reject(error)
        })
      })
    } finally {
      destroy(helper)
    }
  }
}

/** What the library has and its types do not tell. */
interface Internals {
  readonly stream: { destroy(): void }
}

function internals(connection: object): Internals {
  return connection as Internals
}

/** The library only says farewell, which could wait for ever on a network that is gone. */
function destroy(connection: mysql.Connection): void {
  connection.destroy()
  internals(connection).stream.destroy()
}

/**
 * What has no declared type goes as a text: a number that is compared with a column of texts would
 * else make numbers of all of them, and 0 is equal to every word.
 */
function bound({ type, text, json }: Argument) {
  if (text === null) return null
  switch (type) {
    case 'integer':
      return mysql.TypedParameter.LONGLONG(BigInt(text.replace(/^\+/, '')))
    case 'number':
      return json === 'number' ? Number(text) : mysql.TypedParameter.NEWDECIMAL(text)
    case 'boolean':
      return text === 'true'
    default:
      return json === 'boolean' && type === null ? text === 'true' : text
  }
}

function promiseParts<Value>() {
  let resolve: (value: Value) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<Value>((resolved, rejected) => {
    resolve = resolved
    reject = rejected
  })
  return { promise, resolve, reject }
}

/** Numbers of errors that say that a value does not fit: what a caller has sent is at fault. */
const VALUE_ERRORS = [
  1048, 1062, 1264, 1265, 1292, 1366, 1367, 1406, 1411, 1452, 1525, 1690, 3819, 4025,
]
const LOGIN_ERRORS = [1044, 1045, 1049, 1130, 1698]
const DOWN_ERRORS = [1040, 1053, 1077, 1079, 1203, 1226, 1927]
const STOPPED_ERRORS = [1317, 1969, 3024]
const STALE_ERRORS = [1243, 1615]

function failureOf(error: unknown, isConnecting: boolean): SqlFailure {
  if (error instanceof SqlFailure) return error
  const message = messageOf(error)
  const { errno, fatal, sqlState, code } = error as {
    readonly errno?: number
    readonly fatal?: boolean
    readonly sqlState?: string
    readonly code?: string
  }
  if (isConnecting && errno !== undefined && LOGIN_ERRORS.includes(errno)) {
    return new SqlFailure('login', message)
  }
  // Only the server's own errors have a state; others are of the network or the library.
  if (isConnecting || fatal === true || errno === undefined || sqlState === undefined) {
    return new SqlFailure('down', message || String(code))
  }
  if (DOWN_ERRORS.includes(errno)) return new SqlFailure('down', message)
  if (STOPPED_ERRORS.includes(errno)) return new SqlFailure('stopped', message)
  if (STALE_ERRORS.includes(errno)) return new SqlFailure('stale', message)
  return new SqlFailure(VALUE_ERRORS.includes(errno) ? 'value' : 'refused', message)
}
