/** A request in dispatch: who waits for its answer, what came with it, and how far it is. */

import type { RawAnswer, RequestFacts } from '../../workers/protocol.ts'
import { NOBODY, type Ticket } from '../auth/ticket.ts'
import { nowMs } from '../base/clock.ts'
import type { AppError } from '../base/errors.ts'
import type { Lane } from './lane.ts'

/** What dispatch must know of the caller; it knows no HTTP. */
export interface Caller {
  readonly done: boolean
  /** Of the failure that it was answered with; absent or null: of none. */
  readonly requestId?: string | null
  /** As text, or as UTF-8 that is passed on as it is. */
  replyJson(json: string | Uint8Array): void
  /** With a status from 200 to 599. */
  replyRaw(answer: RawAnswer): void
  replyError(error: AppError): void
}

/** What comes along with a body. */
export interface Beside {
  readonly facts?: RequestFacts | null
  readonly ticket?: Ticket
  /** The header, kept where another generation may have to look at it; null: nowhere else. */
  readonly authorization?: string | null
}

/** What a request brings along from the lane that has sent it on. */
export interface Sent {
  readonly arrivedMs: number
  readonly state: unknown
}

/** Where a request has gone that was sent on. */
interface Moved {
  readonly lane: Lane
  readonly pending: Pending
}

/** One request from its last body byte to its answer. All fields at birth: a hot object. */
export class Pending {
  readonly caller: Caller
  /** Kept until the answer is given: the reason for the budget of body bytes. */
  body: Uint8Array | null
  readonly bytes: number
  readonly arrivedMs: number
  /** When its answer had left, on the same clock; 0: it has not. */
  endedMs = 0
  /** What was asked beside the body; null for nearly all. */
  readonly facts: RequestFacts | null
  readonly ticket: Ticket
  readonly authorization: string | null
  /** It was sent on, so which generation answers is settled; with what the other lane has left. */
  readonly isSent: boolean
  state: unknown
  /** Slices of it that have run; more than one only where runs are cut. */
  slices = 0
  moved: Moved | null = null
  /** Until it is answered, its caller has gone, or it is sent on. */
  open = true
  /** Until it is taken to be run. */
  waiting = true

  constructor(caller: Caller, body: Uint8Array, beside: Beside, sent: Sent | null) {
    this.caller = caller
    this.body = body
    this.bytes = body.byteLength
    this.arrivedMs = sent === null ? nowMs() : sent.arrivedMs
    this.facts = beside.facts ?? null
    this.ticket = beside.ticket ?? NOBODY
    this.authorization = beside.authorization ?? null
    this.isSent = sent !== null
    this.state = sent?.state
  }

  /** True when somebody still waits for this answer. */
  get wanted(): boolean {
    return this.open && !this.caller.done
  }
}
