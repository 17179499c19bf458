/** Waiting for a condition, never for a time: a slow machine makes a test slow, not wrong. */

import { setTimeout as sleep } from 'node:timers/promises'

/** Fails after `limitMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  limitMs = 5_000,
): Promise<void> {
  const endMs = performance.now() + limitMs
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`waited in vain for ${condition}`)
    await sleep(1)
  }
}
