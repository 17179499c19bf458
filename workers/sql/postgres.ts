/**
 * PostgreSQL. Statements are prepared by the server, once for each session, and it binds the
 * arguments as texts whose type it takes from the statement. All values come back as texts, exact.
 */

import pg from 'pg'
import { nowMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import type { Argument } from './arguments.ts'
import { type Field, WireQuery, type WireResult } from './postgres-query.ts'
import { readTexts, typeName } from './postgres-types.ts'
import {
  type Bounds,
  type Driver,
  type Session,
  SqlFailure,
  type Statement,
  type StatementResult,
} from './session.ts'

/** Settings of a session that decide how values are written. */
const OPTIONS = [
  'DateStyle=ISO,YMD',
  'IntervalStyle=iso_8601',
  'TimeZone=UTC',
  'extra_float_digits=1',
  'bytea_output=hex',
  'standard_conforming_strings=on',
]
/** The server's own limit is set in steps of this, so that most requests need not set it anew. */
const TIMEOUT_STEP_MS = 250

export function postgresDriver(settings: ConnectionSettings): Driver {
  let program = 'PostgreSQL'
  return {
    get program() {
      return program
    },
    async open() {
      const client = newClient(settings)
      const lost = new LostSignal(client)
      let late: NodeJS.Timeout | undefined
      try {
        await client.connect()
        // The library's limit ends here, and what is asked now may wait for ever.
        late = setTimeout(() => destroy(client), settings.connectMs)
        const { rows } = await client.query<{ server_version: string }>('show server_version')
        program = `PostgreSQL ${rows[0]?.server_version.split(' ')[0] ?? ''}`.trim()
      } catch (error) {
        destroy(client)
        throw failureOf(error, true)
      } finally {
        clearTimeout(late)
      }
      return new PostgresSession(client, settings, lost)
    },
  }
}

function newClient(settings: ConnectionSettings): pg.Client {
  const { host, port, database, user, password, connectMs, tls, ca } = settings
  const checks = { rejectUnauthorized: tls === 'verify', ...(ca === null ? {} : { ca }) }
  return new pg.Client({
    host,
    port,
    database,
    user,
    // Without one the library would look for it in the environment and in files of the user.
    password: password ?? (() => ''),
    connectionTimeoutMillis: connectMs,
    keepAlive: true,
    ssl: tls === 'off' ? false : checks,
    application_name: 'switchyard',
    options: OPTIONS.map((option) => `-c ${option.replaceAll(' ', '\\ ')}`).join(' '),
  })
}

/** The library throws what nobody listens for, so there is a listener from the first moment. */
class LostSignal {
  isLost = false
  #listener: (() => void) | null = null

  constructor(client: pg.Client) {
    client.on('error', () => this.fire())
    client.on('end', () => this.fire())
  }

  listen(listener: () => void): void {
    this.#listener = listener
  }

  fire(): void {
    if (this.isLost) return
    this.isLost = true
    this.#listener?.()
  }
}

class PostgresSession implements Session {
  readonly #client: pg.Client
  readonly #settings: ConnectionSettings
  readonly #lost: LostSignal
  readonly #typeNames = new Map<number, string>()
  #timeoutMs = 0
  /** Goes up when prepared statements are no longer good, so that they are prepared anew. */
  #epoch = 0

  constructor(client: pg.Client, settings: ConnectionSettings, lost: LostSignal) {
    this.#client = client
    this.#settings = settings
    this.#lost = lost
  }

  get isLost(): boolean {
    return this.#lost.isLost
  }

  onLost(listener: () => void): void {
    this.#lost.listen(listener)
  }

  destroy(): void {
    this.#lost.fire()
    destroy(this.#client)
  }

  async run(
    statement: Statement,
    values: readonly Argument[],
    bounds: Bounds,
  ): Promise<StatementResult> {
    try {
      await this.#limitTime(bounds.endMs)
      const named = { text: statement.text, name: `${statement.name}_${this.#epoch}` }
      const texts = values.map(({ text }) => text)
      const query = new WireQuery(named, texts, bounds, readTexts)
      this.#client.query(query)
      return await this.#resultOf(await query.done)
    } catch (error) {
      const failure = failureOf(error, false)
      if (failure.kind === 'stale') this.#epoch += 1
      if (failure.kind === 'down') this.destroy()
      throw failure
    }
  }

  async #resultOf({ fields, collector, command }: WireResult): Promise<StatementResult> {
    if (collector.isOver) throw collector.tooMany()
    if (fields === null) {
      const changed = Number(/ (\d+)$/.exec(command)?.[1] ?? 0)
      return { columns: null, rows: [], changedRows: changed }
    }
    await this.#learnTypes(fields)
    const columns = fields.map(({ name, dataTypeID }) => {
      const type = typeName(dataTypeID) ?? this.#typeNames.get(dataTypeID) ?? 'unknown'
      return { name, type }
    })
    return { columns, rows: collector.rows, changedRows: 0 }
  }

  /** Types that the database was taught, such as enumerations, have names of its own. */
  async #learnTypes(fields: readonly Field[]): Promise<void> {
    const ids = fields.map(({ dataTypeID }) => dataTypeID)
    const unknown = ids.filter((id) => typeName(id) === null && !this.#typeNames.has(id))
    if (unknown.length === 0) return
    const text = 'select oid::int8 as id, pg_catalog.format_type(oid, null) as name'
    const found = await this.#client.query<{ id: string; name: string }>(
      `${text} from pg_catalog.pg_type where oid = any($1::oid[])`,
      [`{${unknown.join(',')}}`],
    )
    for (const { id, name } of found.rows) this.#typeNames.set(Number(id), name)
  }

  async #limitTime(endMs: number): Promise<void> {
    const leftMs = Math.max(1, endMs - nowMs())
    const timeoutMs = Math.ceil(leftMs / TIMEOUT_STEP_MS) * TIMEOUT_STEP_MS
    if (timeoutMs === this.#timeoutMs) return
    await this.#client.query(`set statement_timeout = ${timeoutMs}`)
    this.#timeoutMs = timeoutMs
  }

  begin(): Promise<void> {
    return this.#command('begin')
  }

  commit(): Promise<void> {
    return this.#command('commit')
  }

  rollback(): Promise<void> {
    return this.#command('rollback')
  }

  async #command(text: string): Promise<void> {
    try {
      await this.#client.query(text)
    } catch (error) {
      throw failureOf(error, false)
    }
  }

  async cancel(): Promise<void> {
    const { processID } = internals(this.#client)
    const helper = newClient(this.#settings)
    helper.on('error', () => {})
    try {
      await helper.connect()
      await helper.query('select pg_catalog.pg_cancel_backend($1)', [processID])
    } finally {
      destroy(helper)
    }
  }
}

/** What the library has and its types do not tell; `processID` is the server's for the session. */
interface Internals {
  readonly processID: number
  readonly connection: { readonly stream: { destroy(): void } }
}

function internals(client: object): Internals {
  return client as Internals
}

/** Ends the socket at once: a farewell could wait for ever on a network that is gone. */
function destroy(client: pg.Client): void {
  internals(client).connection.stream.destroy()
}

/** Data exceptions and broken constraints: a value does not fit. */
const VALUE_CODES = /^2[23]/
const DOWN_CODES = /^(?:08|57P0[1-5]|53300)/
const LOGIN_CODES = /^(?:28|3D000)/

function failureOf(error: unknown, isConnecting: boolean): SqlFailure {
  if (error instanceof SqlFailure) return error
  const message = messageOf(error)
  const { code, severity } = error as { readonly code?: string; readonly severity?: string }
  // Only the server's own errors have a severity; others are of the network or the library.
  if (severity === undefined) return new SqlFailure('down', message || String(code))
  if (code === undefined || DOWN_CODES.test(code)) return new SqlFailure('down', message)
  if (LOGIN_CODES.test(code)) return new SqlFailure(isConnecting ? 'login' : 'refused', message)
  if (isConnecting) return new SqlFailure('down', message)
  if (code === '57014') return new SqlFailure('stopped', message)
  const isStale = code === '26000' || (code === '0A000' && /cached plan/.test(message))
  if (isStale) return new SqlFailure('stale', message)
  return new SqlFailure(VALUE_CODES.test(code) ? 'value' : 'refused', message)
}
