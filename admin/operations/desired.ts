/** What serving must look like, computed from the records; decides and does nothing else. */

import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import type {
  DesiredGeneration,
  DesiredKey,
  DesiredService,
  DesiredState,
  MappingEntry,
} from '../../core/channel/messages.ts'
import type { KeyRecord, ServiceRecord } from '../store/records.ts'
import type { Catalog } from './catalog.ts'

export interface DesiredInput {
  readonly revision: number
  readonly catalog: Catalog
  readonly directoryOf: (serviceId: string, generationId: string) => string
  /** Generations to hold beside the mapped ones. */
  readonly residents: readonly GenerationRef[]
  /** Generations to leave out, so that serve forgets a failed attempt to load them. */
  readonly excluded: ReadonlySet<string>
  /** Services and generations that are being deleted: the former answer as disabled; both drain. */
  readonly withdrawn: ReadonlySet<string>
}

export function buildDesiredState(input: DesiredInput): DesiredState {
  const services = input.catalog.services().map((record) => desiredService(input, record))
  const refs = new Map<string, GenerationRef>()
  for (const service of services) {
    if (!service.enabled) continue
    for (const { generationId } of service.mapping) {
      const ref = { serviceId: service.serviceId, generationId }
      refs.set(refKey(ref), ref)
    }
  }
  for (const ref of input.residents) if (isUsable(input, ref)) refs.set(refKey(ref), ref)
  return {
    revision: input.revision,
    services,
    generations: [...refs.values()].flatMap((ref) => desiredGeneration(input, ref)),
    keys: input.catalog.keys().map(desiredKey),
  }
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

function desiredGeneration(input: DesiredInput, ref: GenerationRef): DesiredGeneration[] {
  const { serviceId, generationId } = ref
  const record = input.catalog.findGeneration(serviceId, generationId)
  if (record === null) return []
  const directory = input.directoryOf(serviceId, generationId)
  const damaged = input.catalog.damaged(serviceId, generationId)
  const state = damaged === null ? {} : { damaged }
  return [{ serviceId, generationId, directory, plan: record.plan, ...state }]
}
