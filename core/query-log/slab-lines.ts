/** A slab as its reader sees it: bytes, notes of each line, and searches over all of them. */

import type { LinesMessage } from './protocol.ts'
import { FACT, FACTS, FLAG, factsOf } from './slab.ts'

/** What NaN and Infinity are found by: longer needles are searched for in a way that is slow. */
const BARE_TOKENS = ['NaN', 'Infin'] as const
const LINE_FEED = 10
const LINE_ENDS = [LINE_FEED, 13] as const
const BLANK = 32
const STAR = 42
/** Behind an `s`, as keys of ours begin; fewer lines hold a `k`, so it is found sooner. */
const KEY_PREFIX = 'k_'
const LETTER_S = 115
/** How long the rest of a key is: 32 bytes as base64url. */
const KEY_CHARACTERS_MIN = 43
/** Of these it is known already that they must be looked at, or that there is nothing to see. */
const NOT_SEARCHED = FLAG.checkRequest | FLAG.requestCut | FLAG.isQuery

export class SlabLines {
  readonly bytes: Buffer
  readonly count: number
  readonly #facts: Uint32Array

  constructor({ buffer, count, usedBytes }: LinesMessage) {
    this.bytes = Buffer.from(buffer, 0, usedBytes)
    this.#facts = factsOf(buffer)
    this.count = count
  }

  fact(i: number, fact: number): number {
    return this.#facts[i * FACTS + fact] ?? 0
  }

  /** Lines stand one behind the other. */
  endOf(i: number): number {
    return i + 1 < this.count ? this.fact(i + 1, FACT.start) : this.bytes.byteLength
  }

  text(start: number, end: number): string {
    return this.bytes.toString('utf8', start, end)
  }

  /** How long the part was that is cut; null: it is whole. */
  cut(i: number, part: 'request' | 'answer'): number | null {
    const isRequest = part === 'request'
    const flag = isRequest ? FLAG.requestCut : FLAG.answerCut
    if ((this.fact(i, FACT.flags) & flag) === 0) return null
    return this.fact(i, isRequest ? FACT.requestBytes : FACT.answerBytes)
  }

  /** A body with one of these is looked at: it may be inside a string, or no JSON. */
  findBareTokens(): void {
    for (const token of BARE_TOKENS) {
      let i = 0
      let at = this.bytes.indexOf(token)
      while (at >= 0) {
        while (this.endOf(i) <= at) i += 1
        const inRequest = at >= this.fact(i, FACT.request) && at < this.fact(i, FACT.tail)
        const flags = this.fact(i, FACT.flags)
        if (inRequest && (flags & NOT_SEARCHED) === 0) {
          this.#facts[i * FACTS + FACT.flags] = flags | FLAG.checkRequest
        }
        // One is enough, and behind the request nothing is looked for.
        const isBefore = at < this.fact(i, FACT.request)
        at = this.bytes.indexOf(token, isBefore ? at + 1 : this.endOf(i))
      }
    }
  }

  /**
   * Keys of ours are blotted out wherever they stand: pasted in the place of an id, or told on by
   * code that sees the headers of its callers.
   */
  hideKeys(): void {
    let at = this.bytes.indexOf(KEY_PREFIX)
    while (at >= 0) {
      const start = at + KEY_PREFIX.length
      let end = start
      while (isOfKey(this.bytes[end])) end += 1
      const isKey = this.bytes[at - 1] === LETTER_S && end - start >= KEY_CHARACTERS_MIN
      if (isKey) this.bytes.fill(STAR, start, end)
      at = this.bytes.indexOf(KEY_PREFIX, end)
    }
  }

  /** Only the ends of lines are line feeds from here on. */
  endEach(): void {
    for (const byte of LINE_ENDS) {
      let at = this.bytes.indexOf(byte)
      while (at >= 0) {
        this.bytes[at] = BLANK
        at = this.bytes.indexOf(byte, at + 1)
      }
    }
    for (let i = 0; i < this.count; i++) this.bytes[this.endOf(i) - 1] = LINE_FEED
  }
}

/** Letters, digits, `-` and `_`. */
function isOfKey(byte: number | undefined): boolean {
  if (byte === undefined) return false
  const isLetter = (byte | 32) >= 97 && (byte | 32) <= 122
  return isLetter || (byte >= 48 && byte <= 57) || byte === 45 || byte === 95
}
