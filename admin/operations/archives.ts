/**
 * Imports of archives that are on the node's disk already, from folders that the node was told of
 * and no others: whoever has an admin key must not be able to have any file of the node read.
 *
 * What is checked is the open file, not its name: between a check of a name and its use, the name
 * may come to mean another file. It is copied to staging like an upload, so that it may change or
 * go while it is checked.
 */

import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, realpath, stat } from 'node:fs/promises'
import { basename, isAbsolute, relative, resolve, sep } from 'node:path'
import type { Readable } from 'node:stream'
import { AppError, messageOf } from '../../core/base/errors.ts'
import type { GenerationRecord } from '../store/records.ts'
import type { Context } from './context.ts'
import { uploadGeneration } from './uploads.ts'

const HOW_TO_ALLOW = 'start the node with --import-folders or SWITCHYARD_IMPORT_FOLDERS'
const READ_BYTES = 1024 * 1024
/** Nothing waits for the other end of a pipe; the last name is not followed. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW

export interface ArchiveImport {
  readonly serviceId: string
  /** On the node's disk, absolute. */
  readonly filePath: string
  /** Null: the manifest or the file name says it. */
  readonly generationId: string | null
  readonly actor: string
}

/** From a list with `:` between its folders, as a path of programs is written. */
export function importFoldersOf(text: string | null): readonly string[] {
  const folders = text?.split(':').filter((folder) => folder !== '') ?? []
  return folders.map((folder) => resolve(folder))
}

export async function importFromArchive(
  context: Context,
  request: ArchiveImport,
): Promise<GenerationRecord> {
  const { serviceId, filePath, generationId, actor } = request
  context.catalog.service(serviceId)
  const { file, bytes } = await openInside(context.importFolders, filePath)
  let stream: Readable | null = null
  const openStream = (): Readable => {
    stream = file.createReadStream({ highWaterMark: READ_BYTES })
    return stream
  }
  try {
    return await uploadGeneration(context, {
      ...{ serviceId, generationId, actor },
      contentType: 'application/zip',
      declaredBytes: bytes,
      fileName: basename(filePath),
      open: openStream,
    })
  } finally {
    // A file does not close while a stream that was not read to its end still holds it.
    endOf(stream)
    await file.close()
  }
}

function endOf(stream: Readable | null): void {
  stream?.destroy()
}

interface OpenedArchive {
  readonly file: FileHandle
  readonly bytes: number
}

async function openInside(folders: readonly string[], filePath: string): Promise<OpenedArchive> {
  if (folders.length === 0) {
    throw new AppError('ERR_IMPORT_PATH', `this node imports from no folder; ${HOW_TO_ALLOW}`)
  }
  if (!isAbsolute(filePath) || filePath.includes('\0')) {
    throw new AppError('ERR_PARAMETER_INVALID', 'filePath: an absolute path on the node is needed')
  }
  const path = await confined(folders, filePath)
  const file = await open(path, FLAGS).catch((error: unknown) => {
    throw new AppError('ERR_PARAMETER_INVALID', `filePath: ${reasonOf(error)}`)
  })
  try {
    const opened = await file.stat()
    if (!opened.isFile()) {
      throw new AppError('ERR_PARAMETER_INVALID', 'filePath: it is no regular file')
    }
    await requireSame(opened, folders, filePath)
    return { file, bytes: opened.size }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The file that is open is one that the path leads to inside the folders. */
async function requireSame(
  opened: Stats,
  folders: readonly string[],
  filePath: string,
): Promise<void> {
  const { dev, ino } = await stat(await confined(folders, filePath))
  if (dev !== opened.dev || ino !== opened.ino) {
    throw new AppError('ERR_PARAMETER_INVALID', 'filePath: it was replaced meanwhile')
  }
}

/** Without links and dots; what is outside is refused in the same words, there or not. */
async function confined(folders: readonly string[], filePath: string): Promise<string> {
  const real = await realpath(filePath).catch((error: unknown) => {
    if (!folders.some((folder) => isInside(folder, resolve(filePath)))) throw outside(folders)
    throw new AppError('ERR_PARAMETER_INVALID', `filePath: ${reasonOf(error)}`)
  })
  for (const folder of folders) {
    // A folder may be mounted after the node has started, or be a link itself.
    const realFolder = await realpath(folder).catch(() => null)
    if (realFolder !== null && isInside(realFolder, real)) return real
  }
  throw outside(folders)
}

function isInside(folder: string, path: string): boolean {
  const below = relative(folder, path)
  return below !== '' && below !== '..' && !below.startsWith(`..${sep}`) && !isAbsolute(below)
}

function outside(folders: readonly string[]): AppError {
  const list = folders.join(', ')
  return new AppError('ERR_IMPORT_PATH', `allowed is what is in ${list}; ${HOW_TO_ALLOW}`)
}

/** The code of the system and no path: a link may have led anywhere. */
function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : messageOf(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'there is no such file'
  if (code === 'EACCES' || code === 'EPERM') return 'the node may not read it'
  return `it cannot be opened (${code})`
}
