/**
 * How hard the tests try that could try for ever: kills, rounds, bytes.
 *
 * `npm test` runs with EFFORT=1 and must stay short; EFFORT=10 gives the figures that are quoted,
 * and what is counted in thousands grows on with it.
 * What was spent is printed, so that a test which quietly tries less is seen.
 */

const FULL = 10

export function effortLevel(): number {
  return Math.max(1, Number(process.env['EFFORT'] ?? 1))
}

export function effort<T>(small: T, full: T): T {
  return effortLevel() >= FULL ? full : small
}

/** So much for every step of it: of 40 kills EFFORT=25 makes 1,000. */
export function scaled(small: number): number {
  return small * effortLevel()
}

/**
 * Of what may be tried in pieces: EFFORT=2 spends a fifth of `full`, and five runs of it with
 * different seeds are as good as one with EFFORT=10.
 */
export function effortShare(small: number, full: number): number {
  const level = effortLevel()
  return level === 1 ? small : Math.round((full * Math.min(level, FULL)) / FULL)
}

/** One JSON line, as a comment of the tests' own output. */
export function sayEffort(spent: Readonly<Record<string, number | string>>): void {
  process.stdout.write(`# ${JSON.stringify({ effort: effortLevel(), ...spent })}\n`)
}
