/** Chance that can be repeated: `SEED=… node test.js` chooses again what a failed run chose. */

export interface Random {
  readonly seed: number
  /** From 0 to below 1. */
  next(): number
  /** From 0 to below `end`. */
  below(end: number): number
  pick<T>(items: readonly T[]): T
}

/** Of SEED, else of the clock; whoever uses it prints the seed. */
export function randomOf(seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)): Random {
  // mulberry32: one multiplication chain over a counter; its steps are known to be well mixed.
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (end: number): number => Math.floor(next() * end)
  const pick = <T>(items: readonly T[]): T => {
    const [item] = items.slice(below(items.length))
    if (item === undefined) throw new Error('nothing to choose from')
    return item
  }
  return { seed, next, below, pick }
}
