/**
 * What the admin API shows of services, generations and keys: the agreed fields first, ours beside
 * them. No digest and no secret is in any of them.
 */

import type { GenerationRef } from '../../core/base/ids.ts'
import type { ForgeReport } from '../../core/bundle/plan.ts'
import type { KeyQuota, ObservedGeneration } from '../../core/channel/messages.ts'
import type {
  AdminKeyRecord,
  EndpointRecord,
  GenerationRecord,
  KeyRecord,
  ServiceRecord,
} from '../store/records.ts'
import type { FormView } from './compiled-forms.ts'
import { formViews } from './compiling.ts'
import type { Context } from './context.ts'
import type { ImportStatus } from './import-board.ts'
import { type ServiceSettingsView, settingsView } from './settings.ts'

export interface ServiceSummaryView {
  readonly serviceId: string
  readonly enabled: boolean
  /** Absent when no generation is active. */
  readonly activeGeneration?: string
  readonly generationCount: number
}

export type PoolView = Omit<ObservedGeneration, 'serviceId'>

export interface ServiceView extends ServiceSummaryView {
  /** Of the active generation. */
  readonly endpoints: readonly EndpointRecord[]
  readonly createdOn: number
  readonly mapping: {
    readonly entries: readonly { readonly generation: string; readonly proba: number }[]
  }
  readonly settings: ServiceSettingsView
  readonly pools: readonly PoolView[]
  /** Generations that receive traffic and are loaded when the next request comes. */
  readonly cold: readonly string[]
  readonly imports: readonly ImportView[]
}

export interface GenerationSummaryView {
  readonly generationId: string
  /** The same id, as the other dialect calls it. */
  readonly generation: string
  readonly active: boolean
  readonly createdOn: number
  readonly proba: number
  /** In memory, for whatever reason. */
  readonly preloaded: boolean
}

export interface GenerationView extends GenerationSummaryView {
  readonly endpoints: readonly EndpointRecord[]
  /**
   * `importing`, `imported`, or as serving reports: cold, loading, warm, active, draining, failed.
   */
  readonly state: string
  readonly reason: string | null
  readonly sha256?: string
  readonly bytes?: number
  readonly sequence?: number
  readonly report?: ForgeReport
  /** Which models are served compiled, and why the others are not; absent: none is compiled. */
  readonly compiled?: readonly FormView[]
  readonly pool?: PoolView | null
  readonly phase?: string
  readonly detail?: string
  readonly doneBytes?: number | null
  readonly totalBytes?: number | null
}

/** Of an import under way; what is not known yet is empty. */
export type ImportView = Omit<ImportStatus, 'serviceId'>

export interface KeyView {
  readonly id: string
  /** Only in the answer that creates it. */
  readonly key?: string
  readonly label: string
  readonly createdOn: number
  readonly allowedServices: readonly string[]
  /** Those of allowedServices that do not exist (yet). */
  readonly unknownServices: readonly string[]
  readonly lastUse: number | null
  /** Null: no limits. */
  readonly quota: KeyQuota | null
}

export interface AdminKeyView {
  readonly id: string
  /** Only in the answer that creates it. */
  readonly key?: string
  readonly label: string
  readonly description: string | null
  readonly createdBy: string | null
  readonly createdOn: number
  /** Null: never. */
  readonly expiry: number | null
}

export function serviceSummaryView(context: Context, record: ServiceRecord): ServiceSummaryView {
  const active = activeGeneration(record)
  return {
    serviceId: record.id,
    enabled: record.enabled,
    ...(active === null ? {} : { activeGeneration: active }),
    generationCount: context.catalog.generationCount(record.id),
  }
}

export function serviceView(context: Context, record: ServiceRecord): ServiceView {
  const active = activeGeneration(record)
  const generation = active === null ? null : context.catalog.findGeneration(record.id, active)
  const observed = context.serving.observed()?.generations ?? []
  return {
    ...serviceSummaryView(context, record),
    endpoints: generation?.endpoints ?? [],
    createdOn: record.createdOn,
    mapping: {
      entries: record.mapping.map(({ generationId, proba }) => ({
        generation: generationId,
        proba,
      })),
    },
    settings: settingsView(record),
    pools: observed.filter(({ serviceId }) => serviceId === record.id).map(poolView),
    cold: coldIn(context, record),
    imports: context.imports.of(record.id).map(importView),
  }
}

export function coldCount(context: Context): number {
  const cold = context.catalog.services().map((record) => coldIn(context, record).length)
  return cold.reduce((sum, count) => sum + count, 0)
}

function coldIn({ publisher }: Context, { id, mapping }: ServiceRecord): string[] {
  const ids = mapping.map(({ generationId }) => generationId)
  return ids.filter((generationId) => publisher.isCold({ serviceId: id, generationId }))
}

export function generationSummaries(
  context: Context,
  serviceId: string,
): readonly GenerationSummaryView[] {
  context.catalog.service(serviceId)
  const records = context.catalog.generations(serviceId)
  return records.map((record) => generationSummaryView(context, record))
}

/** A generation, or the import that is to become one. */
export function generationOrImportView(context: Context, ref: GenerationRef): GenerationView {
  const { catalog, imports } = context
  const { serviceId, generationId } = ref
  catalog.service(serviceId)
  const importing = imports.find(serviceId, generationId)
  const present = catalog.findGeneration(serviceId, generationId)
  if (present === null && importing !== null) return importingView(importing)
  return generationView(context, catalog.generation(serviceId, generationId))
}

export function generationSummaryView(
  context: Context,
  record: GenerationRecord,
): GenerationSummaryView {
  const { serviceId, id: generationId, createdOn } = record
  const proba = probaOf(context, record)
  const state = context.publisher.observed({ serviceId, generationId })?.state
  const preloaded = state === 'warm' || state === 'active' || state === 'draining'
  return {
    ...{ generationId, generation: generationId },
    ...{ active: proba > 0, createdOn, proba, preloaded },
  }
}

function generationView(context: Context, record: GenerationRecord): GenerationView {
  const { serviceId, id: generationId } = record
  const observed = context.publisher.observed({ serviceId, generationId })
  const quarantined = context.catalog.quarantined(serviceId, generationId)
  const damaged = context.catalog.damaged(serviceId, generationId)
  const compiled = formViews(context, record)
  const isCold = context.publisher.isCold({ serviceId, generationId })
  const known = isCold ? 'cold' : (observed?.state ?? 'imported')
  const state = known === 'closed' ? 'imported' : known
  return {
    ...generationSummaryView(context, record),
    endpoints: record.endpoints,
    state: quarantined === null ? state : 'failed',
    reason: quarantined ?? damaged ?? observed?.reason ?? null,
    sha256: record.sha256,
    bytes: record.bytes,
    sequence: record.sequence,
    report: record.report,
    ...(compiled === null ? {} : { compiled }),
    pool: observed === null ? null : poolView(observed),
  }
}

/** A generation of which only the upload exists so far. */
function importingView(status: ImportStatus): GenerationView {
  return {
    generationId: status.generationId,
    generation: status.generationId,
    active: false,
    createdOn: status.startedOn,
    endpoints: [],
    preloaded: false,
    state: 'importing',
    reason: null,
    proba: 0,
    phase: status.phase,
    detail: status.detail,
    doneBytes: status.doneBytes,
    totalBytes: status.totalBytes,
  }
}

function importView(status: ImportStatus): ImportView {
  const { generationId, startedOn, phase, detail, doneBytes, totalBytes } = status
  return { generationId, startedOn, phase, detail, doneBytes, totalBytes }
}

export function keyView(context: Context, record: KeyRecord): KeyView {
  const { id, label, createdOn, allowedServices, quota = null } = record
  const lastUse = context.metrics.lastUse(id) ?? record.lastUse
  const unknownServices = allowedServices.filter(
    (name) => context.catalog.findService(name) === null,
  )
  return { id, label, createdOn, allowedServices, unknownServices, lastUse, quota }
}

/** Null where its maker said nothing. */
export function adminKeyView(record: AdminKeyRecord): AdminKeyView {
  const { id, label, createdOn, description = null, createdBy = null, expiry = null } = record
  return { id, label, description, createdBy, createdOn, expiry }
}

/** The one with the largest share; the first of equals. */
function activeGeneration(record: ServiceRecord): string | null {
  const [first, ...rest] = record.mapping
  if (first === undefined) return null
  return rest.reduce((best, entry) => (entry.proba > best.proba ? entry : best), first).generationId
}

function probaOf(context: Context, record: GenerationRecord): number {
  const mapping = context.catalog.findService(record.serviceId)?.mapping ?? []
  return mapping.find((entry) => entry.generationId === record.id)?.proba ?? 0
}

function poolView(observed: ObservedGeneration): PoolView {
  const { serviceId: _, ...view } = observed
  return view
}
