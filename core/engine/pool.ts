/**
 * The threads of one loaded generation that compute: models, and look-ups in tables on disk.
 *
 * All are loaded and warmed before the pool counts as started, and each runs one batch at a time.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { LoadNote, WorkerOutcome, WorkerSetup } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { AppError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { UnsentJob } from '../channel/job-slot.ts'
import { Crashes } from './crashes.ts'
import { Line } from './line.ts'
import { Threads } from './threads.ts'

export interface PoolOptions {
  readonly setup: WorkerSetup
  readonly threads: number
  readonly logger: Logger
  /** A thread that replaces a lost one can be used. */
  readonly onThread: () => void
  /** The pool is given up: its threads crash again and again. */
  readonly onDown: (reason: string) => void
}

export class Pool {
  readonly threads: number
  readonly #workers: Threads
  readonly #options: PoolOptions
  readonly #crashes = new Crashes()
  /** To all threads that live, oldest first, those that still load included. */
  readonly #lines: Line[] = []
  /** To those of them that have loaded. */
  readonly #loaded = new Set<Line>()
  #free = 0
  #lost = 0
  #down = false

  private constructor(options: PoolOptions) {
    this.#options = options
    this.threads = options.threads
    const { setup, threads, logger } = options
    this.#workers = new Threads({ setup, threads, tasksPerThread: 1, atomics: 'sync', logger })
  }

  /** Settles when every thread has loaded all models and run each once. */
  static async start(options: PoolOptions): Promise<Pool> {
    const pool = new Pool(options)
    // Tasks sent in one go reach one thread each, since a thread takes one at a time.
    const starts = Array.from({ length: options.threads }, () => pool.#startThread())
    try {
      await Promise.all(starts)
    } catch (error) {
      await Promise.allSettled(starts)
      await pool.close()
      throw error
    }
    return pool
  }

  get freeThreads(): number {
    return this.#down ? 0 : this.#free
  }

  /** Threads whose run is so old that it counts as hung. */
  get lostThreads(): number {
    return this.#lost
  }

  async run(job: UnsentJob): Promise<WorkerOutcome> {
    // Always the oldest that is idle: it has the most in the nearest cache.
    const line = this.#lines.find((one) => one.isIdle && this.#loaded.has(one))
    assert(line !== undefined, 'a batch is handed over only when a thread is free')
    this.#free -= 1
    const outcome = await line.run(job)
    this.#free += 1
    return outcome
  }

  threadHangs(): void {
    this.#lost += 1
  }

  threadIsBack(): void {
    this.#lost -= 1
  }

  /**
   * Waits for the runs in flight, for ever if one hangs: a busy thread must not be terminated.
   * Models are released first, then the idle threads end.
   */
  async close(): Promise<void> {
    this.#down = true
    await Promise.all(this.#lines.map((line) => line.quiet()))
    for (const line of this.#lines) line.end()
    await this.#workers.quiet()
    await this.#workers.end()
  }

  /** Settles when a thread has loaded and is free. */
  async #startThread(): Promise<void> {
    const line = new Line()
    this.#lines.push(line)
    const loading = line.loaded()
    const { theirs } = line
    this.#workers.send({ kind: 'serve', line: theirs }, [theirs.port]).then(
      (outcome) => this.#threadHasEnded(line, outcome),
      (error: unknown) => this.#threadIsLost(line, messageOf(error)),
    )
    const outcome = await loading
    if (outcome.kind === 'failed') throw new AppError('ERR_LOAD_FAILED', outcome.detail)
    assert(outcome.kind === 'loaded', 'a load ends loaded or failed')
    this.#tell(outcome.notes ?? [])
    this.#loaded.add(line)
    this.#free += 1
  }

  #tell(notes: readonly LoadNote[]): void {
    const { serviceId, generationId } = this.#options.setup
    for (const { level, fields, text } of notes) {
      this.#options.logger[level]({ serviceId, generationId, ...fields }, text)
    }
  }

  /** It has loaded nothing, or was told to end. */
  #threadHasEnded(line: Line, outcome: WorkerOutcome): void {
    this.#forget(line)
    line.ended(outcome)
    if (outcome.kind === 'failed' && this.#down) {
      this.#options.logger.warn({ reason: outcome.detail }, 'a thread could not release')
    }
  }

  /** What it ran fails. A load that fails so is for whoever waits for it. */
  #threadIsLost(line: Line, reason: string): void {
    const isFree = line.isIdle
    const hadLoaded = this.#forget(line)
    if (hadLoaded && isFree) this.#free -= 1
    line.lost(new Error(reason))
    if (hadLoaded) void this.#replaceThread(reason)
  }

  #forget(line: Line): boolean {
    this.#lines.splice(this.#lines.indexOf(line), 1)
    return this.#loaded.delete(line)
  }

  /** Piscina has started another thread; it counts as free when it has loaded. */
  async #replaceThread(reason: string): Promise<void> {
    const waitMs = this.#crashes.add()
    this.#options.logger.error({ reason, crashes: this.#crashes.count }, 'a thread was lost')
    if (waitMs === null) return this.#giveUp(reason)
    await sleep(waitMs)
    if (this.#down) return
    try {
      await this.#startThread()
      this.#options.onThread()
    } catch (error) {
      if (error instanceof AppError) this.#giveUp(error.detail ?? messageOf(error))
      else await this.#replaceThread(messageOf(error))
    }
  }

  #giveUp(reason: string): void {
    if (this.#down) return
    this.#down = true
    this.#options.onDown(`its worker threads crash: ${reason}`)
  }
}
