/**
 * Chance that depends on nothing but the explained row: whoever asks again gets the same
 * explanation, from whichever thread, and a slice can be gone on with anywhere.
 */

/** FNV-1a over UTF-16 units: it only has to spread, not to resist anybody. */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

/** Numbers from 0 up in random order, as many as fit; the same for the same seed and index. */
export function shuffle(order: Uint32Array, seed: number, index: number): void {
  const random = randomOf(Math.imul(seed ^ index, 0x9e3779b1) ^ (index >>> 7))
  for (let i = 0; i < order.length; i++) order[i] = i
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const swapped = order[i] ?? 0
    order[i] = order[j] ?? 0
    order[j] = swapped
  }
}

/** From 0 to below 1: a counter whose steps are mixed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
