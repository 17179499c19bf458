/**
 * One measurement of one load tool, in the words that all tools share, and the orders that the
 * load process takes. Types only: they cross a process border.
 */

import type { Percentiles } from './latency.ts'

export interface LoadOrder {
  readonly kind: 'open' | 'closed' | 'autocannon'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Sent in turn, in place of `body`. */
  readonly bodies?: readonly string[]
  /** Asked in turn, in place of that of the URL. */
  readonly paths?: readonly string[]
  readonly connections: number
  /** Null: until the message `stop`. Not for autocannon. */
  readonly seconds: number | null
  /** Open loop; autocannon then sends at this rate too. */
  readonly ratePerS?: number
  /** Open loop: the client leaves its core while nothing is due; see bench/open-loop.ts. */
  readonly sleeps?: boolean
  /** Latencies by when requests were due, in windows of this length; clients of our own only. */
  readonly windowMs?: number
  /** Texts of which each answer must contain one; answers are counted by them. */
  readonly accepts?: readonly string[]
}

/** The requests that were due in a part of the load. */
export interface LoadWindow {
  /** Milliseconds since the epoch. */
  readonly startMs: number
  readonly answered: number
  readonly p99Us: number
}

export interface LoadSample {
  readonly tool: string
  readonly completed: number
  /** Every kind of request that did not end in the answer that was wanted. */
  readonly failures: number
  /** The kinds, so that a failure can be looked into. */
  readonly failureKinds: Readonly<Record<string, number>>
  readonly seconds: number
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
  /** Answers per text of `accepts`. */
  readonly accepted?: readonly number[]
  /** Whole distribution, and how late the client was; tools of our own only. */
  readonly latencyUs?: Percentiles
  readonly lagUs?: Percentiles
  readonly reasons?: readonly string[]
  readonly windows?: readonly LoadWindow[]
}
