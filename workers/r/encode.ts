/** Writes a value in R's serialization format, for `unserialize()`. */

import { assertNever } from '../../core/base/assert.ts'
import { CHAR_BITS, FLAG, type RValue, TYPE, type Vector, XDR_MAGIC } from './xdr.ts'

const FORMAT_VERSION = 2
/** R 3.5.0 as the writer, readable since R 2.3.0: nothing here is newer. */
const WRITER = 0x00030500
const READER_MIN = 0x00020300
const HEAD_BYTES = 14

export function encodeR(value: RValue): Buffer {
  const writer = new Writer()
  writer.short(XDR_MAGIC)
  writer.int(FORMAT_VERSION)
  writer.int(WRITER)
  writer.int(READER_MIN)
  writer.item(value)
  return writer.take()
}

class Writer {
  #buffer: Buffer = Buffer.allocUnsafe(HEAD_BYTES + 1_024)
  #end = 0
  /** Symbols that were written, by name: a second one is a reference to the first. */
  readonly #symbols = new Map<string, number>()

  take(): Buffer {
    return this.#buffer.subarray(0, this.#end)
  }

  short(value: number): void {
    this.#end = this.#room(2).writeUInt16BE(value, this.#end)
  }

  int(value: number): void {
    this.#end = this.#room(4).writeInt32BE(value, this.#end)
  }

  item(value: RValue): void {
    if (value.kind === 'null') this.int(TYPE.nullValue)
    else if (value.kind === 'opaque') throw new TypeError(`${value.what} cannot be written`)
    else this.#vector(value)
  }

  #vector(value: Extract<RValue, Vector>): void {
    const { attributes } = value
    const isObject = attributes.has('class') ? FLAG.object : 0
    this.int(TYPE[value.kind] | isObject | (attributes.size > 0 ? FLAG.attributes : 0))
    this.int(value.values.length)
    this.#values(value)
    if (attributes.size === 0) return
    for (const [name, attribute] of attributes) {
      this.int(TYPE.pairlist | FLAG.tag)
      this.#symbol(name)
      this.item(attribute)
    }
    this.int(TYPE.nullValue)
  }

  #values(value: Extract<RValue, Vector>): void {
    switch (value.kind) {
      case 'logical':
      case 'integer':
        for (const entry of value.values) this.int(entry)
        break
      case 'double':
        this.#doubles(value.values)
        break
      case 'string':
        for (const entry of value.values) this.#text(entry)
        break
      case 'raw':
        this.#bytes(value.values)
        break
      case 'list':
        for (const entry of value.values) this.item(entry)
        break
      default:
        assertNever(value)
    }
  }

  #symbol(name: string): void {
    const index = this.#symbols.get(name)
    if (index === undefined) {
      this.#symbols.set(name, this.#symbols.size + 1)
      this.int(TYPE.symbol)
      this.#text(name)
    } else this.int((index << 8) | TYPE.reference)
  }

  #text(text: string | null): void {
    if (text === null) {
      this.int(TYPE.char)
      this.int(-1)
      return
    }
    const bytes = Buffer.byteLength(text)
    // Every unit of UTF-16 is at least one byte, and exactly one where all are ASCII.
    this.int(TYPE.char | (bytes === text.length ? CHAR_BITS.ascii : CHAR_BITS.utf8))
    this.int(bytes)
    this.#room(bytes).write(text, this.#end)
    this.#end += bytes
  }

  #bytes(bytes: Uint8Array): void {
    this.#room(bytes.length).set(bytes, this.#end)
    this.#end += bytes.length
  }

  /** Copied as bytes: a NaN that goes through a number loses the mark that makes it NA. */
  #doubles(values: Float64Array): void {
    const start = this.#end
    this.#bytes(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    this.#buffer.subarray(start, this.#end).swap64()
  }

  #room(bytes: number): Buffer {
    const needed = this.#end + bytes
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length))
      this.#buffer.copy(larger, 0, 0, this.#end)
      this.#buffer = larger
    }
    return this.#buffer
  }
}
