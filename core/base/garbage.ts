/**
 * Collections that somebody asks for. Node by itself collects when it allocates, and what a start
 * has left behind, or a thread that allocates little, would stay for days.
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Of a process whose threads ask: flags must not change where other threads run. */
export const GARBAGE_FLAGS = ['--expose-gc'] as const

let collect: (() => void) | null = null

/** Stops the thread for some tens of milliseconds: not where queries are answered. */
export function collectGarbage(): void {
  collect ??= collector()
  collect()
}

/** What is young only, in about half a millisecond; nothing in a process without GARBAGE_FLAGS. */
export function collectYoungGarbage(): void {
  globalThis.gc?.({ type: 'minor', execution: 'sync' })
}

function collector(): () => void {
  setFlagsFromString('--expose-gc')
  const gc: unknown = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  return () => {
    if (typeof gc === 'function') gc()
  }
}
