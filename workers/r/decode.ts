/**
 * Reads what `serialize(version = 2, xdr = TRUE)` wrote.
 *
 * The writer is a process that runs code of a bundle, so nothing in it is believed: every length is
 * held against the bytes that are left, nesting has a bound, and what is no data (functions,
 * environments) is refused or, where it only decorates a value, passed over.
 */

import { CHAR_BITS, FLAG, NO_ATTRIBUTES, R_NULL, type RValue, TYPE, XDR_MAGIC } from './xdr.ts'

/** The bytes are not what R writes, or hold what cannot be answered. */
export class XdrRefused extends Error {}

const DEPTH_MAX = 256

export function decodeR(bytes: Uint8Array): RValue {
  const reader = new Reader(bytes)
  const value = reader.document()
  if (!reader.isAtEnd) throw new XdrRefused('there are bytes behind the value')
  return value
}

/** Written as a word of their own that nothing follows. */
const PLACES: Readonly<Record<number, string>> = {
  [TYPE.baseEnvironment]: 'an environment',
  [TYPE.emptyEnvironment]: 'an environment',
  [TYPE.baseNamespace]: 'an environment',
  [TYPE.globalEnvironment]: 'an environment',
  [TYPE.missingArgument]: 'a missing argument',
  [TYPE.unbound]: 'an unbound variable',
}

/** What cannot even be passed over, because what follows depends on the version of R. */
const REFUSED: Readonly<Record<number, string>> = {
  [TYPE.closure]: 'a function',
  [TYPE.environment]: 'an environment',
  [TYPE.promise]: 'a promise',
  [TYPE.s4]: 'an S4 object',
}

class Reader {
  readonly #bytes: Buffer
  #at = 0
  #depth = 0
  /** Names of symbols; '' for other things that may be referred to. */
  readonly #references: string[] = []

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  document(): RValue {
    const start = this.#take(2)
    if (this.#bytes.readUInt16BE(start) !== XDR_MAGIC) throw new XdrRefused('it is not XDR')
    const version = this.#int()
    if (version !== 2) throw new XdrRefused(`it is version ${version} of the format, not 2`)
    this.#take(8)
    return this.#item()
  }

  #item(): RValue {
    if (++this.#depth > DEPTH_MAX) throw new XdrRefused(`it is nested over ${DEPTH_MAX} levels`)
    const value = this.#content(this.#int())
    this.#depth -= 1
    return value
  }

  #content(flags: number): RValue {
    const type = flags & 0xff
    switch (type) {
      case TYPE.nullValue:
      case 0:
        return R_NULL
      case TYPE.symbol:
      case TYPE.reference:
        this.#symbol(flags)
        return { kind: 'opaque', what: 'a symbol' }
      case TYPE.pairlist:
        return this.#pairlist(flags)
      case TYPE.language:
      case TYPE.dots:
        this.#pairs(flags)
        return { kind: 'opaque', what: 'a call' }
      case TYPE.special:
      case TYPE.builtin:
        this.#take(this.#length(1))
        return { kind: 'opaque', what: 'a function' }
      case TYPE.persistent:
      case TYPE.package:
      case TYPE.namespace:
        return this.#persistent()
      default: {
        const place = PLACES[type]
        return place === undefined ? this.#vector(type, flags) : { kind: 'opaque', what: place }
      }
    }
  }

  #vector(type: number, flags: number): RValue {
    switch (type) {
      case TYPE.logical:
        return { kind: 'logical', values: this.#ints(), attributes: this.#attributes(flags) }
      case TYPE.integer:
        return { kind: 'integer', values: this.#ints(), attributes: this.#attributes(flags) }
      case TYPE.double:
        return { kind: 'double', values: this.#doubles(1), attributes: this.#attributes(flags) }
      case TYPE.string:
        return { kind: 'string', values: this.#texts(), attributes: this.#attributes(flags) }
      case TYPE.raw:
        return { kind: 'raw', values: this.#raw(), attributes: this.#attributes(flags) }
      case TYPE.list:
        return { kind: 'list', values: this.#items(), attributes: this.#attributes(flags) }
      case TYPE.complex:
        this.#doubles(2)
        this.#attributes(flags)
        return { kind: 'opaque', what: 'complex' }
      case TYPE.expression:
        this.#items()
        this.#attributes(flags)
        return { kind: 'opaque', what: 'an expression' }
      default:
        throw new XdrRefused(`it holds ${REFUSED[type] ?? `an item of type ${type}`}`)
    }
  }

  /** The elements of a pairlist, as a list with names. */
  #pairlist(flags: number): RValue {
    const pairs = this.#pairs(flags)
    const names = pairs.map(([name]) => name)
    const attributes = names.some((name) => name !== '')
      ? new Map([['names', { kind: 'string', values: names, attributes: NO_ATTRIBUTES } as const]])
      : NO_ATTRIBUTES
    return { kind: 'list', values: pairs.map(([, value]) => value), attributes }
  }

  /** Tag and value of each cell; the chain is followed without recursion. */
  #pairs(first: number): [string, RValue][] {
    const pairs: [string, RValue][] = []
    let flags = first
    for (;;) {
      if (flags & FLAG.attributes) this.#item()
      const tag = flags & FLAG.tag ? this.#symbol(this.#int()) : ''
      pairs.push([tag, this.#item()])
      flags = this.#int()
      const type = flags & 0xff
      if (type === TYPE.nullValue || type === 0) return pairs
      if (type !== TYPE.pairlist && type !== TYPE.language && type !== TYPE.dots) {
        throw new XdrRefused('a pairlist does not end as one')
      }
    }
  }

  #attributes(flags: number): ReadonlyMap<string, RValue> {
    if (!(flags & FLAG.attributes)) return NO_ATTRIBUTES
    const first = this.#int()
    if ((first & 0xff) !== TYPE.pairlist) throw new XdrRefused('attributes are no pairlist')
    return new Map(this.#pairs(first))
  }

  #symbol(flags: number): string {
    if ((flags & 0xff) === TYPE.reference) {
      const index = flags >>> 8 === 0 ? this.#int() : flags >>> 8
      const name = this.#references[index - 1]
      if (name === undefined) throw new XdrRefused('a reference leads nowhere')
      return name
    }
    if ((flags & 0xff) !== TYPE.symbol) throw new XdrRefused('a name is no symbol')
    const name = this.#text() ?? 'NA'
    this.#references.push(name)
    return name
  }

  /** An environment that the writer has replaced by texts, or the name of a package. */
  #persistent(): RValue {
    this.#int()
    for (let left = this.#length(8); left > 0; left--) this.#text()
    this.#references.push('')
    return { kind: 'opaque', what: 'an environment' }
  }

  #items(): RValue[] {
    const values = new Array<RValue>(this.#length(4))
    for (let i = 0; i < values.length; i++) values[i] = this.#item()
    return values
  }

  #texts(): (string | null)[] {
    const values = new Array<string | null>(this.#length(8))
    for (let i = 0; i < values.length; i++) values[i] = this.#text()
    return values
  }

  #text(): string | null {
    const flags = this.#int()
    if ((flags & 0xff) !== TYPE.char) throw new XdrRefused('a text is of another type')
    const length = this.#int()
    if (length === -1) return null
    const start = this.#take(length)
    const encoding = flags & (CHAR_BITS.latin1 | CHAR_BITS.ascii) ? 'latin1' : 'utf8'
    return this.#bytes.toString(encoding, start, start + length)
  }

  #ints(): Int32Array {
    const length = this.#length(4)
    const start = this.#take(4 * length)
    const values = new Int32Array(length)
    for (let i = 0; i < length; i++) values[i] = this.#bytes.readInt32BE(start + 4 * i)
    return values
  }

  /** Copied as bytes: a NaN that goes through a number loses the mark that makes it NA. */
  #doubles(perElement: number): Float64Array {
    const bytes = 8 * perElement * this.#length(8 * perElement)
    const start = this.#take(bytes)
    const copy = Buffer.alloc(bytes)
    this.#bytes.copy(copy, 0, start, start + bytes)
    copy.swap64()
    return new Float64Array(copy.buffer, copy.byteOffset, bytes / 8)
  }

  #raw(): Uint8Array {
    const length = this.#length(1)
    const start = this.#take(length)
    return this.#bytes.subarray(start, start + length)
  }

  /** Number of elements, each of which takes at least this many bytes. */
  #length(bytesEach: number): number {
    const length = this.#int()
    if (length < 0 || length * bytesEach > this.#bytes.length - this.#at) {
      throw new XdrRefused(`a length of ${length} is beyond the end`)
    }
    return length
  }

  #int(): number {
    return this.#bytes.readInt32BE(this.#take(4))
  }

  /** Where the next bytes start. */
  #take(bytes: number): number {
    const start = this.#at
    if (bytes < 0 || bytes > this.#bytes.length - start) throw new XdrRefused('it ends too early')
    this.#at = start + bytes
    return start
  }
}
