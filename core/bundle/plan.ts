/**
 * What the forge makes of a bundle: every question that the manifest left open is answered here,
 * so that workers and the serving process only follow it. Stored with the generation as JSON.
 */

import type { ExplanationPlan, OverridePlan } from './depth-plan.ts'

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
  /** See DepthPlan. */
  readonly percentiles?: readonly number[]
  readonly overrides?: readonly OverridePlan[]
  /** Rows of strangers may run together: proven by the forge, never taken from the manifest. */
  readonly batchable: boolean
  /** Most rows of one run; 1 when not batchable. */
  readonly maxRows: number
  /** Of a model that is worth a compiled form; absent: its weights are few. */
  readonly weights?: WeightsPlan
}

export interface WeightsPlan {
  readonly bytes: number
  /** Over the model and its files with weights. */
  readonly sha256: string
}

/** Cost of one run: fixedUs + rows * perRowUs, least squares over measured batches. */
export interface CostModel {
  readonly fixedUs: number
  readonly perRowUs: number
}

export interface ExamplePlan {
  readonly name: string
  /** As JSON texts, the answer with its envelope; absent where it was no JSON. */
  readonly body: string
  readonly answer?: string
}

/** What every endpoint has, whatever runs it. */
interface EndpointPlanBase {
  readonly id: string
  readonly modelRef: string
  /** Most time from the last byte of the body to the answer. */
  readonly timeoutMs: number
  readonly queue: { readonly maxRequests: number; readonly maxBytes: number }
  /** What the longest legal run took in the forge: only far beyond it does a run hang. */
  readonly worstBatchMs: number
  /** Of a run, as the forge has measured it; absent: not known, or an older plan. */
  readonly cost?: CostModel
  /** Bodies that worked in the forge: every thread or child runs one before it serves. */
  readonly warmUp: readonly string[]
  /** Test queries and what was answered, for people to read; absent: none, or an older plan. */
  readonly examples?: readonly ExamplePlan[]
  /** Look-ups that add features before a prediction; absent: none. */
  readonly enrich?: EnrichPlan
  /** Predictions can be explained; absent: they cannot. */
  readonly explanations?: ExplanationPlan
}

export interface OnnxEndpointPlan extends EndpointPlanBase {
  readonly type: 'STD_PREDICTION'
  readonly prediction: PredictionPlan
}

export interface PythonEndpointPlan extends EndpointPlanBase {
  readonly type: 'PYTHON_FUNCTION' | 'CUSTOM_PREDICTION'
  readonly python: PythonPlan
}

export interface REndpointPlan extends EndpointPlanBase {
  readonly type: 'R_FUNCTION' | 'CUSTOM_R_PREDICTION'
  readonly r: RPlan
}

export interface SqlEndpointPlan extends EndpointPlanBase {
  readonly type: 'SQL_QUERY'
  readonly sql: SqlPlan
}

export interface LookupEndpointPlan extends EndpointPlanBase {
  readonly type: 'DATASET_LOOKUP'
  readonly lookup: { readonly steps: readonly LookupStep[] }
}

/** `type` says which it is. */
export type EndpointPlan =
  | OnnxEndpointPlan
  | PythonEndpointPlan
  | REndpointPlan
  | SqlEndpointPlan
  | LookupEndpointPlan

/** A function or class in a file of the bundle, run by child processes. */
export interface CodePlan {
  /** Relative to the generation's directory. */
  readonly file: string
  /** Name of the function, or of the class. */
  readonly name: string
  /** Processes that answer at the same time; null: as many as a pool has threads. */
  readonly children: number | null
  /** Environment variables of the manifest. */
  readonly variables: Readonly<Record<string, string>>
  /** `GET …/run?argument=value` is answered too (functions only). */
  readonly get: boolean
  /** Null for functions. */
  readonly prediction: CustomPredictionPlan | null
  /** Of functions, where their language tells; absent: not known, or any. */
  readonly arguments?: readonly FunctionArgument[]
}

export interface FunctionArgument {
  readonly name: string
  readonly required: boolean
}

export interface PythonPlan extends CodePlan {
  /** Null: the node's interpreter with what is installed there. */
  readonly environment: EnvironmentPlan | null
  /** The function may answer with a status, headers and bytes of its own. */
  readonly rawResponse: boolean
  /** The code may ask for headers, path and query of the request. */
  readonly requestMetadata: boolean
  /** Folder that a predictor's constructor is given, relative; '' is the bundle. */
  readonly dataFolder: string
}

export type RPlan = CodePlan

/** A virtual environment, made once for each hash and shared by all who need the same. */
export interface EnvironmentPlan {
  /** Over interpreter, requirements and wheels, lower-case hex; also the folder's name. */
  readonly hash: string
  /** Requirements file, relative to the generation's directory. */
  readonly requirements: string
  /** Folder of wheels in the bundle, relative; null: the configured package index only. */
  readonly wheels: string | null
}

/** CUSTOM_PREDICTION and CUSTOM_R_PREDICTION. */
export interface CustomPredictionPlan {
  readonly kind: Exclude<PredictionKind, 'RAW'>
  /** Empty: whatever the code answers. */
  readonly classes: readonly string[]
  readonly threshold: number | null
  /** See DepthPlan. */
  readonly percentiles?: readonly number[]
  readonly overrides?: readonly OverridePlan[]
  /** What Python code is given for its rows. */
  readonly input: 'pandas' | 'numpy' | 'records'
  /** Null: features are passed on as they come. */
  readonly features: readonly FeaturePlan[] | null
  /** Rows of strangers may run together: found out by the forge. */
  readonly batchable: boolean
  readonly maxRows: number
}

export type ColumnType =
  | 'string'
  | 'integer'
  | 'number'
  | 'boolean'
  /** ISO 8601 text `YYYY-MM-DD`. */
  | 'date'
  /** ISO 8601 text in UTC, `YYYY-MM-DDThh:mm:ss.sssZ`. */
  | 'timestamp'

export interface ColumnPlan {
  readonly name: string
  readonly type: ColumnType
}

/** A table that lookups, enrichment and embedded SQL share. */
export interface TablePlan {
  readonly name: string
  /** CSV or Parquet file of the bundle, relative; null: the table is in a database. */
  readonly file: string | null
  /** Folder of the LMDB environment that the forge made, relative; null: nobody looks rows up. */
  readonly lmdb: string | null
  /** Named connection and table of a database; null: `file`. */
  readonly database: { readonly connection: string; readonly from: string } | null
  readonly key: readonly string[]
  readonly columns: readonly ColumnPlan[]
  readonly rows: number | null
}

/** What to do where no row has the key (`onMissing`), or more than one has (`onMultiple`). */
export type OnLookupProblem = 'ERROR' | 'IGNORE' | 'NULL'

/** One table asked by one key; at most one row each. */
export interface LookupStep {
  /** Name of one of the generation's tables. */
  readonly table: string
  /** In the order of the table's key: which field of the record holds each part. */
  readonly key: readonly { readonly column: string; readonly field: string }[]
  /** Which columns are taken, and what they are called then. */
  readonly columns: readonly { readonly column: string; readonly as: string }[]
  readonly onMissing: OnLookupProblem
  readonly onMultiple: OnLookupProblem
}

export interface EnrichPlan {
  readonly steps: readonly LookupStep[]
  /** The features after enrichment are part of the answer. */
  readonly dump: boolean
}

export interface SqlParameterPlan {
  readonly name: string
  /** Null: not declared, so any scalar is passed on. */
  readonly type: ColumnType | null
}

export interface SqlPlan {
  /** Named connection of the node; null: the embedded database over the bundle's tables. */
  readonly connection: string | null
  /** One entry per statement, in order; `?` stands for a parameter. */
  readonly statements: readonly {
    readonly text: string
    /** One for each `?`, in order. */
    readonly parameters: readonly SqlParameterPlan[]
  }[]
  readonly maxRows: number
  /** All statements in one transaction that is committed at the end. */
  readonly commit: boolean
  /** Database file that the forge made of the tables, relative; null: there are no tables. */
  readonly duckdb: string | null
}

export interface AuthorizationPlan {
  readonly method: 'PUBLIC' | 'API_KEYS' | 'OAUTH2'
  /** API_KEYS only: keys that travel in the bundle. */
  readonly keys: readonly { readonly id: string; readonly sha256: string }[]
  /** OAUTH2 only. */
  readonly token?: TokenPlan
}

/** What a bearer token (JWT, RFC 7519) must show to open a service. */
export interface TokenPlan {
  /** Name of one of the node's issuers: a bundle never names a URL. */
  readonly issuer: string
  /** One of these must be among the token's `aud`; empty: those of the issuer's settings. */
  readonly audiences: readonly string[]
  /** All must be among the token's `scope` or `scp`. */
  readonly scopes: readonly string[]
}

export interface GenerationPlan {
  readonly planVersion: 1
  readonly authorization: AuthorizationPlan
  /** Threads per pool that the manifest asks for; null: the node's default. */
  readonly threads: number | null
  readonly endpoints: readonly EndpointPlan[]
  /** Absent in plans that an older version has stored: none. */
  readonly tables?: readonly TablePlan[]
  /** Files that the forge made beside the bundle's own, other than models; relative. */
  readonly made?: readonly string[]
}

/** What the forge measured and found out about one endpoint; shown by `GET …/generations/{id}`. */
export interface EndpointReport {
  readonly endpointId: string
  /** What runs it, for people: `Python 3.11.2`, `R 4.2.2`, `PostgreSQL 15.18`; absent: ONNX. */
  readonly program?: string
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
  /** Rows of the background sample that explanations compare with; absent: it has none. */
  readonly backgroundRows?: number
}

export interface TableReport {
  readonly name: string
  /** Null where nobody counted: the rows are in a database, or nobody looks them up. */
  readonly rows: number | null
  readonly columns: number
  /** Named connection of a table in a database; null: it came with the bundle. */
  readonly connection: string | null
}

export interface ForgeReport {
  readonly forgedOn: number
  readonly durationMs: number
  readonly peakMemoryBytes: number
  readonly runtime: string
  readonly files: number
  readonly unpackedBytes: number
  readonly endpoints: readonly EndpointReport[]
  /** Absent: the bundle has none that are used. */
  readonly tables?: readonly TableReport[]
}
