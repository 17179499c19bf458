/**
 * The line from a pool to one of its threads, for as long as the thread lives: one job at a time,
 * through memory that both share or as a message, and its outcome back.
 *
 * One Piscina task per thread holds the line open. A task for each batch would cost its queue, its
 * bookkeeping and two more messages: measured on two cores, 50 µs of processor time each.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads'
import type { LineEnd, LineMessage, WorkerOutcome } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { JobSlot, type UnsentJob } from '../channel/job-slot.ts'
import { bufferOf } from './threads.ts'

/** Who waits for the outcome of what the thread does. */
interface Waiter {
  readonly resolve: (outcome: WorkerOutcome) => void
  readonly reject: (error: Error) => void
}

export class Line {
  /** For the thread; its port is transferred. */
  readonly theirs: LineEnd
  readonly #slot = new JobSlot()
  readonly #port: MessagePort
  #waiter: Waiter | null = null
  #whenIdle: (() => void) | null = null

  constructor() {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    this.theirs = { memory: this.#slot.memory, port: port2 }
    port1.on('message', (said: WorkerOutcome | string) => {
      const outcome = typeof said === 'string' ? this.#slot.answersIn(said) : said
      this.#settle()?.resolve(outcome)
    })
  }

  get isIdle(): boolean {
    return this.#waiter === null
  }

  /** Of the load, which begins by itself. Rejects when the thread ends. */
  loaded(): Promise<WorkerOutcome> {
    return this.#outcome()
  }

  /** Rejects when the thread ends. */
  run(unsent: UnsentJob): Promise<WorkerOutcome> {
    assert(this.isIdle, 'a thread runs one batch at a time')
    if (!this.#slot.put(unsent)) {
      const job = unsent.toJob()
      this.#post({ kind: 'batch', job }, [bufferOf(job)])
    }
    this.#slot.announce()
    return this.#outcome()
  }

  /** Settles when nothing runs, which is never where a run hangs. */
  async quiet(): Promise<void> {
    if (this.isIdle) return
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve
    })
  }

  /** The thread releases what it holds, and its task ends. */
  end(): void {
    assert(this.isIdle, 'no thread is ended while it runs')
    this.#post({ kind: 'end' })
    this.#slot.announce()
  }

  /** The thread has ended in order; a load that fails ends it too. */
  ended(outcome: WorkerOutcome): void {
    this.#port.close()
    this.#settle()?.resolve(outcome)
  }

  lost(error: Error): void {
    this.#port.close()
    this.#settle()?.reject(error)
  }

  #outcome(): Promise<WorkerOutcome> {
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject }
    })
  }

  #post(message: LineMessage, transferList: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transferList)
  }

  #settle(): Waiter | null {
    const waiter = this.#waiter
    this.#waiter = null
    this.#whenIdle?.()
    return waiter
  }
}
