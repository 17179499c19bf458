/**
 * From an uploaded archive to a generation that a restart finds: staged, forged, flushed, moved to
 * its place, committed. Whatever the crash point, afterwards there is all of it or nothing.
 */

import { mkdir, rm, stat } from 'node:fs/promises'
import { assert } from '../../core/base/assert.ts'
import { wallMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { ID_RULE, isGenerationId } from '../../core/base/ids.ts'
import type { ContentFile } from '../../core/bundle/content.ts'
import type { ForgeListener, ForgeOutcome } from '../contracts.ts'
import { contentFault, writtenFiles } from '../store/contents.ts'
import { exists, moveDurably, syncTree } from '../store/files.ts'
import type { GenerationRecord } from '../store/records.ts'
import { diskFailure } from '../store/space.ts'
import { compileImported } from './compiling.ts'
import type { Context } from './context.ts'
import { journalView } from './generations.ts'
import type { ImportTask } from './import-board.ts'

export interface ImportRequest {
  readonly serviceId: string
  /** Absolute. */
  readonly archivePath: string
  /** The archive is removed as soon as it is unpacked; default: it is somebody's, and stays. */
  readonly temporary?: boolean
  /** `?generationId=`; null: the manifest or the file name says it. */
  readonly generationId: string | null
  readonly fileName: string | null
  /** Id of the admin key, for the journal. */
  readonly actor: string
}

type Forged = Extract<ForgeOutcome, { kind: 'forged' }>

/** Bytes that a table takes for each of its file, until it is made. */
const TABLE_DISK_FACTOR = 3

/** The generation as it is stored; for the same content under the same id, the one of before. */
export async function importGeneration(
  context: Context,
  request: ImportRequest,
): Promise<GenerationRecord> {
  const { serviceId, generationId, fileName } = request
  context.catalog.service(serviceId)
  checkId(generationId)
  const start = { serviceId, generationId: namedId(generationId, fileName) }
  return context.imports.run({ ...start, phase: 'waiting' }, (task) =>
    importArchive(context, request, task),
  )
}

/** For an import that is on the board already, as that of an upload. */
export async function importArchive(
  context: Context,
  request: ImportRequest,
  task: ImportTask,
): Promise<GenerationRecord> {
  task.archiveBytes = (await stat(request.archivePath)).size
  // What it unpacks to is not known yet; big files are seldom made much smaller.
  task.space.claim(task.archiveBytes)
  const directory = context.home.stagingPath('unpacked')
  try {
    await mkdir(directory, { mode: 0o700 })
    await failpoint('import.staged')
    const forged = await runForge(context, request, { task, directory })
    await failpoint('import.forged')
    task.enter('flushing', '', null)
    const bytes = await syncTree(directory)
    await failpoint('import.flushed')
    task.enter('committing', '', null)
    const written = await writtenFiles(directory, forged)
    return await context.perService.run(request.serviceId, () =>
      commit(context, request, { forged, directory, bytes, written }),
    )
  } catch (error) {
    throw diskFailure(error)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

interface Run {
  readonly task: ImportTask
  readonly directory: string
}

async function runForge(context: Context, request: ImportRequest, run: Run): Promise<Forged> {
  const { serviceId, generationId, fileName, archivePath: archive } = request
  const { task, directory } = run
  const isFirst = context.forging.isIdle
  task.enter('waiting', isFirst ? 'for its process' : 'another bundle is being checked', null)
  const outcome = await context.forging.run(async () => {
    const diskBytesMax = task.space.available()
    const wanted = { archive, directory, serviceId, generationId, fileName, diskBytesMax }
    const forged = await context.forge.run(wanted, task.archiveBytes, listenerOf(request, task))
    if (forged.kind === 'forged') {
      await compileImported(context, { directory, plan: forged.plan }, task)
    }
    return forged
  })
  if (outcome.kind === 'refused') throw new AppError(outcome.code, outcome.detail, outcome.faults)
  checkId(outcome.generationId)
  return outcome
}

function listenerOf(request: ImportRequest, task: ImportTask): ForgeListener {
  return {
    onPhase(phase, detail, progress) {
      task.enter(phase, detail, progress)
      if (progress !== null) {
        const factor = phase === 'tables' ? TABLE_DISK_FACTOR : 1
        task.space.remaining(factor * (progress.totalBytes - progress.doneBytes))
      }
      if (phase !== 'checking') {
        // What is made is on the disk by now, and no promise any more.
        if (progress === null && phase !== 'unpacking') task.space.remaining(0)
        return
      }
      task.space.remaining(0)
      // Sooner than needed: the disk may be short of exactly these bytes. Failing, it goes later.
      if (request.temporary === true) rm(request.archivePath, { force: true }).catch(() => {})
    },
    onNamed(generationId) {
      task.generationId = generationId
    },
  }
}

interface Staged {
  readonly forged: Forged
  readonly directory: string
  readonly bytes: number
  readonly written: readonly ContentFile[]
}

async function commit(
  context: Context,
  request: ImportRequest,
  staged: Staged,
): Promise<GenerationRecord> {
  const { catalog, publisher } = context
  // Deleted while the forge ran: then the import was for nothing.
  catalog.service(request.serviceId)
  const { forged } = staged
  const present = catalog.findGeneration(request.serviceId, forged.generationId)
  if (present === null) return insert(context, request, staged)
  if (present.sha256 !== forged.contentSha256) {
    throw new AppError('ERR_GENERATION_EXISTS', `${present.id}; choose another id`)
  }
  const ref = { serviceId: present.serviceId, generationId: present.id }
  const isFailed = publisher.observed(ref)?.state === 'failed'
  const { serviceId, id } = present
  const known = catalog.quarantined(serviceId, id) ?? catalog.damaged(serviceId, id)
  if (isFailed || known !== null) await repair(context, present, staged)
  return present
}

async function insert(
  context: Context,
  request: ImportRequest,
  staged: Staged,
): Promise<GenerationRecord> {
  const record = recordOf(context, request, staged)
  const target = context.home.directoryOf(record.serviceId, record.id)
  try {
    await place(context, target, staged)
    await failpoint('import.placed')
    await context.catalog.commit({
      actor: request.actor,
      action: 'importGeneration',
      before: null,
      after: journalView(record),
      puts: [{ kind: 'generation', record }],
      removes: [],
    })
  } catch (error) {
    await dropPlaced(context, record, error)
    throw error
  }
  return record
}

/**
 * Not when the record may be on disk: a record without its files would be half an import, files
 * without a record are removed by the next start.
 */
async function dropPlaced(
  context: Context,
  { serviceId, id }: GenerationRecord,
  error: unknown,
): Promise<void> {
  if (error instanceof AppError && error.code === 'ERR_STORE_FAILED') return
  if (context.catalog.findGeneration(serviceId, id) !== null) return
  const target = context.home.directoryOf(serviceId, id)
  try {
    if (await exists(target)) await context.home.discard(target)
    await failpoint('import.dropped')
  } catch (failure) {
    context.logger.warn({ target, reason: messageOf(failure) }, 'files of an import stay behind')
  }
}

async function place(context: Context, target: string, staged: Staged): Promise<void> {
  // Left behind by a delete that could not remove its files, or damaged.
  if (await exists(target)) {
    await context.home.discard(target)
    await failpoint('import.discarded')
  }
  await moveDurably(staged.directory, target)
}

/**
 * The files that were lost or damaged are here again. Those that are as they were imported stay
 * where they are: between taking them away and putting others there, a crash would lose both.
 */
async function repair(context: Context, record: GenerationRecord, staged: Staged): Promise<void> {
  const target = context.home.directoryOf(record.serviceId, record.id)
  if ((await contentFault(target, record)) !== null) await place(context, target, staged)
  await failpoint('import.repaired')
  context.catalog.endQuarantine(record.serviceId, record.id)
  context.publisher.publish()
}

function recordOf(context: Context, request: ImportRequest, staged: Staged): GenerationRecord {
  const { forged, bytes, written } = staged
  assert(forged.plan.endpoints.length > 0, 'the forge refuses a bundle without endpoints')
  return {
    serviceId: request.serviceId,
    id: forged.generationId,
    sha256: forged.contentSha256,
    createdOn: wallMs(),
    endpoints: forged.plan.endpoints.map(({ id, type, modelRef }) => ({ id, type, modelRef })),
    plan: forged.plan,
    report: forged.report,
    bytes,
    written,
    sequence: context.catalog.nextSequence(),
  }
}

/** As far as it is known before the manifest is read. */
export function namedId(generationId: string | null, fileName: string | null): string {
  return generationId ?? fileName?.replace(/\.zip$/i, '') ?? ''
}

export function checkId(generationId: string | null): void {
  if (generationId === null || isGenerationId(generationId)) return
  const detail = `generationId: ${ID_RULE}, and not "actions"; name another with ?generationId=`
  throw new AppError('ERR_PARAMETER_INVALID', detail)
}
