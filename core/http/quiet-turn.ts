/**
 * The right moment to close a listening socket. Connections that the kernel has set up but nobody
 * has accepted are reset by the close. The poll phase accepts all of them, and the check phase
 * follows at once: after a turn that took next to no time, hardly anybody can have come since.
 */

import { nowMs } from '../base/clock.ts'

/** A turn this short had nothing else to do. */
const QUIET_MS = 0.03

/** Calls back in the check phase of a quiet turn, or of whatever turn comes after `limitMs`. */
export function inQuietTurn(limitMs: number, act: () => void): void {
  const endMs = nowMs() + limitMs
  let lastMs = Number.NEGATIVE_INFINITY
  const look = (): void => {
    const now = nowMs()
    if (now - lastMs < QUIET_MS || now >= endMs) {
      act()
      return
    }
    lastMs = now
    setImmediate(look)
  }
  setImmediate(look)
}
