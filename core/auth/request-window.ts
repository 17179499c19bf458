/**
 * How many requests were let in within the last second, to a slice of it. No pattern of requests
 * gets more than its limit into any second, and whoever stays a hundredth below it is let in,
 * whether evenly or all at once: a bucket of tokens has only one of the two.
 *
 * A rate below one is a longer window with one request in it; of a fraction above one the window is
 * stretched until a whole number fits.
 */

/** A request leaves the window up to one slice late, which costs a caller at its limit so much. */
const SLICES = 128

export class RequestWindow {
  /** Requests in one window: the limit; Infinity: none, and nothing is counted. */
  readonly capacity: number
  readonly windowMs: number
  readonly #counts = new Float64Array(SLICES + 1)
  #slice = 0
  #used = 0

  constructor(perSecond: number | null, nowMs: number) {
    this.capacity = perSecond === null ? Number.POSITIVE_INFINITY : Math.ceil(perSecond)
    this.windowMs = perSecond === null ? 1_000 : (1_000 * this.capacity) / perSecond
    this.#slice = this.#sliceAt(nowMs)
  }

  /** As of the last look(). */
  get used(): number {
    return this.#used
  }

  /** Forgets what is older than the window; true when that was something. */
  look(nowMs: number): boolean {
    const slice = this.#sliceAt(nowMs)
    if (slice === this.#slice) return false
    const before = this.#used
    const passed = Math.min(slice - this.#slice, SLICES + 1)
    for (let i = 1; i <= passed; i += 1) {
      const place = (this.#slice + i) % (SLICES + 1)
      this.#used -= this.#counts[place] ?? 0
      this.#counts[place] = 0
    }
    this.#slice = slice
    return this.#used < before
  }

  /** Counts requests as of the last look(). */
  add(requests: number): void {
    const place = this.#slice % (SLICES + 1)
    this.#counts[place] = (this.#counts[place] ?? 0) + requests
    this.#used += requests
  }

  /** How long until one of those that are counted leaves; 0 when there are none. */
  nextLeavesMs(nowMs: number): number {
    for (let age = SLICES; age >= 0; age -= 1) {
      const slice = this.#slice - age
      if (slice < 0 || this.#counts[slice % (SLICES + 1)] === 0) continue
      const leavesMs = (slice + SLICES + 1) * (this.windowMs / SLICES)
      return Math.max(0, leavesMs - nowMs)
    }
    return 0
  }

  /** From an instant on which nothing that is counted now is in the window any more. */
  get forgottenInMs(): number {
    return this.windowMs * (1 + 1 / SLICES)
  }

  /** Never back: the clock of a test may begin anywhere, only not before. */
  #sliceAt(nowMs: number): number {
    return Math.max(this.#slice, Math.floor(nowMs / (this.windowMs / SLICES)))
  }
}
