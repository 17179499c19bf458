/**
 * What a generation takes of a serving process's memory, before anybody has loaded it: an estimate,
 * from what the forge has read, on which the node decides what may be in memory at once. Weights of
 * compiled models are in memory once for the node, whatever threads and processes have them.
 */

import { poolOf } from '../../core/bundle/kinds.ts'
import type { EndpointPlan, OnnxEndpointPlan } from '../../core/bundle/plan.ts'
import type { SharedBytes } from '../../core/channel/messages.ts'
import type { GenerationRecord } from '../store/records.ts'

const MIB = 1024 * 1024
/** A thread with its own JavaScript heap, before it has loaded anything. */
const THREAD_BYTES = 10 * MIB
/** A Python or R process that has imported what is usual. */
const CHILD_BYTES = 64 * MIB
/** What ONNX Runtime takes beside the bytes of a model. */
const MODEL_SHARE = 1.1
/** What a thread has for itself of a model whose weights are shared. */
const COMPILED_SHARE = 0.05

/** Of the node's settings. */
export interface MemoryUnits {
  /** Of a pool whose manifest is silent. */
  readonly threads: number
  /** Processes of an endpoint whose manifest is silent; null: as many as threads. */
  readonly children: number | null
  /** That serve. */
  readonly processes: number
}

export interface MemoryEstimate {
  readonly bytes: number
  readonly shared: readonly SharedBytes[]
}

/**
 * Of one serving process and the children that it starts. `formOf` gives the key of a compiled
 * form that is there.
 */
export function memoryOf(
  { plan, report }: Pick<GenerationRecord, 'plan' | 'report'>,
  units: MemoryUnits,
  formOf: (endpoint: OnnxEndpointPlan) => string | null,
): MemoryEstimate {
  const threads = plan.threads ?? units.threads
  const pools = new Set(plan.endpoints.map((endpoint) => poolOf(endpoint, plan)))
  let bytes = (pools.has('cpu') ? threads * THREAD_BYTES : 0) + (pools.has('io') ? THREAD_BYTES : 0)
  const shared = new Map<string, number>()
  for (const endpoint of plan.endpoints) {
    const found = report.endpoints.find(({ endpointId }) => endpointId === endpoint.id)
    const modelBytes = endpoint.type === 'STD_PREDICTION' ? (found?.modelBytes ?? 0) : 0
    const copies = poolOf(endpoint, plan) === 'cpu' ? threads : 1
    const form = endpoint.type === 'STD_PREDICTION' ? formOf(endpoint) : null
    bytes += modelBytes * copies * (form === null ? MODEL_SHARE : COMPILED_SHARE)
    if (form !== null) shared.set(form, (modelBytes * MODEL_SHARE) / units.processes)
    bytes += childrenOf(endpoint, units.children ?? threads) * CHILD_BYTES
  }
  const parts = [...shared].map(([key, all]) => ({ key, bytes: Math.round(all) }))
  return { bytes: Math.round(bytes), shared: parts }
}

function childrenOf(endpoint: EndpointPlan, silent: number): number {
  if ('python' in endpoint) return endpoint.python.children ?? silent
  return 'r' in endpoint ? (endpoint.r.children ?? silent) : 0
}
