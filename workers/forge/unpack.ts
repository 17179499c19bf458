/**
 * Unpacks an uploaded archive into an empty directory, believing nothing that it says.
 *
 * unzipper reads the directory; the entries are read by our own loop, because unzipper checks
 * neither checksums nor sizes and its Extract() loses files without an error. First everything
 * that can be known without unpacking is checked and all faults are reported together, so that the
 * author of a bundle mends them in one go; only then files are written, each to exactly the size
 * that it declared. What is left in the directory after a refusal is for the caller to remove.
 */

import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type CentralDirectory, type File, Open } from 'unzipper'
import { assert } from '../../core/base/assert.ts'
import { AppError, type Fault, messageOf } from '../../core/base/errors.ts'
import type { ContentFile } from '../../core/bundle/content.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { writeFile } from './zip-data.ts'
import { type ArchiveEnd, findEnd } from './zip-end.ts'
import {
  type DirectoryRecord,
  type Entry,
  entryOf,
  isRecord,
  type Part,
  readLocal,
  recordFaults,
} from './zip-entry.ts'
import { decodeName, NameTable, nameFaults, showName } from './zip-name.ts'

export type UnpackResult =
  | { readonly kind: 'unpacked'; readonly files: readonly ContentFile[]; readonly bytes: number }
  | { readonly kind: 'refused'; readonly faults: readonly Fault[] }
  /** `onManifest` did not want the rest. */
  | { readonly kind: 'stopped' }

/** A file of the archive, before it is written. */
export type ListedFile = Pick<ContentFile, 'path' | 'size'>

/** How many of the bytes to write are written. */
export type OnProgress = (bytes: number, bytesTotal: number) => void

const FAULTS_MAX = 100

/** `path` of faults that are about the archive as a whole. */
const ARCHIVE = 'archive'

export interface UnpackOptions {
  /** Most that may be written; more throws ERR_DISK_FULL before a byte is. */
  readonly diskBytesMax?: number
  readonly onProgress?: OnProgress
  /**
   * Called with all that will be written once the manifest is, which is first: nobody should wait
   * for gigabytes to be told of a typing error. False: nothing more is unpacked.
   */
  readonly onManifest?: (files: readonly ListedFile[]) => Promise<boolean>
}

export async function unpack(
  archivePath: string,
  directory: string,
  options: UnpackOptions = {},
): Promise<UnpackResult> {
  assert((await readdir(directory)).length === 0, 'an archive is unpacked into an empty directory')
  const archive = await open(archivePath, 'r')
  try {
    const { size } = await archive.stat()
    const found = await findEnd(archive, size)
    if (found.kind === 'refused') return refused(found.reasons.map(archiveFault))
    const plan = await checkedEntries({ archive, archivePath, archiveBytes: size, end: found.end })
    if (plan.faults.length > 0) return refused(plan.faults)
    return await writeAll(archive, plan.parts, { ...options, directory })
  } finally {
    await archive.close()
  }
}

function refused(faults: readonly Fault[]): UnpackResult {
  if (faults.length <= FAULTS_MAX) return { kind: 'refused', faults }
  const rest = archiveFault(`${faults.length - FAULTS_MAX} more faults are not listed`)
  return { kind: 'refused', faults: [...faults.slice(0, FAULTS_MAX), rest] }
}

function archiveFault(reason: string): Fault {
  return { path: ARCHIVE, reason }
}

interface ArchiveFile {
  readonly archive: FileHandle
  readonly archivePath: string
  readonly archiveBytes: number
  readonly end: ArchiveEnd
}

interface Checked {
  readonly parts: readonly Part[]
  readonly faults: readonly Fault[]
}

/** Everything that can be known before the first byte is unpacked. */
async function checkedEntries(file: ArchiveFile): Promise<Checked> {
  const tooMuch = endLimits(file.end)
  if (tooMuch.length > 0) return { parts: [], faults: tooMuch.map(archiveFault) }
  const records = await readDirectory(file)
  if (typeof records === 'string') return { parts: [], faults: [archiveFault(records)] }
  const faults: Fault[] = []
  const entries = checkRecords(records, file.end, faults)
  const parts: Part[] = []
  for (const entry of entries) {
    const data = await readLocal(file.archive, entry, file.end.directoryOffset)
    parts.push({ entry, data })
    faults.push(...data.reasons.map((reason) => ({ path: showName(entry.name), reason })))
  }
  parts.sort((left, right) => left.entry.offset - right.entry.offset)
  faults.push(...placeFaults(parts, records.length), ...totalFaults(entries))
  return { parts, faults }
}

/** Limits that must hold before unzipper may read the directory into memory. */
function endLimits(end: ArchiveEnd): string[] {
  if (end.entries === 0) return ['it holds no files']
  if (end.entries > LIMITS.bundleEntriesMax) {
    return [`it holds ${end.entries} entries; the limit is ${LIMITS.bundleEntriesMax}`]
  }
  if (end.directoryBytes > LIMITS.bundleDirectoryBytesMax) {
    return [`its directory is larger than ${LIMITS.bundleDirectoryBytesMax} bytes`]
  }
  return []
}

/** Its types lack the option; with it, the tail begins exactly at the end record. */
const openArchive: (path: string, options: { tailSize: number }) => Promise<CentralDirectory> =
  Open.file

/** The records as unzipper reads them; a text says why they cannot be what the archive means. */
async function readDirectory(file: ArchiveFile): Promise<DirectoryRecord[] | string> {
  const { archivePath, archiveBytes, end } = file
  let records: DirectoryRecord[]
  try {
    const tailSize = archiveBytes - end.endOffset
    records = (await openArchive(archivePath, { tailSize })).files.map(recordOf)
  } catch (error) {
    return `its directory cannot be read (${messageOf(error)})`
  }
  const bytes = records.reduce((sum, record) => sum + record.recordBytes, 0)
  if (!records.every(isRecord)) return 'its directory holds something that is no entry'
  if (records.length !== end.entries || bytes !== end.directoryBytes) {
    return 'its directory does not hold as many entries as it says'
  }
  return records
}

function recordOf(file: File): DirectoryRecord {
  return {
    signature: file.signature,
    nameBytes: Buffer.from(file.pathBuffer),
    flags: file.flags,
    method: file.compressionMethod,
    crc32: file.crc32,
    packedBytes: file.compressedSize ?? null,
    bytes: file.uncompressedSize ?? null,
    disk: file.diskNumber,
    attributes: file.externalFileAttributes,
    offset: file.offsetToLocalFileHeader ?? null,
    recordBytes: 46 + file.fileNameLength + file.extraFieldLength + file.fileCommentLength,
  }
}

/** The entries whose numbers can be true; `faults` gets what is wrong with any of the records. */
function checkRecords(
  records: readonly DirectoryRecord[],
  end: ArchiveEnd,
  faults: Fault[],
): Entry[] {
  const names = new NameTable()
  const entries: Entry[] = []
  for (const record of records) {
    const name = decodeName(record.nameBytes)
    const shown = showName(name ?? record.nameBytes.toString('latin1'))
    const add = (reason: string) => faults.push({ path: shown, reason })
    const text = name ?? record.nameBytes.toString('latin1')
    const wrong = name === null ? ['the name is not UTF-8'] : nameFaults(name)
    wrong.forEach(add)
    const clash = wrong.length === 0 ? names.add(text) : null
    if (clash !== null) add(clash)
    recordFaults(record, text.endsWith('/')).forEach(add)
    const entry = entryOf(record, text, end.directoryOffset)
    if (entry === null) add('its place or its size lies outside the archive')
    else entries.push(entry)
  }
  return entries
}

/** No two entries share bytes, and the first begins where the archive does. */
function placeFaults(parts: readonly Part[], count: number): Fault[] {
  const faults: Fault[] = []
  if (parts.length === count && parts[0] !== undefined && parts[0].entry.offset !== 0) {
    faults.push(archiveFault('it has bytes in front of its first entry'))
  }
  let last: Part | null = null
  for (const part of parts) {
    const lastEnd = last === null ? 0 : Math.max(last.data.end, last.entry.offset + 1)
    if (last !== null && part.entry.offset < lastEnd) {
      const reason = `it shares bytes with "${showName(last.entry.name)}" (overlapping entries)`
      faults.push({ path: showName(part.entry.name), reason })
    }
    if (part.data.end >= lastEnd) last = part
  }
  return faults
}

function totalFaults(entries: readonly Entry[]): Fault[] {
  const total = entries.reduce((sum, entry) => sum + entry.bytes, 0)
  if (total <= LIMITS.bundleUnpackedBytesMax) return []
  const reason = `it unpacks to ${total} bytes; the limit is ${LIMITS.bundleUnpackedBytesMax}`
  return [archiveFault(reason)]
}

interface Target extends UnpackOptions {
  readonly directory: string
}

async function writeAll(
  archive: FileHandle,
  parts: readonly Part[],
  target: Target,
): Promise<UnpackResult> {
  const wanted = manifestFirst(parts.filter(({ entry }) => !isClutter(entry.name)))
  const listed = wanted.filter(({ entry }) => !entry.isDirectory).map(listedFile)
  const bytesTotal = wanted.reduce((sum, { entry }) => sum + entry.bytes, 0)
  requireRoom(bytesTotal, target.diskBytesMax ?? Number.POSITIVE_INFINITY)
  target.onProgress?.(0, bytesTotal)
  const files: ContentFile[] = []
  const folders = new Set<string>()
  const wantsRest = async () => (await target.onManifest?.(listed)) !== false
  let isAsked = false
  let bytes = 0
  for (const part of wanted) {
    const { name } = part.entry
    if (!isAsked && name !== MANIFEST) {
      isAsked = true
      if (!(await wantsRest())) return { kind: 'stopped' }
    }
    const path = join(target.directory, name)
    const folder = part.entry.isDirectory ? path : dirname(path)
    if (!folders.has(folder)) await mkdir(folder, { recursive: true, mode: 0o700 })
    folders.add(folder)
    if (part.entry.isDirectory) continue
    const onBytes = (count: number) => {
      bytes += count
      target.onProgress?.(bytes, bytesTotal)
    }
    const written = await writeFile(archive, part, { path, onBytes })
    if (written.kind === 'damaged') {
      return refused([{ path: showName(name), reason: written.reason }])
    }
    files.push({ path: name, size: part.entry.bytes, sha256: written.sha256 })
  }
  if (files.length === 0) return refused([archiveFault('it holds no files')])
  if (!isAsked && !(await wantsRest())) return { kind: 'stopped' }
  return { kind: 'unpacked', files, bytes }
}

function manifestFirst(parts: readonly Part[]): Part[] {
  const isManifest = ({ entry }: Part): boolean => entry.name === MANIFEST
  return [...parts.filter(isManifest), ...parts.filter((part) => !isManifest(part))]
}

function listedFile({ entry }: Part): ListedFile {
  return { path: entry.name, size: entry.bytes }
}

function requireRoom(bytes: number, bytesMax: number): void {
  if (bytes <= bytesMax) return
  const detail = `the bundle unpacks to ${bytes} bytes; ${bytesMax} are available to it on the disk`
  throw new AppError('ERR_DISK_FULL', detail)
}

/** What macOS puts beside the files that its user chose; it is no part of a bundle. */
function isClutter(name: string): boolean {
  return name.startsWith('__MACOSX/') || name === '.DS_Store' || name.endsWith('/.DS_Store')
}

export type ManifestPlace =
  | { readonly kind: 'found'; readonly path: string }
  | { readonly kind: 'missing'; readonly fault: Fault }

const MANIFEST = 'service.json'

/** Finds the manifest; whoever zipped the folder instead of its content is told so. */
export function manifestPath(files: readonly ListedFile[]): ManifestPlace {
  if (files.some((file) => file.path === MANIFEST)) return { kind: 'found', path: MANIFEST }
  const deeper = files.find((file) => file.path.endsWith(`/${MANIFEST}`))
  const folder = deeper === undefined ? null : deeper.path.slice(0, -MANIFEST.length)
  const found = folder === null ? 'is missing' : `lies in ${showName(folder)}`
  const reason = `${MANIFEST} ${found}, it must be at the root of the ZIP`
  return { kind: 'missing', fault: { path: MANIFEST, reason } }
}
