/** Waiting for a condition, never for a time: a slow machine makes a test slow, not wrong. */

import { setTimeout as sleep } from 'node:timers/promises'

/** Fails after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + 5_000
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`waited in vain for ${condition}`)
    await sleep(1)
  }
}
