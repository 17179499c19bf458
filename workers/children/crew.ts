/**
 * The children of one endpoint: so many that run calls, and one that is ready to take the place of
 * one that is lost. What they speak is the business of the kind that starts them.
 *
 * A call has its deadline whatever the code in the child does: it is asked to end, then its process
 * is killed. Children that do not start are tried again ever more slowly.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import type { RuntimeStatus } from '../../core/children/spec.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { RuntimeLog } from '../runtime.ts'
import type { ChildHost } from './child-host.ts'
import { bounded, type Dialect, Member } from './member.ts'

const BACK_OFF_MS = 100
const BACK_OFF_MS_MAX = 10_000
/** So many failed starts in a row, and calls are refused instead of waiting. */
const FAILURES_MAX = 5
/** A child that ends by itself sooner than this after its start has failed to start. */
const SETTLED_MS = 1_000
const REPORT_EVERY_MS = 1_000

export interface CrewOptions<Call, Reply> {
  /** For health: `endpoint score`. */
  readonly subject: string
  /** Calls at once. */
  readonly size: number
  /** Ready to take over. */
  readonly spares: number
  readonly host: ChildHost
  readonly dialect: Dialect<Call, Reply>
  readonly log: RuntimeLog
  readonly report: (status: RuntimeStatus) => void
  /** Longest start; LIMITS.childStartMs unless told otherwise. */
  readonly startMs?: number
}

export interface CallOptions {
  /** What is left of the call's time, from now on. */
  readonly deadlineMs: number
}

interface Waiter<Call, Reply> {
  readonly take: (member: Member<Call, Reply>) => void
  readonly refuse: (error: AppError) => void
}

export class Crew<Call, Reply> {
  readonly #options: CrewOptions<Call, Reply>
  readonly #total: number
  readonly #members = new Set<Member<Call, Reply>>()
  /** The last that came back is the next to go: what it needs is still in the caches. */
  readonly #free: Member<Call, Reply>[] = []
  readonly #waiters: Waiter<Call, Reply>[] = []
  #busy = 0
  readonly #starts = new Set<Promise<void>>()
  readonly #abort = new AbortController()
  /** Failed starts in a row. */
  #failures = 0
  #reason = ''
  #retry: NodeJS.Timeout | null = null
  #reporting: NodeJS.Timeout | null = null
  #released: Promise<void> | null = null

  private constructor(options: CrewOptions<Call, Reply>) {
    this.#options = options
    this.#total = options.size + options.spares
  }

  /** Settles when `size` children are ready; rejects with why the first that failed did. */
  static async start<Call, Reply>(options: CrewOptions<Call, Reply>): Promise<Crew<Call, Reply>> {
    const crew = new Crew(options)
    try {
      await Promise.all(Array.from({ length: options.size }, () => crew.#add()))
    } catch (error) {
      await crew.release()
      throw error
    }
    // Only now, so that it does not slow down those that are waited for.
    crew.#fill()
    return crew
  }

  /** What the children are, as the first that is ready says: `Python 3.11.2`. */
  get program(): string {
    for (const member of this.#members) return member.program
    return ''
  }

  /**
   * Rejects with an AppError: ERR_DEADLINE, ERR_CHILD_LOST, or whatever the dialect makes of an
   * answer that is none; in all but the first case the child is replaced.
   */
  async run(call: Call, { deadlineMs }: CallOptions): Promise<Reply> {
    if (this.#released !== null) throw stopped()
    const until = nowMs() + deadlineMs
    const member = this.#busy < this.#options.size ? this.#free.pop() : undefined
    if (member !== undefined) {
      this.#busy += 1
      return this.#runOn(member, call, deadlineMs)
    }
    const waited = await this.#wait(deadlineMs)
    return this.#runOn(waited, call, until - nowMs())
  }

  status(): RuntimeStatus {
    const up = this.#members.size > 0
    return {
      subject: this.#options.subject,
      up,
      detail: up ? this.program : this.#reason,
      busy: this.#busy,
      size: this.#options.size,
    }
  }

  /** Kills all; settles when they are gone. */
  release(): Promise<void> {
    this.#released ??= this.#release()
    return this.#released
  }

  async #release(): Promise<void> {
    if (this.#retry !== null) clearTimeout(this.#retry)
    if (this.#reporting !== null) clearTimeout(this.#reporting)
    this.#refuseAll()
    this.#abort.abort()
    const members = [...this.#members]
    for (const member of members) member.kill()
    await Promise.all(members.map((member) => member.exited))
    await Promise.allSettled(this.#starts)
  }

  async #runOn(member: Member<Call, Reply>, call: Call, deadlineMs: number): Promise<Reply> {
    this.#reportSoon()
    try {
      return await member.run(call, deadlineMs)
    } finally {
      this.#busy -= 1
      this.#reportSoon()
      if (member.isLost) this.#lose(member)
      else this.#free.push(member)
      this.#next()
    }
  }

  /** The oldest waiting call gets a child, if one is free. */
  #next(): void {
    if (this.#waiters.length === 0 || this.#busy >= this.#options.size) return
    const member = this.#free.pop()
    if (member === undefined) return
    this.#busy += 1
    this.#waiters.shift()?.take(member)
  }

  #wait(deadlineMs: number): Promise<Member<Call, Reply>> {
    if (this.#isDown()) return Promise.reject(this.#down())
    return new Promise((resolve, reject) => {
      const forget = (): void => {
        clearTimeout(timer)
        const index = this.#waiters.indexOf(waiter)
        if (index >= 0) this.#waiters.splice(index, 1)
      }
      const waiter: Waiter<Call, Reply> = {
        take: (member) => {
          clearTimeout(timer)
          resolve(member)
        },
        refuse: (error) => {
          forget()
          reject(error)
        },
      }
      const timer = setTimeout(
        () => waiter.refuse(new AppError('ERR_DEADLINE')),
        bounded(deadlineMs),
      )
      this.#waiters.push(waiter)
    })
  }

  #isDown(): boolean {
    return this.#members.size === 0 && this.#failures >= FAILURES_MAX
  }

  #down(): AppError {
    return new AppError('ERR_CHILD_LOST', `no process can be started: ${this.#reason}`)
  }

  #refuseAll(): void {
    const error = this.#released === null ? this.#down() : stopped()
    for (const waiter of [...this.#waiters]) waiter.refuse(error)
  }

  /** One more child; rejects with why there is none. */
  #add(): Promise<void> {
    const start = this.#start()
    this.#starts.add(start)
    return start.finally(() => this.#starts.delete(start))
  }

  async #start(): Promise<void> {
    const { dialect, host, log, startMs = LIMITS.childStartMs } = this.#options
    const { signal } = this.#abort
    const member = await Member.start({ dialect, host, log, startMs, aborted: signal })
    if (this.#released !== null) {
      member.kill()
      await member.exited
      throw stopped()
    }
    this.#members.add(member)
    this.#free.unshift(member)
    this.#watch(member)
    this.#report()
    this.#next()
  }

  #watch(member: Member<Call, Reply>): void {
    const start = nowMs()
    void member.lost.then((how) => {
      if (this.#released !== null || member.isBusy) return
      // Nobody asked anything of it, so it is the start that was worth nothing.
      if (nowMs() - start < SETTLED_MS) this.#failed(how)
      this.#lose(member)
    })
    setTimeout(() => {
      if (!member.isLost) this.#failures = 0
    }, SETTLED_MS).unref()
  }

  #lose(member: Member<Call, Reply>): void {
    if (!this.#members.delete(member)) return
    const index = this.#free.indexOf(member)
    if (index >= 0) this.#free.splice(index, 1)
    if (this.#released !== null) return
    void member.exited.then(() => this.#tellLost(member.farewell()))
    this.#report()
    this.#fill()
  }

  #tellLost(how: string): void {
    this.#options.log('warn', { endpoint: this.#options.subject }, how)
    if (this.#members.size === 0 && this.#failures === 0) this.#reason = how
  }

  /** Starts what is missing: at once after a loss, one by one and later after failed starts. */
  #fill(): void {
    if (this.#released !== null || this.#retry !== null) return
    const missing = this.#total - this.#members.size - this.#starts.size
    if (this.#failures === 0) for (let i = 0; i < missing; i++) this.#tryAdd()
    else if (missing > 0 && this.#starts.size === 0) this.#later()
  }

  #later(): void {
    const delayMs = Math.min(BACK_OFF_MS * 2 ** (this.#failures - 1), BACK_OFF_MS_MAX)
    this.#retry = setTimeout(() => {
      this.#retry = null
      this.#tryAdd()
    }, delayMs)
  }

  #tryAdd(): void {
    this.#add().then(
      () => this.#fill(),
      (error: unknown) => {
        if (this.#released !== null) return
        this.#failed(messageOf(error))
        this.#fill()
      },
    )
  }

  #failed(reason: string): void {
    this.#failures += 1
    this.#reason = reason
    const fields = { endpoint: this.#options.subject, failures: this.#failures, reason }
    this.#options.log('error', fields, 'a child process did not start')
    if (this.#isDown()) this.#refuseAll()
    this.#report()
  }

  #report(): void {
    if (this.#released === null) this.#options.report(this.status())
  }

  /** How busy it is changes with each call; that is told once a second at most. */
  #reportSoon(): void {
    this.#reporting ??= setTimeout(() => {
      this.#reporting = null
      this.#report()
    }, REPORT_EVERY_MS).unref()
  }
}

function stopped(): AppError {
  return new AppError('ERR_CHILD_LOST', 'the generation is being released')
}
