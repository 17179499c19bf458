/**
 * Removes what nothing uses, on request: services that are disabled, generations of the others that
 * receive no traffic, and Python environments and compiled forms that no generation needs.
 *
 * Somebody may want again what is in memory though it receives nothing: what an operator has
 * preloaded, and what was replaced a moment ago and is kept for a rollback. It stays, as does all
 * that is being imported or loaded; the answer says of each why.
 */

import { AppError } from '../../core/base/errors.ts'
import type { GenerationRef } from '../../core/base/ids.ts'
import type { ServiceRecord } from '../store/records.ts'
import { removeUnusedForms } from './compiling.ts'
import type { Context } from './context.ts'
import { removeUnusedEnvironments } from './environments.ts'
import { removeGeneration } from './generations.ts'
import { removeService } from './services.ts'

export interface CleaningView {
  /** Ids of services that are gone, each with all its generations. */
  readonly services: readonly string[]
  readonly generations: readonly GenerationRef[]
  /** Names of Python environments. */
  readonly environments: readonly string[]
  /** Names of compiled forms. */
  readonly compiled: readonly string[]
  readonly kept: readonly KeptView[]
}

export interface KeptView {
  /** Absent: Python environments. */
  readonly serviceId?: string
  /** Absent: a whole service. */
  readonly generationId?: string
  readonly reason: string
}

export async function cleanUnused(context: Context, actor: string): Promise<CleaningView> {
  const services: string[] = []
  const generations: GenerationRef[] = []
  const kept: KeptView[] = []
  for (const service of context.catalog.services()) {
    const { id: serviceId } = service
    if (service.enabled) {
      for (const ref of candidates(context, service)) {
        const outcome = await attempt(() => dropGeneration(context, ref, actor))
        if (outcome === 'done') generations.push(ref)
        else if (outcome !== 'gone') kept.push({ ...ref, reason: outcome })
      }
    } else {
      const outcome = await attempt(() => dropService(context, serviceId, actor))
      if (outcome === 'done') services.push(serviceId)
      else if (outcome !== 'gone') kept.push({ serviceId, reason: outcome })
    }
  }
  const cleaned = await cleanEnvironments(context)
  kept.push(...cleaned.kept)
  const compiled = (await removeUnusedForms(context)) ?? []
  return { services, generations, environments: cleaned.environments, compiled, kept }
}

/** Environments alone. */
export async function cleanEnvironments(
  context: Context,
): Promise<Pick<CleaningView, 'environments' | 'kept'>> {
  const environments = await removeUnusedEnvironments(context)
  if (environments !== null) return { environments, kept: [] }
  const reason = 'Python environments: an import is under way and may need any of them'
  return { environments: [], kept: [{ reason }] }
}

function candidates({ catalog }: Context, service: ServiceRecord): GenerationRef[] {
  const mapped = new Set(service.mapping.map(({ generationId }) => generationId))
  return catalog
    .generations(service.id)
    .filter(({ id }) => !mapped.has(id))
    .map(({ id }) => ({ serviceId: service.id, generationId: id }))
}

/** What is decided here was true when it was listed; the checks run where nothing can change. */
async function dropGeneration(context: Context, ref: GenerationRef, actor: string): Promise<void> {
  const { residents } = context.publisher
  const check = (): void => {
    if (residents.isPreloaded(ref)) throw busy('it was preloaded; unload it first')
    if (residents.isKept(ref)) throw busy('it was replaced a moment ago and is kept for a rollback')
  }
  await removeGeneration(context, ref, { actor, check })
}

async function dropService(context: Context, serviceId: string, actor: string): Promise<void> {
  const { catalog, publisher } = context
  const check = (): void => {
    if (catalog.service(serviceId).enabled) throw busy('it has just been enabled')
    const preloaded = catalog
      .generations(serviceId)
      .find(({ id }) => publisher.residents.isPreloaded({ serviceId, generationId: id }))
    if (preloaded !== undefined) {
      throw busy(`its generation ${preloaded.id} was preloaded; unload it first`)
    }
  }
  await removeService(context, serviceId, { actor, check })
}

function busy(detail: string): AppError {
  return new AppError('ERR_GENERATION_BUSY', detail)
}

/** `done`, `gone` when another was faster, or why it stays; what is neither is thrown. */
async function attempt(task: () => Promise<void>): Promise<string> {
  try {
    await task()
    return 'done'
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    if (error.status === 404) return 'gone'
    if (error.status !== 409) throw error
    return error.detail ?? error.message
  }
}
