/** Plans as the forge makes them, and batches as dispatch packs them: for the data plane. */

import type { Verb } from '../../core/bundle/kinds.ts'
import type {
  EndpointPlan,
  FeaturePlan,
  GenerationPlan,
  InputPlan,
  OnnxEndpointPlan,
  PredictionPlan,
} from '../../core/bundle/plan.ts'
import type { BatchJob } from '../../workers/protocol.ts'

/** A required number, unless told otherwise. */
export function feature(name: string, other: Partial<FeaturePlan> = {}): FeaturePlan {
  return {
    name,
    type: 'number',
    onMissing: 'ERROR',
    onInvalid: 'ERROR',
    onUnknown: 'ERROR',
    categories: null,
    value: null,
    ...other,
  }
}

/** One float tensor X[N, F] that takes all features in order. */
function oneTensor(features: readonly FeaturePlan[]): InputPlan[] {
  const indexes = features.map((_, index) => index)
  return [{ name: 'X', datatype: 'float32', shape: [null, features.length], features: indexes }]
}

export function prediction(
  given: Partial<PredictionPlan> & Pick<PredictionPlan, 'kind' | 'model'>,
): PredictionPlan {
  const features = given.features ?? []
  return {
    inputs: oneTensor(features),
    features,
    outputs: [],
    label: null,
    probabilities: null,
    value: null,
    classes: [],
    threshold: null,
    batchable: true,
    maxRows: 8,
    ...given,
  }
}

export function endpoint(
  plan: PredictionPlan,
  other: Partial<OnnxEndpointPlan> = {},
): OnnxEndpointPlan {
  return {
    id: 'score',
    type: 'STD_PREDICTION',
    modelRef: plan.model,
    timeoutMs: 10_000,
    queue: { maxRequests: 1_024, maxBytes: 32 * 1024 * 1024 },
    worstBatchMs: 0,
    prediction: plan,
    warmUp: [],
    ...other,
  }
}

/** The regressor of onnx-models.ts over x0, x1, …: answers the sum of the features by a factor. */
export function summing(model: string, features: number): PredictionPlan {
  const named = Array.from({ length: features }, (_, i) => feature(`x${i}`))
  return prediction({ kind: 'REGRESSION', model, features: named, value: 'variable' })
}

export function generationPlan(
  endpoints: readonly EndpointPlan[],
  other: Partial<GenerationPlan> = {},
): GenerationPlan {
  return {
    planVersion: 1,
    authorization: { method: 'PUBLIC', keys: [] },
    threads: null,
    endpoints,
    ...other,
  }
}

/** Bodies, as texts or as raw bytes, in one batch. */
export function jobOf(bodies: readonly (string | Uint8Array)[], verb: Verb = 'single'): BatchJob {
  const parts = bodies.map((body) => Buffer.from(body as string))
  const ends = new Uint32Array(parts.length)
  let end = 0
  for (const [i, part] of parts.entries()) {
    end += part.length
    ends[i] = end
  }
  const bytes = Uint8Array.from(Buffer.concat(parts))
  return { endpoint: 0, verb, bytes, ends, waitUs: new Uint32Array(parts.length) }
}
