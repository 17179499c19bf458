/** Loads of generations since control started, by what they were for. */

import type { LoadDelta } from './delta.ts'

/** All there are, so that an alert has a zero to grow from: see core/engine/loads.ts. */
const CAUSES = ['asked', 'request', 'start']

export class LoadTotals {
  readonly #byCause = new Map<string, LoadDelta>(
    CAUSES.map((cause) => [cause, { cause, count: 0, sumMs: 0 }]),
  )

  add(deltas: readonly LoadDelta[]): void {
    for (const { cause, count, sumMs } of deltas) {
      const known = this.#byCause.get(cause) ?? { count: 0, sumMs: 0 }
      this.#byCause.set(cause, { cause, count: known.count + count, sumMs: known.sumMs + sumMs })
    }
  }

  all(): readonly LoadDelta[] {
    return [...this.#byCause.values()]
  }
}
