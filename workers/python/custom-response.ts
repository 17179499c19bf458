/**
 * An HTTP answer that a function makes itself: checked here, because what the code of a bundle puts
 * into a header must not end the header.
 */

import type { RawAnswer } from '../protocol.ts'
import type { CustomResponse } from './dialect.ts'

const NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/
/** Printable Latin-1 and tabs. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
/** The answer, or what is wrong with it. */
export function rawAnswer(
  index: number,
  { status, headers }: CustomResponse,
  body: Buffer,
): RawAnswer | string {
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    return `the response has the status ${status}: 200 to 599 are allowed`
  }
  for (const [name, value] of headers) {
    if (!NAME.test(name)) return `the response has a header named ${JSON.stringify(name)}`
    if (!VALUE.test(value)) return `the header "${name}" holds characters that no header can hold`
  }
  // A copy of its own: the frame shares its memory with others, and this is handed on.
  return { index, status, headers, body: new Uint8Array(body) }
}
