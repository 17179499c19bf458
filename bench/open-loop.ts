/**
 * Open-loop load: requests are due at times fixed beforehand, whether or not earlier ones have been
 * answered, and latency counts from the due time. So a server that stalls is charged for every
 * request that had to wait, which a closed loop would simply not have sent (coordinated omission).
 *
 * The loop spins on setImmediate instead of sleeping: a timer's millisecond is longer than what is
 * measured. It therefore takes one core, unless the load `sleeps`; `lagUs` of the report tells how
 * late the client was.
 */

import { assert } from '../core/base/assert.ts'
import { nowMs } from '../core/base/clock.ts'
import type { Connection } from './connection.ts'
import { Load, type LoadOptions, type LoadReport, type RunningLoad, SETTLE_MS } from './load.ts'

interface OpenLoopOptions extends LoadOptions {
  /** Requests per second that become due, evenly spaced. */
  readonly ratePerS: number
  /**
   * By timers, so up to a millisecond late where nothing is due at once. A client that spins is the
   * first that the scheduler lets wait: on two cores 10 to 26 ms while a model is loaded beside it.
   */
  readonly sleeps?: boolean
}

/** Less than a timer takes: what is due sooner is waited for. */
const SLEEP_FROM_MS = 0.5

export function openLoop(options: OpenLoopOptions): RunningLoad {
  assert(options.ratePerS > 0, 'the rate is positive')
  let stopped = false
  const stop = () => {
    stopped = true
  }
  return { done: drive(options, () => stopped), stop }
}

/** What is still due at the end is sent too: left out, the worst latencies would be missing. */
async function drive(options: OpenLoopOptions, isStopped: () => boolean): Promise<LoadReport> {
  const load = new Load(options)
  const free: Connection[] = [...(await load.open())]
  const startMs = nowMs()
  const periodMs = 1_000 / options.ratePerS
  const lengthMs = (options.seconds ?? Number.POSITIVE_INFINITY) * 1_000
  let next = 0
  let endMs = Number.POSITIVE_INFINITY
  const sendDue = (untilMs: number) => {
    while (next * periodMs <= untilMs) {
      const connection = free.pop()
      if (connection === undefined) return
      load.send(connection, startMs + next * periodMs, () => free.push(connection))
      next += 1
    }
  }
  await new Promise<void>((resolve) => {
    const turn = () => {
      const sinceMs = nowMs() - startMs
      if (endMs === Number.POSITIVE_INFINITY && (isStopped() || sinceMs >= lengthMs)) {
        endMs = Math.min(sinceMs, lengthMs)
      }
      sendDue(Math.min(sinceMs, endMs))
      const isLate = sinceMs > endMs + (options.settleMs ?? SETTLE_MS)
      if (next * periodMs > endMs || isLate) return resolve()
      const aheadMs = startMs + next * periodMs - nowMs()
      if (options.sleeps === true && aheadMs > SLEEP_FROM_MS) setTimeout(turn, 1)
      else setImmediate(turn)
    }
    turn()
  })
  const due = Math.floor(endMs / periodMs) + 1
  return load.finish(Math.max(0, due - next))
}
