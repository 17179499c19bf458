/**
 * Writes ZIP archives for benchmarks and tests: `zip(entries, options)` gives the bytes. Good ones
 * by default; every field can be told to lie, in the directory, in the local header, or in the end
 * records, so that each way of deceiving a reader has its archive.
 */

import { crc32, deflateRawSync } from 'node:zlib'

export interface ZipEntry {
  /** Bytes where the name shall not be UTF-8. */
  readonly name: string | Buffer
  readonly data?: Buffer | string
  /** Default 8 (deflate); other numbers are written as said, with the data stored. */
  readonly method?: number
  /** Unix mode, type bits included. */
  readonly mode?: number
  /** What the mode is shifted beside, and the low half of the attributes. */
  readonly madeBy?: number
  readonly dosAttributes?: number
  readonly flags?: number
  readonly disk?: number
  /** What is written between the local header and the next one, instead of the packed data. */
  readonly packed?: Buffer
  /** What both headers say instead of the truth. */
  readonly crc32?: number
  readonly bytes?: number
  readonly packedBytes?: number
  /** Where the directory points instead of at the local header. */
  readonly offset?: number
  /** What only the local header says. */
  readonly local?: {
    readonly name?: string
    readonly bytes?: number
    readonly crc32?: number
    readonly method?: number
    readonly flags?: number
    readonly extra?: Buffer
  }
  /** Sizes and checksum behind the data, none in the local header. */
  readonly descriptor?: boolean
  /** Sizes (and offset) in ZIP64 fields; `missing` promises them and leaves them out. */
  readonly zip64?: 'both' | 'local' | 'missing'
  /** No local header and no data: the directory alone has it. */
  readonly directoryOnly?: boolean
}

export interface ZipOptions {
  readonly comment?: Buffer | string
  readonly prefix?: Buffer
  /** Count the prefix into the offsets, as self-extracting archives do. */
  readonly prefixCounted?: boolean
  readonly suffix?: Buffer
  readonly gap?: Buffer
  /** What the end record says instead of the truth. */
  readonly count?: number
  readonly countOnDisk?: number
  readonly disk?: number
  readonly directoryOffset?: number
  readonly directoryBytes?: number
  /** A ZIP64 end record and locator; the numbers it says instead of the truth. */
  readonly zip64?: {
    readonly count?: number
    readonly directoryOffset?: number
    readonly recordBytes?: number
    readonly locatorOffset?: number
    readonly disks?: number
    readonly signature?: number
  }
}

const DEFERRED = 0xffffffff

export function zip(entries: readonly ZipEntry[], options: ZipOptions = {}): Buffer {
  const prefix = options.prefix ?? Buffer.alloc(0)
  const before = options.prefixCounted === true ? prefix.length : 0
  const locals: Buffer[] = []
  const records: Buffer[] = []
  let at = 0
  for (const entry of entries) {
    const made = facts(entry)
    records.push(record(entry, made, entry.offset ?? at + before))
    if (entry.directoryOnly === true) continue
    const local = localPart(entry, made)
    locals.push(local)
    at += local.length
  }
  const directory = Buffer.concat(records)
  const gap = options.gap ?? Buffer.alloc(0)
  const truth = { count: entries.length, offset: at + before, bytes: directory.length }
  return Buffer.concat([
    prefix,
    ...locals,
    directory,
    gap,
    ...endPart(options, truth),
    options.suffix ?? Buffer.alloc(0),
  ])
}

interface Facts {
  readonly name: Buffer
  readonly packed: Buffer
  readonly crc32: number
  readonly bytes: number
  readonly packedBytes: number
  readonly method: number
  readonly flags: number
}

function facts(entry: ZipEntry): Facts {
  const data = Buffer.from(entry.data ?? '')
  const name = Buffer.from(entry.name)
  const plain = data.length === 0 || (entry.method !== undefined && entry.method !== 8)
  const method = entry.method ?? (plain ? 0 : 8)
  const packed = entry.packed ?? (plain ? data : deflateRawSync(data))
  return {
    name,
    packed,
    method,
    crc32: entry.crc32 ?? crc32(data),
    bytes: entry.bytes ?? data.length,
    packedBytes: entry.packedBytes ?? packed.length,
    flags: (entry.flags ?? 0x800) | (entry.descriptor === true ? 8 : 0),
  }
}

function localPart(entry: ZipEntry, made: Facts): Buffer {
  const local = entry.local ?? {}
  const silent = entry.descriptor === true
  const wide = entry.zip64 === 'both' || entry.zip64 === 'local'
  const checksum = local.crc32 ?? (silent ? 0 : made.crc32)
  const bytes = local.bytes ?? (silent ? 0 : made.bytes)
  const packedBytes = silent ? 0 : made.packedBytes
  const extra = local.extra ?? (wide ? zip64Field([bytes, packedBytes]) : Buffer.alloc(0))
  const name = local.name === undefined ? made.name : Buffer.from(local.name)
  const head = Buffer.alloc(30)
  head.writeUInt32LE(0x04034b50, 0)
  head.writeUInt16LE(20, 4)
  head.writeUInt16LE(local.flags ?? made.flags, 6)
  head.writeUInt16LE(local.method ?? made.method, 8)
  head.writeUInt32LE(0x58210000, 10)
  head.writeUInt32LE(checksum, 14)
  head.writeUInt32LE(wide ? DEFERRED : packedBytes, 18)
  head.writeUInt32LE(wide ? DEFERRED : bytes, 22)
  head.writeUInt16LE(name.length, 26)
  head.writeUInt16LE(extra.length, 28)
  return Buffer.concat([
    head,
    name,
    extra,
    made.packed,
    silent ? descriptor(made) : head.subarray(30),
  ])
}

function descriptor(made: Facts): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32LE(0x08074b50, 0)
  bytes.writeUInt32LE(made.crc32, 4)
  bytes.writeUInt32LE(made.packedBytes, 8)
  bytes.writeUInt32LE(made.bytes, 12)
  return bytes
}

function record(entry: ZipEntry, made: Facts, offset: number): Buffer {
  const wide = entry.zip64 === 'both' || entry.zip64 === 'missing'
  const values = [made.bytes, made.packedBytes, offset]
  const extra = entry.zip64 === 'both' ? zip64Field(values) : Buffer.alloc(0)
  const head = Buffer.alloc(46)
  head.writeUInt32LE(0x02014b50, 0)
  head.writeUInt16LE(((entry.madeBy ?? 3) << 8) | 20, 4)
  head.writeUInt16LE(20, 6)
  head.writeUInt16LE(made.flags, 8)
  head.writeUInt16LE(made.method, 10)
  head.writeUInt32LE(0x58210000, 12)
  head.writeUInt32LE(made.crc32, 16)
  head.writeUInt32LE(wide ? DEFERRED : made.packedBytes, 20)
  head.writeUInt32LE(wide ? DEFERRED : made.bytes, 24)
  head.writeUInt16LE(made.name.length, 28)
  head.writeUInt16LE(extra.length, 30)
  head.writeUInt16LE(entry.disk ?? 0, 34)
  head.writeUInt32LE((entry.mode ?? 0) * 0x10000 + (entry.dosAttributes ?? 0), 38)
  head.writeUInt32LE(wide ? DEFERRED : offset, 42)
  return Buffer.concat([head, made.name, extra])
}

/** The extra field that holds what does not fit into 32 bits. */
export function zip64Field(values: readonly number[]): Buffer {
  const field = Buffer.alloc(4 + 8 * values.length)
  field.writeUInt16LE(1, 0)
  field.writeUInt16LE(8 * values.length, 2)
  values.forEach((value, index) => {
    field.writeBigUInt64LE(BigInt(value), 4 + 8 * index)
  })
  return field
}

interface Truth {
  readonly count: number
  readonly offset: number
  readonly bytes: number
}

function endPart(options: ZipOptions, truth: Truth): Buffer[] {
  const comment = Buffer.from(options.comment ?? '')
  const wide = options.zip64 !== undefined
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(options.disk ?? 0, 4)
  end.writeUInt16LE(options.disk ?? 0, 6)
  const count = options.count ?? (wide ? 0xffff : truth.count)
  end.writeUInt16LE(options.countOnDisk ?? count, 8)
  end.writeUInt16LE(count, 10)
  end.writeUInt32LE(options.directoryBytes ?? (wide ? DEFERRED : truth.bytes), 12)
  end.writeUInt32LE(options.directoryOffset ?? (wide ? DEFERRED : truth.offset), 16)
  end.writeUInt16LE(comment.length, 20)
  const parts = wide ? zip64End(options, truth) : []
  return [...parts, end, comment]
}

function zip64End(options: ZipOptions, truth: Truth): Buffer[] {
  const lies = options.zip64 ?? {}
  const count = BigInt(lies.count ?? truth.count)
  const end = Buffer.alloc(56)
  end.writeUInt32LE(lies.signature ?? 0x06064b50, 0)
  end.writeBigUInt64LE(BigInt(lies.recordBytes ?? 44), 4)
  end.writeUInt16LE(45, 12)
  end.writeUInt16LE(45, 14)
  end.writeBigUInt64LE(count, 24)
  end.writeBigUInt64LE(count, 32)
  end.writeBigUInt64LE(BigInt(truth.bytes), 40)
  end.writeBigUInt64LE(BigInt(lies.directoryOffset ?? truth.offset), 48)
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x07064b50, 0)
  const endOffset = truth.offset + truth.bytes + (options.gap?.length ?? 0)
  locator.writeBigUInt64LE(BigInt(lies.locatorOffset ?? endOffset), 8)
  locator.writeUInt32LE(lies.disks ?? 1, 16)
  return [end, locator]
}

/** A bundle of one endpoint called `predict` around `model.onnx`. */
export function bundleEntries(
  model: Buffer,
  endpoint: object = {},
  extra: object = {},
): ZipEntry[] {
  const predict = { id: 'predict', type: 'STD_PREDICTION', model: 'model.onnx', ...endpoint }
  const manifest = { formatVersion: 1, ...extra, endpoints: [predict] }
  return [
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'model.onnx', data: model },
  ]
}
