/**
 * One pass over the headers of a request: the guard against ambiguous framing has to see them all,
 * so those that every route asks for are kept in passing, which spares a native call for each.
 */

import type { HttpRequest } from 'uWebSockets.js'

export class HeaderScan {
  #lengths = 0
  #isChunked = false
  #isOdd = false
  #contentLength = ''
  #contentBytes = 0
  #contentType = ''
  #contentEncoding = ''
  #authorization = ''

  /** What is read stays until the next request; that is as long as a handler may ask. */
  read(req: HttpRequest): void {
    this.#lengths = 0
    this.#isChunked = false
    this.#isOdd = false
    this.#contentLength = ''
    this.#contentBytes = 0
    this.#contentType = ''
    this.#contentEncoding = ''
    this.#authorization = ''
    req.forEach(this.#see)
  }

  /**
   * Two lengths, a length beside chunks, or an encoding other than `chunked`: a proxy in front may
   * read such a request differently and let a second one pass hidden in the body.
   */
  get isAmbiguous(): boolean {
    return this.#isOdd || this.#lengths > 1 || (this.#isChunked && this.#lengths > 0)
  }

  /** What the request declares; 0: nothing. NaN where it is ambiguous. */
  get contentBytes(): number {
    return this.#contentBytes
  }

  /** Null for a header that is not kept. */
  value(name: string): string | null {
    switch (name) {
      case 'content-length':
        return this.#contentLength
      case 'content-type':
        return this.#contentType
      case 'content-encoding':
        return this.#contentEncoding
      case 'authorization':
        return this.#authorization
      default:
        return null
    }
  }

  /** The length of a name tells most of them apart without comparing. */
  readonly #see = (name: string, value: string): void => {
    switch (name.length) {
      case 12:
        if (name === 'content-type') this.#contentType ||= value
        return
      case 13:
        if (name === 'authorization') this.#authorization ||= value
        return
      case 14:
        if (name === 'content-length') this.#seeLength(value)
        return
      case 16:
        if (name === 'content-encoding') this.#contentEncoding ||= value
        return
      case 17:
        if (name === 'transfer-encoding') this.#seeEncoding(value)
        return
      default:
    }
  }

  #seeLength(value: string): void {
    this.#lengths += 1
    this.#contentLength = value
    this.#contentBytes = lengthIn(value)
    if (Number.isNaN(this.#contentBytes)) this.#isOdd = true
  }

  #seeEncoding(value: string): void {
    if (value !== 'chunked' || this.#isChunked) this.#isOdd = true
    this.#isChunked = true
  }
}

/** Of one to fifteen digits; else NaN. */
function lengthIn(value: string): number {
  let length = 0
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return Number.NaN
    length = 10 * length + digit
  }
  return value.length > 0 && value.length <= 15 ? length : Number.NaN
}
