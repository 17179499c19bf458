/**
 * From the bytes of a batch to one parsed value per body.
 *
 * Each body is parsed on its own and never joined with another: two halves of JSON from one caller
 * could else enclose a stranger's body. Only when strict JSON fails does a tolerant reader look for
 * the bare NaN and Infinity that pandas clients send.
 */

import { isAscii } from 'node:buffer'
import { isDeeperThan } from '../core/base/json.ts'
import { LIMITS } from '../core/config/limits.ts'

// A byte order mark is no JSON: kept here, so that it is refused and not passed over.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A body that could be read, or why not. */
export type Parsed =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'refused'; readonly reason: string }

/** One entry per body. */
export function parseBodies(bytes: Uint8Array, ends: Uint32Array): Parsed[] {
  const parse = bodyParser(bytes)
  const parsed = new Array<Parsed>(ends.length)
  let start = 0
  for (let i = 0; i < ends.length; i++) {
    const end = ends[i] ?? start
    parsed[i] = parse(start, end)
    start = end
  }
  return parsed
}

/** Reads any body of a batch. */
export function bodyParser(bytes: Uint8Array): (start: number, end: number) => Parsed {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return isAscii(buffer)
    ? (start, end) => parseText(buffer.toString('latin1', start, end))
    : (start, end) => parseBody(buffer.subarray(start, end))
}

/** A body that is not UTF-8 fails alone. */
export function parseBody(body: Uint8Array): Parsed {
  let text: string
  try {
    text = utf8.decode(body)
  } catch {
    return { kind: 'refused', reason: 'the body is not valid UTF-8' }
  }
  return parseText(text)
}

export function parseText(text: string): Parsed {
  if (isTooDeep(text)) {
    return { kind: 'refused', reason: `the JSON is nested over ${LIMITS.jsonDepthMax} levels` }
  }
  try {
    return { kind: 'value', value: JSON.parse(text) }
  } catch (error) {
    return parseTolerantly(text, error)
  }
}

/**
 * Text that holds at most jsonDepthMax opening brackets cannot be nested deeper: the usual case.
 */
function isTooDeep(text: string): boolean {
  if (text.length <= 2 * LIMITS.jsonDepthMax) return false
  let left = LIMITS.jsonDepthMax
  for (const open of ['{', '[']) {
    for (let at = text.indexOf(open); at >= 0; at = text.indexOf(open, at + 1)) {
      left -= 1
      if (left < 0) return isDeeperThan(LIMITS.jsonDepthMax, text)
    }
  }
  return false
}

const BYTE_ORDER_MARK = 0xfeff
const withMark: Parsed = { kind: 'refused', reason: 'the body starts with a byte order mark' }

/**
 * Bare NaN becomes null, so it counts as missing; bare Infinity becomes a number that overflows, so
 * the feature that holds it is refused by name.
 */
function parseTolerantly(text: string, strictError: unknown): Parsed {
  const reason = strictError instanceof Error ? strictError.message : 'not JSON'
  const refused: Parsed = { kind: 'refused', reason: `the body is not JSON: ${short(reason)}` }
  if (text.charCodeAt(0) === BYTE_ORDER_MARK) return withMark
  if (text.trim() === '') return { kind: 'refused', reason: 'the body is empty' }
  if (!text.includes('NaN') && !text.includes('Infinity')) return refused
  try {
    return { kind: 'value', value: JSON.parse(withoutBareTokens(text)) }
  } catch {
    return refused
  }
}

function withoutBareTokens(text: string): string {
  const tokens = /"(?:[^"\\]|\\.)*"?|\bNaN\b|-?\bInfinity\b/g
  return text.replace(tokens, (token) => {
    if (token === 'NaN') return 'null'
    if (token === 'Infinity') return '1e999'
    return token === '-Infinity' ? '-1e999' : token
  })
}

/** V8 quotes the text in its messages; an answer echoes little of what it was sent. */
function short(message: string): string {
  return message.length > 120 ? `${message.slice(0, 117)}...` : message
}
