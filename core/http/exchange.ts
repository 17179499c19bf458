/**
 * One HTTP request and its one answer: the contract between the routes and whatever carries HTTP.
 *
 * Two adapters fill it: uWebSockets.js for queries, node:http(s) for the admin API and for queries
 * where no uWebSockets.js binary loads. Each answers what is wrong with the transport itself (body
 * over its limit, budget full, caller gone), so a route only sees whole, bounded bodies.
 */

import type { AppError } from '../base/errors.ts'

export interface Answer {
  readonly status: number
  /** Absent: no body (204). */
  readonly body?: string | Uint8Array
  /** Default `application/json`. */
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
}

export type HeaderLine = readonly [name: string, value: string]

/** An answer that was made elsewhere, by code of a bundle: nothing in it can be trusted. */
export interface RawReply {
  /** From 200 to 599. */
  readonly status: number
  /** A name may come more than once; see safeHeaders(). */
  readonly headers: readonly HeaderLine[]
  readonly body: Uint8Array
}

export interface Exchange {
  /** Upper case. */
  readonly method: string
  /** As sent, without the query, duplicate slashes collapsed, not percent-decoded. */
  readonly path: string
  /** The same, maybe with duplicate slashes: free of charge, for whoever looks it up first. */
  readonly rawPath: string
  /** Without the `?`; '' when absent. */
  readonly query: string
  /** True when the caller left or the answer is given: nothing is worth doing for it any more. */
  readonly done: boolean
  /** Of the failure that it was answered with, as the caller has it; null: of none. */
  readonly requestId: string | null
  /** IP address of the caller, or of what stands in front of him. Only while it is not done. */
  readonly address: string
  /** Value of a header, '' when absent. Only before the handler's first await. */
  header(nameInLowerCase: string): string
  /** All header lines, names in lower case. Only before the handler's first await. */
  headers(): HeaderLine[]
  /**
   * Calls back with the whole body; never, when the caller leaves or the body is over `limitBytes`
   * (answered 413). Only once, and before the handler's first await. The bytes belong to the
   * callee.
   */
  readBody(limitBytes: number, done: (body: Uint8Array) => void): void
  /**
   * Lines that the answer carries beside its own, whichever it is, a failure or an answer of code
   * too; in the place of lines of the same name there, but for `Vary`. An empty
   * value is not sent. Before the answer, and only once.
   */
  addHeaders(lines: readonly HeaderLine[]): void
  /**
   * Gives the one answer. A second call is a bug and asserts; after the caller left it does
   * nothing.
   */
  reply(answer: Answer): void
  /** 200 with JSON that is encoded already: the answer of nearly every prediction. */
  replyJson(json: string | Uint8Array): void
  /** Status, headers and bytes as they are, less what would break HTTP. */
  replyRaw(answer: RawReply): void
  replyError(error: AppError): void
  /**
   * Called at most once, when the exchange ends without the route's answer: the caller left (null),
   * or its body was refused here, which was answered with this error.
   */
  onGone(callback: (refusal: AppError | null) => void): void
}

export type Handler = (exchange: Exchange) => void
