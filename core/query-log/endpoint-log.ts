/**
 * The queries of one endpoint of one generation, as their lane tells of them. On the main thread
 * for every query: what a caller sent and got is copied, and nothing is looked at.
 */

import { nowMs } from '../base/clock.ts'
import { AppError, ERROR_TABLE } from '../base/errors.ts'
import type { QueryLogPolicy } from '../channel/messages.ts'
import { LENT_BYTES_MIN } from '../dispatch/batch.ts'
import type { Answer, LaneLog } from '../dispatch/lane-listeners.ts'
import type { Pending } from '../dispatch/pending.ts'
import type { KnownSource, Outbox, ServiceCount } from './outbox.ts'
import type { Source } from './protocol.ts'
import { millisecondsLength, queryJson, roomFor, type Slab } from './slab.ts'

const TOTAL_US_MAX = 2 ** 32 - 1
/** Of what went wrong; longer texts quote what the caller has sent, which stands there already. */
const MESSAGE_CHARACTERS_MAX = 2_000
/** From this status on a query has failed. */
const FAILED_FROM = 400

export interface EndpointLogOptions {
  readonly outbox: Outbox
  readonly count: ServiceCount
  readonly policy: QueryLogPolicy
  readonly subject: Omit<Source, 'callerId'>
}

export class EndpointLog implements LaneLog {
  readonly #outbox: Outbox
  readonly #count: ServiceCount
  readonly #share: number
  readonly #subject: Omit<Source, 'callerId'>
  readonly #known = new Map<string | null, KnownSource>()
  /** Most requests come with the same key as the one before. */
  #lastCaller: string | null = null
  #last: KnownSource | null = null

  constructor({ outbox, count, policy, subject }: EndpointLogOptions) {
    this.#outbox = outbox
    this.#count = count
    this.#share = policy.share
    this.#subject = subject
  }

  record(pending: Pending, status: number, answer: Answer): void {
    if (status < FAILED_FROM && this.#share < 1 && Math.random() >= this.#share) return
    this.#count.recorded += 1
    try {
      this.#write(pending, status, answer)
    } catch {
      // No answer may fail for a line: one that cannot be made is one that is lost.
      this.#count.drop()
    }
  }

  /** A request that was answered before it reached a lane; its body was not read. */
  refused(callerId: string | null, error: AppError, requestId: string | null): void {
    this.#count.recorded += 1
    try {
      this.#writeRefusal(callerId, error, membersOf(error, requestId))
    } catch {
      this.#count.drop()
    }
  }

  #writeRefusal(callerId: string | null, error: AppError, members: string): void {
    const source = this.#sourceOf(callerId)
    const slab = this.#begin(source, 0, roomFor(0, members.length))
    if (source === null || slab === null) return
    slab.noRequest()
    slab.members(members)
    slab.end(source.id, error.status, 0, nowMs())
  }

  #write(pending: Pending, status: number, answer: Answer): void {
    const { body, endedMs, facts } = pending
    const totalUs = microseconds(endedMs - pending.arrivedMs)
    const failure = answer instanceof AppError
    const shown = failure ? membersOf(answer, pending.caller.requestId ?? null) : answer
    const query = facts !== null && facts.method === 'GET' ? queryJson(facts.query) : null
    const bodyBytes = body === null ? 0 : lengthOf(body, pending.bytes)
    const requestBytes = query === null ? bodyBytes : Buffer.byteLength(query)
    const source = this.#sourceOf(pending.ticket.callerId)
    const slab = this.#begin(source, totalUs, roomFor(requestBytes, shown.length))
    if (source === null || slab === null) return
    // Text is what a worker has encoded, and it has parsed the body before; all else is checked.
    if (query !== null) slab.query(query)
    else if (body !== null && bodyBytes > 0)
      slab.request(body, bodyBytes, typeof answer === 'string')
    else slab.noRequest()
    if (failure && typeof shown === 'string') slab.members(shown)
    else slab.answer(shown)
    slab.end(source.id, status, totalUs, endedMs)
  }

  /** Begins a line; null: there is no room for it, which is counted. */
  #begin(source: KnownSource | null, totalUs: number, bytes: number): Slab | null {
    const headBytes = (source?.headBytes ?? 0) + millisecondsLength(totalUs)
    const slab = source === null ? null : this.#outbox.room(headBytes + bytes)
    if (slab === null) this.#count.drop()
    else slab.begin(headBytes)
    return slab
  }

  /** Null: see Outbox. */
  #sourceOf(callerId: string | null): KnownSource | null {
    const { epoch } = this.#outbox
    const last = this.#last
    if (last !== null && callerId === this.#lastCaller && last.epoch === epoch) return last
    let known = this.#known.get(callerId) ?? null
    if (known === null || known.epoch !== epoch) {
      known = this.#outbox.sourceOf({ ...this.#subject, callerId })
      if (known === null) return null
      // All that were known before are forgotten everywhere.
      if (known.epoch !== epoch) this.#known.clear()
      this.#known.set(callerId, known)
    }
    this.#lastCaller = callerId
    this.#last = known
    return known
  }
}

/**
 * Once a process has transferred a buffer, V8 calls a function to ask any for its length. A large
 * body may have been lent to a thread before anybody logged: then it is empty, whatever it was.
 */
function lengthOf(body: Uint8Array, asItCame: number): number {
  return asItCame < LENT_BYTES_MIN ? asItCame : body.byteLength
}

function microseconds(ms: number): number {
  return Math.floor(Math.min(TOTAL_US_MAX, Math.max(0, ms * 1_000)))
}

/** What a caller is told of its failure, as members of a line. */
function membersOf(error: AppError, requestId: string | null): string {
  const { message } = ERROR_TABLE[error.code]
  const whole = error.detail === null ? message : `${message}: ${error.detail}`
  const shown = { code: error.code, message: whole.slice(0, MESSAGE_CHARACTERS_MAX) }
  const id = requestId === null ? '' : `,"requestId":${JSON.stringify(requestId)}`
  return `,"error":${JSON.stringify(shown)}${id}`
}
