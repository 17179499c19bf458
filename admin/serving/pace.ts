/**
 * How often a place on the port may get a new process. What an operator asks for is not counted;
 * what a fault asks for must not become a loop that costs more than the fault. Pure.
 */

const HANG_WINDOW_MS = 600_000
const HANGS_AT_ONCE = 3
const HANG_DELAY_MS_MIN = 2_000
const HANG_DELAY_MS_MAX = 60_000

/** Replacements of processes that hang: the first ones at once, then later and later. */
export class HangPace {
  #begunMs: number[] = []

  /** Whether another one may begin now; if so it is counted. */
  mayBegin(nowMs: number): boolean {
    this.#begunMs = this.#begunMs.filter((atMs) => nowMs - atMs < HANG_WINDOW_MS)
    const last = this.#begunMs.at(-1) ?? Number.NEGATIVE_INFINITY
    if (nowMs - last < hangDelayMs(this.#begunMs.length)) return false
    this.#begunMs.push(nowMs)
    return true
  }
}

function hangDelayMs(begun: number): number {
  if (begun < HANGS_AT_ONCE) return 0
  return Math.min(HANG_DELAY_MS_MAX, HANG_DELAY_MS_MIN * 2 ** (begun - HANGS_AT_ONCE))
}

const GROWTH_EVERY_MS = 600_000
/** A new process above this share of the limit will be over it again soon. */
const FRESH_SHARE_MAX = 0.9

export type Growth = 'within' | 'replace' | 'wait' | 'hopeless'

/** Replacements of processes that have grown: rarely, and not when a new one is as large. */
export class GrowthPace {
  readonly #bytesMax: number
  #lastMs = Number.NEGATIVE_INFINITY
  #wasOver = false
  #isFreshOneLarge = false

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** A process was over the limit, and a new one is as good as over it too. */
  get isHopeless(): boolean {
    return this.#wasOver && this.#isFreshOneLarge
  }

  /** Of the process that has been serving for a while; `replace` is counted. */
  look(residentBytes: number, nowMs: number): Growth {
    if (residentBytes <= this.#bytesMax * FRESH_SHARE_MAX) {
      this.#wasOver = false
      this.#isFreshOneLarge = false
    }
    if (residentBytes <= this.#bytesMax) return 'within'
    this.#wasOver = true
    if (this.#isFreshOneLarge) return 'hopeless'
    if (nowMs - this.#lastMs < GROWTH_EVERY_MS) return 'wait'
    this.#lastMs = nowMs
    return 'replace'
  }

  /** Of a process that has just begun to serve. */
  begun(residentBytes: number): void {
    this.#isFreshOneLarge = residentBytes > this.#bytesMax * FRESH_SHARE_MAX
  }
}

const DELAY_MS_MAX = 10_000

/** The first restart comes at once; what keeps dying of its start must not burn a core. */
export function restartDelayMs(failedStarts: number): number {
  return failedStarts <= 1 ? 0 : Math.min(DELAY_MS_MAX, 125 * 2 ** failedStarts)
}
