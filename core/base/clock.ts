/**
 * The two clocks of the program. Deadlines and durations use the monotonic one and never the wall
 * clock, which may be set back or forward at any time.
 */

// Not the global of that name, whose getter is called for each reading.
import { performance } from 'node:perf_hooks'

/** Milliseconds, with fractions, from the start of this thread: only differences mean something. */
export function nowMs(): number {
  return performance.now()
}

/**
 * The same clock as every process of this machine sees it: for times that one of them tells
 * another. Dearer than nowMs(), from which it differs by the same amount as long as the process
 * lives.
 */
export function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Milliseconds since the epoch: for `createdOn` and logs, never for deadlines. */
export function wallMs(): number {
  return Date.now()
}
