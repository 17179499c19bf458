/**
 * What the forge makes of a bundle: every question that the manifest left open is answered here,
 * so that workers and the serving process only follow it. Stored with the generation as JSON.
 */

import type { EndpointType } from './manifest.ts'

/** Element types as onnxruntime-node names them. */
export type Datatype =
  | 'float32'
  | 'float64'
  | 'int8'
  | 'uint8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'bool'
  | 'string'

/** One tensor of a model's signature; null stands for a dimension that is free. */
export interface TensorSpec {
  readonly name: string
  readonly datatype: Datatype
  readonly shape: readonly (number | null)[]
}

export type PredictionKind = 'BINARY_CLASSIFICATION' | 'MULTICLASS' | 'REGRESSION' | 'RAW'
export type OnProblem = 'ERROR' | 'IGNORE' | 'IMPUTE'

export interface FeaturePlan {
  readonly name: string
  readonly type: 'number' | 'integer' | 'string' | 'boolean'
  readonly onMissing: OnProblem
  readonly onInvalid: OnProblem
  readonly onUnknown: OnProblem
  /** Known categories of a string feature; null: every text is passed on. */
  readonly categories: readonly string[] | null
  /** What IMPUTE puts in; null when no rule says IMPUTE. */
  readonly value: number | string | boolean | null
}

/**
 * How one model input is filled from features: `[rows, features.length]`, each row holding the
 * features of these indexes in this order. Empty for RAW endpoints, which send whole tensors.
 */
export interface InputPlan extends TensorSpec {
  readonly features: readonly number[]
}

export interface PredictionPlan {
  readonly kind: PredictionKind
  /** File that workers load, relative to the generation's directory. */
  readonly model: string
  readonly inputs: readonly InputPlan[]
  readonly features: readonly FeaturePlan[]
  readonly outputs: readonly TensorSpec[]
  /** Names of outputs by role; null where the model has none. RAW answers all `outputs`. */
  readonly label: string | null
  readonly probabilities: string | null
  readonly value: string | null
  /**
   * Class labels in the order of the probabilities' columns; for a binary model with one column
   * (probability of the second class) still both. Empty for REGRESSION and RAW.
   */
  readonly classes: readonly string[]
  /**
   * BINARY_CLASSIFICATION: probability of classes[1] from which it is predicted; null: the model's
   * label.
   */
  readonly threshold: number | null
  /** Rows of strangers may run together: proven by the forge, never taken from the manifest. */
  readonly batchable: boolean
  /** Most rows of one run; 1 when not batchable. */
  readonly maxRows: number
}

/** Cost of one run: fixedUs + rows * perRowUs, least squares over measured batches. */
export interface CostModel {
  readonly fixedUs: number
  readonly perRowUs: number
}

export interface EndpointPlan {
  readonly id: string
  readonly type: EndpointType
  readonly modelRef: string
  /** Most time from the last byte of the body to the answer. */
  readonly timeoutMs: number
  readonly queue: { readonly maxRequests: number; readonly maxBytes: number }
  /** What the longest legal run took in the forge: only far beyond it does a run hang. */
  readonly worstBatchMs: number
  readonly prediction: PredictionPlan
  /** Bodies of `predict` that worked in the forge: every thread runs one before it serves. */
  readonly warmUp: readonly string[]
}

export interface AuthorizationPlan {
  readonly method: 'PUBLIC' | 'API_KEYS'
  readonly keys: readonly { readonly id: string; readonly sha256: string }[]
}

export interface GenerationPlan {
  readonly planVersion: 1
  readonly authorization: AuthorizationPlan
  /** Threads per pool that the manifest asks for; null: the node's default. */
  readonly threads: number | null
  readonly endpoints: readonly EndpointPlan[]
}

/** What the forge measured and found out about one endpoint; shown by `GET …/generations/{id}`. */
export interface EndpointReport {
  readonly endpointId: string
  readonly modelBytes: number
  readonly loadMs: number
  readonly firstRunMs: number
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
  readonly zipMap: 'none' | 'rewritten'
  readonly batchable: boolean
  /** Why rows run one by one, or how batching was proven. */
  readonly batchReason: string
  readonly maxRows: number
  readonly cost: CostModel
  readonly worstBatchMs: number
  readonly testQueries: readonly { readonly name: string; readonly passed: boolean }[]
}

export interface ForgeReport {
  readonly forgedOn: number
  readonly durationMs: number
  readonly peakMemoryBytes: number
  readonly runtime: string
  readonly files: number
  readonly unpackedBytes: number
  readonly endpoints: readonly EndpointReport[]
}
