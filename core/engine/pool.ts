/**
 * The threads of one loaded generation that compute: models, and look-ups in tables on disk.
 *
 * All are loaded and warmed before the pool counts as started, and each runs one batch at a time.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type {
  BatchJob,
  LoadNote,
  WorkerOutcome,
  WorkerSetup,
  WorkerTask,
} from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { AppError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { Crashes } from './crashes.ts'
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
    try {
      await pool.#loadAll()
    } catch (error) {
      await pool.close()
      throw error
    }
    pool.#free = options.threads
    return pool
  }

  get freeThreads(): number {
    return this.#down ? 0 : this.#free
  }

  /** Threads whose run is so old that it counts as hung. */
  get lostThreads(): number {
    return this.#lost
  }

  async run(job: BatchJob): Promise<WorkerOutcome> {
    assert(this.#free > 0, 'a batch is handed over only when a thread is free')
    this.#free -= 1
    try {
      const outcome = await this.#workers.sendBatch(job)
      this.#free += 1
      return outcome
    } catch (error) {
      void this.#replaceThread(messageOf(error))
      throw error
    }
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
    await this.#workers.quiet()
    try {
      await this.#onEachThread({ kind: 'release' })
    } catch (error) {
      this.#options.logger.warn({ reason: messageOf(error) }, 'a thread could not release')
    }
    await this.#workers.end()
  }

  async #loadAll(): Promise<void> {
    const outcomes = await this.#onEachThread({ kind: 'load' })
    const loaded = new Set<number>()
    for (const outcome of outcomes) {
      if (outcome.kind === 'failed') throw new AppError('ERR_LOAD_FAILED', outcome.detail)
      if (outcome.kind !== 'loaded') continue
      loaded.add(outcome.thread)
      this.#tell(outcome.notes ?? [])
    }
    // A thread that Piscina passed over still loads, with its first batch.
    if (loaded.size < this.threads) {
      this.#options.logger.warn({ loaded: loaded.size }, 'not every thread was warmed')
    }
  }

  #tell(notes: readonly LoadNote[]): void {
    const { serviceId, generationId } = this.#options.setup
    for (const { level, fields, text } of notes) {
      this.#options.logger[level]({ serviceId, generationId, ...fields }, text)
    }
  }

  /**
   * Tasks sent in one go reach one thread each, since a thread takes one at a time. Throws only
   * when all have ended: the caller may end the threads then.
   */
  async #onEachThread(task: WorkerTask): Promise<WorkerOutcome[]> {
    const sent = Array.from({ length: this.threads }, () => this.#workers.send(task))
    await Promise.allSettled(sent)
    return Promise.all(sent)
  }

  /**
   * Piscina has started another thread; it counts as free when a load has gone through. Where an
   * idle neighbour took that load, the new thread loads with its first batch.
   */
  async #replaceThread(reason: string): Promise<void> {
    const waitMs = this.#crashes.add()
    this.#options.logger.error({ reason, crashes: this.#crashes.count }, 'a thread was lost')
    if (waitMs === null) return this.#giveUp(reason)
    await sleep(waitMs)
    if (this.#down) return
    try {
      const outcome = await this.#workers.send({ kind: 'load' })
      if (outcome.kind === 'loaded') {
        this.#free += 1
        this.#options.onThread()
      } else this.#giveUp(outcome.kind === 'failed' ? outcome.detail : 'it did not load')
    } catch (error) {
      await this.#replaceThread(messageOf(error))
    }
  }

  #giveUp(reason: string): void {
    if (this.#down) return
    this.#down = true
    this.#options.onDown(`its worker threads crash: ${reason}`)
  }
}
