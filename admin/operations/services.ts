/** Services: made, switched on and off, and deleted after they have drained. */

import { assert } from '../../core/base/assert.ts'
import { wallMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { type GenerationRef, ID_RULE, isServiceId } from '../../core/base/ids.ts'
import { exists } from '../store/files.ts'
import type { ServiceRecord, StateRecord } from '../store/records.ts'
import { removeUnusedForms } from './compiling.ts'
import type { Context } from './context.ts'
import { removeUnusedEnvironments } from './environments.ts'
import { keepWarm } from './generations.ts'
import { refsOf } from './mapping.ts'

/** An order is all that it is for; and each is a write to the disk. */
const USE_KEPT_EVERY_MS = 300_000

export async function createService(
  context: Context,
  serviceId: string,
  actor: string,
): Promise<ServiceRecord> {
  if (!isServiceId(serviceId)) {
    throw new AppError('ERR_PARAMETER_INVALID', `serviceId: ${ID_RULE}`)
  }
  return context.perService.run(serviceId, async () => {
    const { catalog, publisher } = context
    if (catalog.findService(serviceId) !== null) {
      throw new AppError('ERR_SERVICE_EXISTS', serviceId)
    }
    const record = { id: serviceId, enabled: true, mapping: [], createdOn: wallMs() }
    await catalog.commit({
      actor,
      action: 'createService',
      before: null,
      after: { serviceId },
      puts: [{ kind: 'service', record }],
      removes: [],
    })
    await publisher.apply()
    return record
  })
}

/** What is mapped is warm before the service is called enabled, so no caller pays for the load. */
export async function enableService(
  context: Context,
  serviceId: string,
  actor: string,
): Promise<void> {
  const refs = mappedRefs(context, serviceId).filter(
    (ref) => context.catalog.quarantined(ref.serviceId, ref.generationId) === null,
  )
  for (const ref of refs) context.serving.pardon(ref.serviceId, ref.generationId)
  await context.publisher.withAllReserved(refs, async () => {
    for (const ref of refs) await context.publisher.ensureWarm(ref)
    await context.perService.run(serviceId, () => setEnabled(context, serviceId, true, actor))
  })
}

export async function disableService(
  context: Context,
  serviceId: string,
  actor: string,
): Promise<void> {
  await context.perService.run(serviceId, async () => {
    // Enabling it again soon takes no load.
    for (const ref of mappedRefs(context, serviceId)) keepWarm(context, ref)
    await setEnabled(context, serviceId, false, actor)
  })
}

/** How something is removed: `check` runs where nothing can change, and throws what is against. */
export interface Removal {
  readonly actor: string
  readonly check: () => void
}

/** New requests get 503 while it drains, then its rows go, then its files. */
export async function deleteService(
  context: Context,
  serviceId: string,
  actor: string,
): Promise<void> {
  await removeService(context, serviceId, { actor, check: () => {} })
  await removeUnusedEnvironments(context)
  await removeUnusedForms(context)
}

/** The same, and what it was the last to need stays. */
export async function removeService(
  context: Context,
  serviceId: string,
  { actor, check }: Removal,
): Promise<void> {
  await context.perService.run(serviceId, async () => {
    const { catalog, publisher } = context
    catalog.service(serviceId)
    assertIdle(context, serviceId)
    check()
    publisher.withdraw(serviceId)
    try {
      await drainAndRemove(context, serviceId, actor)
    } finally {
      publisher.endWithdrawal(serviceId)
      publisher.publish()
    }
    context.metrics.forget(serviceId)
    // Still in the queue: a service of this name may be made right after.
    await discardFolder(context, serviceId)
    await publisher.apply()
  })
}

async function setEnabled(
  context: Context,
  serviceId: string,
  enabled: boolean,
  actor: string,
): Promise<void> {
  const before = context.catalog.service(serviceId)
  if (before.enabled !== enabled) {
    await context.catalog.commit({
      actor,
      action: enabled ? 'enableService' : 'disableService',
      before: { serviceId, enabled: before.enabled },
      after: { serviceId, enabled },
      puts: [{ kind: 'service', record: { ...before, enabled } }],
      removes: [],
    })
  }
  await context.publisher.apply()
}

/**
 * Keeps when services were last called, for the order in which a start loads them: seldom, not in
 * the journal, and in the queue of each service, so that no change is written over.
 */
export async function saveUse(context: Context): Promise<void> {
  const { catalog, metrics, perService } = context
  const used = catalog.services().filter(({ id, lastUse = 0 }) => {
    return (metrics.lastCall(id) ?? 0) - lastUse > USE_KEPT_EVERY_MS
  })
  await Promise.all(used.map(({ id }) => perService.run(id, () => saveUseOf(context, id))))
}

async function saveUseOf({ catalog, metrics, logger }: Context, id: string): Promise<void> {
  const record = catalog.findService(id)
  const lastUse = metrics.lastCall(id)
  if (record === null || lastUse === null) return
  try {
    await catalog.touchService({ ...record, lastUse })
  } catch (error) {
    logger.warn({ serviceId: id, reason: messageOf(error) }, 'the last use was not kept')
  }
}

function assertIdle(context: Context, serviceId: string): void {
  if (context.imports.isBusy(serviceId)) {
    throw new AppError('ERR_GENERATION_BUSY', 'a generation of the service is being imported')
  }
  if (context.publisher.residents.isServiceReserved(serviceId)) {
    throw new AppError('ERR_GENERATION_BUSY', 'a generation of the service is being loaded')
  }
}

async function drainAndRemove(context: Context, serviceId: string, actor: string): Promise<void> {
  const { catalog, publisher, serving, logger } = context
  const service = catalog.service(serviceId)
  const generations = catalog.generations(serviceId)
  const refs = generations.map(({ id }) => ({ serviceId, generationId: id }))
  await serving.whenApplied(publisher.publish())
  if (!(await publisher.whenGone(refs))) logger.warn({ serviceId }, 'deleted before it had drained')
  // The last counts of these generations, before nobody knows their names any more.
  await serving.collect()
  await failpoint('service.drained')
  const removes: StateRecord[] = generations.map((record) => ({ kind: 'generation', record }))
  removes.push({ kind: 'service', record: service })
  await catalog.commit({
    actor,
    action: 'deleteService',
    before: { serviceId, generations: generations.map(({ id }) => id) },
    after: null,
    puts: [],
    removes,
  })
  await failpoint('service.deleted')
  for (const ref of refs) {
    publisher.residents.drop(ref)
    serving.pardon(ref.serviceId, ref.generationId)
  }
  context.switches.forget(serviceId)
}

/** The service is gone already; files that stay behind are removed at the next start. */
async function discardFolder(context: Context, serviceId: string): Promise<void> {
  const folder = context.home.folderOf(serviceId)
  assert(context.catalog.generationCount(serviceId) === 0, 'only files without records are removed')
  try {
    if (await exists(folder)) await context.home.discard(folder)
  } catch (error) {
    context.logger.warn({ serviceId, reason: messageOf(error) }, 'files of a service stay behind')
  }
}

function mappedRefs({ catalog }: Context, serviceId: string): GenerationRef[] {
  return refsOf(serviceId, catalog.service(serviceId).mapping)
}
