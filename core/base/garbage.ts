/**
 * Takes back at once what a start has left behind. Node by itself collects when it allocates, and
 * an idle process does not: tens of megabytes that nobody uses would stay for days.
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

let collect: (() => void) | null = null

/** Stops the thread for some tens of milliseconds: not where queries are answered. */
export function collectGarbage(): void {
  collect ??= collector()
  collect()
}

function collector(): () => void {
  setFlagsFromString('--expose-gc')
  const gc: unknown = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  return () => {
    if (typeof gc === 'function') gc()
  }
}
