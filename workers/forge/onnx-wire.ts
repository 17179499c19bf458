/**
 * Reads and edits the wire format of protobuf, which ONNX files are written in, by byte ranges.
 *
 * A library for protobuf would lose every field that it does not know and hold the model several
 * times in memory. Here a message is a range of the file: what is not changed is copied from range
 * to range, so unknown fields, weights and their order stay as they are. The file is read through
 * a small window, whatever its size. Nothing in it is believed: every length must fit its parent.
 */

import { isUtf8 } from 'node:buffer'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'

/** The file is no well-formed model; the message is for the author of the bundle. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** Part of the file; `end` is the first byte behind it. */
export interface Range {
  readonly start: number
  readonly end: number
}

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

/** One field of a message: `start` is its tag, `value` what follows tag and length. */
export interface Field extends Range {
  readonly number: number
  readonly wire: number
  readonly value: number
}

const WINDOW_BYTES = 64 * 1024
const TEXT_BYTES_MAX = 64 * 1024
const VARINT_BYTES_MAX = 10

export class WireFile {
  readonly size: number
  readonly #file: number
  readonly #window = Buffer.alloc(WINDOW_BYTES)
  #windowStart = 0
  #windowEnd = 0
  /** Where the varint ended that was read last. */
  #after = 0

  constructor(path: string) {
    this.#file = openSync(path, 'r')
    this.size = fstatSync(this.#file).size
  }

  close(): void {
    closeSync(this.#file)
  }

  /** The fields of a message, one after the other; throws where they do not fit into it. */
  *fields(message: Range): Generator<Field, void, undefined> {
    for (let at = message.start; at < message.end; ) {
      const field = this.#fieldAt(at, message.end)
      yield field
      at = field.end
    }
  }

  #fieldAt(start: number, limit: number): Field {
    const tag = this.#varint(start, limit)
    const number = Math.floor(tag / 8)
    const wire = tag % 8
    if (number < 1 || number > 0x1fffffff) throw malformed(start, 'a field without a number')
    let value = this.#after
    let end: number
    if (wire === WIRE.varint) {
      this.#varint(value, limit)
      end = this.#after
    } else if (wire === WIRE.bytes) {
      const length = this.#varint(value, limit)
      value = this.#after
      end = value + length
    } else if (wire === WIRE.fixed64) end = value + 8
    else if (wire === WIRE.fixed32) end = value + 4
    else throw malformed(start, `a field of the unknown kind ${wire}`)
    if (end > limit) throw malformed(start, 'a field that is longer than what holds it')
    return { number, wire, start, value, end }
  }

  /** A varint as a number; beyond 2^53 only its size is right, which is all that lengths need. */
  #varint(start: number, limit: number): number {
    const bound = Math.min(limit, start + VARINT_BYTES_MAX)
    let result = 0
    let scale = 1
    for (let at = start; at < bound; at++) {
      const byte = this.#byte(at)
      result += (byte & 0x7f) * scale
      if (byte < 0x80) {
        this.#after = at + 1
        return result
      }
      scale *= 128
    }
    throw malformed(start, 'a number that does not end')
  }

  #byte(at: number): number {
    if (at < this.#windowStart || at >= this.#windowEnd) this.#fill(at)
    return this.#window[at - this.#windowStart] ?? 0
  }

  #fill(start: number): void {
    const bytesRead = readSync(this.#file, this.#window, 0, WINDOW_BYTES, start)
    if (bytesRead === 0) throw malformed(start, 'the end of the file, too early')
    this.#windowStart = start
    this.#windowEnd = start + bytesRead
  }

  /** A whole number field as two's complement of 64 bits, which is how ONNX writes all of them. */
  integer(field: Field): bigint {
    if (field.wire !== WIRE.varint) throw malformed(field.start, 'a number of the wrong kind')
    return this.#integerAt(field.value, field.end)
  }

  #integerAt(start: number, limit: number): bigint {
    this.#varint(start, limit)
    let result = 0n
    for (let at = this.#after - 1; at >= start; at--) {
      result = (result << 7n) | BigInt(this.#byte(at) & 0x7f)
    }
    return BigInt.asIntN(64, result)
  }

  /** The numbers of one field of a repeated number, which may stand alone or packed together. */
  *integers(field: Field): Generator<bigint, void, undefined> {
    if (field.wire !== WIRE.bytes) {
      yield this.integer(field)
      return
    }
    for (let at = field.value; at < field.end; ) {
      const value = this.#integerAt(at, field.end)
      at = this.#after
      yield value
    }
  }

  /** The content of a message field. */
  message(field: Field): Range {
    if (field.wire !== WIRE.bytes) throw malformed(field.start, 'a message of the wrong kind')
    return { start: field.value, end: field.end }
  }

  text(field: Field): string {
    const { start, end } = this.message(field)
    if (end - start > TEXT_BYTES_MAX) throw malformed(start, 'a name that is too long')
    const bytes = Buffer.alloc(end - start)
    for (let at = start; at < end; at++) bytes[at - start] = this.#byte(at)
    if (!isUtf8(bytes)) throw malformed(start, 'a name that is not UTF-8')
    return bytes.toString('utf8')
  }

  /** Reads up to `buffer.length` bytes of the file; for copying. */
  read(buffer: Buffer, start: number, length: number): Buffer {
    const bytesRead = readSync(this.#file, buffer, 0, Math.min(length, buffer.length), start)
    if (bytesRead === 0) throw malformed(start, 'the end of the file, too early')
    return buffer.subarray(0, bytesRead)
  }
}

function malformed(at: number, what: string): WireError {
  return new WireError(`the file is no ONNX model, or is damaged: at byte ${at} there is ${what}`)
}

/** A piece of a new message: new bytes, or a range of the old file. */
export type Piece = Buffer | Range

/**
 * The content of a message after an edit. `edit` answers null for a field that stays, else what
 * stands in its place. Neighbours that stay become one range, down to the last byte.
 */
export function edited(
  file: WireFile,
  message: Range,
  edit: (field: Field) => readonly Piece[] | null,
): Piece[] {
  const pieces: Piece[] = []
  let kept = message.start
  for (const field of file.fields(message)) {
    const instead = edit(field)
    if (instead === null) continue
    if (field.start > kept) pieces.push({ start: kept, end: field.start })
    for (const piece of instead) pieces.push(piece)
    kept = field.end
  }
  if (message.end > kept) pieces.push({ start: kept, end: message.end })
  return pieces
}

/** A field that holds a message or a text made of these pieces. */
export function bytesField(number: number, pieces: readonly Piece[]): Piece[] {
  const length = pieces.reduce((sum, piece) => sum + lengthOf(piece), 0)
  return [Buffer.concat([varint(number * 8 + WIRE.bytes), varint(length)]), ...pieces]
}

export function textField(number: number, text: string): Piece[] {
  return bytesField(number, [Buffer.from(text)])
}

export function integerField(number: number, value: number): Piece[] {
  return [Buffer.concat([varint(number * 8 + WIRE.varint), varint(value)])]
}

function lengthOf(piece: Piece): number {
  return Buffer.isBuffer(piece) ? piece.length : piece.end - piece.start
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  bytes.push(rest)
  return Buffer.from(bytes)
}

/** Writes the pieces to a new file, one after the other. */
export async function writePieces(
  file: WireFile,
  pieces: readonly Piece[],
  path: string,
): Promise<void> {
  const out = await open(path, 'wx', 0o600)
  const buffer = Buffer.alloc(1024 * 1024)
  try {
    for (const piece of pieces) {
      if (Buffer.isBuffer(piece)) {
        await out.appendFile(piece)
        continue
      }
      for (let at = piece.start; at < piece.end; ) {
        const bytes = file.read(buffer, at, piece.end - at)
        await out.appendFile(bytes)
        at += bytes.length
      }
    }
  } finally {
    await out.close()
  }
}
