/**
 * Whether the files of a generation are still those that were imported: by name and size, which
 * costs next to nothing, or by every byte, which takes the time of reading them.
 */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import { type ContentFile, contentSha256 } from '../../core/bundle/content.ts'
import type { ForgeReport, GenerationPlan } from '../../core/bundle/plan.ts'
import { exists } from './files.ts'
import type { GenerationRecord } from './records.ts'

const READ_BYTES = 1024 * 1024

/** Called after each piece that was read; slows the reading down, or ends it by throwing. */
export type Pace = () => Promise<void>

const AT_FULL_SPEED: Pace = async () => {}

/** What their record says of them. */
type Recorded = Pick<GenerationRecord, 'plan' | 'report' | 'written' | 'sha256' | 'bytes'>

/** What is wrong with them as far as the file system can tell without reading them, or null. */
export async function sizeFault(directory: string, record: Recorded): Promise<string | null> {
  // Read now: the generation may be deleted meanwhile.
  const { plan: whole } = record
  if (!(await exists(directory))) return 'its directory is missing on disk'
  for (const plan of whole.endpoints) {
    if (plan.type !== 'STD_PREDICTION') continue
    const { model } = plan.prediction
    if (!(await exists(join(directory, model)))) return `the model ${model} is missing on disk`
  }
  try {
    const files = await filesIn(directory)
    const bytes = files.reduce((sum, { size }) => sum + size, 0)
    if (bytes === record.bytes) return null
    return `its files have ${bytes} bytes, ${record.bytes} were imported`
  } catch (error) {
    return unreadable(error)
  }
}

function unreadable(error: unknown): string {
  return `its files cannot be read: ${messageOf(error)}`
}

/** Reads all of it; what is wrong, or null. A file that cannot be read is a fault too. */
export async function contentFault(
  directory: string,
  { plan, report, written = [], sha256, bytes }: GenerationRecord,
  pace: Pace = AT_FULL_SPEED,
): Promise<string | null> {
  const record = { plan, report, written, sha256, bytes }
  const fault = await sizeFault(directory, record)
  if (fault !== null) return fault
  try {
    return filesFault(await contentFiles(directory, pace), record)
  } catch (error) {
    return unreadable(error)
  }
}

/** All files, read to their end. */
export async function contentFiles(
  directory: string,
  pace: Pace = AT_FULL_SPEED,
): Promise<ContentFile[]> {
  const files: ContentFile[] = []
  for (const { path } of await filesIn(directory)) files.push(await digest(directory, path, pace))
  return files
}

/** What is wrong with files of these names and hashes, or null. */
export function filesFault(files: readonly ContentFile[], record: Recorded): string | null {
  const written = new Map((record.written ?? []).map((file) => [file.path, file]))
  const derived = writtenModels(record)
  const changed = files.find(({ path, sha256 }) => sha256 !== (written.get(path)?.sha256 ?? sha256))
  if (changed !== undefined) return `${changed.path} is not as it was made`
  const own = files.filter(({ path }) => !derived.has(path))
  return contentSha256(own) === record.sha256 ? null : 'its files are not those of the bundle'
}

/** The models that the forge wrote beside the files of the bundle, with their hashes. */
export async function writtenFiles(directory: string, forged: Forged): Promise<ContentFile[]> {
  const files: ContentFile[] = []
  for (const path of writtenModels(forged)) files.push(await digest(directory, path, AT_FULL_SPEED))
  return files
}

interface Forged {
  readonly plan: GenerationPlan
  readonly report: ForgeReport
}

function writtenModels({ plan, report }: Forged): Set<string> {
  const rewritten = report.endpoints.filter(({ zipMap }) => zipMap === 'rewritten')
  const ids = new Set(rewritten.map(({ endpointId }) => endpointId))
  const models = plan.endpoints.flatMap((one) =>
    one.type === 'STD_PREDICTION' && ids.has(one.id) ? [one.prediction.model] : [],
  )
  return new Set([...models, ...(plan.made ?? [])])
}

async function digest(directory: string, path: string, pace: Pace): Promise<ContentFile> {
  const hash = createHash('sha256')
  let size = 0
  const stream = createReadStream(join(directory, path), { highWaterMark: READ_BYTES })
  for await (const chunk of stream) {
    hash.update(chunk)
    size += chunk.length
    await pace()
  }
  return { path, size, sha256: hash.digest('hex') }
}

interface FoundFile {
  /** Relative, with forward slashes. */
  readonly path: string
  readonly size: number
}

async function filesIn(directory: string, below = ''): Promise<FoundFile[]> {
  const files: FoundFile[] = []
  for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`
    if (entry.isDirectory()) files.push(...(await filesIn(directory, path)))
    else files.push({ path, size: (await lstat(join(directory, path))).size })
  }
  return files
}
