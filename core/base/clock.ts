/**
 * The two clocks of the program. Deadlines and durations use the monotonic one and never the wall
 * clock, which may be set back or forward at any time.
 */

/** Microseconds from an arbitrary start; the same scale in every thread of the machine. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n)
}

/** Milliseconds from the start of this process, with fractions; cheaper than nowUs(). */
export function nowMs(): number {
  return performance.now()
}

/** Milliseconds since the epoch: for `createdOn` and logs, never for deadlines. */
export function wallMs(): number {
  return Date.now()
}
