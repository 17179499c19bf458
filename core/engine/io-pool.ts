/**
 * The thread of one loaded generation that waits: for child processes and for databases. Many
 * requests are in it at once, so its end fails all of them, and counts as one crash.
 *
 * Children are started by the main thread on its behalf, because a child that is to die with its
 * parent dies with the thread that started it. Each load brings a port for that; when the thread is
 * gone whatever was started over its port is killed, since nobody can speak to it any more.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import type { WorkerOutcome, WorkerSetup } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { AppError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Spawner } from '../children/spawner.ts'
import type { RuntimeStatus } from '../children/spec.ts'
import { LIMITS } from '../config/limits.ts'
import type { PackedBatch } from '../dispatch/batch.ts'
import type { BatchRunner } from '../dispatch/lane.ts'
import { Crashes } from './crashes.ts'
import { bufferOf, Threads } from './threads.ts'

/** Runtimes get this much to end their children in order; then those are killed. */
const RELEASE_MS = 1_000

export interface IoPoolOptions {
  readonly setup: WorkerSetup
  readonly spawner: Spawner
  readonly logger: Logger
  /** Slots are free that were not: the thread was replaced and has loaded. */
  readonly onThread: () => void
  /** The newest state of what endpoints depend on has changed. */
  readonly onStatus: () => void
  readonly onDown: (reason: string) => void
}

export class IoPool {
  readonly threads = 1
  readonly #options: IoPoolOptions
  readonly #workers: Threads
  readonly #crashes = new Crashes()
  #state: 'loading' | 'ready' | 'down' = 'loading'
  #statuses: readonly RuntimeStatus[] = []
  /** Kills all that the thread has started, and takes no orders of it any more. */
  #cutOff: () => void = () => {}
  #hung = 0
  /** Why the newest task was lost, for the log. */
  #lastLoss = 'it has ended'

  private constructor(options: IoPoolOptions) {
    this.#options = options
    this.#workers = new Threads({
      setup: options.setup,
      threads: 1,
      tasksPerThread: LIMITS.ioTasksMax,
      // A thread that slept between tasks would see neither an answer nor the end of a child.
      atomics: 'disabled',
      logger: options.logger,
      onLost: () => this.#threadEnded(),
    })
  }

  /** Settles when all runtimes are open and warm. */
  static async start(options: IoPoolOptions): Promise<IoPool> {
    const pool = new IoPool(options)
    try {
      await pool.#load()
    } catch (error) {
      await pool.close()
      throw error
    }
    return pool
  }

  /** A hung run does not keep the others from running, but something is wrong with the thread. */
  get lostThreads(): number {
    return this.#hung > 0 ? 1 : 0
  }

  get statuses(): readonly RuntimeStatus[] {
    return this.#statuses
  }

  /** How many tasks the thread takes beside those that it has; none before it has loaded. */
  get room(): number {
    return this.#state === 'ready' ? LIMITS.ioTasksMax - this.#workers.running : 0
  }

  /** What runs the batches of one endpoint: at most `slots` at the same time. */
  runner(slots: number): BatchRunner {
    return new Slots(this, slots)
  }

  async run(batch: PackedBatch): Promise<WorkerOutcome> {
    const job = batch.toJob()
    try {
      return await this.#workers.send({ kind: 'batch', job }, [bufferOf(job)])
    } catch (error) {
      this.#lastLoss = messageOf(error)
      throw error
    }
  }

  threadHangs(): void {
    this.#hung += 1
  }

  threadIsBack(): void {
    this.#hung -= 1
  }

  /**
   * Ends the children and then the thread. Nobody waits for what still runs, or its lease would
   * hold the generation: so children are not given the rest of their time.
   */
  async close(): Promise<void> {
    this.#state = 'down'
    if (this.#workers.running > 0) this.#cutOff()
    await this.#workers.quiet()
    const released = this.#workers.send({ kind: 'release' }).catch((error: unknown) => {
      this.#options.logger.warn({ reason: messageOf(error) }, 'the io thread could not release')
    })
    const late = new AbortController()
    await Promise.race([released, sleep(RELEASE_MS, null, { signal: late.signal }).catch(() => {})])
    late.abort()
    this.#cutOff()
    await released
    await this.#workers.end()
  }

  async #load(): Promise<void> {
    const { port1: ours, port2: theirs } = new MessageChannel()
    this.#cutOff = this.#options.spawner.attach(ours, (statuses) => this.#told(statuses))
    const outcome = await this.#workers.send({ kind: 'load', port: theirs }, [theirs])
    if (outcome.kind === 'failed') throw new AppError('ERR_LOAD_FAILED', outcome.detail)
    assert(outcome.kind === 'loaded', 'a load ends loaded or failed')
    if (this.#state === 'loading') this.#state = 'ready'
  }

  #told(statuses: readonly RuntimeStatus[]): void {
    const before = this.#statuses
    this.#statuses = statuses
    if (conditions(before) !== conditions(statuses)) this.#options.onStatus()
  }

  /** Its tasks fail right after this. A load that failed so is for whoever asked for it. */
  #threadEnded(): void {
    this.#cutOff()
    if (this.#state !== 'ready') return
    this.#state = 'loading'
    void this.#replaceThread()
  }

  async #replaceThread(): Promise<void> {
    const waitMs = this.#crashes.add()
    // The tasks of the lost thread fail in this turn and say why.
    await sleep(waitMs ?? 0)
    const reason = this.#lastLoss
    this.#options.logger.error({ reason, crashes: this.#crashes.count }, 'the io thread was lost')
    if (this.#state === 'down') return
    if (waitMs === null) return this.#giveUp(`its io thread crashes: ${reason}`)
    try {
      await this.#load()
      this.#options.onThread()
    } catch (error) {
      this.#lastLoss = messageOf(error)
      if (error instanceof AppError) this.#giveUp(this.#lastLoss)
      else await this.#replaceThread()
    }
  }

  #giveUp(reason: string): void {
    if (this.#state === 'down') return
    this.#state = 'down'
    this.#cutOff()
    this.#options.onDown(reason)
  }
}

/** What makes a difference to health; how many are busy changes all the time. */
function conditions(statuses: readonly RuntimeStatus[]): string {
  return JSON.stringify(
    statuses.map(({ subject, up, detail, size }) => [subject, up, detail, size]),
  )
}

/** The children or connections of one endpoint, for all its lanes. */
class Slots implements BatchRunner {
  readonly #pool: IoPool
  readonly #slots: number
  #busy = 0

  constructor(pool: IoPool, slots: number) {
    this.#pool = pool
    this.#slots = slots
  }

  get freeThreads(): number {
    return Math.max(0, Math.min(this.#slots - this.#busy, this.#pool.room))
  }

  async run(batch: PackedBatch): Promise<WorkerOutcome> {
    assert(this.freeThreads > 0, 'a batch is handed over only when a slot is free')
    this.#busy += 1
    try {
      return await this.#pool.run(batch)
    } finally {
      this.#busy -= 1
    }
  }
}
