/** What serving must look like, computed from the records; decides and does nothing else. */

import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import type { LatePlan } from '../../core/bundle/late-plan.ts'
import type {
  DesiredGeneration,
  DesiredKey,
  DesiredService,
  DesiredState,
  MappingEntry,
} from '../../core/channel/messages.ts'
import type { GenerationRecord, KeyRecord, ServiceRecord } from '../store/records.ts'
import type { Catalog } from './catalog.ts'
import type { MemoryEstimate } from './memory.ts'

export interface DesiredInput {
  readonly revision: number
  readonly catalog: Catalog
  readonly directoryOf: (serviceId: string, generationId: string) => string
  /** Generations that must be in memory, mapped or not. */
  readonly needed: readonly GenerationRef[]
  /** Generations to hold beside the mapped ones, as long as there is room. */
  readonly kept: readonly GenerationRef[]
  /** When a service was last called; null: nobody knows. */
  readonly lastUse: (record: ServiceRecord) => number | null
  readonly memoryOf: (record: GenerationRecord) => MemoryEstimate
  /** Generations to leave out, so that serve forgets a failed attempt to load them. */
  readonly excluded: ReadonlySet<string>
  /** Services and generations that are being deleted: the former answer as disabled; both drain. */
  readonly withdrawn: ReadonlySet<string>
}

export function buildDesiredState(input: DesiredInput): DesiredState {
  const records = input.catalog.services()
  const services = records.map((record) => desiredService(input, record))
  return {
    revision: input.revision,
    services,
    generations: heldIn(input, services).flatMap((held) => desiredGeneration(input, held)),
    keys: input.catalog.keys().map(desiredKey),
  }
}

interface Held {
  readonly ref: GenerationRef
  /** Absent: it must be in memory. */
  readonly hold?: 'free' | 'previous'
}

/** What must be in memory, then what is mapped, that used last first, then what was replaced. */
function heldIn(input: DesiredInput, services: readonly DesiredService[]): Held[] {
  const held = new Map<string, Held>()
  const add = (one: Held): void => {
    const key = refKey(one.ref)
    if (!held.has(key)) held.set(key, one)
  }
  for (const ref of input.needed) if (isUsable(input, ref)) add({ ref })
  for (const { serviceId, mapping } of latestFirst(input, services)) {
    for (const { generationId } of mapping) add({ ref: { serviceId, generationId }, hold: 'free' })
  }
  for (const ref of input.kept) if (isUsable(input, ref)) add({ ref, hold: 'previous' })
  return [...held.values()]
}

/** Those that answer; services that were never called come last, in the order of their ids. */
function latestFirst(input: DesiredInput, services: readonly DesiredService[]): DesiredService[] {
  const timed = services.flatMap((service) => {
    if (!service.enabled) return []
    const record = input.catalog.service(service.serviceId)
    return [{ service, time: input.lastUse(record) ?? 0 }]
  })
  return timed.sort((a, b) => b.time - a.time).map(({ service }) => service)
}

function desiredKey({ id, sha256, allowedServices, quota }: KeyRecord): DesiredKey {
  return { id, sha256, allowedServices, ...(quota === undefined ? {} : { quota }) }
}

function desiredService(input: DesiredInput, record: ServiceRecord): DesiredService {
  const usable = record.mapping.filter(({ generationId }) =>
    isUsable(input, { serviceId: record.id, generationId }),
  )
  const unusable = usable.length === 0 ? whyUnusable(input, record) : null
  return {
    serviceId: record.id,
    enabled: record.enabled && !input.withdrawn.has(record.id),
    mapping: normalized(usable),
    ...(unusable === null ? {} : { unusable }),
    ...(record.queryLog === undefined ? {} : { queryLog: record.queryLog }),
    ...(record.cors === undefined ? {} : { cors: record.cors }),
  }
}

/** Of a service whose files were found damaged at start: callers shall not be told to switch. */
function whyUnusable(input: DesiredInput, record: ServiceRecord): string | null {
  const reasons = record.mapping.map(({ generationId }) => {
    const reason = input.catalog.quarantined(record.id, generationId)
    return reason === null ? null : `generation "${generationId}": ${reason}`
  })
  return reasons.find((reason) => reason !== null) ?? null
}

function isUsable(input: DesiredInput, ref: GenerationRef): boolean {
  const { serviceId, generationId } = ref
  if (input.withdrawn.has(serviceId) || input.withdrawn.has(refKey(ref))) return false
  if (input.excluded.has(refKey(ref))) return false
  if (input.catalog.quarantined(serviceId, generationId) !== null) return false
  return input.catalog.findGeneration(serviceId, generationId) !== null
}

/** What is left when an unusable generation is out still sums to 1. */
function normalized(mapping: readonly MappingEntry[]): MappingEntry[] {
  const sum = mapping.reduce((total, entry) => total + entry.proba, 0)
  return mapping.map(({ generationId, proba }) => ({ generationId, proba: proba / sum }))
}

function desiredGeneration(input: DesiredInput, { ref, hold }: Held): DesiredGeneration[] {
  const { serviceId, generationId } = ref
  const record = input.catalog.findGeneration(serviceId, generationId)
  if (record === null) return []
  const directory = input.directoryOf(serviceId, generationId)
  const damaged = input.catalog.damaged(serviceId, generationId)
  const state = {
    ...(damaged === null ? {} : { damaged }),
    ...(hold === undefined ? {} : { hold }),
  }
  const { bytes, shared } = input.memoryOf(record)
  const size = shared.length === 0 ? { bytes } : { bytes, shared }
  return [{ serviceId, generationId, directory, plan: planOf(record), ...size, ...state }]
}

const plans = new WeakMap<GenerationRecord, LatePlan>()

/** The same object for the same record, by which it is known what was sent before. */
function planOf(record: GenerationRecord): LatePlan {
  const known = plans.get(record)
  if (known !== undefined) return known
  const late = { text: () => JSON.stringify(record.plan), read: () => record.plan }
  plans.set(record, late)
  return late
}
