/** Progress is told often enough for people, and not once for every piece of a file. */

import { nowMs } from '../../core/base/clock.ts'

const EVERY_MS = 100

interface Progress {
  readonly doneBytes: number
  readonly totalBytes: number
}

/** The first and the last are always told. */
export function everyNow<T extends Progress>(tell: (progress: T) => void): (progress: T) => void {
  let toldMs = 0
  return (progress) => {
    const now = nowMs()
    const isDone = progress.doneBytes >= progress.totalBytes
    if (toldMs !== 0 && now - toldMs < EVERY_MS && !isDone) return
    toldMs = now
    tell(progress)
  }
}
