/** What was given up since control started so that bytes that wait stay in bounds, by kind. */

import type { ShedCount } from './delta.ts'

/** All there are, so that an alert has a zero to grow from: see core/http/sheds.ts. */
const KINDS = ['body', 'answer', 'reader']

export class ShedTotals {
  readonly #byKind = new Map<string, number>(KINDS.map((kind) => [kind, 0]))

  add(counts: readonly ShedCount[]): void {
    for (const [kind, count] of counts) {
      this.#byKind.set(kind, (this.#byKind.get(kind) ?? 0) + count)
    }
  }

  all(): readonly ShedCount[] {
    return [...this.#byKind]
  }
}
