/**
 * What crosses the borders of workers/: types only, nothing here runs. The only file of workers/
 * that others import. Nothing but data crosses: on Node 20 an Error subclass arrives as a plain
 * Error without its code.
 */

import type { MessagePort } from 'node:worker_threads'
import type { ErrorCode, Fault } from '../core/base/errors.ts'
import type { KnownIssuer } from '../core/bundle/check-authorization.ts'
import type { PoolKind, Verb } from '../core/bundle/kinds.ts'
import type { ForgeReport, GenerationPlan } from '../core/bundle/plan.ts'
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
}

/** One task of a thread. `load` is the first; `release` the last, when no lease is left. */
export type WorkerTask =
  /** With a port (transferred) to the main thread where the thread is to start children. */
  | { readonly kind: 'load'; readonly port?: MessagePort }
  | { readonly kind: 'batch'; readonly job: BatchJob }
  | { readonly kind: 'release' }

export interface BatchJob {
  /** Index into the plan's endpoints. */
  readonly endpoint: number
  readonly verb: Verb
  /** The bodies, one behind the other; its buffer is transferred. */
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

export type WorkerOutcome =
  | { readonly kind: 'loaded'; readonly thread: number; readonly loadMs: number }
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
  readonly serviceId: string
  /** `?generationId=`, else null. */
  readonly generationId: string | null
  /** The upload's file name, the last resort for the generation id; null when unknown. */
  readonly fileName: string | null
  /** Most that may be unpacked: what there is room for. */
  readonly diskBytesMax: number
  readonly settings: RuntimeSettings
  /** Token issuers that the bundle may refer to; absent: any. */
  readonly issuers?: readonly KnownIssuer[]
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
    }
  | {
      readonly kind: 'refused'
      readonly code: ErrorCode
      readonly detail: string
      readonly faults: readonly Fault[]
    }
