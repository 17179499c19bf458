/**
 * Callers of a node while its processes come and go: each asks, may think for a while, and asks
 * again. What is counted is what a caller would notice, and apart from each other: an answer, a
 * request that was sent and never answered, and a connection that could not be made.
 */

import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection, type Outcome } from '../../bench/connection.ts'
import { nowMs } from '../../core/base/clock.ts'

export interface CallersOptions {
  readonly url: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
  readonly callers: number
  /** Longest pause between two requests of a caller; each pause is random up to it. */
  readonly thinkMs?: number
  /** True: every request on a connection of its own. */
  readonly fresh?: boolean
}

export interface CallersReport {
  readonly answered: number
  readonly statuses: Readonly<Record<string, number>>
  /** Sent without an answer. */
  readonly lost: number
  /** Connections that nobody accepted. */
  readonly refused: number
  readonly reasons: readonly string[]
  /** Longest time between two answers of anybody, and when it ended (`nowMs`). */
  readonly longestGapMs: number
}

export interface RunningCallers {
  /** So far. */
  report(): CallersReport
  /** Ends the asking and waits for what is in flight. */
  stop(): Promise<CallersReport>
}

/** A caller that was refused tries again after this pause, as a patient program would. */
const AGAIN_MS = 5
const REASONS_MAX = 5

class Counts {
  readonly statuses: Record<string, number> = {}
  readonly reasons: string[] = []
  answered = 0
  lost = 0
  refused = 0
  longestGapMs = 0
  #lastMs = nowMs()

  count(outcome: Outcome): void {
    if (outcome.kind === 'answer') {
      const now = nowMs()
      this.answered += 1
      this.statuses[outcome.status] = (this.statuses[outcome.status] ?? 0) + 1
      this.longestGapMs = Math.max(this.longestGapMs, now - this.#lastMs)
      this.#lastMs = now
      return
    }
    if (outcome.reason.includes('ECONNREFUSED')) this.refused += 1
    else {
      this.lost += 1
      if (this.reasons.length < REASONS_MAX) this.reasons.push(outcome.reason)
    }
  }
}

export function startCallers(options: CallersOptions): RunningCallers {
  const counts = new Counts()
  const end = new AbortController()
  // Every caller that thinks listens to it.
  setMaxListeners(0, end.signal)
  const request = requestOf(options)
  const work = Array.from({ length: options.callers }, () =>
    call(options, request, counts, end.signal),
  )
  const report = (): CallersReport => {
    const { answered, statuses, lost, refused, reasons, longestGapMs } = counts
    return { answered, statuses, lost, refused, reasons, longestGapMs }
  }
  return {
    report,
    stop: async () => {
      end.abort()
      await Promise.all(work)
      return report()
    },
  }
}

async function call(
  options: CallersOptions,
  request: Buffer,
  counts: Counts,
  end: AbortSignal,
): Promise<void> {
  const url = new URL(options.url)
  const connection = new Connection({ host: url.hostname, port: Number(url.port) })
  while (!end.aborted) {
    const outcome = await new Promise<Outcome>((done) => connection.send(request, done))
    counts.count(outcome)
    if (options.fresh === true) connection.close('its one request is over')
    const refused = outcome.kind === 'failed'
    const pauseMs = refused ? AGAIN_MS : Math.random() * (options.thinkMs ?? 0)
    if (pauseMs > 0) await sleep(pauseMs, null, { signal: end }).catch(() => {})
  }
  connection.close('the caller has gone')
}

function requestOf({ url, body, headers }: CallersOptions): Buffer {
  const { host, pathname } = new URL(url)
  const lines = Object.entries({
    Host: host,
    'Content-Type': 'application/json',
    'Content-Length': String(Buffer.byteLength(body)),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
}
