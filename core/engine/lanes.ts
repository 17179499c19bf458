/**
 * The lanes of one generation. They are made when it is loaded or its first request comes, which
 * waits in them meanwhile, and get threads when it has been loaded.
 */

import type { Reroute } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { AppError } from '../base/errors.ts'
import { refKey } from '../base/ids.ts'
import { type PoolKind, poolOf, type Verb, verbsOf } from '../bundle/kinds.ts'
import type { GenerationPlan } from '../bundle/plan.ts'
import type { DesiredGeneration, StoppedEndpoint } from '../channel/messages.ts'
import { type BatchRunner, Lane, type LaneOptions, type Whereto } from '../dispatch/lane.ts'
import type { Pending } from '../dispatch/pending.ts'
import type { Scheduler } from '../dispatch/scheduler.ts'
import type { Recorder } from '../metrics/recorder.ts'
import { laneShape } from './lane-shape.ts'
import type { Pools } from './pools.ts'

/** Endpoints that must not be run, and what their runs do. */
export type StoppedCauses = ReadonlyMap<string, StoppedEndpoint['cause']>

const REFUSALS = { hangs: 'ERR_ENDPOINT_HANGS', crashes: 'ERR_ENDPOINT_CRASHES' } as const

/** Of a generation that is not in memory: what waits in its lanes waits for that. */
const NO_THREADS: BatchRunner = {
  freeThreads: 0,
  run: () => Promise.reject(new AppError('ERR_INTERNAL', 'nothing runs without a thread')),
}

/** Only the verbs that the endpoint's type has. */
type EndpointLanes = Readonly<Partial<Record<Verb, Lane>>>

/** What the lanes tell their generation. */
export interface LanesHost {
  takeLease(): void
  endLease(): void
  whereTo(
    endpointId: string,
    verb: Verb,
    reroute: Reroute,
    pending: Pending,
  ): Whereto | Promise<Whereto>
  hangs(endpointId: string, pool: PoolKind): void
  hangEnded(pool: PoolKind): void
}

export interface LanesOptions {
  readonly desired: DesiredGeneration
  /** The same, read. */
  readonly plan: GenerationPlan
  readonly scheduler: Scheduler
  readonly recorder: Recorder
  readonly host: LanesHost
}

export class Lanes {
  readonly #scheduler: Scheduler
  readonly #lanes = new Map<string, EndpointLanes>()
  #stopped: StoppedCauses = new Map()
  /** Why nothing of the generation can run; null: it can, or may in a moment. */
  #down: string | null = null

  constructor(options: LanesOptions) {
    this.#scheduler = options.scheduler
    for (const [index, plan] of options.plan.endpoints.entries()) {
      const lanes = verbsOf(plan).map((verb) => [verb, newLane(options, index, verb)] as const)
      this.#lanes.set(plan.id, Object.fromEntries(lanes))
    }
  }

  get(endpointId: string, verb: Verb): Lane | null {
    return this.#lanes.get(endpointId)?.[verb] ?? null
  }

  byEndpoint(): ReadonlyMap<string, readonly Lane[]> {
    return new Map([...this.#lanes].map(([id, verbs]) => [id, Object.values(verbs)]))
  }

  #of(endpointId: string): readonly Lane[] {
    return Object.values(this.#lanes.get(endpointId) ?? {})
  }

  all(): Lane[] {
    return [...this.#lanes.values()].flatMap((verbs) => Object.values(verbs))
  }

  /** Everything that waits can run now. */
  begin(plan: GenerationPlan, pools: Pools): void {
    for (const endpoint of plan.endpoints) {
      const runner = pools.runnerOf(endpoint)
      for (const lane of this.#of(endpoint.id)) lane.runner = runner
    }
    this.#scheduler.threadIsFree()
  }

  /** What comes from now on waits. */
  pause(): void {
    for (const lane of this.all()) lane.runner = NO_THREADS
  }

  /** Nothing will run any more, for this reason: whoever waits hears it, and whoever comes. */
  down(reason: string): void {
    this.#down = reason
    const error = new AppError('ERR_POOL_DOWN', reason)
    for (const lane of this.all()) this.#scheduler.stopLane(lane, error)
  }

  /**
   * Control decides what is stopped, for it sees all processes and what came before this one. An
   * endpoint that is not named any more is run again.
   */
  stopEndpoints(stopped: StoppedCauses): void {
    if (stopped.size === 0 && this.#stopped.size === 0) return
    this.#stopped = stopped
    // Lanes whose pool is down stay as they are: nothing could run there.
    if (this.#down !== null) return
    for (const endpointId of this.#lanes.keys()) {
      const cause = stopped.get(endpointId)
      for (const lane of this.#of(endpointId)) {
        if (cause === undefined) lane.resume()
        else {
          const error = new AppError(REFUSALS[cause], lane.options.name)
          this.#scheduler.stopLane(lane, error)
        }
      }
    }
  }
}

/** Nothing that outlives it holds the plan. */
function newLane(options: LanesOptions, index: number, verb: Verb): Lane {
  const { desired, plan: whole, recorder, host } = options
  const plan = whole.endpoints[index]
  assert(plan !== undefined, 'every endpoint has its plan')
  const { serviceId, generationId } = desired
  const { id } = plan
  const subject = `${refKey(desired)}/${id}`
  const pool = poolOf(plan, whole)
  return new Lane({
    name: `${subject} (${verb})`,
    subject,
    endpoint: index,
    verb,
    ...laneShape(plan, verb, pool),
    requestsMax: plan.queue.maxRequests,
    bytesMax: plan.queue.maxBytes,
    timeoutMs: plan.timeoutMs,
    runner: NO_THREADS,
    observer: recorder.endpoint(serviceId, generationId, id),
    ...calls(host, id, { pool, verb }),
  })
}

/** By themselves, so that they hold nothing else. */
function calls(
  host: LanesHost,
  endpointId: string,
  { pool, verb }: { readonly pool: PoolKind; readonly verb: Verb },
): Pick<LaneOptions, 'onSettled' | 'onSentHere' | 'whereTo' | 'onHang' | 'onHangEnded'> {
  return {
    onSettled: () => host.endLease(),
    onSentHere: () => host.takeLease(),
    whereTo: (reroute, pending) => host.whereTo(endpointId, verb, reroute, pending),
    onHang: () => host.hangs(endpointId, pool),
    onHangEnded: () => host.hangEnded(pool),
  }
}
