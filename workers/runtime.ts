/**
 * What runs an endpoint, whatever its kind: bodies in, encoded answers out. Lanes, deadlines,
 * metrics, forge and life cycle see nothing but this.
 */

import type { EndpointPlan, FunctionArgument, TablePlan } from '../core/bundle/plan.ts'
import type { RuntimeStatus } from '../core/children/spec.ts'
import type { RuntimeSettings } from '../core/config/runtimes.ts'
import type { ChildHost } from './children/child-host.ts'
import type { Scorer } from './explanations/types.ts'
import type { FeatureMap } from './predictions/values.ts'
import type { BatchJob, WorkerOutcome } from './protocol.ts'

export interface Runtime {
  /**
   * Never throws: what goes wrong with one request is told of that request. A run ends soon after
   * the deadline of its requests, whatever the code in it does.
   */
  run(job: BatchJob): Promise<WorkerOutcome>
  /** Ends all that it has started; settles when it is gone. */
  release(): Promise<void>
  /** For people: `Python 3.11.2`; absent: ONNX. */
  readonly program?: string
  /** Of a function, where its language tells; absent: not known, or any. */
  readonly arguments?: readonly FunctionArgument[]
  /**
   * Of code that predicts: scores rows without look-ups, `features` where the plan declares none.
   */
  readonly scorer?: (features: readonly string[]) => Scorer<readonly FeatureMap[]>
}

/** What a runtime may use of its surroundings: a thread of a pool, or the forge. */
export interface RuntimeContext {
  readonly serviceId: string
  readonly generationId: string
  /** Absolute path of the unpacked generation. */
  readonly directory: string
  readonly tables: readonly TablePlan[]
  readonly settings: RuntimeSettings
  /** See WorkerSetup; absent: the thread is on its own. */
  readonly checked?: Readonly<Record<string, SharedArrayBuffer>>
  /** Starts child processes; null in threads of the cpu pool. */
  readonly children: ChildHost | null
  /** Children that an endpoint keeps ready to take the place of a lost one; 0 in the forge. */
  readonly spares: number
  /** Tells the newest state of what the endpoint depends on. */
  readonly report: (status: RuntimeStatus) => void
  readonly log: RuntimeLog
}

export type RuntimeLog = (
  level: 'info' | 'warn' | 'error',
  fields: Readonly<Record<string, unknown>>,
  text: string,
) => void

/**
 * Throws an AppError whose detail names what is wrong: ERR_CODE_REFUSED, ERR_INTERPRETER_MISSING,
 * ERR_ENVIRONMENT_FAILED, ERR_CONNECTION_UNUSABLE or, for models, whatever their runtime throws.
 */
export type OpenRuntime<Plan extends EndpointPlan> = (
  plan: Plan,
  context: RuntimeContext,
) => Promise<Runtime>
