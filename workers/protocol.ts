/**
 * What crosses the borders of workers/: types only, nothing here runs. The only file of workers/
 * that others import. Nothing but data crosses: on Node 20 an Error subclass arrives as a plain
 * Error without its code.
 */

import type { MessagePort } from 'node:worker_threads'
import type { ErrorCode, Fault } from '../core/base/errors.ts'
import type { KnownIssuer } from '../core/bundle/check-authorization.ts'
import type { StdPredictionEndpoint } from '../core/bundle/endpoint-schemas.ts'
import type { PoolKind, Verb } from '../core/bundle/kinds.ts'
import type { ManifestFeature } from '../core/bundle/manifest-features.ts'
import type {
  ColumnType,
  EndpointPlan,
  ForgeReport,
  GenerationPlan,
  OnnxEndpointPlan,
  PredictionKind,
  TablePlan,
} from '../core/bundle/plan.ts'
import type { RuntimeSettings } from '../core/config/runtimes.ts'

/** `workerData` of every thread of a pool. */
export interface WorkerSetup {
  readonly serviceId: string
  readonly generationId: string
  /** Absolute path of the unpacked generation. */
  readonly directory: string
  readonly plan: GenerationPlan
  /** Which endpoints of the plan this thread runs: see poolOf(). */
  readonly pool: PoolKind
  readonly settings: RuntimeSettings
  /** By key of a compiled form: what its threads share; absent: each is on its own. */
  readonly checked?: Readonly<Record<string, SharedArrayBuffer>>
}

/** One task of a thread. */
export type WorkerTask =
  /**
   * The only one of a thread that computes: it loads and says so over the line, runs what comes
   * there, one job at a time, and releases when it is told to end.
   */
  | { readonly kind: 'serve'; readonly line: LineEnd }
  /**
   * Of a thread that waits: `load` is the first, `release` the last, when no lease is left. The
   * port (transferred) leads to the main thread, which starts children for it.
   */
  | { readonly kind: 'load'; readonly port?: MessagePort }
  | { readonly kind: 'batch'; readonly job: BatchJob }
  | { readonly kind: 'release' }

/** What a thread gets of its line to the main thread; see core/channel/job-slot.ts. */
export interface LineEnd {
  readonly memory: SharedArrayBuffer
  /**
   * Takes LineMessages, gives the outcome of the load and then of each job: as a WorkerOutcome, or
   * as the text of its answers.
   */
  readonly port: MessagePort
}

/** What does not fit into the slot. `end`: there is no other after it. */
export type LineMessage =
  | { readonly kind: 'batch'; readonly job: BatchJob }
  | { readonly kind: 'end' }

export interface BatchJob {
  /** Index into the plan's endpoints. */
  readonly endpoint: number
  readonly verb: Verb
  /** The bodies, one behind the other: in a slot, or in a buffer that is transferred. */
  readonly bytes: Uint8Array
  /** Where each body ends in `bytes`. */
  readonly ends: Uint32Array
  /** How long each request waited in its lane, for `timing`. */
  readonly waitUs: Uint32Array
  /**
   * What was asked beside the body, one per request; absent where the endpoint does not look at it
   * and all requests are POSTs.
   */
  readonly requests?: readonly RequestFacts[]
  /** The service's traffic is split: a dispatch key may lead to another generation. */
  readonly split?: true
  /** 1 where it is settled which generation answers: sent on once, never twice. Absent: nowhere. */
  readonly settled?: Uint8Array
  /** The bytes of its one request are nowhere else: they come back when it is sent on. */
  readonly lent?: true
  /** `explain` only, of its one request: what the reroute or the slice before left. */
  readonly state?: unknown
}

/**
 * A request that another lane must answer, which only who has read its body can know: the same
 * bytes go there, once.
 */
export type Reroute =
  | { readonly index: number; readonly kind: 'generation'; readonly generationId: string }
  | { readonly index: number; readonly kind: 'dispatchKey'; readonly dispatchKey: string }
  /** To the `explain` lane of the same endpoint; `state` comes back in the job. */
  | { readonly index: number; readonly kind: 'explain'; readonly state: unknown }

/** The request line and headers, for functions that ask for them and for GET. */
export interface RequestFacts {
  /** Upper case; of a GET the body is empty and the arguments are in the query. */
  readonly method: string
  readonly path: string
  /** Without the `?`; '' when absent. */
  readonly query: string
  /** Names in lower case; empty unless the endpoint asks for them. */
  readonly headers: readonly (readonly [string, string])[]
}

/** An answer that is not JSON in our envelope: a function's own status, headers and bytes. */
export interface RawAnswer {
  readonly index: number
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Uint8Array
}

/** A request of a batch that got no answer of its own; the main thread writes the error. */
export interface RowFailure {
  readonly index: number
  readonly code: ErrorCode
  readonly detail: string
  /** A status that the endpoint's own code has chosen; absent: that of the code. */
  readonly status?: number
}

export interface LoadNote {
  readonly level: 'info' | 'warn' | 'error'
  readonly fields: Readonly<Record<string, unknown>>
  readonly text: string
}

export type WorkerOutcome =
  | {
      readonly kind: 'loaded'
      readonly thread: number
      readonly loadMs: number
      /** What happened on the way, for the log; absent: nothing. */
      readonly notes?: readonly LoadNote[]
    }
  | { readonly kind: 'released' }
  | {
      readonly kind: 'answers'
      /**
       * One encoded JSON answer per request, in order, as text or as UTF-8; '' where `failures`,
       * `raw` or `reroutes` has the request.
       */
      readonly bodies: readonly (string | Uint8Array)[]
      readonly failures: readonly RowFailure[] | null
      readonly raw?: readonly RawAnswer[]
      readonly reroutes?: readonly Reroute[]
      /** Of a lent body that is sent on. */
      readonly returned?: Uint8Array
      readonly executeUs: number
    }
  /** `explain` only: a slice is done and others may have the thread; the next job gets `state`. */
  | { readonly kind: 'continues'; readonly state: unknown; readonly executeUs: number }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string }

/** The one message that a forge child is sent (IPC), then it answers with ForgeMessages. */
export interface ForgeRequest {
  /** Absolute path of the uploaded ZIP. */
  readonly archive: string
  /** Absolute path of an empty directory to unpack into; workers' model files end up here too. */
  readonly directory: string
  /** Null: the one that the manifest names; for a check of a bundle before it is uploaded. */
  readonly serviceId: string | null
  /** `?generationId=`, else null. */
  readonly generationId: string | null
  /** The upload's file name, the last resort for the generation id; null when unknown. */
  readonly fileName: string | null
  /** Most that may be unpacked: what there is room for. */
  readonly diskBytesMax: number
  readonly settings: RuntimeSettings
  /** Token issuers that the bundle may refer to; absent: any. */
  readonly issuers?: readonly KnownIssuer[]
  /**
   * Endpoints that want what only their node has, a connection or an interpreter, are left out and
   * told of; else they refuse the bundle.
   */
  readonly withoutNode?: true
}

/** `environment` (pip at work) and `tables` may take minutes, so each has its own time. */
export type ForgePhase =
  | 'unpacking'
  | 'checking'
  | 'environment'
  | 'tables'
  | 'loading'
  | 'testing'
  | 'measuring'

/** How much of a phase is done, where that can be said. */
export interface ForgeProgress {
  readonly doneBytes: number
  readonly totalBytes: number
}

export type ForgeMessage =
  | {
      readonly kind: 'phase'
      readonly phase: ForgePhase
      readonly detail: string
      readonly progress: ForgeProgress | null
    }
  /** The generation id, once the manifest is read. */
  | { readonly kind: 'named'; readonly generationId: string }
  | {
      readonly kind: 'forged'
      readonly generationId: string
      /** SHA-256 over the sorted (path, size, SHA-256) of the bundle's own files. */
      readonly contentSha256: string
      readonly plan: GenerationPlan
      readonly report: ForgeReport
      /** What `withoutNode` has left out; such a plan is not to be served. Absent: nothing. */
      readonly untried?: readonly Fault[]
    }
  | {
      readonly kind: 'refused'
      readonly code: ErrorCode
      readonly detail: string
      readonly faults: readonly Fault[]
    }

/**
 * The one message that a draft child is sent (IPC): a question about a file that nobody has tried
 * yet, whose answer becomes a part of a manifest. All paths are absolute.
 */
export type DraftRequest =
  | {
      readonly kind: 'model'
      readonly model: string
      /** What its author has said already. */
      readonly endpoint: StdPredictionEndpoint
      readonly sample: DraftSample | null
      /** An empty directory. */
      readonly scratch: string
    }
  /** CSV, Parquet, or a JSON array of objects. */
  | { readonly kind: 'columns'; readonly file: string }
  | {
      readonly kind: 'code'
      readonly language: 'python' | 'r'
      readonly file: string
      readonly settings: RuntimeSettings
    }
  | {
      readonly kind: 'statement'
      readonly query: string
      readonly dialect: 'duckdb' | 'postgresql' | 'mysql'
    }
  | DraftSampleRequest

export interface DraftSample {
  readonly file: string
  /** Column that is no feature; null: all are. */
  readonly target: string | null
}

/** What percentiles and explanations of a prediction are compared with. */
export interface DraftSampleRequest {
  readonly kind: 'sample'
  readonly sample: DraftSample
  /** As it was forged in `directory`. */
  readonly endpoint: EndpointPlan
  readonly directory: string
  readonly settings: RuntimeSettings
  /** New file for the rows of the background sample. */
  readonly background: string
}

export type Draft = ModelDraft | ColumnsDraft | CodeDraft | StatementDraft | SampleDraft

export interface ModelDraft {
  readonly kind: 'model'
  /** The model and its external weights, relative to its folder. */
  readonly files: readonly string[]
  readonly prediction: PredictionKind
  /** Null: the model does not tell them. */
  readonly classes: readonly string[] | null
  /** Null: whole tensors, or too many to list. */
  readonly features: readonly ManifestFeature[] | null
  /** A row that it has answered; null: none is known. */
  readonly row: Readonly<Record<string, unknown>> | null
  /** Place of that row in the sample; null: it was made up. */
  readonly rowOf: string | null
  /** Sentences for the author. */
  readonly notes: readonly string[]
}

export interface ColumnsDraft {
  readonly kind: 'columns'
  readonly columns: readonly ColumnDraft[]
  /** The first row; empty where there is none. */
  readonly first: Readonly<Record<string, string | number | boolean | null>>
}

export interface ColumnDraft {
  readonly name: string
  /** Null: no type of ours. */
  readonly type: ColumnType | null
  /** In the order of their first row; null: more than are worth listing, or not looked at. */
  readonly values: readonly string[] | null
}

export interface CodeDraft {
  readonly kind: 'code'
  readonly functions: readonly FunctionDraft[]
  /** Python only: those with a method `predict`. */
  readonly classes: readonly { readonly name: string; readonly bases: readonly string[] }[]
}

export interface FunctionDraft {
  readonly name: string
  readonly arguments: readonly ArgumentDraft[]
  /** It takes arguments of any name. */
  readonly open: boolean
}

export interface ArgumentDraft {
  readonly name: string
  readonly optional: boolean
  /** Of a default that can be said in JSON; else absent. */
  readonly value?: unknown
}

export interface StatementDraft {
  readonly kind: 'statement'
  /** One for each `?`: the column that it is compared with; null: not known. */
  readonly parameters: readonly (string | null)[]
}

export interface SampleDraft {
  readonly kind: 'sample'
  readonly rows: number
  /** Rows that the model leaves out by rule of the manifest. */
  readonly ignored: number
  /** Quantiles of the probability of the second class; null: it has no such thing. */
  readonly percentiles: readonly number[] | null
  readonly backgroundRows: number
  /** Columns of the sample that are no features. */
  readonly unused: readonly string[]
}

export type DraftMessage =
  | { readonly kind: 'progress'; readonly label: string; readonly done: number | null }
  | { readonly kind: 'drafted'; readonly draft: Draft }
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly reasons: readonly string[] }

/** The one message that a compiling child is sent: make this model's compiled form. */
export interface CompileRequest {
  /** Absolute path of the unpacked generation. */
  readonly directory: string
  /** Relative to it. */
  readonly model: string
  /** As the plan has it: what is not as it was imported is not compiled. */
  readonly sha256: string
  /** Those that run the model; their test queries are run as proof. */
  readonly endpoints: readonly OnnxEndpointPlan[]
  readonly tables: readonly TablePlan[]
  /** Absolute path of the folder of all forms; this one is made as `key` in it. */
  readonly folder: string
  readonly key: string
  /** Most that the form may take on the disk. */
  readonly bytesMax: number
  /** Fewer weights in the data file are not worth it. */
  readonly weightBytesMin: number
  readonly settings: RuntimeSettings
}

/** What a compiling child does, for who wants to know at what it has ended. */
export type CompileStep = 'running the original' | 'writing' | 'loading' | 'comparing' | 'keeping'

export type CompileMessage =
  | { readonly kind: 'step'; readonly step: CompileStep }
  | {
      readonly kind: 'compiled'
      readonly bytes: number
      readonly runs: number
      readonly durationMs: number
      readonly peakMemoryBytes: number
    }
  /** The original is to serve; `lasting`: another try would end in the same. */
  | { readonly kind: 'original'; readonly reason: string; readonly lasting: boolean }
