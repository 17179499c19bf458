/**
 * The threads of one loaded generation, and the one importer of Piscina.
 *
 * A fixed number of threads, all loaded and warmed before the pool counts as started: Piscina adds
 * no thread to a pool that is only handed what is free. A thread is never terminated while it runs:
 * that would end the process. So no `signal`, and no destroy() before every thread has released its
 * models.
 */

import { extname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Piscina } from 'piscina'
import type { BatchJob, WorkerOutcome, WorkerSetup, WorkerTask } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'

/** A pool that lost this many threads within CRASH_WINDOW_MS is given up. */
const CRASHES_MAX = 3
const CRASH_WINDOW_MS = 30_000
const BACK_OFF_MS = 250

/** Compiled, the worker is a .js file; run from source it is a .ts file, as this one. */
const WORKER_URL = new URL(
  `../../workers/worker${extname(new URL(import.meta.url).pathname)}`,
  import.meta.url,
)

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
  readonly #piscina: Piscina
  readonly #options: PoolOptions
  #free = 0
  #lost = 0
  #running = 0
  #whenQuiet: (() => void) | null = null
  #crashesMs: number[] = []
  #down = false
  /** Each fails one task that was sent and has no answer yet. */
  readonly #strands = new Set<(reason: Error) => void>()

  private constructor(options: PoolOptions) {
    this.#options = options
    this.threads = options.threads
    this.#piscina = new Piscina({
      filename: WORKER_URL.href,
      workerData: options.setup,
      minThreads: options.threads,
      maxThreads: options.threads,
      concurrentTasksPerWorker: 1,
      // Only what a thread is free for is handed over; the lanes are the queue.
      maxQueue: options.threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'sync',
      recordTiming: false,
      workerHistogram: false,
      env: {},
    })
    // A late failure inside a thread arrives here; without a listener it would end the process.
    this.#piscina.on('error', (error: unknown) => {
      options.logger.error({ err: error }, 'a worker thread failed outside a task')
      this.#failStranded(messageOf(error))
    })
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
      const outcome = await this.#send({ kind: 'batch', job }, [bufferOf(job)])
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
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#whenQuiet = resolve
      })
    }
    try {
      await this.#onEachThread({ kind: 'release' })
    } catch (error) {
      this.#options.logger.warn({ reason: messageOf(error) }, 'a thread could not release')
    }
    await this.#piscina.destroy()
  }

  async #loadAll(): Promise<void> {
    const outcomes = await this.#onEachThread({ kind: 'load' })
    const loaded = new Set<number>()
    for (const outcome of outcomes) {
      if (outcome.kind === 'failed') throw new AppError('ERR_LOAD_FAILED', outcome.detail)
      if (outcome.kind === 'loaded') loaded.add(outcome.thread)
    }
    // A thread that Piscina passed over still loads, with its first batch.
    if (loaded.size < this.threads) {
      this.#options.logger.warn({ loaded: loaded.size }, 'not every thread was warmed')
    }
  }

  /**
   * Tasks sent in one go reach one thread each, since a thread takes one at a time. Throws only
   * when all have ended: the caller may end the threads then.
   */
  async #onEachThread(task: WorkerTask): Promise<WorkerOutcome[]> {
    const sent = Array.from({ length: this.threads }, () => this.#send(task, []))
    await Promise.allSettled(sent)
    return Promise.all(sent)
  }

  async #send(task: WorkerTask, transferList: ArrayBuffer[]): Promise<WorkerOutcome> {
    this.#running += 1
    let strand: (reason: Error) => void = () => {}
    try {
      return await new Promise<WorkerOutcome>((resolve, reject) => {
        strand = reject
        this.#strands.add(reject)
        this.#piscina.run(task, { transferList }).then(resolve, reject)
      })
    } finally {
      this.#strands.delete(strand)
      this.#running -= 1
      if (this.#running === 0) this.#whenQuiet?.()
    }
  }

  /**
   * Piscina keeps a task for a thread to come, but starts none after one that could not even begin,
   * for want of memory or files: such a task would wait for ever.
   */
  #failStranded(reason: string): void {
    if (this.#piscina.threads.length > 0) return
    for (const strand of [...this.#strands]) strand(new Error(`no thread could start: ${reason}`))
  }

  /**
   * Piscina has started another thread; it counts as free when a load has gone through. Where an
   * idle neighbour took that load, the new thread loads with its first batch.
   */
  async #replaceThread(reason: string): Promise<void> {
    const now = nowMs()
    this.#crashesMs = this.#crashesMs.filter((at) => now - at < CRASH_WINDOW_MS)
    this.#crashesMs.push(now)
    this.#options.logger.error({ reason, crashes: this.#crashesMs.length }, 'a thread was lost')
    if (this.#crashesMs.length >= CRASHES_MAX) return this.#giveUp(reason)
    await sleep(BACK_OFF_MS * this.#crashesMs.length)
    if (this.#down) return
    try {
      const outcome = await this.#send({ kind: 'load' }, [])
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

/** packBatch() allocates the buffer for the batch alone, never as shared memory. */
function bufferOf(job: BatchJob): ArrayBuffer {
  const { buffer } = job.bytes
  assert(buffer instanceof ArrayBuffer, 'the bytes of a batch can be transferred')
  return buffer
}
