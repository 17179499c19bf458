/**
 * Finds the end record of a ZIP archive and checks it before unzipper reads the directory.
 *
 * unzipper looks for the record in the last 80 bytes only, takes the first match, and checks
 * neither its numbers nor those of the ZIP64 record. So the record is located here, exactly, and
 * unzipper is told where it begins. An archive whose end can be read in two ways is refused.
 */

import type { FileHandle } from 'node:fs/promises'

const END_SIGNATURE = 0x06054b50
const END_BYTES = 22
const COMMENT_BYTES_MAX = 0xffff
const LOCATOR_SIGNATURE = 0x07064b50
const LOCATOR_BYTES = 20
const END64_SIGNATURE = 0x06064b50
const END64_BYTES = 56

/** Where the directory lies, and where the end record begins. */
export interface ArchiveEnd {
  readonly entries: number
  readonly directoryOffset: number
  readonly directoryBytes: number
  readonly endOffset: number
}

export type EndResult =
  | { readonly kind: 'found'; readonly end: ArchiveEnd }
  | { readonly kind: 'refused'; readonly reasons: readonly string[] }

/** The numbers of an end record, of the plain kind or of ZIP64. */
interface EndNumbers {
  readonly disks: readonly number[]
  readonly entriesOnDisk: number
  readonly entries: number
  readonly directoryBytes: number
  readonly directoryOffset: number
}

/** A file of another kind gets another reason than a damaged archive. */
async function opensAsZip(archive: FileHandle, archiveBytes: number): Promise<boolean> {
  const start = await readExactly(archive, 0, Math.min(archiveBytes, 2))
  return start.toString('latin1') === 'PK'
}

export async function findEnd(archive: FileHandle, archiveBytes: number): Promise<EndResult> {
  const tailBytes = Math.min(archiveBytes, END_BYTES + COMMENT_BYTES_MAX)
  const tail = await readExactly(archive, archiveBytes - tailBytes, tailBytes)
  const places = endPlaces(tail)
  const place = places[0]
  if (place === undefined) {
    if (!(await opensAsZip(archive, archiveBytes))) {
      return refused('it is no ZIP archive; a bundle is a ZIP of service.json and its files')
    }
    return refused('the ZIP archive is cut short, or has bytes behind its end')
  }
  if (places.length > 1) return refused('its comment holds a second end record')
  const endOffset = archiveBytes - tailBytes + place
  const plain = plainNumbers(tail.subarray(place))
  const wide = await zip64Numbers(archive, endOffset)
  if (typeof wide === 'string') return refused(wide)
  const reasons = endFaults(plain, wide)
  const numbers = wide?.numbers ?? plain
  const directoryEnd = wide?.offset ?? endOffset
  reasons.push(...placeFaults(numbers, directoryEnd))
  if (reasons.length > 0) return { kind: 'refused', reasons }
  const { entries, directoryOffset, directoryBytes } = numbers
  return { kind: 'found', end: { entries, directoryOffset, directoryBytes, endOffset } }
}

function refused(reason: string): EndResult {
  return { kind: 'refused', reasons: [reason] }
}

/** Every place in the tail whose comment would reach exactly to the end of the file. */
function endPlaces(tail: Buffer): number[] {
  const places: number[] = []
  for (let place = tail.length - END_BYTES; place >= 0; place--) {
    if (tail.readUInt32LE(place) !== END_SIGNATURE) continue
    if (place + END_BYTES + tail.readUInt16LE(place + 20) === tail.length) places.push(place)
  }
  return places
}

function plainNumbers(record: Buffer): EndNumbers {
  return {
    disks: [record.readUInt16LE(4), record.readUInt16LE(6)],
    entriesOnDisk: record.readUInt16LE(8),
    entries: record.readUInt16LE(10),
    directoryBytes: record.readUInt32LE(12),
    directoryOffset: record.readUInt32LE(16),
  }
}

interface Zip64End {
  readonly offset: number
  readonly numbers: EndNumbers
}

/** The ZIP64 record when a locator stands before the end record; a text says what is wrong. */
async function zip64Numbers(
  archive: FileHandle,
  endOffset: number,
): Promise<Zip64End | string | null> {
  if (endOffset < LOCATOR_BYTES) return null
  const locator = await readExactly(archive, endOffset - LOCATOR_BYTES, LOCATOR_BYTES)
  if (locator.readUInt32LE(0) !== LOCATOR_SIGNATURE) return null
  const offset = Number(locator.readBigUInt64LE(8))
  const locatorOffset = endOffset - LOCATOR_BYTES
  if (offset > locatorOffset - END64_BYTES) return 'its ZIP64 locator points outside the archive'
  const record = await readExactly(archive, offset, END64_BYTES)
  if (record.readUInt32LE(0) !== END64_SIGNATURE) return 'its ZIP64 locator points at no record'
  if (offset + 12 + Number(record.readBigUInt64LE(4)) !== locatorOffset) {
    return 'the size of its ZIP64 record is wrong'
  }
  const disks = [locator.readUInt32LE(4), record.readUInt32LE(16), record.readUInt32LE(20)]
  // The locator counts disks from one; some writers say nought.
  if (locator.readUInt32LE(16) > 1) disks.push(locator.readUInt32LE(16))
  return {
    offset,
    numbers: {
      disks,
      entriesOnDisk: Number(record.readBigUInt64LE(24)),
      entries: Number(record.readBigUInt64LE(32)),
      directoryBytes: Number(record.readBigUInt64LE(40)),
      directoryOffset: Number(record.readBigUInt64LE(48)),
    },
  }
}

/** The plain record must say the same as the ZIP64 one, or say that it leaves it to that. */
function endFaults(plain: EndNumbers, wide: Zip64End | null): string[] {
  const reasons: string[] = []
  const numbers = wide?.numbers ?? plain
  const disks = wide === null ? plain.disks : [...wide.numbers.disks, ...own(plain.disks, 0xffff)]
  if (disks.some((disk) => disk !== 0)) reasons.push('it is a part of several (multi-disk)')
  if (numbers.entriesOnDisk !== numbers.entries) reasons.push('its two entry counts differ')
  if (wide === null) return reasons
  const agree =
    own([plain.entries], 0xffff).every((count) => count === numbers.entries) &&
    own([plain.entriesOnDisk], 0xffff).every((count) => count === numbers.entriesOnDisk) &&
    own([plain.directoryBytes], 0xffffffff).every((bytes) => bytes === numbers.directoryBytes) &&
    own([plain.directoryOffset], 0xffffffff).every((at) => at === numbers.directoryOffset)
  if (!agree) reasons.push('its end record and its ZIP64 record differ')
  return reasons
}

/** The values that are meant, without those that stand for "see the ZIP64 record". */
function own(values: readonly number[], deferred: number): number[] {
  return values.filter((value) => value !== deferred)
}

/** The directory must end where the end record begins: no bytes are in front of or between. */
function placeFaults(numbers: EndNumbers, directoryEnd: number): string[] {
  if (numbers.directoryOffset > directoryEnd) return ['its directory lies beyond its end']
  if (numbers.directoryOffset + numbers.directoryBytes !== directoryEnd) {
    return ['its directory does not end at the end record: bytes were put before or between']
  }
  return []
}

/** Reads all of a range that is known to lie inside the file. */
export async function readExactly(
  file: FileHandle,
  offset: number,
  length: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  let done = 0
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done)
    if (bytesRead === 0) throw new RangeError('the file ended early')
    done += bytesRead
  }
  return bytes
}
