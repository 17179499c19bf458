/**
 * onnxruntime-node puts each run off to the next turn of the event loop (`setImmediate` in its
 * backend.js, 1.30), although the run itself blocks the thread. For a small model the way round the
 * loop is a good part of the answer's time, so runs are started at once.
 *
 * The loop still gets its turns: the timers, sockets and messages of a thread wait for them, and a
 * thread that works for several callers hears of others in them.
 */

import { nowMs } from '../../core/base/clock.ts'
import { collectAfter } from './small-garbage.ts'

/** Runs without a turn of the loop. */
const RUNS_MAX = 64
/** Time that they may take together. */
const BUSY_MS = 5

const later = globalThis.setImmediate
let runs = 0
let busyMs = 0

/** Starts a run, which calls setImmediate() at most once and before it returns. */
export function atOnce<T>(start: () => T): T {
  runs += 1
  if (runs > RUNS_MAX || busyMs > BUSY_MS) {
    runs = 0
    busyMs = 0
    return start()
  }
  const startMs = nowMs()
  globalThis.setImmediate = callNow
  try {
    return start()
  } finally {
    globalThis.setImmediate = later
    const endedMs = nowMs()
    busyMs += endedMs - startMs
    collectAfter(endedMs - startMs, endedMs)
  }
}

const callNow = Object.assign((callback: (...given: unknown[]) => void, ...given: unknown[]) => {
  callback(...given)
}, later) as unknown as typeof setImmediate
