/**
 * Which generations receive the traffic of a service, and what share each: one of them after a
 * switch, several while versions are compared. Everything mapped is warm first, then the mapping is
 * durable, then it is routed; whatever fails before the commit leaves everything as it was.
 */

import { AppError, type Fault } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import type { MappingEntry } from '../../core/channel/messages.ts'
import type { ServiceRecord } from '../store/records.ts'
import type { Context } from './context.ts'
import { assertUsable, keepWarm } from './generations.ts'

/** Shares that were written as decimals seldom sum to 1 to the last bit. */
const SUM_TOLERANCE = 1e-6

export interface MappingChange {
  readonly serviceId: string
  readonly mapping: readonly MappingEntry[]
  /** The service answers afterwards, also when it was disabled. */
  readonly enable: boolean
  /** For the journal. */
  readonly action: 'switchGeneration' | 'setMapping'
  readonly actor: string
}

/** Makes a generation the only active one; a disabled service stays disabled. */
export async function switchTo(context: Context, ref: GenerationRef, actor: string): Promise<void> {
  await changeMapping(context, { ...switchOf(context, ref), enable: false, actor })
}

/** The same, and the service answers afterwards. */
export async function switchAndEnable(
  context: Context,
  ref: GenerationRef,
  actor: string,
): Promise<void> {
  await changeMapping(context, { ...switchOf(context, ref), enable: true, actor })
}

/** To the generation that was imported last; returns its id. */
export async function switchToNewest(
  context: Context,
  serviceId: string,
  actor: string,
): Promise<string> {
  context.catalog.service(serviceId)
  const newest = context.catalog.generations(serviceId).at(-1)
  if (newest === undefined) {
    throw new AppError('ERR_GENERATION_UNKNOWN', `${serviceId} has none yet; import one first`)
  }
  await switchAndEnable(context, { serviceId, generationId: newest.id }, actor)
  return newest.id
}

/** Traffic goes to these generations in these shares, and the service answers afterwards. */
export async function setMapping(
  context: Context,
  wanted: Pick<MappingChange, 'serviceId' | 'mapping' | 'actor'>,
): Promise<void> {
  context.catalog.service(wanted.serviceId)
  const faults = mappingFaults(context, wanted.serviceId, wanted.mapping)
  if (faults.length > 0) {
    const detail = faults.map(({ reason }) => reason).join('; ')
    throw new AppError('ERR_MAPPING_INVALID', detail.slice(0, 1_000), faults)
  }
  await changeMapping(context, { ...wanted, enable: true, action: 'setMapping' })
}

function switchOf(context: Context, { serviceId, generationId }: GenerationRef) {
  context.catalog.generation(serviceId, generationId)
  const mapping = [{ generationId, proba: 1 }]
  return { serviceId, mapping, action: 'switchGeneration' } as const
}

function mappingFaults(
  context: Context,
  serviceId: string,
  mapping: readonly MappingEntry[],
): Fault[] {
  const faults: Fault[] = []
  const seen = new Set<string>()
  for (const [index, { generationId, proba }] of mapping.entries()) {
    const path = `entries[${index}]`
    const add = (reason: string): void => {
      faults.push({ path, reason: `${path} "${generationId.slice(0, 128)}": ${reason}` })
    }
    if (context.catalog.findGeneration(serviceId, generationId) === null) {
      add('the service has no such generation')
    }
    if (seen.has(generationId)) add('it is there twice')
    if (!(proba > 0 && proba <= 1)) add(`proba is ${proba}, and must be over 0 and at most 1`)
    seen.add(generationId)
  }
  const sum = mapping.reduce((total, { proba }) => total + proba, 0)
  if (faults.length === 0 && !(Math.abs(sum - 1) <= SUM_TOLERANCE)) {
    const reason = `entries: their proba must sum to 1, and sum to ${Number(sum.toPrecision(9))}`
    faults.push({ path: 'entries', reason })
  }
  return faults
}

async function changeMapping(context: Context, change: MappingChange): Promise<void> {
  const ticket = context.switches.take()
  const refs = refsOf(change.serviceId, change.mapping)
  for (const ref of refs) {
    assertUsable(context, ref)
    context.serving.pardon(ref.serviceId, ref.generationId)
  }
  await context.publisher.withAllReserved(refs, async () => {
    let committed = false
    while (!committed) {
      // Outside the service's queue: going back to a warm generation must not wait for this load.
      for (const ref of refs) await context.publisher.ensureWarm(ref)
      const commit = () => commitMapping(context, change, ticket)
      committed = await context.perService.run(change.serviceId, commit)
    }
  })
}

/** False when one is not warm any more: its threads crashed while it waited in the queue. */
async function commitMapping(
  context: Context,
  change: MappingChange,
  ticket: number,
): Promise<boolean> {
  const { catalog, publisher, switches } = context
  const { serviceId, mapping } = change
  const refs = refsOf(serviceId, mapping)
  const before = catalog.service(serviceId)
  if (switches.isOvertaken(serviceId, ticket)) {
    const loaded = refs.map(refKey).join(', ')
    throw new AppError('ERR_SWITCH_OVERTAKEN', `loaded, but not mapped: ${loaded}`)
  }
  if (!refs.every((ref) => publisher.isWarm(ref))) return false
  await failpoint('mapping.warm')
  const after = { ...before, mapping, enabled: before.enabled || change.enable }
  await catalog.commit({
    actor: change.actor,
    action: change.action,
    before: journalView(before),
    after: journalView(after),
    puts: [{ kind: 'service', record: after }],
    removes: [],
  })
  await failpoint('mapping.committed')
  switches.commit(serviceId, ticket)
  keepReplaced(context, before, after)
  await publisher.apply()
  return true
}

function keepReplaced(context: Context, before: ServiceRecord, after: ServiceRecord): void {
  const isStill = (ref: GenerationRef): boolean =>
    after.mapping.some(({ generationId }) => generationId === ref.generationId)
  for (const ref of refsOf(before.id, before.mapping)) if (!isStill(ref)) keepWarm(context, ref)
  // It was preloaded for this; from now on it stays in memory as others that are called do.
  if (after.enabled) {
    for (const ref of refsOf(after.id, after.mapping)) context.publisher.residents.endPreload(ref)
  }
  // Of a disabled service nothing mapped is in memory; the load should not have been in vain.
  if (!after.enabled) for (const ref of refsOf(after.id, after.mapping)) keepWarm(context, ref)
}

export function refsOf(serviceId: string, mapping: readonly MappingEntry[]): GenerationRef[] {
  return mapping.map(({ generationId }) => ({ serviceId, generationId }))
}

function journalView({ id, enabled, mapping }: ServiceRecord): object {
  return { serviceId: id, enabled, mapping }
}
