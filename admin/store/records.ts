/** What the node remembers, record by record; types only. Secrets are there as digests only. */

import type { ContentFile } from '../../core/bundle/content.ts'
import type { EndpointType } from '../../core/bundle/endpoint-types.ts'
import type { ForgeReport, GenerationPlan } from '../../core/bundle/plan.ts'
import type {
  CorsPolicy,
  KeyQuota,
  MappingEntry,
  QueryLogPolicy,
} from '../../core/channel/messages.ts'

export interface ServiceRecord {
  readonly id: string
  readonly enabled: boolean
  /** Which generations receive traffic; empty: none is active. */
  readonly mapping: readonly MappingEntry[]
  readonly createdOn: number
  /** When it was last called, coarsely; absent: never, or by an older version. */
  readonly lastUse?: number
  /** What an operator has set for the service, whatever generation answers; absent: defaults. */
  readonly queryLog?: QueryLogPolicy
  readonly cors?: CorsPolicy
}

export interface EndpointRecord {
  readonly id: string
  readonly type: EndpointType
  readonly modelRef: string
}

export interface GenerationRecord {
  readonly serviceId: string
  readonly id: string
  /** Over the sorted (path, size, SHA-256) of the bundle's files: what "same content" means. */
  readonly sha256: string
  readonly createdOn: number
  readonly endpoints: readonly EndpointRecord[]
  readonly plan: GenerationPlan
  readonly report: ForgeReport
  /** Bytes on disk. */
  readonly bytes: number
  /** Files beside the bundle's own: models as the forge rewrote them. */
  readonly written?: readonly ContentFile[]
  /** Order of import over the whole node: the largest of a service is its newest generation. */
  readonly sequence: number
}

/** A key that calls services. */
export interface KeyRecord {
  readonly id: string
  readonly label: string
  readonly sha256: string
  /** Empty: all services. */
  readonly allowedServices: readonly string[]
  readonly createdOn: number
  readonly lastUse: number | null
  /** Absent: no limits. */
  readonly quota?: KeyQuota
}

/** A key that opens the admin API. */
export interface AdminKeyRecord {
  readonly id: string
  readonly label: string
  readonly sha256: string
  readonly createdOn: number
  readonly description?: string
  /** As its maker has put it: a name, no proof. */
  readonly createdBy?: string
  /** Wall clock, ms, from which it opens nothing; absent: never. */
  readonly expiry?: number
}

/** One record with its kind: what a change puts and what loading yields. */
export type StateRecord =
  | { readonly kind: 'service'; readonly record: ServiceRecord }
  | { readonly kind: 'generation'; readonly record: GenerationRecord }
  | { readonly kind: 'key'; readonly record: KeyRecord }
  | { readonly kind: 'adminKey'; readonly record: AdminKeyRecord }

export interface JournalEntry {
  readonly seq: number
  readonly time: number
  /** Id of the admin key that asked for it, or `node` for what the node did by itself. */
  readonly actor: string
  readonly action: string
  readonly before: unknown
  readonly after: unknown
}
