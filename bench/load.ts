/**
 * What open and closed loop share: a set of connections, counts, and a report whose sums must
 * agree.
 *
 * A claim of "no failed request" is worth what its bookkeeping is worth, so a load ends by
 * asserting that everything sent was answered or counted as failed; nothing is ever retried.
 */

import { assert } from '../core/base/assert.ts'
import { nowMs } from '../core/base/clock.ts'
import { Connection, type Outcome } from './connection.ts'
import { Latency, type Percentiles } from './latency.ts'

export interface LoadOptions {
  /** Whole URL, for example `http://127.0.0.1:12000/public/api/v1/iris/predict/predict`. */
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent in turn; a load with one body sends the same one always. */
  readonly bodies: readonly string[]
  /** Asked in turn, each with the body whose turn it is; default: that of the URL. */
  readonly paths?: readonly string[]
  readonly connections: number
  /** Null: until `stop()`. */
  readonly seconds: number | null
  /** Default SETTLE_MS. */
  readonly settleMs?: number
  /** Called for each answer, so that a test can attribute it. Times are of `nowMs()`. */
  readonly onAnswer?: (answer: LoadAnswer) => void
}

export interface LoadAnswer {
  readonly status: number
  readonly body: Buffer
  /** Which of `bodies` was asked, or of `paths` where these are given. */
  readonly bodyIndex: number
  /** When it should have been sent; latency counts from here. */
  readonly intendedMs: number
  readonly sentMs: number
  readonly answeredMs: number
}

export interface LoadReport {
  readonly sent: number
  readonly answered: number
  /** Closed or broken connections, answers that never came. */
  readonly failed: number
  /** Due, and never sent, because no connection became free in time. Of open loops only. */
  readonly unsent: number
  readonly non2xx: number
  readonly statuses: Readonly<Record<string, number>>
  /** The first reasons of failures. */
  readonly reasons: readonly string[]
  readonly seconds: number
  readonly perSecond: number
  readonly latencyUs: Percentiles
  /** How late the client itself was: time from the intended to the real sending. */
  readonly lagUs: Percentiles
}

/** A load under way. `stop()` ends the sending; `done` comes when every answer is in. */
export interface RunningLoad {
  readonly done: Promise<LoadReport>
  stop(): void
}

/** After the end of sending, how long answers are waited for. */
export const SETTLE_MS = 5_000

const REASONS_MAX = 10

export class Load {
  readonly #options: LoadOptions
  readonly #requests: readonly Buffer[]
  readonly #connections: Connection[] = []
  readonly #latency = new Latency()
  readonly #lag = new Latency()
  readonly #statuses = new Map<number, number>()
  readonly #reasons: string[] = []
  #startedMs = 0
  #sent = 0
  #answered = 0
  #failed = 0
  #endedMs = 0
  #onIdle: (() => void) | null = null

  constructor(options: LoadOptions) {
    assert(options.bodies.length > 0, 'a load has at least one body')
    this.#options = options
    this.#requests = requestsOf(options)
  }

  /** Opens all connections before anything is measured. */
  async open(): Promise<readonly Connection[]> {
    const url = new URL(this.#options.url)
    const place = { host: url.hostname, port: Number(url.port) }
    for (let i = 0; i < this.#options.connections; i++)
      this.#connections.push(new Connection(place))
    await Promise.all(this.#connections.map((connection) => connection.open()))
    this.#startedMs = nowMs()
    return this.#connections
  }

  /** Sends the next body on a connection that is free; `freed` is called when it is so again. */
  send(connection: Connection, intendedMs: number, freed: () => void): void {
    const bodyIndex = this.#sent % this.#requests.length
    const request = this.#requests[bodyIndex]
    assert(request !== undefined, 'the body exists')
    const sentMs = nowMs()
    this.#sent += 1
    this.#lag.recordUs((sentMs - intendedMs) * 1_000)
    connection.send(request, (outcome) => {
      this.#count(outcome, { bodyIndex, intendedMs, sentMs })
      freed()
      if (this.#sent === this.#answered + this.#failed) this.#onIdle?.()
    })
  }

  /** Waits for what is in flight, closes, and reports. Nothing may be sent any more. */
  async finish(unsent = 0): Promise<LoadReport> {
    this.#endedMs = nowMs()
    if (this.#sent > this.#answered + this.#failed) await this.#idle()
    for (const connection of this.#connections) connection.close('no answer before the end')
    assert(this.#sent === this.#answered + this.#failed, 'every request is accounted for')
    return this.#report(unsent)
  }

  #idle(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#options.settleMs ?? SETTLE_MS)
      this.#onIdle = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #count(outcome: Outcome, at: { bodyIndex: number; intendedMs: number; sentMs: number }): void {
    if (outcome.kind === 'failed') {
      this.#failed += 1
      if (this.#reasons.length < REASONS_MAX) this.#reasons.push(outcome.reason)
      return
    }
    const answeredMs = nowMs()
    this.#answered += 1
    this.#latency.recordUs((answeredMs - at.intendedMs) * 1_000)
    this.#statuses.set(outcome.status, (this.#statuses.get(outcome.status) ?? 0) + 1)
    this.#options.onAnswer?.({ status: outcome.status, body: outcome.body, ...at, answeredMs })
  }

  #report(unsent: number): LoadReport {
    const seconds = (this.#endedMs - this.#startedMs) / 1_000
    const good = [...this.#statuses].filter(([status]) => status >= 200 && status < 300)
    const goodCount = good.reduce((sum, [, count]) => sum + count, 0)
    return {
      sent: this.#sent,
      answered: this.#answered,
      failed: this.#failed,
      unsent,
      non2xx: this.#answered - goodCount,
      statuses: Object.fromEntries(this.#statuses),
      reasons: this.#reasons,
      seconds,
      perSecond: this.#answered / seconds,
      latencyUs: this.#latency.percentiles(),
      lagUs: this.#lag.percentiles(),
    }
  }
}

function requestsOf(options: LoadOptions): Buffer[] {
  const { bodies, paths } = options
  if (paths === undefined) return bodies.map((body) => requestBytes(options, options.url, body))
  return paths.map((path, i) => {
    const url = new URL(path, options.url).href
    return requestBytes(options, url, bodies[i % bodies.length] ?? '')
  })
}

function requestBytes(options: LoadOptions, target: string, body: string): Buffer {
  const url = new URL(target)
  const headers = {
    Host: url.host,
    'Content-Type': 'application/json',
    'Content-Length': String(Buffer.byteLength(body)),
    ...options.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
}
