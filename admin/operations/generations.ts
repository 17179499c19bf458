/** Generations: held in memory on request, and deleted when nothing uses them. */

import { AppError, messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import { hasChildren } from '../../core/bundle/kinds.ts'
import { exists } from '../store/files.ts'
import type { GenerationRecord } from '../store/records.ts'
import { removeUnusedForms } from './compiling.ts'
import type { Context } from './context.ts'
import { removeUnusedEnvironments } from './environments.ts'
import type { Removal } from './services.ts'

export async function preloadGeneration(context: Context, ref: GenerationRef): Promise<void> {
  const { catalog, publisher } = context
  catalog.generation(ref.serviceId, ref.generationId)
  assertUsable(context, ref)
  context.serving.pardon(ref.serviceId, ref.generationId)
  await publisher.withReserved(ref, async () => {
    await publisher.ensureWarm(ref)
    publisher.residents.preload(ref)
    publisher.publish()
  })
}

/** Out of memory, unless it receives traffic: then it answers 409. */
export async function unloadGeneration(context: Context, ref: GenerationRef): Promise<void> {
  await context.perService.run(ref.serviceId, async () => {
    context.catalog.generation(ref.serviceId, ref.generationId)
    assertUnused(context, ref)
    await evict(context, ref)
  })
}

export async function deleteGeneration(
  context: Context,
  ref: GenerationRef,
  actor: string,
): Promise<void> {
  await removeGeneration(context, ref, { actor, check: () => {} })
  await removeUnusedEnvironments(context)
  await removeUnusedForms(context)
}

/** The same, and what it was the last to need stays. */
export async function removeGeneration(
  context: Context,
  ref: GenerationRef,
  { actor, check }: Removal,
): Promise<void> {
  const { serviceId, generationId } = ref
  await context.perService.run(serviceId, async () => {
    if (context.imports.find(serviceId, generationId) !== null) {
      throw new AppError('ERR_GENERATION_BUSY', `${generationId} is being imported`)
    }
    const record = context.catalog.generation(serviceId, generationId)
    assertUnused(context, ref)
    check()
    // Nothing may load or map it from here on.
    context.publisher.withdraw(refKey(ref))
    try {
      await evict(context, ref)
      await failpoint('delete.drained')
      await removeRow(context, record, actor)
      await failpoint('delete.committed')
    } finally {
      context.publisher.endWithdrawal(refKey(ref))
    }
    context.metrics.forget(serviceId, generationId)
    context.serving.pardon(serviceId, generationId)
    await discardFiles(context, ref)
  })
}

async function removeRow(context: Context, record: GenerationRecord, actor: string): Promise<void> {
  // The last counts, before nobody knows the generation's name any more.
  await context.serving.collect()
  await context.catalog.commit({
    actor,
    action: 'deleteGeneration',
    before: journalView(record),
    after: null,
    puts: [],
    removes: [{ kind: 'generation', record }],
  })
}

/** What the journal tells of a generation: enough to know it by, not its whole plan. */
export function journalView(record: GenerationRecord): object {
  const { serviceId, id, sha256, createdOn, bytes } = record
  return { serviceId, generationId: id, sha256, createdOn, bytes }
}

/**
 * What receives no traffic any more stays in memory for a while, so that going back takes no load.
 * Not with child processes: those have memory of their own that nobody shares, and their code may
 * do things by itself, in threads and with files, which must end when its generation does.
 */
export function keepWarm({ catalog, publisher }: Context, ref: GenerationRef): void {
  const record = catalog.findGeneration(ref.serviceId, ref.generationId)
  if (record !== null && hasChildren(record.plan)) publisher.residents.drop(ref)
  else publisher.residents.keep(ref)
}

export function assertUsable(context: Context, ref: GenerationRef): void {
  const { catalog, publisher } = context
  const damaged = publisher.isWarm(ref) ? null : catalog.damaged(ref.serviceId, ref.generationId)
  const reason = catalog.quarantined(ref.serviceId, ref.generationId) ?? damaged
  if (reason !== null) throw new AppError('ERR_LOAD_FAILED', `${refKey(ref)}: ${reason}`)
}

function assertUnused(context: Context, ref: GenerationRef): void {
  const { mapping } = context.catalog.service(ref.serviceId)
  if (mapping.some((entry) => entry.generationId === ref.generationId)) {
    throw new AppError('ERR_GENERATION_ACTIVE', `${refKey(ref)}; switch to another first`)
  }
  if (context.publisher.residents.isReserved(ref)) {
    throw new AppError('ERR_GENERATION_BUSY', `${refKey(ref)} is being loaded`)
  }
}

async function evict(context: Context, ref: GenerationRef): Promise<void> {
  const { publisher, logger } = context
  publisher.residents.drop(ref)
  await publisher.apply()
  if (!(await publisher.whenGone([ref]))) logger.warn({ ...ref }, 'still draining after its time')
}

/** The row is gone already; files that stay behind are removed at the next start. */
async function discardFiles(context: Context, ref: GenerationRef): Promise<void> {
  const directory = context.home.directoryOf(ref.serviceId, ref.generationId)
  try {
    if (await exists(directory)) await context.home.discard(directory)
  } catch (error) {
    context.logger.warn({ ...ref, reason: messageOf(error) }, 'files of a generation stay behind')
  }
}
