/** Callers whose requests carry a number each, and who remember when each was answered. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { Connection, type Outcome } from '../../bench/connection.ts'
import { nowMs } from '../../core/base/clock.ts'

const AGAIN_MS = 10

export interface NumberedCallers {
  /** Numbers of requests that were answered with 200, with the time of `nowMs`. */
  readonly answered: ReadonlyMap<number, number>
  /** Other statuses. */
  readonly others: number[]
  stop(): Promise<void>
}

/**
 * `bodyOf` makes the body with a number; each asks again at once, or after `pauseMs`, until it is
 * stopped or the test ends.
 */
export function numberedCallers(options: {
  readonly t: Test
  readonly url: string
  readonly callers: number
  readonly pauseMs: number
  readonly bodyOf: (n: number) => string
}): NumberedCallers {
  const { t, url, callers, pauseMs, bodyOf } = options
  const { hostname, port, host, pathname } = new URL(url)
  const answered = new Map<number, number>()
  const others: number[] = []
  let next = 0
  let isOver = false
  const requestOf = (n: number): Buffer => {
    const body = bodyOf(n)
    const lines = [`POST ${pathname} HTTP/1.1`, `Host: ${host}`, 'Content-Type: application/json']
    lines.push(`Content-Length: ${Buffer.byteLength(body)}`)
    return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`)
  }
  const call = async (): Promise<void> => {
    const connection = new Connection({ host: hostname, port: Number(port) })
    while (!isOver) {
      const n = next
      next += 1
      const request = requestOf(n)
      const outcome = await new Promise<Outcome>((done) => connection.send(request, done))
      if (outcome.kind === 'failed') await sleep(AGAIN_MS)
      else if (outcome.status === 200) answered.set(n, nowMs())
      else others.push(outcome.status)
      if (pauseMs > 0) await sleep(pauseMs)
    }
    connection.close('the caller has gone')
  }
  const work = Array.from({ length: callers }, call)
  const stop = async (): Promise<void> => {
    isOver = true
    await Promise.all(work)
  }
  t.teardown(stop)
  return { answered, others, stop }
}
