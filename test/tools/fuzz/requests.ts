/**
 * HTTP requests by chance: well formed, odd, broken, and those with which one program's second
 * request hides inside another's first. Made of a grammar, of which each part may be told wrongly,
 * and then often of changed bytes.
 */

import type { Random } from '../random.ts'
import { changed } from './bytes.ts'

export interface Target {
  readonly path: string
  readonly body: string
}

export interface FuzzRequest {
  readonly bytes: Buffer
  /**
   * Of what has two readings: `smuggled` carries the second request with it, `ambiguous` does not.
   */
  readonly kind: 'grammar' | 'changed' | 'smuggled' | 'ambiguous'
}

export interface Surroundings {
  readonly targets: readonly Target[]
  /** Secrets that are good, for paths that ask for one. */
  readonly keys: readonly string[]
}

const METHODS = ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'CONNECT', 'FOO']
const ODD_METHODS = ['post', 'PO ST', '', 'P\0ST', 'M'.repeat(300), 'POST\t', '\x16\x03\x01']
const VERSIONS = ['HTTP/1.0', 'HTTP/1.2', 'HTTP/9.9', 'HTTP/2.0', 'HTTP', '', 'http/1.1', 'ICY 1']

/** The name by which a header line is known that was never meant to be one. */
export const EVIL = 'x-evil'
const SPLITS = ['%0d%0a', '\r\n', '\n', '\r', '%0D%0A%20', '\u560d\u560a', '%E5%98%8D%E5%98%8A']

const split = (random: Random): string => `a${random.pick(SPLITS)}${EVIL}: 1`

const ODD_PATHS: readonly ((random: Random, path: string) => string)[] = [
  (_, path) => path.replaceAll('/', '//'),
  (_, path) => `${path}/../../../etc/passwd`,
  (_, path) => `${path}/%2e%2e/%2e%2e/%00`,
  (_, path) => `${path};x=1`,
  (_, path) => `${path}%zz%`,
  (_, path) => `${path}#fragment`,
  (_, path) => `http://other.example${path}`,
  () => '*',
  () => '',
  () => '/admin/api/services',
  () => '/metrics',
  (_, path) => path.toUpperCase(),
  (_, path) => `${path}\u00e9\u4e2d`,
  (random, path) => `${path}/${'u'.repeat(random.below(66_000))}`,
  (random, path) => `${path}?x=${split(random)}`,
  (random, path) =>
    `${path}?${Array.from({ length: random.below(300) }, (_, i) => `a${i}=1`).join('&')}`,
  (random) => `/public/api/v1/${split(random)}/p/predict`,
  (random) => `/${encodeURIComponent(String.fromCharCode(random.below(0x800)))}`,
]

const ODD_LINES: readonly ((random: Random) => string)[] = [
  (random) => `Content-Type: ${random.pick(['text/plain', 'multipart/form-data', 'a/b', '', ';'])}`,
  (random) => `Content-Encoding: ${random.pick(['gzip', 'br', 'identity', 'x'])}`,
  (random) => `X-Request-Id: ${split(random)}`,
  (random) => `Origin: https://page.example${random.pick(SPLITS)}${EVIL}: 1`,
  () => 'Origin: https://page.example',
  () => 'Expect: 100-continue',
  () => 'Expect: 200-ok',
  () => 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  () => 'Connection: close',
  () => 'Connection: keep-alive, Transfer-Encoding',
  (random) => `X-Long: ${'l'.repeat(random.below(20_000))}`,
  (random) => Array.from({ length: random.below(150) }, (_, i) => `X-${i}: ${i}`).join('\r\n'),
  () => 'X-Folded: a\r\n b',
  () => ' X-Before: 1',
  () => 'X-Space : 1',
  () => 'X-Empty:',
  () => 'No colon here',
  () => ': no name',
  () => 'X-Nul: a\0b',
  () => 'Host: second',
  () => 'Range: bytes=0-0',
  () => 'If-None-Match: *',
  () => 'Accept-Encoding: gzip;q=9, *;q=x',
  (random) => `Cookie: ${'c=d; '.repeat(random.below(500))}`,
  (random) => `\u00e9-${random.below(9)}: \u00ff`,
]

const FOUR = 'abcd'
const NO_CHUNK = '0\r\n\r\n'

/** Header lines of which two programs may make different ends of the body, and a body for one. */
const AMBIGUOUS: readonly (readonly [string, string])[] = [
  ['Content-Length: 4\r\nTransfer-Encoding: chunked', NO_CHUNK],
  ['Transfer-Encoding: chunked\r\nContent-Length: 4', NO_CHUNK],
  ['Transfer-Encoding: chunked\r\ncontent-length: 4', NO_CHUNK],
  ['Content-Length: 4\r\nContent-Length: 40', FOUR],
  ['Content-Length: 4\r\nContent-Length: 4', FOUR],
  ['Content-Length: 40\r\nContent-Length: 4', FOUR],
  ['content-length: 4\r\nCONTENT-LENGTH: 5', FOUR],
  ['Transfer-Encoding: gzip, chunked', NO_CHUNK],
  ['Transfer-Encoding: Chunked', NO_CHUNK],
  ['Transfer-Encoding: xchunked', NO_CHUNK],
  ['Transfer-Encoding: chunked, identity', NO_CHUNK],
  ['Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', NO_CHUNK],
  ['Transfer-Encoding: identity', NO_CHUNK],
  ['Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip', NO_CHUNK],
  ['Content-Length: +4', FOUR],
  ['Content-Length: 0x4', FOUR],
  ['Content-Length: -1', FOUR],
  ['Content-Length: 4, 4', FOUR],
  ['Content-Length: 4 4', FOUR],
]

/** Hidden behind the first request; whoever answers it has been tricked. */
const HIDDEN = `GET /hidden HTTP/1.1\r\nHost: x\r\n${EVIL}: 1\r\n\r\n`

export function requestOf(random: Random, around: Surroundings): FuzzRequest {
  const chance = random.next()
  if (chance < 0.1) return ambiguous(random, around)
  const plain = grammar(random, around)
  if (chance < 0.7) return plain
  return { ...plain, bytes: changed(random, plain.bytes, 3), kind: 'changed' }
}

function ambiguous(random: Random, { targets }: Surroundings): FuzzRequest {
  const { path } = random.pick(targets)
  const [lines, body] = random.pick(AMBIGUOUS)
  const before = random.next() < 0.3 ? 'X-Before: 1\r\n' : ''
  const after = random.next() < 0.3 ? '\r\nX-After: 1' : ''
  const head = `POST ${path} HTTP/1.1\r\nHost: x\r\n${before}${lines}${after}\r\n\r\n`
  const isHiding = random.next() < 0.5
  const bytes = Buffer.from(`${head}${body}${isHiding ? HIDDEN : ''}`)
  return { bytes, kind: isHiding ? 'smuggled' : 'ambiguous' }
}

function grammar(random: Random, around: Surroundings): FuzzRequest {
  const target = random.pick(around.targets)
  const method = oddly(random, 0.15, 'POST', METHODS, ODD_METHODS)
  const path = random.next() < 0.8 ? target.path : random.pick(ODD_PATHS)(random, target.path)
  const version = oddly(random, 0.05, 'HTTP/1.1', VERSIONS, VERSIONS)
  const body = bodyOf(random, target)
  const lines = random.next() < 0.97 ? ['Host: x'] : []
  if (random.next() < 0.6) lines.push('Content-Type: application/json')
  if (random.next() < 0.3) lines.push(`Authorization: ${authorizationOf(random, around.keys)}`)
  while (random.next() < 0.3) lines.push(random.pick(ODD_LINES)(random))
  const framed = framedOf(random, body)
  if (framed.line !== null) lines.splice(random.below(lines.length + 1), 0, framed.line)
  const head = `${method} ${path} ${version}\r\n${lines.join('\r\n')}\r\n\r\n`
  const bytes = Buffer.concat([Buffer.from(head), framed.body])
  return { bytes, kind: 'grammar' }
}

/** `usual`, but for a share that is another, of which a fifth is odd. */
function oddly(
  random: Random,
  share: number,
  ...[usual, others, odd]: [string, readonly string[], readonly string[]]
): string {
  if (random.next() >= share) return usual
  return random.pick(random.next() < 0.8 ? others : odd)
}

function bodyOf(random: Random, target: Target): Buffer {
  const chance = random.next()
  if (chance < 0.6) return Buffer.from(target.body)
  if (chance < 0.8) return changed(random, Buffer.from(target.body), 2)
  if (chance < 0.9) return Buffer.alloc(0)
  return Buffer.alloc(random.below(30_000), random.pick(['[', 'x', '\0', '{"a":']))
}

export function authorizationOf(random: Random, keys: readonly string[]): string {
  const key = keys.length === 0 ? 'nobody' : random.pick(keys)
  const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`
  return random.pick([
    `Bearer ${key}`,
    basic(`${key}:`),
    `Bearer ${changed(random, Buffer.from(key), 1).toString('latin1')}`,
    basic(`${key.slice(1)}:${key}`),
    'Bearer',
    'Basic ====',
    '',
    `Digest ${key}`,
    `Bearer ${'k'.repeat(random.below(12_000))}`,
    `Bearer ${key}\r\nAuthorization: Bearer other`,
  ])
}

interface Framed {
  readonly line: string | null
  readonly body: Buffer
}

function framedOf(random: Random, body: Buffer): Framed {
  const length = (bytes: number): string => `Content-Length: ${bytes}`
  const chance = random.next()
  if (chance < 0.65) return { line: length(body.length), body }
  if (chance < 0.85) return { line: 'Transfer-Encoding: chunked', body: chunked(random, body) }
  if (chance < 0.89) return { line: length(random.below(body.length + 1)), body }
  if (chance < 0.92) return { line: length(body.length + 1 + random.below(100)), body }
  if (chance < 0.95) return { line: length(10 ** (8 + random.below(10))), body }
  return { line: null, body: random.next() < 0.5 ? body : Buffer.alloc(0) }
}

const ODD_CHUNKS = [
  ...['zz\r\nabc\r\n', '-1\r\n', '1000000000000000\r\nx', '5;a\nb\r\nhello', '3\r\nabcdef'],
  ...[
    '3\nabc\n',
    '\r\n',
    ' 3\r\nabc\r\n',
    '3 \r\nabc\r\n',
    '0x3\r\nabc\r\n',
    '0\r\n',
    '00\r\n\r\n',
  ],
  ...[
    `3;${'e'.repeat(5_000)}\r\nabc\r\n`,
    '0\r\nX-Trailer: 1\r\n\r\n',
    `${'0'.repeat(40)}3\r\nabc\r\n`,
  ],
]

function chunked(random: Random, body: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < body.length; ) {
    const part = body.subarray(at, at + 1 + random.below(Math.min(body.length, 400)))
    const size = part.length.toString(16)
    parts.push(Buffer.from(`${random.next() < 0.5 ? size : size.toUpperCase()}\r\n`), part)
    parts.push(Buffer.from('\r\n'))
    at += part.length
  }
  parts.push(Buffer.from('0\r\n\r\n'))
  if (random.next() < 0.3) {
    parts.splice(random.below(parts.length), 0, Buffer.from(random.pick(ODD_CHUNKS)))
  }
  return Buffer.concat(parts)
}
