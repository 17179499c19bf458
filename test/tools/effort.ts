/**
 * How hard the tests try that could try for ever: kills, rounds, bytes.
 *
 * `npm test` runs with EFFORT=1 and must stay short; EFFORT=10 gives the figures that are quoted.
 * What was spent is printed, so that a test which quietly tries less is seen.
 */

type Effort = 1 | 10

function effortLevel(): Effort {
  return Number(process.env['EFFORT'] ?? 1) >= 10 ? 10 : 1
}

export function effort<T>(small: T, full: T): T {
  return effortLevel() === 10 ? full : small
}

/** One JSON line, as a comment of the tests' own output. */
export function sayEffort(spent: Readonly<Record<string, number | string>>): void {
  process.stdout.write(`# ${JSON.stringify({ effort: effortLevel(), ...spent })}\n`)
}
