/**
 * The two clocks of the program. Deadlines and durations use the monotonic one and never the wall
 * clock, which may be set back or forward at any time.
 */

/** Milliseconds, with fractions, from the start of this thread: only differences mean something. */
export function nowMs(): number {
  return performance.now()
}

/** Milliseconds since the epoch: for `createdOn` and logs, never for deadlines. */
export function wallMs(): number {
  return Date.now()
}
