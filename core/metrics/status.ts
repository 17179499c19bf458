/**
 * Counts of answers by HTTP status, on both sides of the channel: an array on the hot path, pairs
 * on the wire, a sorted map where they are shown.
 */

const STATUS_MIN = 100
const STATUS_MAX = 599
/** What an impossible status counts as: it can only be our own bug. */
const STATUS_INVALID = 500
const TOO_MANY_REQUESTS = 429

/** Errors are what the node, not the caller, is to blame for: 5xx, and refusals for load. */
function isErrorStatus(status: number): boolean {
  return status >= STATUS_INVALID || status === TOO_MANY_REQUESTS
}

export interface StatusDelta {
  readonly statuses: Uint32Array
  readonly errors: number
}

/** The side that counts. No memory before the first answer. */
export class StatusRecorder {
  #counts: Uint32Array | null = null

  count(status: number): void {
    const counts = this.#counts ?? this.#open()
    const known = status >= STATUS_MIN && status <= STATUS_MAX
    const index = (known ? status | 0 : STATUS_INVALID) - STATUS_MIN
    counts[index] = (counts[index] ?? 0) + 1
  }

  /** Hands over everything counted since the last call. */
  drain(): StatusDelta {
    const pairs: number[] = []
    let errors = 0
    this.#counts?.forEach((count, index) => {
      if (count === 0) return
      const status = index + STATUS_MIN
      pairs.push(status, count)
      if (isErrorStatus(status)) errors += count
    })
    this.#counts?.fill(0)
    return { statuses: Uint32Array.from(pairs), errors }
  }

  free(): void {
    this.#counts = null
  }

  #open(): Uint32Array {
    this.#counts = new Uint32Array(STATUS_MAX - STATUS_MIN + 1)
    return this.#counts
  }
}

/** Adds the pairs of a delta to a map and says how many requests they are. */
export function addStatuses(into: Map<number, number>, pairs: Uint32Array): number {
  let requests = 0
  for (let at = 0; at + 1 < pairs.length; at += 2) {
    const status = pairs[at] ?? STATUS_INVALID
    const count = pairs[at + 1] ?? 0
    into.set(status, (into.get(status) ?? 0) + count)
    requests += count
  }
  return requests
}

export function mergeStatuses(into: Map<number, number>, from: ReadonlyMap<number, number>): void {
  for (const [status, count] of from) into.set(status, (into.get(status) ?? 0) + count)
}

export function sortedStatuses(statuses: ReadonlyMap<number, number>): [number, number][] {
  return [...statuses].sort(([left], [right]) => left - right)
}
