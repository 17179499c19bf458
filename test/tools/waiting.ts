/** Waiting for a condition, never for a time: a slow machine makes a test slow, not wrong. */

import { setTimeout as sleep } from 'node:timers/promises'

/** Beyond all that a busy machine can be late. */
const LATE_MS = 60_000
/** Who asks a node all the time slows down what is waited for; the longer it takes, the less. */
const PAUSE_MS_MAX = 5
const PAUSE_SHARE = 0.01

/** Fails after `limitMs`, which only what is promised within a time has reason to give. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  limitMs = LATE_MS,
): Promise<void> {
  const startMs = performance.now()
  while (!(await condition())) {
    const waitedMs = performance.now() - startMs
    if (waitedMs > limitMs) throw new Error(`waited in vain for ${condition}`)
    await sleep(Math.max(1, Math.min(PAUSE_MS_MAX, waitedMs * PAUSE_SHARE)))
  }
}

/**
 * The least of what some tries of `measure` have found; none follows one below `enough`. What is
 * quick is seen to be quick as soon as nobody disturbs it once; what is slow never is.
 */
export async function least(
  enough: number,
  measure: () => Promise<number>,
  tries = 10,
): Promise<number> {
  let found = Number.POSITIVE_INFINITY
  for (let i = 0; i < tries && found >= enough; i++) found = Math.min(found, await measure())
  return found
}

/** The least time, in milliseconds, that some tries of `work` have taken; see `least`. */
export function quickest(enoughMs: number, work: () => unknown): Promise<number> {
  return least(enoughMs, async () => {
    const startMs = performance.now()
    await work()
    return performance.now() - startMs
  })
}
