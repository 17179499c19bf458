/**
 * The sessions of one database in one thread, handed out one request each.
 *
 * It has a circuit: when a session cannot be opened, whoever asks is told so at once, and the pool
 * alone tries again until it works. Requests never queue up behind a database that is down.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import { type Driver, type Session, SqlFailure } from './session.ts'

/** How long a circuit stays open before the pool tries again. */
const RETRY_MS = 1_000
/** Databases lock accounts after many refused logins. */
const RETRY_LOGIN_MS = 10_000
/** When the last session is gone: soon, so that health tells the truth without a request. */
const PROBE_MS = 200
const IDLE_MS = 60_000

export interface PoolOptions {
  /** `connection crm`: for health and for messages. */
  readonly subject: string
  readonly size: number
  readonly driver: Driver
  readonly report: (status: RuntimeStatus) => void
}

interface Waiter {
  readonly resolve: (session: Session) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

export class Pool {
  readonly #options: PoolOptions
  readonly #idle: { readonly session: Session; readonly sinceMs: number }[] = []
  readonly #busy = new Set<Session>()
  readonly #waiters: Waiter[] = []
  readonly #sweep: NodeJS.Timeout
  #opening = 0
  #down: string | null = null
  #retry: NodeJS.Timeout | null = null
  #isClosed = false
  #told = ''

  constructor(options: PoolOptions) {
    this.#options = options
    this.#sweep = setInterval(() => this.#closeIdle(), IDLE_MS / 2)
    this.#sweep.unref()
    // So that health tells the truth before the first request comes.
    void this.#open()
  }

  get subject(): string {
    return this.#options.subject
  }

  get program(): string {
    return this.#options.driver.program
  }

  /** Rejects with an AppError: ERR_DATABASE_DOWN at once, ERR_DEADLINE when none came free. */
  acquire(endMs: number): Promise<Session> {
    const idle = this.#idle.pop()
    if (idle !== undefined) return Promise.resolve(this.#lend(idle.session))
    if (this.#isClosed || this.#down !== null) return Promise.reject(this.#downError())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#giveUp(waiter), Math.max(0, endMs - nowMs()))
      const waiter = { resolve, reject, timer }
      this.#waiters.push(waiter)
      this.#openForWaiters()
    })
  }

  /** Every session that was acquired comes back, once. */
  release(session: Session): void {
    this.#busy.delete(session)
    if (this.#isClosed || session.isLost) session.destroy()
    else this.#offer(session)
    this.#openForWaiters()
    this.#probeIfEmpty()
    this.#report()
  }

  close(): void {
    this.#isClosed = true
    clearInterval(this.#sweep)
    if (this.#retry !== null) clearTimeout(this.#retry)
    for (const { session } of this.#idle.splice(0)) session.destroy()
    for (const session of this.#busy) session.destroy()
    this.#failWaiters()
    this.#options.driver.close?.()
  }

  #lend(session: Session): Session {
    this.#busy.add(session)
    this.#report()
    return session
  }

  #offer(session: Session): void {
    const waiter = this.#waiters.shift()
    if (waiter === undefined) {
      this.#idle.push({ session, sinceMs: nowMs() })
      return
    }
    clearTimeout(waiter.timer)
    waiter.resolve(this.#lend(session))
  }

  #giveUp(waiter: Waiter): void {
    const at = this.#waiters.indexOf(waiter)
    if (at < 0) return
    this.#waiters.splice(at, 1)
    const { subject } = this.#options
    waiter.reject(new AppError('ERR_DEADLINE', `no session of ${subject} came free in time`))
  }

  #openForWaiters(): void {
    while (
      this.#down === null &&
      !this.#isClosed &&
      this.#opening < this.#waiters.length &&
      this.#size() < this.#options.size
    ) {
      void this.#open()
    }
  }

  #size(): number {
    return this.#opening + this.#idle.length + this.#busy.size
  }

  async #open(): Promise<void> {
    this.#opening += 1
    try {
      const session = await this.#options.driver.open()
      this.#opening -= 1
      this.#opened(session)
    } catch (error) {
      this.#opening -= 1
      this.#failed(error)
    }
    this.#report()
  }

  #opened(session: Session): void {
    if (this.#isClosed) {
      session.destroy()
      return
    }
    this.#down = null
    session.onLost(() => this.#lost(session))
    this.#offer(session)
    this.#openForWaiters()
  }

  /** A session that is lost while a request has it comes back by release(). */
  #lost(session: Session): void {
    const at = this.#idle.findIndex((idle) => idle.session === session)
    if (at >= 0) this.#idle.splice(at, 1)
    this.#probeIfEmpty()
  }

  #probeIfEmpty(): void {
    if (this.#isClosed || this.#size() > 0) return
    this.#tryAgainAfter(PROBE_MS)
  }

  #failed(error: unknown): void {
    if (this.#isClosed) return
    this.#down = messageOf(error)
    this.#failWaiters()
    const isLogin = error instanceof SqlFailure && error.kind === 'login'
    this.#tryAgainAfter(isLogin ? RETRY_LOGIN_MS : RETRY_MS)
  }

  #tryAgainAfter(waitMs: number): void {
    if (this.#retry !== null) return
    this.#retry = setTimeout(() => {
      this.#retry = null
      // Also while some sessions are held: until another can be opened again, nobody else gets one.
      if (!this.#isClosed && (this.#down !== null || this.#size() === 0)) void this.#open()
    }, waitMs)
    this.#retry.unref()
  }

  #failWaiters(): void {
    for (const waiter of this.#waiters.splice(0)) {
      clearTimeout(waiter.timer)
      waiter.reject(this.#downError())
    }
  }

  /** Who calls the service is not told where the database is and why it is down; health is. */
  #downError(): AppError {
    return new AppError('ERR_DATABASE_DOWN', this.#options.subject)
  }

  #closeIdle(): void {
    const oldestMs = nowMs() - IDLE_MS
    // The one that was used last is kept, so that the next request need not wait for another.
    while (this.#idle.length > 1 && (this.#idle[0]?.sinceMs ?? oldestMs) < oldestMs) {
      this.#idle.shift()?.session.destroy()
    }
  }

  /** Only what has changed is worth a message: requests come and go by the thousand. */
  #report(): void {
    if (this.#isClosed) return
    const { subject, size, driver, report } = this.#options
    const up = this.#down === null
    const detail = this.#down ?? driver.program
    const busy = this.#busy.size
    const state = `${up} ${detail} ${busy >= size}`
    if (state === this.#told) return
    this.#told = state
    report({ subject, up, detail, busy, size })
  }
}
