/**
 * Memory that the main thread shares with one worker thread, for the batch that it is to run.
 *
 * Most batches are bodies and a few numbers. Written here they cost a copy and a wake-up; as a
 * message they are serialized, and their buffer is allocated, transferred and collected, which
 * takes longer than many a model. What is larger, or brings more along, comes as a message.
 *
 * Back comes one text with all answers, and here where each of them ends.
 *
 * One side has the slot at a time: the main thread until announce(), then the worker until it has
 * sent the outcome.
 */

import type { BatchJob, WorkerOutcome } from '../../workers/protocol.ts'
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
const VERB_NUMBERS: Readonly<Record<Verb, number>> = { single: 0, multi: 1, explain: 2 }

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
const ANSWERS_AT = WAITS_AT + REQUESTS_MAX * WORD_BYTES
const EXECUTE_AT = ANSWERS_AT + REQUESTS_MAX * WORD_BYTES
const BODIES_AT = EXECUTE_AT + Float64Array.BYTES_PER_ELEMENT

export class JobSlot {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #ends: Uint32Array
  readonly #waitUs: Uint32Array
  /** Where each answer ends in their text, in characters. */
  readonly #answers: Uint32Array
  readonly #executeUs: Float64Array
  readonly #bytes: Uint8Array
  /** Of the worker: how many announcements it has followed. */
  #followed = 0

  /** Pages of it that are never written take no memory. */
  constructor(memory = new SharedArrayBuffer(BODIES_AT + LIMITS.slotBodyBytes)) {
    this.memory = memory
    this.#words = new Int32Array(memory, 0, WORDS)
    this.#ends = new Uint32Array(memory, ENDS_AT, REQUESTS_MAX)
    this.#waitUs = new Uint32Array(memory, WAITS_AT, REQUESTS_MAX)
    this.#answers = new Uint32Array(memory, ANSWERS_AT, REQUESTS_MAX)
    this.#executeUs = new Float64Array(memory, EXECUTE_AT, 1)
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
    this.#words[VERB] = VERB_NUMBERS[verb]
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
    const ends = this.#ends.subarray(0, requests)
    return {
      endpoint: this.#words[ENDPOINT] ?? 0,
      verb: VERBS[this.#words[VERB] ?? 0] ?? 'single',
      bytes: this.#bytes.subarray(0, ends[requests - 1]),
      ends,
      waitUs: this.#waitUs.subarray(0, requests),
    }
  }

  /** All answers in one text, for answersIn(). Null: the outcome is more than such answers. */
  putAnswers(outcome: WorkerOutcome): string | null {
    if (outcome.kind !== 'answers' || outcome.failures !== null) return null
    const { bodies, executeUs, raw, reroutes } = outcome
    if (raw !== undefined || reroutes !== undefined || bodies.length > REQUESTS_MAX) return null
    let text = ''
    for (let i = 0; i < bodies.length; i++) {
      const body = bodies[i]
      if (typeof body !== 'string') return null
      text += body
      this.#answers[i] = text.length
    }
    this.#executeUs[0] = executeUs
    this.#words[REQUESTS] = bodies.length
    return text
  }

  /** The outcome whose text has come. */
  answersIn(text: string): WorkerOutcome {
    const requests = this.#words[REQUESTS] ?? 0
    const bodies = new Array<string>(requests)
    let start = 0
    for (let i = 0; i < requests; i++) {
      const end = this.#answers[i] ?? start
      bodies[i] = text.slice(start, end)
      start = end
    }
    this.#words[REQUESTS] = 0
    return { kind: 'answers', bodies, failures: null, executeUs: this.#executeUs[0] ?? 0 }
  }
}
