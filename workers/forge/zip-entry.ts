/**
 * One entry of an archive's directory, and what must hold before a byte of it is written: its kind,
 * its method, its sizes, and the second header in front of its data that has to agree with it.
 *
 * An archive says most things twice. Where the two sayings differ, two readers see two different
 * files, which is how checks are got around; so every difference is a fault.
 */

import type { FileHandle } from 'node:fs/promises'
import { LIMITS } from '../../core/config/limits.ts'
import { readExactly } from './zip-end.ts'

const RECORD_SIGNATURE = 0x02014b50
const LOCAL_SIGNATURE = 0x04034b50
const LOCAL_BYTES = 30
const ZIP64_EXTRA = 0x0001
const UNICODE_PATH_EXTRA = 0x7075
const DEFERRED = 0xffffffff

const STORED = 0
export const DEFLATED = 8

const FLAG = { encrypted: 0x1, descriptor: 0x8, patch: 0x20, strong: 0x40, masked: 0x2000 } as const
const FILE_TYPE = { mask: 0o170000, regular: 0o100000, directory: 0o040000 } as const
const DOS_DIRECTORY = 0x10

/** What the directory says of one entry; sizes are null where its ZIP64 field is missing. */
export interface DirectoryRecord {
  readonly signature: number
  readonly nameBytes: Buffer
  readonly flags: number
  readonly method: number
  readonly crc32: number
  readonly packedBytes: number | null
  readonly bytes: number | null
  readonly disk: number
  readonly attributes: number
  readonly offset: number | null
  /** Length of the record itself, in the directory. */
  readonly recordBytes: number
}

/** An entry whose numbers are whole and inside the archive. */
export interface Entry {
  readonly name: string
  readonly nameBytes: Buffer
  readonly isDirectory: boolean
  readonly flags: number
  readonly method: number
  readonly crc32: number
  readonly packedBytes: number
  readonly bytes: number
  readonly offset: number
}

/** The entry, or null when its own numbers cannot be true. */
export function entryOf(
  record: DirectoryRecord,
  name: string,
  directoryOffset: number,
): Entry | null {
  const { packedBytes, bytes, offset, nameBytes, flags, method, crc32 } = record
  if (!isSize(packedBytes) || !isSize(bytes) || !isSize(offset)) return null
  if (offset + LOCAL_BYTES + packedBytes > directoryOffset) return null
  const isDirectory = name.endsWith('/')
  return { name, nameBytes, isDirectory, flags, method, crc32, packedBytes, bytes, offset }
}

function isSize(value: number | null): value is number {
  return value !== null && Number.isSafeInteger(value) && value >= 0
}

export function isRecord(record: DirectoryRecord): boolean {
  return record.signature === RECORD_SIGNATURE
}

/** Faults that the directory alone shows. */
export function recordFaults(record: DirectoryRecord, isDirectory: boolean): string[] {
  const reasons: string[] = []
  const { flags, method, disk } = record
  if (flags & (FLAG.encrypted | FLAG.strong | FLAG.masked)) reasons.push('it is encrypted')
  if (flags & FLAG.patch) reasons.push('it is a patch, not a file')
  if (method !== STORED && method !== DEFLATED) {
    reasons.push(`compression method ${method} is not supported; use deflate or store`)
  }
  if (disk !== 0) reasons.push('it lies in another part of the archive (multi-disk)')
  reasons.push(...kindFaults(record.attributes, isDirectory))
  reasons.push(...sizeFaults(record, isDirectory))
  return reasons
}

/** The upper half of the attributes is a Unix mode where the writer knew one. */
function kindFaults(attributes: number, isDirectory: boolean): string[] {
  const type = (attributes >>> 16) & FILE_TYPE.mask
  if (type === FILE_TYPE.directory || (type === 0 && attributes & DOS_DIRECTORY)) {
    return isDirectory ? [] : ['it is marked as a directory, but its name does not end in "/"']
  }
  if (type === FILE_TYPE.regular) {
    return isDirectory ? ['it is marked as a file, but its name ends in "/"'] : []
  }
  return type === 0 ? [] : ['it is no regular file (a link, a device or a pipe)']
}

function sizeFaults(record: DirectoryRecord, isDirectory: boolean): string[] {
  const { packedBytes, bytes, method } = record
  if (packedBytes === null || bytes === null || record.offset === null) {
    return ['its ZIP64 field is missing']
  }
  if (isDirectory && bytes !== 0) return ['a directory holds no bytes, but this one says it does']
  if (method === STORED && packedBytes !== bytes) return ['it is stored, but its two sizes differ']
  const free = bytes <= LIMITS.bundleRatioFreeBytes
  if (!free && bytes > packedBytes * LIMITS.bundleRatioMax) {
    return [`it unpacks to more than ${LIMITS.bundleRatioMax} times its packed size`]
  }
  return []
}

/** What the header in front of the data adds: where the data lies, and what is wrong with it. */
export interface DataRange {
  readonly start: number
  readonly end: number
  readonly reasons: readonly string[]
}

/** An entry and where its data lies. */
export interface Part {
  readonly entry: Entry
  readonly data: DataRange
}

export async function readLocal(
  archive: FileHandle,
  entry: Entry,
  directoryOffset: number,
): Promise<DataRange> {
  const none = { start: entry.offset, end: entry.offset }
  const head = await readExactly(archive, entry.offset, LOCAL_BYTES)
  if (head.readUInt32LE(0) !== LOCAL_SIGNATURE) {
    return { ...none, reasons: ['no local header is where the directory points'] }
  }
  const nameBytes = head.readUInt16LE(26)
  const extraBytes = head.readUInt16LE(28)
  const start = entry.offset + LOCAL_BYTES + nameBytes + extraBytes
  const end = start + entry.packedBytes
  if (end > directoryOffset) return { ...none, reasons: ['its data runs beyond the directory'] }
  const rest = await readExactly(archive, entry.offset + LOCAL_BYTES, nameBytes + extraBytes)
  const reasons = localFaults(head, rest.subarray(0, nameBytes), rest.subarray(nameBytes), entry)
  return { start, end, reasons }
}

function localFaults(head: Buffer, name: Buffer, extra: Buffer, entry: Entry): string[] {
  const reasons: string[] = []
  if (!name.equals(entry.nameBytes)) reasons.push('its name differs in its local header')
  const unicodePath = extraField(extra, UNICODE_PATH_EXTRA)
  // One byte of version and four of CRC stand before the name.
  if (unicodePath !== null && !unicodePath.subarray(5).equals(entry.nameBytes)) {
    reasons.push('it has a second name in a Unicode path field')
  }
  if (head.readUInt16LE(8) !== entry.method) reasons.push('its method differs in its local header')
  const flags = head.readUInt16LE(6)
  if ((flags ^ entry.flags) & (FLAG.encrypted | FLAG.descriptor)) {
    reasons.push('its flags differ in its local header')
  }
  // With a descriptor behind the data, the header may say nothing of sizes and checksum.
  const mayBeZero = (flags & FLAG.descriptor) !== 0
  const same = (local: number, real: number) => local === real || (mayBeZero && local === 0)
  const { packedBytes, bytes } = localSizes(head, extra)
  if (!same(head.readUInt32LE(14), entry.crc32)) {
    reasons.push('its CRC-32 differs in its local header')
  }
  if (!same(packedBytes, entry.packedBytes) || !same(bytes, entry.bytes)) {
    reasons.push('its sizes differ in its local header')
  }
  return reasons
}

/** Sizes that do not fit into 32 bits stand in the ZIP64 field, the unpacked one first. */
function localSizes(head: Buffer, extra: Buffer): { packedBytes: number; bytes: number } {
  const wide = extraField(extra, ZIP64_EXTRA) ?? Buffer.alloc(0)
  let at = 0
  const size = (plain: number): number => {
    if (plain !== DEFERRED || wide.length < at + 8) return plain
    at += 8
    return Number(wide.readBigUInt64LE(at - 8))
  }
  const bytes = size(head.readUInt32LE(22))
  return { packedBytes: size(head.readUInt32LE(18)), bytes }
}

/** The first extra field of this kind, without its head. */
function extraField(extra: Buffer, id: number): Buffer | null {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    const end = at + 4 + extra.readUInt16LE(at + 2)
    if (extra.readUInt16LE(at) === id && end <= extra.length) return extra.subarray(at + 4, end)
  }
  return null
}
