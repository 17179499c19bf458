/**
 * From an uploaded archive to a generation that a restart finds: staged, forged, flushed, moved to
 * its place, committed. Whatever the crash point, afterwards there is all of it or nothing.
 */

import { mkdir, rm, stat } from 'node:fs/promises'
import { assert } from '../../core/base/assert.ts'
import { wallMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { ID_RULE, isGenerationId } from '../../core/base/ids.ts'
import type { ForgeOutcome } from '../contracts.ts'
import { exists, moveDurably, syncTree } from '../store/files.ts'
import type { GenerationRecord } from '../store/records.ts'
import { diskFailure, requireSpace } from '../store/space.ts'
import type { Context, ImportStatus } from './context.ts'
import { journalView } from './generations.ts'

export interface ImportRequest {
  readonly serviceId: string
  /** Absolute; read, never moved or removed. */
  readonly archivePath: string
  /** `?generationId=`; null: the manifest or the file name says it. */
  readonly generationId: string | null
  readonly fileName: string | null
  /** Id of the admin key, for the journal. */
  readonly actor: string
}

type Forged = Extract<ForgeOutcome, { kind: 'forged' }>

/** The generation as it is stored; for the same content under the same id, the one of before. */
export async function importGeneration(
  context: Context,
  request: ImportRequest,
): Promise<GenerationRecord> {
  context.catalog.service(request.serviceId)
  checkId(request.generationId)
  const archiveBytes = (await stat(request.archivePath)).size
  await requireSpace(context.home.staging, archiveBytes)
  const status = statusOf(request)
  return context.imports.track(status, () => stageAndCommit(context, request, status, archiveBytes))
}

async function stageAndCommit(
  context: Context,
  request: ImportRequest,
  status: ImportStatus,
  archiveBytes: number,
): Promise<GenerationRecord> {
  const directory = context.home.stagingPath('unpacked')
  await mkdir(directory, { mode: 0o700 })
  try {
    const forged = await runForge(context, request, { status, directory, archiveBytes })
    status.phase = 'committing'
    const bytes = await syncTree(directory)
    return await context.perService.run(request.serviceId, () =>
      commit(context, request, { forged, directory, bytes }),
    )
  } catch (error) {
    throw diskFailure(error)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

interface Run {
  readonly status: ImportStatus
  readonly directory: string
  readonly archiveBytes: number
}

async function runForge(context: Context, request: ImportRequest, run: Run): Promise<Forged> {
  const { serviceId, generationId, fileName, archivePath } = request
  const task = { archive: archivePath, directory: run.directory, serviceId, generationId, fileName }
  const outcome = await context.forging.run(() =>
    context.forge.run(task, run.archiveBytes, (phase, detail) => {
      run.status.phase = phase
      run.status.detail = detail
    }),
  )
  if (outcome.kind === 'refused') throw new AppError(outcome.code, outcome.detail, outcome.faults)
  checkId(outcome.generationId)
  return outcome
}

interface Staged {
  readonly forged: Forged
  readonly directory: string
  readonly bytes: number
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
  if (isFailed || catalog.quarantined(present.serviceId, present.id) !== null) {
    // The files that were lost or damaged are here again; what failed is tried with them.
    await place(context, request.serviceId, staged)
    catalog.endQuarantine(present.serviceId, present.id)
    publisher.publish()
  }
  return present
}

async function insert(
  context: Context,
  request: ImportRequest,
  staged: Staged,
): Promise<GenerationRecord> {
  const record = recordOf(context, request, staged)
  const target = await place(context, request.serviceId, staged)
  try {
    await context.catalog.commit({
      actor: request.actor,
      action: 'importGeneration',
      before: null,
      after: journalView(record),
      puts: [{ kind: 'generation', record }],
      removes: [],
    })
  } catch (error) {
    await context.home.discard(target)
    throw error
  }
  return record
}

async function place(context: Context, serviceId: string, staged: Staged): Promise<string> {
  const target = context.home.directoryOf(serviceId, staged.forged.generationId)
  // Left behind by a delete that could not remove its files.
  if (await exists(target)) await context.home.discard(target)
  await moveDurably(staged.directory, target)
  return target
}

function recordOf(context: Context, request: ImportRequest, staged: Staged): GenerationRecord {
  const { forged, bytes } = staged
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
    sequence: context.catalog.nextSequence(),
  }
}

function statusOf(request: ImportRequest): ImportStatus {
  const named = request.generationId ?? request.fileName?.replace(/\.zip$/i, '') ?? ''
  return {
    serviceId: request.serviceId,
    generationId: named,
    startedOn: wallMs(),
    phase: 'waiting',
    detail: 'another bundle is being checked',
  }
}

function checkId(generationId: string | null): void {
  if (generationId === null || isGenerationId(generationId)) return
  const detail = `generationId: ${ID_RULE}, and not "actions"; name another with ?generationId=`
  throw new AppError('ERR_PARAMETER_INVALID', detail)
}
