/**
 * SQL_QUERY: the body is the map of arguments, the answer what the last statement with rows has
 * found. Without `commit` each statement is a transaction of its own; with it all are one.
 */

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { nowMs } from '../../core/base/clock.ts'
import { AppError, type ErrorCode, messageOf } from '../../core/base/errors.ts'
import type { ColumnType, SqlEndpointPlan, SqlPlan } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { envelopeTail, milliseconds, timingHead } from '../predictions/envelope.ts'
import type { BatchJob, RowFailure, WorkerOutcome } from '../protocol.ts'
import type { OpenRuntime, Runtime, RuntimeContext } from '../runtime.ts'
import { type Argument, declaredTypes, readArguments } from './arguments.ts'
import { reportTo, usableConnection } from './connections.ts'
import { connectionSource, leasePool, type PoolLease, type PoolSource } from './pools.ts'
import { runSteps } from './run.ts'
import type { Dialect } from './scan.ts'
import { SqlFailure, type Statement, type StatementResult } from './session.ts'
import { changesSession, nativeText } from './statements.ts'

interface OpenStatement extends Statement {
  /** Names, in the order of the placeholders. */
  readonly parameters: readonly string[]
}

const OPEN_MS = 30_000

/**
 * Throws ERR_CONNECTION_UNUSABLE, or ERR_CODE_REFUSED for statements that the embedded database
 * does not take. A database that is down is no reason: it may be back for the first request.
 */
export const openSql: OpenRuntime<SqlEndpointPlan> = async (plan, context) => {
  const { source, dialect } = await sourceOf(plan.sql, context)
  const statements = plan.sql.statements.map(({ text, parameters }) => ({
    text: nativeText(text, dialect),
    name: `s${createHash('sha256').update(text).digest('hex').slice(0, 24)}`,
    parameters: parameters.map(({ name }) => name),
  }))
  const lease = leasePool(source, reportTo(context))
  try {
    if (dialect === 'duckdb') await checkStatements(lease, statements)
    const isStateful = plan.sql.statements.some(({ text }) => changesSession(text, dialect))
    return new SqlRuntime({ plan, context, lease, statements, isStateful })
  } catch (error) {
    lease.release()
    throw error
  }
}

async function sourceOf(
  { connection, duckdb }: SqlPlan,
  { settings, serviceId, directory }: RuntimeContext,
): Promise<{ readonly source: PoolSource; readonly dialect: Dialect }> {
  if (connection === null) {
    // Loaded only where it is asked: its library takes tens of megabytes.
    const { duckdbDriver, EMBEDDED_SESSIONS } = await import('./duckdb.ts')
    const path = duckdb === null ? null : join(directory, duckdb)
    const source = {
      key: `duckdb ${path ?? directory}`,
      subject: 'the embedded database',
      size: EMBEDDED_SESSIONS,
      makeDriver: () => duckdbDriver(path),
    }
    return { source, dialect: 'duckdb' }
  }
  const found = usableConnection(settings.connections, connection, serviceId)
  return { source: connectionSource(found), dialect: found.kind }
}

async function checkStatements(
  { pool }: PoolLease,
  statements: readonly Statement[],
): Promise<void> {
  const { checkEmbedded } = await import('./duckdb.ts')
  const session = await pool.acquire(nowMs() + OPEN_MS)
  try {
    await checkEmbedded(session, statements)
  } finally {
    pool.release(session)
  }
}

interface SqlRuntimeOptions {
  readonly plan: SqlEndpointPlan
  readonly context: RuntimeContext
  readonly lease: PoolLease
  readonly statements: readonly OpenStatement[]
  readonly isStateful: boolean
}

class SqlRuntime implements Runtime {
  readonly #options: SqlRuntimeOptions
  readonly #declared: ReadonlyMap<string, ColumnType | null>
  readonly #tail: string

  constructor(options: SqlRuntimeOptions) {
    this.#options = options
    this.#declared = declaredTypes(options.plan.sql.statements)
    this.#tail = envelopeTail(options.plan, options.context)
  }

  get program(): string {
    return this.#options.lease.pool.program
  }

  async release(): Promise<void> {
    this.#options.lease.release()
  }

  async run(job: BatchJob): Promise<WorkerOutcome> {
    const startMs = nowMs()
    const indexes = Array.from(job.ends.keys())
    const answers = await Promise.all(indexes.map((index) => this.#answer(job, index)))
    const failures = answers.filter((answer) => typeof answer !== 'string')
    return {
      kind: 'answers',
      bodies: answers.map((answer) => (typeof answer === 'string' ? answer : '')),
      failures: failures.length > 0 ? failures : null,
      executeUs: Math.round((nowMs() - startMs) * 1_000),
    }
  }

  async #answer(job: BatchJob, index: number): Promise<string | RowFailure> {
    const startMs = nowMs()
    const start = index === 0 ? 0 : (job.ends[index - 1] ?? 0)
    const read = readArguments(job.bytes.subarray(start, job.ends[index]), this.#declared)
    if (read.kind === 'refused') return { index, code: read.code, detail: read.reason }
    const waitedMs = (job.waitUs[index] ?? 0) / 1_000
    const endMs = startMs + this.#options.plan.timeoutMs - waitedMs
    try {
      const result = await this.#query(read.values, endMs)
      const times = `${timingHead(job, index)},"execution":${milliseconds(nowMs() - startMs)}`
      return `${encode(result)}${times}${this.#tail}`
    } catch (error) {
      return { index, ...this.#failureOf(error) }
    }
  }

  #query(values: ReadonlyMap<string, Argument>, endMs: number): Promise<StatementResult> {
    const { plan, lease, statements, isStateful } = this.#options
    const steps = statements.map((statement) => ({
      statement,
      values: statement.parameters.flatMap((name) => values.get(name) ?? []),
    }))
    const { maxRows, commit } = plan.sql
    const bounds = { endMs, rowsMax: maxRows, bytesMax: LIMITS.childAnswerBytesMax }
    return runSteps(lease.pool, { steps, bounds, commit, isStateful })
  }

  #failureOf(error: unknown): { readonly code: ErrorCode; readonly detail: string } {
    if (error instanceof AppError) return { code: error.code, detail: error.detail ?? '' }
    const detail = messageOf(error).slice(0, 500)
    if (!(error instanceof SqlFailure)) return { code: 'ERR_QUERY_FAILED', detail }
    const { plan, context } = this.#options
    switch (error.kind) {
      case 'down':
      case 'login':
        context.log('warn', { endpointId: plan.id, reason: detail }, 'a database was lost')
        return { code: 'ERR_DATABASE_DOWN', detail: 'the connection was lost' }
      case 'stopped':
        return { code: 'ERR_DEADLINE', detail: 'the query was stopped' }
      case 'value':
        // Without parameters no caller can be at fault.
        if (this.#declared.size > 0) return { code: 'ERR_ARGUMENT_INVALID', detail }
    }
    return { code: 'ERR_QUERY_FAILED', detail }
  }
}

/** Without the closing brace: the envelope goes on. */
function encode({ columns, rows, changedRows }: StatementResult): string {
  if (columns === null) return `{"updatedRows":${changedRows}`
  return `{"columns":${JSON.stringify(columns)},"rows":${JSON.stringify(rows)}`
}
