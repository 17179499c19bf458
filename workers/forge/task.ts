/** What forging an endpoint starts from and ends in, whatever its type. */

import { AppError, ERROR_TABLE, type ErrorCode, type Fault } from '../../core/base/errors.ts'
import type { RunType } from '../../core/bundle/endpoint-types.ts'
import type { ManifestEndpoint } from '../../core/bundle/manifest.ts'
import type { EndpointPlan, EndpointReport } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { ForgePhase } from '../protocol.ts'
import type { RuntimeContext } from '../runtime.ts'
import type { BundleFiles, ModelFile } from './model-file.ts'
import type { Prepared } from './prepare.ts'

/** Endpoints of the manifest of one type. */
export type Of<Type extends RunType> = Extract<ManifestEndpoint, { readonly type: Type }>

export interface EndpointTask<Endpoint extends ManifestEndpoint = ManifestEndpoint> {
  readonly directory: string
  readonly files: BundleFiles
  readonly endpoint: Endpoint
  /** Of the endpoint in the manifest, for faults. */
  readonly path: string
  readonly serviceId: string
  readonly generationId: string
  /** The endpoint's model without ZipMap; endpoints may share one. */
  readonly modelFile: (model: string) => Promise<ModelFile>
  /** What was made for all endpoints before the first of them. */
  readonly prepared: Prepared
  readonly context: RuntimeContext
  readonly say: (phase: ForgePhase, detail: string) => void
}

export type EndpointForged =
  | { readonly kind: 'forged'; readonly plan: EndpointPlan; readonly report: EndpointReport }
  | EndpointRefused

export interface EndpointRefused {
  readonly kind: 'refused'
  readonly code: ErrorCode
  readonly faults: readonly Fault[]
}

/** What is no statement about the bundle is a fault of ours, and goes on. */
export function refusal(error: unknown, path: string): EndpointRefused {
  if (!(error instanceof AppError) || error.status >= 500) throw error
  const { code, detail, faults } = error
  const told = faults.length > 0 ? faults : [{ path, reason: detail ?? ERROR_TABLE[code].message }]
  return { kind: 'refused', code, faults: told }
}

/** What all plans have in common; the rest is found out. */
export function commonPlan(endpoint: ManifestEndpoint, modelRef: string) {
  return {
    id: endpoint.id,
    modelRef: endpoint.modelRef ?? modelRef,
    timeoutMs: endpoint.timeoutMs ?? LIMITS.timeoutMs,
    queue: {
      maxRequests: endpoint.queue?.maxRequests ?? LIMITS.laneRequestsMax,
      maxBytes: endpoint.queue?.maxBytes ?? LIMITS.laneBytesMax,
    },
    worstBatchMs: 0,
    warmUp: [],
  }
}

export const WARM_UPS = 3
const WARM_UP_BYTES = 1024 * 1024

/** The plan is stored and sent about, so large bodies are kept only when there is no smaller. */
export function warmUp(bodies: readonly string[]): string[] {
  const kept: string[] = []
  let bytes = 0
  for (const body of bodies.toSorted((a, b) => a.length - b.length)) {
    bytes += body.length
    if (kept.length === WARM_UPS || (kept.length > 0 && bytes > WARM_UP_BYTES)) break
    kept.push(body)
  }
  return kept
}

export function roundedMs(ms: number): number {
  return Math.round(ms * 1_000) / 1_000
}
