/**
 * The part of one limit that this process may use by itself. All parts of a limit together never
 * exceed it: what one process is lent another one has given back before, and does without for
 * longer than the loan lasts. Without a word from anybody a part falls back to the even one.
 */

import type { KeyQuota } from '../channel/messages.ts'

/** Of a process that is at rest: so much above its use stays with it, so that it need not ask. */
const SPARE = 1 / 8

export class QuotaShare {
  /** Of the whole node; Infinity: none. */
  readonly limit: number
  /** The part of each process when nothing is lent. */
  readonly even: number
  #now: number
  /** From then on the even part counts; Infinity: it is the even part, or stays. */
  #untilMs = Number.POSITIVE_INFINITY
  /** To be reached as what is in use becomes free; Infinity: nothing is to be given. */
  #target = Number.POSITIVE_INFINITY

  constructor(limit: number, even: number) {
    this.limit = limit
    this.even = even
    this.#now = even
  }

  at(nowMs: number): number {
    if (nowMs >= this.#untilMs) this.#fallBack()
    return this.#now
  }

  /** What is in use has become less: a part of it may be due to others. */
  shrink(used: number): void {
    if (this.#now <= this.#target) return
    this.#now = Math.max(this.#target, Math.min(this.#now, used))
  }

  /**
   * Gives back what is not used, until `untilMs`; whoever `isShort` keeps `fair`, and more only as
   * long as it is in use. Returns what is left: after a loan more may be in use than is ours now.
   */
  give(given: {
    readonly used: number
    readonly isShort: boolean
    readonly fair: number
    readonly nowMs: number
    readonly untilMs: number
  }): number {
    const { used, isShort, fair, nowMs, untilMs } = given
    const had = this.at(nowMs)
    const needed = isShort ? Math.max(used, fair) : used + Math.ceil(used * SPARE)
    this.#now = Math.min(had, needed)
    if (isShort) this.#target = fair
    if (this.#now < this.even) this.#untilMs = untilMs
    return Math.max(this.#now, used)
  }

  /** What control grants; never less than there is. */
  take(granted: number, nowMs: number, untilMs: number): void {
    const had = this.at(nowMs)
    if (granted <= had || nowMs >= untilMs) return
    this.#now = granted
    this.#target = Number.POSITIVE_INFINITY
    if (granted > this.even) this.#untilMs = untilMs
    else if (granted === this.even) this.#untilMs = Number.POSITIVE_INFINITY
  }

  #fallBack(): void {
    this.#now = this.even
    this.#untilMs = Number.POSITIVE_INFINITY
    this.#target = Number.POSITIVE_INFINITY
  }
}

/** Whole requests, and together exactly the limit: the first places have what does not divide. */
export function evenShare(limit: number, processes: number, place: number): number {
  if (limit === Number.POSITIVE_INFINITY) return limit
  const rest = limit % processes
  return (limit - rest) / processes + (place < rest ? 1 : 0)
}

export function isSameQuota(one: KeyQuota, other: KeyQuota): boolean {
  return (
    one.requestsPerSecond === other.requestsPerSecond &&
    one.concurrentRequests === other.concurrentRequests
  )
}
