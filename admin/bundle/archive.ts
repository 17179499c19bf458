/**
 * Makes the archive of a bundle out of a folder: the same files give the same bytes, whenever and
 * wherever it is made, so that a node knows an upload that it has had. The only importer of yazl.
 */

import { createReadStream, createWriteStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createDeflate } from 'node:zlib'
import { ZipFile } from 'yazl'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'

export interface BundleFile {
  /** In the archive: relative, with forward slashes. */
  readonly path: string
  /** Absolute path of a file, or what it holds. */
  readonly source: string | Buffer
  readonly bytes: number
}

export interface ListedFolder {
  /** In the order of their paths. */
  readonly files: readonly BundleFile[]
  /** Archives at the root, which most likely were made of the folder before. */
  readonly archives: readonly string[]
}

const NO_PART = /^(?:\..*|__pycache__|.*\.pyc)$/
const ARCHIVE = /\.zip$/i

/** What belongs to a bundle: all files but hidden ones and what Python leaves behind. */
export async function listFolder(folder: string): Promise<ListedFolder> {
  const files = await filesBelow(folder, '', 1)
  const isArchive = ({ path }: BundleFile): boolean => !path.includes('/') && ARCHIVE.test(path)
  return {
    files: files.filter((file) => !isArchive(file)).toSorted(byPath),
    archives: files.filter(isArchive).map(({ path }) => path),
  }
}

/** By code units: the same in every locale. */
function byPath(a: BundleFile, b: BundleFile): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0
}

async function filesBelow(folder: string, inside: string, depth: number): Promise<BundleFile[]> {
  if (depth > LIMITS.bundleDepthMax) {
    const reason = `${inside} is nested over ${LIMITS.bundleDepthMax} folders deep`
    throw new AppError('ERR_BUNDLE_INVALID', reason)
  }
  const found: BundleFile[] = []
  for (const entry of await readdir(join(folder, inside), { withFileTypes: true })) {
    if (NO_PART.test(entry.name)) continue
    const path = inside === '' ? entry.name : `${inside}/${entry.name}`
    const source = join(folder, path)
    if (entry.isDirectory()) found.push(...(await filesBelow(folder, path, depth + 1)))
    else found.push({ path, source, bytes: await sizeOf(source, path) })
  }
  return found
}

/** A link to a file is followed, because the archive cannot hold one. */
async function sizeOf(source: string, path: string): Promise<number> {
  const facts = await stat(source).catch((error: unknown) => {
    throw new AppError('ERR_BUNDLE_INVALID', `${path} cannot be read: ${messageOf(error)}`)
  })
  if (facts.isFile()) return facts.size
  const what = facts.isDirectory() ? 'a link to a folder' : 'no regular file'
  throw new AppError('ERR_BUNDLE_INVALID', `${path} is ${what}: a bundle holds files only`)
}

export interface ArchiveOptions {
  /** False: as fast as it can be written, for an archive that nobody keeps. */
  readonly compress: boolean
  readonly onBytes: (done: number, total: number) => void
}

/** 1980 is the first year that archives know; as local time, which is how they store it. */
const THEN = new Date(1980, 0, 1)
const MODE = 0o100644

/** The size of the archive. Overwrites `target`. */
export async function writeArchive(
  files: readonly BundleFile[],
  target: string,
  { compress, onBytes }: ArchiveOptions,
): Promise<number> {
  const zip = new ZipFile()
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  let done = 0
  const failed = new Promise<never>((_, reject) => zip.once('error', reject))
  for (const file of files.toSorted(byPath)) {
    const options = {
      mtime: THEN,
      mode: MODE,
      forceDosTimestamp: true,
      compress: compress && !(await shrinksTooMuch(file)),
      size: file.bytes,
    }
    zip.addReadStreamLazy(file.path, options, (give) => {
      const stream = open(file)
      stream.on('data', (chunk: Buffer) => {
        done += chunk.length
        onBytes(done, total)
      })
      give(null, stream)
    })
  }
  zip.end()
  await Promise.race([failed, pipeline(zip.outputStream, createWriteStream(target))])
  return (await stat(target)).size
}

function open({ source }: BundleFile): Readable {
  return typeof source === 'string' ? createReadStream(source) : Readable.from([source])
}

/** A node takes what unpacks to so many times its size for an attack. */
const RATIO_SAFE = LIMITS.bundleRatioMax / 2

/** Reads no further than it takes to know; of most files that is the first hundredth. */
async function shrinksTooMuch(file: BundleFile): Promise<boolean> {
  if (file.bytes <= LIMITS.bundleRatioFreeBytes) return false
  const enough = file.bytes / RATIO_SAFE
  const source = open(file)
  const packed = source.pipe(createDeflate({ level: 9 }))
  source.on('error', (error) => packed.destroy(error))
  let bytes = 0
  try {
    for await (const chunk of packed) {
      bytes += chunk.length
      if (bytes > enough) return false
    }
    return true
  } finally {
    source.destroy()
  }
}
