/**
 * What a back-up is: a directory with the copy of the state, the generations as they lie in the
 * data directory, and last of all a manifest that names every file and its hash. Without the
 * manifest it is none.
 */

import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, copyFile, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { isObject } from '../../core/base/json.ts'
import type { ContentFile } from '../../core/bundle/content.ts'
import { documentOf, openDocument } from '../store/checked-document.ts'
import { contentFiles, filesFault } from '../store/contents.ts'
import { recordOf } from '../store/entries.ts'
import { mkdirDurably, syncPath, writeDurably } from '../store/files.ts'
import type { GenerationRecord } from '../store/records.ts'
import { parseCopy, type StateCopy } from '../store/state-copy.ts'

const FORMAT = 1
const MANIFEST = 'backup.json'
const STATE = 'state.json'

export interface BackedUp {
  readonly serviceId: string
  readonly generationId: string
  readonly files: readonly ContentFile[]
}

export interface BackupContent {
  readonly createdOn: number
  readonly generations: readonly BackedUp[]
  /** Left out because their files were damaged, as `service/generation`. */
  readonly skipped: readonly string[]
}

export interface Backup extends BackupContent {
  readonly statePath: string
  readonly state: StateCopy
  readonly records: readonly GenerationRecord[]
}

export function generationsOf(state: StateCopy): GenerationRecord[] {
  return state.records.flatMap(({ key, value }) => {
    const item = recordOf(key, value)
    return item.kind === 'generation' ? [item.record] : []
  })
}

export function directoryIn(
  root: string,
  ref: { serviceId: string; generationId: string },
): string {
  return join(root, 'generations', ref.serviceId, ref.generationId)
}

export function bytesOf(generations: readonly BackedUp[]): number {
  return generations.flatMap(({ files }) => files).reduce((sum, { size }) => sum + size, 0)
}

export function refOf({ serviceId, id }: GenerationRecord) {
  return { serviceId, generationId: id }
}

/** Copies all files, reads the copies, and says what is wrong with them: null is fine. */
export async function copyGeneration(
  from: string,
  to: string,
  record: GenerationRecord,
): Promise<{ readonly files: readonly ContentFile[]; readonly fault: string | null }> {
  try {
    await copyTree(from, to)
    const files = await contentFiles(to)
    return { files, fault: filesFault(files, record) }
  } catch (error) {
    const isFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC'
    if (isFull) throw error
    return { files: [], fault: messageOf(error) }
  }
}

async function copyTree(from: string, to: string): Promise<void> {
  const entries = await readdir(from, { withFileTypes: true })
  await mkdirDurably(to)
  for (const entry of entries) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await copyTree(source, target)
    else if (entry.isFile()) await copyOne(source, target)
    else throw new AppError('ERR_STORE_FAILED', `${source} is neither file nor directory`)
  }
  await syncPath(to)
}

/** Shares the blocks where the file system can do that safely; never a link to the same file. */
async function copyOne(source: string, target: string): Promise<void> {
  await copyFile(source, target, constants.COPYFILE_FICLONE)
  await chmod(target, 0o600)
  await syncPath(target)
}

/** The manifest last: from then on it is a back-up. */
export async function finishBackup(
  target: string,
  stateText: string,
  content: BackupContent,
): Promise<void> {
  await writeDurably(join(target, STATE), stateText)
  const body = { format: FORMAT, ...content, stateSha256: sha256(stateText) }
  await writeDurably(join(target, MANIFEST), documentOf(body))
}

/** Everything but the files of the generations is checked. */
export async function readBackup(source: string): Promise<Backup> {
  const manifest = await readManifest(source)
  const statePath = join(source, STATE)
  const text = await readFile(statePath, 'utf8').catch((error: unknown) => {
    throw bad(statePath, messageOf(error))
  })
  if (sha256(text) !== manifest.stateSha256) throw bad(statePath, 'the checksum does not match')
  const reading = parseCopy(text)
  if (reading.kind === 'bad') throw bad(statePath, reading.reason)
  const { copy: state } = reading
  return { ...manifest.content, statePath, state, records: generationsOf(state) }
}

interface Manifest {
  readonly stateSha256: unknown
  readonly content: BackupContent
}

async function readManifest(source: string): Promise<Manifest> {
  const path = join(source, MANIFEST)
  const text = await readFile(path, 'utf8').catch(() => {
    throw bad(path, 'it cannot be read: this is no back-up, or one that did not come to its end')
  })
  const opened = openDocument(text)
  if (opened.kind === 'bad') throw bad(path, opened.reason)
  const { format, stateSha256 } = opened.body
  if (format !== FORMAT) throw bad(path, `this version reads format ${FORMAT} only`)
  const content = contentOf(opened.body)
  if (content === null) throw bad(path, 'it lacks the list of generations')
  return { stateSha256, content }
}

function contentOf(body: Record<string, unknown>): BackupContent | null {
  const { createdOn, generations, skipped } = body
  if (!Array.isArray(generations) || !Array.isArray(skipped)) return null
  if (typeof createdOn !== 'number' || !generations.every(isBackedUp)) return null
  return { createdOn, generations, skipped: skipped.map(String) }
}

function isBackedUp(value: unknown): value is BackedUp {
  if (!isObject(value) || !Array.isArray(value['files'])) return false
  return typeof value['serviceId'] === 'string' && typeof value['generationId'] === 'string'
}

/** What differs between files and what the manifest says of them, or null. */
export function manifestFault(
  files: readonly ContentFile[],
  listed: readonly ContentFile[],
): string | null {
  const found = new Map(files.map((file) => [file.path, file]))
  for (const { path, sha256 } of listed) {
    const file = found.get(path)
    if (file === undefined) return `${path} is missing`
    if (file.sha256 !== sha256) return `${path} is damaged`
    found.delete(path)
  }
  const [extra] = found.keys()
  return extra === undefined ? null : `${extra} does not belong to it`
}

function bad(path: string, reason: string): AppError {
  return new AppError('ERR_STORE_DAMAGED', `${path}: ${reason}`)
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
