/**
 * One request's statements on one session, ended at the deadline whatever the database does: first
 * its own limit, then a cancellation from another connection, then the connection is cut.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import type { Argument } from './arguments.ts'
import type { Pool } from './pool.ts'
import {
  type Bounds,
  type Session,
  SqlFailure,
  type Statement,
  type StatementResult,
} from './session.ts'

export interface Step {
  readonly statement: Statement
  readonly values: readonly Argument[]
}

export interface RunOptions {
  readonly steps: readonly Step[]
  readonly bounds: Bounds
  /** All in one transaction. */
  readonly commit: boolean
  /** The statements may leave something behind in the session. */
  readonly isStateful: boolean
}

/** What may be open at most beyond the deadline. */
const CANCEL_MS = 500

/** The last result with rows; else how many rows all statements have changed. */
export async function runSteps(pool: Pool, options: RunOptions): Promise<StatementResult> {
  const { bounds } = options
  const session = await pool.acquire(bounds.endMs)
  const guard = new DeadlineGuard(session, bounds.endMs)
  try {
    return await withRetry(session, options)
  } catch (error) {
    throw guard.hasFired ? stopped() : error
  } finally {
    guard.end()
    if (options.isStateful) session.destroy()
    pool.release(session)
  }
}

/** A statement that was prepared before a table changed is prepared anew: it has not run. */
async function withRetry(session: Session, options: RunOptions): Promise<StatementResult> {
  const progress = { done: 0 }
  try {
    return await inTransaction(session, options, progress)
  } catch (error) {
    const isStale = error instanceof SqlFailure && error.kind === 'stale'
    if (!isStale || (progress.done > 0 && !options.commit)) throw error
    return await inTransaction(session, options, { done: 0 })
  }
}

interface Progress {
  done: number
}

async function inTransaction(
  session: Session,
  options: RunOptions,
  progress: Progress,
): Promise<StatementResult> {
  if (!options.commit) return runAll(session, options, progress)
  try {
    await session.begin()
    const result = await runAll(session, options, progress)
    await session.commit()
    return result
  } catch (error) {
    // A session that cannot say so is cut, which the server takes as a roll-back too.
    if (!session.isLost) await session.rollback().catch(() => session.destroy())
    throw error
  }
}

async function runAll(
  session: Session,
  { steps, bounds }: RunOptions,
  progress: Progress,
): Promise<StatementResult> {
  let found: StatementResult | null = null
  let changedRows = 0
  for (const { statement, values } of steps) {
    // Also when a statement ended just in time: the next must not begin.
    if (nowMs() >= bounds.endMs) throw stopped()
    const result = await session.run(statement, values, bounds)
    progress.done += 1
    changedRows += result.changedRows
    if (result.columns !== null) found = result
  }
  return found ?? { columns: null, rows: [], changedRows }
}

function stopped(): AppError {
  return new AppError('ERR_DEADLINE', 'the query was stopped')
}

/** The server's own limit is a little above the deadline, and some servers have none. */
class DeadlineGuard {
  hasFired = false
  readonly #session: Session
  #timer: NodeJS.Timeout

  constructor(session: Session, endMs: number) {
    this.#session = session
    this.#timer = setTimeout(() => this.#fire(), Math.max(0, endMs - nowMs()))
  }

  #fire(): void {
    this.hasFired = true
    this.#timer = setTimeout(() => this.#session.destroy(), CANCEL_MS)
    // Where nobody can be told, the connection is cut all the same.
    this.#session.cancel().catch(() => {})
  }

  /** A cancellation that comes late must not hit the next request of the session. */
  end(): void {
    clearTimeout(this.#timer)
    if (this.hasFired) this.#session.destroy()
  }
}
