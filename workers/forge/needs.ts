/** What endpoints need before they can be forged, and what it takes to make that. */

import type { Manifest, ManifestEndpoint } from '../../core/bundle/manifest.ts'
import type { RuntimeSettings } from '../../core/config/runtimes.ts'
import type { ForgePhase, ForgeProgress } from '../protocol.ts'
import type { BundleFiles } from './model-file.ts'

export type Tell = (phase: ForgePhase, detail: string, progress?: ForgeProgress) => void

export interface PrepareOptions {
  readonly manifest: Manifest
  readonly directory: string
  readonly files: BundleFiles
  readonly settings: RuntimeSettings
  /** Bytes that may still be written. */
  readonly diskBytesMax: number
  readonly serviceId: string
  readonly tell: Tell
}

export function isPython({ type }: ManifestEndpoint): boolean {
  return type === 'PYTHON_FUNCTION' || type === 'CUSTOM_PREDICTION'
}

export function isR({ type }: ManifestEndpoint): boolean {
  return type === 'R_FUNCTION' || type === 'CUSTOM_R_PREDICTION'
}

export function lookupsOf(endpoint: ManifestEndpoint) {
  if (endpoint.type === 'DATASET_LOOKUP') return endpoint.lookups
  return 'enrich' in endpoint ? (endpoint.enrich?.lookups ?? []) : []
}
