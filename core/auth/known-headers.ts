/**
 * Remembers which digest a header led to, so that a caller who comes again costs no SHA-256.
 * Neither the header nor its secret is kept, only a fingerprint under a key of this process.
 *
 * The fingerprint is three multilinear hashes modulo 2^32 with random multipliers (Carter and
 * Wegman, "Universal classes of hash functions", 1979). Characters of one byte differ by less than
 * 2^8, so two headers of a length agree in one hash with probability 2^-24 at most, whoever chose
 * them, and in all three with 2^-72: a stranger cannot do better than that for each guess, and no
 * answer tells him how near he was.
 */

import { randomFillSync } from 'node:crypto'

/** Longer ones, which are tokens, are looked up by their digest alone. */
const CHARS_MAX = 128
/** When there are more, all are forgotten. */
const HEADERS_MAX = 1_024

interface Known {
  readonly second: number
  readonly third: number
  readonly length: number
  readonly digest: string
}

export class KnownHeaders {
  readonly #keys = randomFillSync(new Int32Array(3 * CHARS_MAX))
  readonly #known = new Map<number, Known>()
  /** Of the header that was looked for last. */
  #first = 0
  #second = 0
  #third = 0

  /** Null: it is not known, and remember() may follow. */
  digestOf(header: string): string | null {
    if (header.length > CHARS_MAX || !this.#hash(header)) return null
    const known = this.#known.get(this.#first)
    const isSame =
      known !== undefined &&
      known.second === this.#second &&
      known.third === this.#third &&
      known.length === header.length
    return isSame ? known.digest : null
  }

  /** Of a header that opened something: others shall not push those out. */
  remember(header: string, digest: string): void {
    if (header.length > CHARS_MAX || !this.#hash(header)) return
    if (this.#known.size >= HEADERS_MAX) this.#known.clear()
    const { length } = header
    this.#known.set(this.#first, { second: this.#second, third: this.#third, length, digest })
  }

  /** False: it holds more than one-byte characters. */
  #hash(header: string): boolean {
    const keys = this.#keys
    let first = 0
    let second = 0
    let third = 0
    let all = 0
    for (let i = 0, k = 0; i < header.length; i++, k += 3) {
      const code = header.charCodeAt(i)
      all |= code
      first = (first + Math.imul(keys[k] ?? 0, code)) | 0
      second = (second + Math.imul(keys[k + 1] ?? 0, code)) | 0
      third = (third + Math.imul(keys[k + 2] ?? 0, code)) | 0
    }
    this.#first = first
    this.#second = second
    this.#third = third
    return all < 256
  }
}
