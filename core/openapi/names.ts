/**
 * Names for what generators make classes and functions of. Ids may differ in a dash only, and
 * become one name in most languages: so each name is given once, however alike the ids are.
 */

export class Names {
  readonly #taken = new Set<string>()

  /** `late-std.v2` becomes `LateStdV2`, or `LateStdV22` where that is taken. */
  take(id: string): string {
    const name = pascal(id)
    let unique = name
    for (let next = 2; this.#taken.has(unique.toLowerCase()); next += 1) unique = `${name}${next}`
    this.#taken.add(unique.toLowerCase())
    return unique
  }
}

function pascal(id: string): string {
  const words = id.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
  return /^[A-Za-z]/.test(name) ? name : `E${name}`
}

/** Whether generators can make constants of these: not when two become the same name. */
export function areDistinct(values: readonly string[]): boolean {
  const folded = values.map((value) => value.toLowerCase().replace(/[^a-z0-9]+/g, ''))
  return folded.every((name) => name !== '') && new Set(folded).size === values.length
}
