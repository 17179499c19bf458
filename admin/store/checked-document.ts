/**
 * A JSON file that proves itself: `{"body":…,"checksum":"…"}`, the checksum taken over the text of
 * the body. Any JSON tool reads it, and a byte that changed is noticed.
 */

import { createHash } from 'node:crypto'
import { isObject } from '../../core/base/json.ts'
import { canonicalJson } from './envelope.ts'

const OPENING = '{"body":'
const CLOSING = /^,"checksum":"([0-9a-f]{64})"\}\n$/
/** `,"checksum":"` + 64 + `"}\n` */
const CLOSING_CHARS = 13 + 64 + 3

export type Opened =
  | { readonly kind: 'good'; readonly body: Record<string, unknown> }
  | { readonly kind: 'bad'; readonly reason: string }

export function documentOf(body: object): string {
  return [...documentPieces([canonicalJson(body)])].join('')
}

/** The same in pieces, for a body that is too long to be one text. */
export function* documentPieces(body: Iterable<string>): Generator<string> {
  const hash = createHash('sha256')
  yield OPENING
  for (const piece of body) {
    hash.update(piece)
    yield piece
  }
  yield `,"checksum":"${hash.digest('hex')}"}\n`
}

export function openDocument(text: string): Opened {
  const body = text.slice(OPENING.length, -CLOSING_CHARS)
  const checksum = CLOSING.exec(text.slice(-CLOSING_CHARS))?.[1]
  if (!text.startsWith(OPENING) || checksum === undefined) return bad('it is not whole')
  if (createHash('sha256').update(body).digest('hex') !== checksum) {
    return bad('the checksum does not match')
  }
  try {
    const value: unknown = JSON.parse(body)
    return isObject(value) ? { kind: 'good', body: value } : bad('it holds no object')
  } catch {
    return bad('it is not JSON')
  }
}

function bad(reason: string): Opened {
  return { kind: 'bad', reason }
}
