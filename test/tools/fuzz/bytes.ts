/** Bytes made wrong by chance: as a network, a disk or another program may make them. */

import type { Random } from '../random.ts'

/** What parsers look for, or stumble over. */
const TOKENS: readonly Buffer[] = [
  ...['\r\n', '\n', '\r', '\0', ' ', '\t', ':', ';', ',', '"', '%0d%0a', '\r\n\r\n', '//', '..'],
  ...['{', '}', '[', ']', 'null', '1e400', '-0', '\\u0000', '\x7f'],
  ...[
    'HTTP/1.1',
    'GET ',
    'Host: x',
    'Transfer-Encoding: chunked',
    'Content-Length: 5',
    '0\r\n\r\n',
  ],
].map((text) => Buffer.from(text, 'latin1'))
const BYTES: readonly Buffer[] = [0x00, 0x7f, 0x80, 0xc0, 0xff, 0xfe].map((byte) =>
  Buffer.from([byte]),
)
const SLICE_MAX = 64

type Change = (random: Random, bytes: Buffer, at: number) => Buffer

function replaced(bytes: Buffer, at: number, length: number, by: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + length)])
}

const CHANGES: readonly Change[] = [
  (random, bytes, at) => {
    const copy = Buffer.from(bytes)
    copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8))
    return copy
  },
  (random, bytes, at) => replaced(bytes, at, 1, Buffer.from([random.below(256)])),
  (random, bytes, at) => replaced(bytes, at, 0, random.pick(TOKENS)),
  (random, bytes, at) => replaced(bytes, at, 0, random.pick(BYTES)),
  (random, bytes, at) => replaced(bytes, at, 1 + random.below(SLICE_MAX), Buffer.alloc(0)),
  (random, bytes, at) => {
    const from = random.below(bytes.length)
    return replaced(bytes, at, 0, bytes.subarray(from, from + 1 + random.below(SLICE_MAX)))
  },
  (_, bytes, at) => bytes.subarray(0, at),
]

/** A copy with one to `most` changes. */
export function changed(random: Random, bytes: Buffer, most = 4): Buffer {
  let result = bytes
  for (let left = 1 + random.below(most); left > 0 && result.length > 0; left -= 1) {
    result = random.pick(CHANGES)(random, result, random.below(result.length))
  }
  return result
}

/** A copy in which numbers of two and four bytes are extreme: lengths, counts, offsets. */
export function misnumbered(random: Random, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  if (copy.length < 8) return copy
  const at = random.below(copy.length - 4)
  const values = [0, 1, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, copy.length, random.below(2 ** 32)]
  const value = random.pick(values)
  if (random.next() < 0.5) copy.writeUInt16LE(value & 0xffff, at)
  else copy.writeUInt32LE(value, at)
  return copy
}

/** Bytes as a text that a person can read and a test can repeat. */
export function shown(bytes: Uint8Array, most = 4_000): string {
  const text = JSON.stringify(Buffer.from(bytes.subarray(0, most)).toString('latin1'))
  return bytes.length > most ? `${text} and ${bytes.length - most} bytes` : text
}
