/** Fewer steps that fail as well: ever smaller parts are left out while the others still do. */

import type { Step } from './soak.ts'

export interface Tried {
  /** Those that were taken: up to the failure, and without those that were not possible. */
  readonly steps: readonly Step[]
  /** What was wrong; null: nothing. */
  readonly failure: string | null
}

export interface Shrinking {
  /** Takes the steps on a fresh node. */
  readonly attempt: (steps: readonly Step[]) => Promise<Tried>
  readonly isOver: () => boolean
  /** Of the first attempt, and of each with fewer steps that has failed too. */
  readonly onFailure: (steps: readonly Step[], failure: string) => void
}

/** Null when the steps do not fail at all. */
export async function shrink(
  given: readonly Step[],
  { attempt, isOver, onFailure }: Shrinking,
): Promise<readonly Step[] | null> {
  const keep = async (steps: readonly Step[]): Promise<readonly Step[] | null> => {
    const tried = await attempt(steps)
    if (tried.failure === null) return null
    onFailure(tried.steps, tried.failure)
    return tried.steps
  }
  let steps = await keep(given)
  if (steps === null) return null
  let part = Math.ceil(steps.length / 2)
  let at = 0
  while (!isOver() && steps.length > 0) {
    if (at >= steps.length) {
      if (part === 1) break
      part = Math.ceil(part / 2)
      at = 0
    }
    const fewer = await keep([...steps.slice(0, at), ...steps.slice(at + part)])
    if (fewer === null) at += part
    else {
      steps = fewer
      // What could not be left out before may be now.
      at = 0
      part = Math.max(1, Math.min(part, Math.ceil(steps.length / 2)))
    }
  }
  return steps
}
