/**
 * Memory that the main thread shares with one worker thread, for the batch that it is to run.
 *
 * Most batches are bodies and a few numbers. Written here they cost a copy and a wake-up; as a
 * message they are serialized, and their buffer is allocated, transferred and collected, which
 * takes longer than many a model. What is larger, or brings more along, comes as a message.
 *
 * One side has the slot at a time: the main thread until announce(), then the worker until it has
 * sent the outcome.
 */

import type { BatchJob } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import type { Verb } from '../bundle/kinds.ts'
import { LIMITS } from '../config/limits.ts'

/** A job whose bodies are still where they came in. */
export interface UnsentJob extends Pick<BatchJob, 'endpoint' | 'verb' | 'ends' | 'waitUs'> {
  /** Nothing else belongs to it. */
  readonly isPlain: boolean
  /** Writes the bodies one behind the other. */
  copyTo(bytes: Uint8Array): void
  /** As a message, with a buffer of its own. */
  toJob(): BatchJob
}

const VERBS: readonly Verb[] = ['single', 'multi', 'explain']

/** Words of the slot: the worker sleeps on the first. Without requests the job is a message. */
const ANNOUNCED = 0
const REQUESTS = 1
const ENDPOINT = 2
const VERB = 3
const WORDS = 4

const REQUESTS_MAX = LIMITS.batchRowsMax
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT
const ENDS_AT = WORDS * WORD_BYTES
const WAITS_AT = ENDS_AT + REQUESTS_MAX * WORD_BYTES
const BODIES_AT = WAITS_AT + REQUESTS_MAX * WORD_BYTES

export class JobSlot {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #ends: Uint32Array
  readonly #waitUs: Uint32Array
  readonly #bytes: Uint8Array
  /** Of the worker: how many announcements it has followed. */
  #followed = 0

  /** Pages of it that are never written take no memory. */
  constructor(memory = new SharedArrayBuffer(BODIES_AT + LIMITS.slotBodyBytes)) {
    this.memory = memory
    this.#words = new Int32Array(memory, 0, WORDS)
    this.#ends = new Uint32Array(memory, ENDS_AT, REQUESTS_MAX)
    this.#waitUs = new Uint32Array(memory, WAITS_AT, REQUESTS_MAX)
    this.#bytes = new Uint8Array(memory, BODIES_AT)
  }

  /** False: it must come as a message. */
  put(job: UnsentJob): boolean {
    const { endpoint, verb, ends, waitUs, isPlain } = job
    const requests = ends.length
    assert(requests > 0, 'a batch holds a request')
    const isLarge = requests > REQUESTS_MAX || (ends[requests - 1] ?? 0) > this.#bytes.length
    if (!isPlain || isLarge) return false
    this.#words[REQUESTS] = requests
    this.#words[ENDPOINT] = endpoint
    this.#words[VERB] = VERBS.indexOf(verb)
    this.#ends.set(ends)
    this.#waitUs.set(waitUs)
    job.copyTo(this.#bytes)
    return true
  }

  /** Wakes the worker, for what was put or for a message that is on its way already. */
  announce(): void {
    Atomics.add(this.#words, ANNOUNCED, 1)
    Atomics.notify(this.#words, ANNOUNCED, 1)
  }

  /** Blocks the worker's thread until the next announcement. */
  wait(): void {
    while (Atomics.load(this.#words, ANNOUNCED) === this.#followed) {
      Atomics.wait(this.#words, ANNOUNCED, this.#followed)
    }
    this.#followed = (this.#followed + 1) | 0
  }

  /** The job that was announced, valid until its outcome is sent; null: it is a message. */
  take(): BatchJob | null {
    const requests = this.#words[REQUESTS] ?? 0
    if (requests === 0) return null
    this.#words[REQUESTS] = 0
    const ends = this.#ends.slice(0, requests)
    return {
      endpoint: this.#words[ENDPOINT] ?? 0,
      verb: VERBS[this.#words[VERB] ?? 0] ?? 'single',
      bytes: this.#bytes.subarray(0, ends[requests - 1]),
      ends,
      waitUs: this.#waitUs.slice(0, requests),
    }
  }
}
