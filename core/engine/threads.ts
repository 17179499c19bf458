/**
 * Threads that run workers/worker.ts, and the one importer of Piscina. It knows how to send a task
 * and how to end; what a lost thread means is for the pools to say.
 *
 * A fixed number of threads, for Piscina adds none to a pool that is only handed what is free. A
 * thread is never terminated while it runs: that would end the process. So no `signal`.
 */

import { extname } from 'node:path'
import type { MessagePort } from 'node:worker_threads'
import { Piscina } from 'piscina'
import type { BatchJob, WorkerOutcome, WorkerSetup, WorkerTask } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'

/** Compiled, the worker is a .js file; run from source it is a .ts file, as this one. */
const WORKER_URL = new URL(
  `../../workers/worker${extname(new URL(import.meta.url).pathname)}`,
  import.meta.url,
)

export interface ThreadsOptions {
  readonly setup: WorkerSetup
  readonly threads: number
  readonly tasksPerThread: number
  /**
   * `sync`: an idle thread sleeps until it gets a task, which is fastest. `disabled`: its event
   * loop goes on, as sockets need.
   */
  readonly atomics: 'sync' | 'disabled'
  readonly logger: Logger
  /** A thread has ended though nobody asked for it; once for each, before its tasks fail. */
  readonly onLost?: () => void
}

export class Threads {
  readonly #piscina: Piscina
  #running = 0
  #whenQuiet: (() => void) | null = null
  #ending = false
  /** Each fails one task that was sent and has no answer yet. */
  readonly #strands = new Set<(reason: Error) => void>()

  constructor(options: ThreadsOptions) {
    const { setup, threads, tasksPerThread, atomics, logger, onLost } = options
    this.#piscina = new Piscina({
      filename: WORKER_URL.href,
      workerData: setup,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: tasksPerThread,
      // Only what a thread is free for is handed over; the lanes are the queue.
      maxQueue: threads * tasksPerThread,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics,
      recordTiming: false,
      workerHistogram: false,
      env: {},
    })
    // A late failure inside a thread arrives here; without a listener it would end the process.
    this.#piscina.on('error', (error: unknown) => {
      logger.error({ err: error }, 'a worker thread failed outside a task')
      this.#failStranded(messageOf(error))
    })
    this.#piscina.on('workerDestroy', () => {
      if (!this.#ending) onLost?.()
    })
  }

  /** Tasks that were sent and have no outcome yet. */
  get running(): number {
    return this.#running
  }

  /** Rejects when the thread that has the task ends. */
  async send(
    task: WorkerTask,
    transferList: readonly (ArrayBuffer | MessagePort)[] = [],
  ): Promise<WorkerOutcome> {
    this.#running += 1
    let strand: (reason: Error) => void = () => {}
    try {
      return await new Promise<WorkerOutcome>((resolve, reject) => {
        strand = reject
        this.#strands.add(reject)
        this.#piscina.run(task, { transferList: [...transferList] }).then(resolve, reject)
      })
    } finally {
      this.#strands.delete(strand)
      this.#running -= 1
      if (this.#running === 0) this.#whenQuiet?.()
    }
  }

  /** Settles when no task runs, which is never where one hangs. */
  async quiet(): Promise<void> {
    if (this.#running === 0) return
    await new Promise<void>((resolve) => {
      this.#whenQuiet = resolve
    })
  }

  /** Ends idle threads; what runs in them must have ended before. */
  async end(): Promise<void> {
    assert(this.#running === 0, 'no thread is ended while it runs')
    this.#ending = true
    await this.#piscina.destroy()
  }

  /**
   * Piscina keeps a task for a thread to come, but starts none after one that could not even begin,
   * for want of memory or files: such a task would wait for ever.
   */
  #failStranded(reason: string): void {
    if (this.#piscina.threads.length > 0) return
    for (const strand of [...this.#strands]) strand(new Error(`no thread could start: ${reason}`))
  }
}

/** A job that goes as a message has a buffer for itself alone, never shared memory. */
export function bufferOf(job: BatchJob): ArrayBuffer {
  const { buffer } = job.bytes
  assert(buffer instanceof ArrayBuffer, 'the bytes of a batch can be transferred')
  return buffer
}
