/**
 * A lane: the bounded queue of one endpoint and verb in one pool.
 *
 * Requests wait here while the threads are busy; the next free thread takes all of them, up to
 * batchMax, so nobody waits for a batch to fill. Several share them where that is worth it.
 */

import type { RawAnswer, Reroute, WorkerOutcome } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import type { Verb } from '../bundle/kinds.ts'
import type { CostModel } from '../bundle/plan.ts'
import type { PackedBatch } from './batch.ts'
import { BatchCost } from './batch-cost.ts'
import { Fifo } from './fifo.ts'
import type { Answer, LaneLog, LaneObserver } from './lane-listeners.ts'
import { type Beside, type Caller, Pending, type Sent } from './pending.ts'
import { isStatus } from './status.ts'

/** A serial lane gets as many requests at once as fit into this time. */
const SLICE_US = 5_000
/** Closed entries that a queue may hold beside the open ones before it is cleaned. */
const CLOSED_MAX = 64
const REFUSED = new AppError('ERR_BUDGET_FULL')
/** So many answers leave between two looks at the clock; each takes some microseconds. */
const ENDS_AT_ONCE = 8
/** In place of a time: its answer has left since the clock was last looked at. */
const JUST_NOW = -1
/** Of nearly all requests. */
const NOTHING = Object.freeze({})

/** Where batches of a lane are run; the pool of one generation. */
export interface BatchRunner {
  readonly freeThreads: number
  run(batch: PackedBatch): Promise<WorkerOutcome>
}

export type Whereto = Lane | AppError

export interface LaneOptions {
  /** For people: the subject and its verb. */
  readonly name: string
  /** Whose runs these are: "service/generation/endpoint", for the witness. */
  readonly subject: string
  readonly endpoint: number
  readonly verb: Verb
  /** Most requests of one batch. */
  readonly batchMax: number
  /** Of its batches, before any has run here. */
  readonly cost: CostModel
  /** Its requests run one after the other, so a batch is kept short in time instead. */
  readonly serial: boolean
  readonly requestsMax: number
  readonly bytesMax: number
  readonly timeoutMs: number
  /** A run may take this long, whatever the node's hangMs says. */
  readonly legalMs: number
  /**
   * Its batches compute, so each holds one of the node's permits. False: they wait for a child or a
   * database, and start whenever the runner has a place.
   */
  readonly permit: boolean
  /**
   * Its runs are native code of this process, which can end it: the witness is told of them, and
   * not of what merely waits when the process ends.
   */
  readonly witnessed: boolean
  /** Its threads give a body back that must go on elsewhere, so a large one need not be copied. */
  readonly borrows: boolean
  /** Each request brings along its headers, path and query: the endpoint looks at them. */
  readonly wantsRequest: boolean
  /** The first; see Lane.runner. */
  readonly runner: BatchRunner
  readonly observer: LaneObserver
  /** Called when a request leaves for good, answered or not: the lease on the pool ends. */
  readonly onSettled: () => void
  /** A request has come from another lane: its lease begins. */
  readonly onSentHere: () => void
  /** Which lane is to answer a request that a worker wants sent on; an error is its answer. */
  readonly whereTo: (reroute: Reroute, pending: Pending) => Whereto | Promise<Whereto>
  /** A run is older than any legal one: its thread counts as lost until it answers after all. */
  readonly onHang: () => void
  /** A run that counted as lost has answered. */
  readonly onHangEnded: () => void
}

export class Lane {
  readonly options: LaneOptions
  /** Replaced when the generation comes into memory, and when it goes. */
  runner: BatchRunner
  readonly #waiting = new Fifo<Pending>()
  /** Every request without an answer, oldest first, waiting or running: for deadlines. */
  readonly #unanswered = new Fifo<Pending>()
  /** Open requests, and those of them that wait: closed ones stay in the queues for a while. */
  #openCount = 0
  #waitingCount = 0
  #waitingBytes = 0
  /** Microseconds of thread time that this lane may still take before others have their turn. */
  creditUs = 0
  /** Kept by the scheduler: batches that run, and since when nothing runs or waits; 0: it does. */
  runs = 0
  restingSinceMs = 0
  readonly #cost: BatchCost
  /** Moving average of one request's thread time; a guess of one whole slice until it is known. */
  #requestUs = SLICE_US
  /** Kept by the scheduler: whether the lane is in its list of lanes with deadlines to watch. */
  watched = false
  /** Set when the routing changes: the service's traffic is split. */
  split = false
  /** Set when the routing changes; null for all whose service logs nothing. */
  log: LaneLog | null = null
  /** Set while nothing of the lane is to be run: what every request gets instead. */
  #refusal: AppError | null = null

  constructor(options: LaneOptions) {
    this.options = options
    this.runner = options.runner
    this.#cost = new BatchCost(options.cost)
  }

  /** Requests that wait for a thread and for whose answer somebody waits. */
  get waiting(): number {
    return this.#waitingCount
  }

  /** Takes a request in, or says at once why not. */
  enter(caller: Caller, body: Uint8Array, beside: Beside = NOTHING): Pending | AppError {
    return this.#enter(caller, body, beside, null)
  }

  /**
   * The same bytes go to another lane, once, with the time at which they arrived here: an older
   * request comes among newer ones. Null when that lane has it.
   */
  sendOn(pending: Pending, to: Lane, state: unknown): AppError | null {
    const { caller, body, arrivedMs } = pending
    assert(pending.open && body !== null, 'what is sent on is open')
    const next = to.#enter(caller, body, pending, { arrivedMs, state })
    if (next instanceof AppError) return next
    to.options.onSentHere()
    pending.moved = { lane: to, pending: next }
    this.#close(pending)
    return null
  }

  /** The caller has left, wherever its request is by now. */
  gone(pending: Pending): void {
    const { moved } = pending
    if (moved === null) this.settle(pending)
    else moved.lane.gone(moved.pending)
  }

  /** A run of the request goes on later from this state: it is the next of its lane. */
  putBack(pending: Pending, state: unknown): AppError | null {
    if (this.#refusal !== null) return this.#refusal
    pending.state = state
    pending.waiting = true
    this.#waiting.unshift(pending)
    this.#waitingCount += 1
    this.#waitingBytes += pending.bytes
    return null
  }

  #enter(caller: Caller, body: Uint8Array, beside: Beside, sent: Sent | null): Pending | AppError {
    const { requestsMax, bytesMax, name } = this.options
    if (this.#refusal !== null) return this.#refusal
    const full =
      this.#waitingCount >= requestsMax || this.#waitingBytes + body.byteLength > bytesMax
    if (full) return new AppError('ERR_LANE_FULL', `${name} holds ${this.#waitingCount}`)
    const pending = new Pending(caller, body, beside, sent)
    this.#clean(this.#waiting, this.#waitingCount)
    this.#clean(this.#unanswered, this.#openCount)
    if (sent === null) {
      this.#waiting.push(pending)
      this.#unanswered.push(pending)
    } else {
      const isNewer = (other: Pending) => other.arrivedMs > sent.arrivedMs
      this.#waiting.insert(pending, isNewer)
      this.#unanswered.insert(pending, isNewer)
    }
    this.#openCount += 1
    this.#waitingCount += 1
    this.#waitingBytes += pending.bytes
    return pending
  }

  /** For one of the free threads: dead rows are dropped at the last moment before they cost it. */
  take(freeThreads = 1): Pending[] {
    const batch: Pending[] = []
    const limit = this.#limit(freeThreads)
    while (batch.length < limit) {
      const pending = this.#waiting.shift()
      if (pending === undefined) break
      if (!pending.open) continue
      if (pending.wanted) {
        this.#leaveQueue(pending)
        batch.push(pending)
      } else this.settle(pending)
    }
    return batch
  }

  #limit(freeThreads: number): number {
    const { batchMax, serial } = this.options
    const most = serial ? Math.min(batchMax, Math.max(1, SLICE_US / this.#requestUs)) : batchMax
    if (freeThreads <= 1) return most
    const part = Math.max(Math.ceil(this.#waitingCount / freeThreads), this.#cost.worth)
    return Math.min(most, part)
  }

  /** Learns from a batch that has run, what it took in all and of that in its thread. */
  ran(requests: number, usedUs: number, executeUs: number | null): void {
    this.#requestUs += (usedUs / requests - this.#requestUs) / 4
    if (executeUs !== null) this.#cost.ran(requests, executeUs)
  }

  /**
   * The answers of a batch; '' where a request is answered otherwise. All leave before any is
   * counted or logged: sending and counting do not fit into a processor's nearest cache together.
   */
  answer(batch: readonly Pending[], bodies: readonly (string | Uint8Array)[]): void {
    for (let i = 0; i < batch.length; i++) {
      const pending = batch[i] as Pending
      const body = bodies[i] ?? ''
      if (body !== '' && pending.wanted) {
        pending.caller.replyJson(body)
        pending.endedMs = JUST_NOW
      }
      if ((i + 1) % ENDS_AT_ONCE === 0 || i === batch.length - 1) noteEnds(batch, i)
    }
    for (let i = 0; i < batch.length; i++) {
      const pending = batch[i] as Pending
      const body = bodies[i] ?? ''
      if (body === '') continue
      if (pending.open && pending.endedMs > 0) this.#count(pending, 200, body)
      this.settle(pending)
    }
  }

  /** An answer of the endpoint's own making: its status is what is counted. */
  answerRaw(pending: Pending, raw: RawAnswer): void {
    const { status } = raw
    if (!isStatus(status, 200)) {
      this.fail(pending, new AppError('ERR_ANSWER_INVALID', `its status is ${status}`))
      return
    }
    if (pending.wanted) {
      pending.caller.replyRaw(raw)
      this.#answered(pending, status, raw.body)
    }
    this.settle(pending)
  }

  fail(pending: Pending, error: AppError): void {
    if (pending.wanted) {
      pending.caller.replyError(error)
      this.#answered(pending, error.status, error)
    }
    this.settle(pending)
  }

  #answered(pending: Pending, status: number, answer: Answer): void {
    pending.endedMs = nowMs()
    this.#count(pending, status, answer)
  }

  #count(pending: Pending, status: number, answer: Answer): void {
    // Of a large answer, where too many wait for their readers, the caller has made a failure.
    if (status < 400 && (pending.caller.requestId ?? null) !== null) {
      this.#count(pending, REFUSED.status, REFUSED)
      return
    }
    if (this.log !== null) this.log.record(pending, status, answer)
    this.options.observer.answered(status, (pending.endedMs - pending.arrivedMs) * 1000)
  }

  /** The request is answered or its caller has gone; once for each. */
  settle(pending: Pending): void {
    if (!pending.open) return
    pending.ticket.settled()
    this.#close(pending)
  }

  /**
   * Nothing of this lane is run any more, its pool is down for one: says so to all who wait, and
   * from now on. What runs already is not touched: it ends, or its deadline answers.
   */
  stop(error: AppError): void {
    this.#refusal = error
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.fail(next, error)
    }
  }

  /** Requests are taken in again. */
  resume(): void {
    this.#refusal = null
  }

  /**
   * Answers what is past its deadline, on time whatever the workers do. One timeout per lane keeps
   * the queue sorted by deadline, so only its head is looked at. False when nothing is left.
   */
  expire(): boolean {
    let head = this.#unanswered.peek()
    while (head !== undefined && !(head.wanted && !this.isLate(head))) {
      if (head.wanted) this.failLate(head)
      this.settle(head)
      this.#unanswered.shift()
      head = this.#unanswered.peek()
    }
    return head !== undefined
  }

  isLate({ arrivedMs }: Pending): boolean {
    return arrivedMs <= nowMs() - this.options.timeoutMs
  }

  failLate(pending: Pending): void {
    const { name, timeoutMs } = this.options
    this.fail(pending, new AppError('ERR_DEADLINE', `${name} has ${timeoutMs} ms for an answer`))
  }

  /** The request is no more of this lane's business. */
  #close(pending: Pending): void {
    if (pending.waiting) this.#leaveQueue(pending)
    pending.open = false
    pending.body = null
    this.#openCount -= 1
    this.options.onSettled()
  }

  /** What fills the lane is who waits in it: neither room nor bytes are kept for the others. */
  #leaveQueue(pending: Pending): void {
    pending.waiting = false
    this.#waitingCount -= 1
    this.#waitingBytes -= pending.bytes
  }

  /** Behind one old request thousands may be answered or gone; they must not pile up. */
  #clean(queue: Fifo<Pending>, openCount: number): void {
    if (queue.size > 2 * openCount + CLOSED_MAX) queue.keep(({ open }) => open)
  }
}

/** Of those that have left since the last look: up to this one, and no more than one look's. */
function noteEnds(batch: readonly Pending[], last: number): void {
  const endedMs = nowMs()
  for (let i = last; i >= 0 && i > last - ENDS_AT_ONCE; i--) {
    const pending = batch[i]
    if (pending?.endedMs === JUST_NOW) pending.endedMs = endedMs
  }
}
