/**
 * One generation in a serving process, from its load to its end.
 *
 *   loading ──> warm <──> active ──> draining ──> closed
 *      └──────────┴──────────┴──────────┴──> failed
 *
 * A request takes a lease when it is routed here; a draining generation closes at zero leases.
 */

import type { Reroute } from '../../workers/protocol.ts'
import type { Issuers, TokenGate } from '../auth/issuers.ts'
import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { refKey } from '../base/ids.ts'
import type { Logger } from '../base/logger.ts'
import { type PoolKind, type Verb, verbsOf } from '../bundle/kinds.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import type {
  DesiredGeneration,
  GenerationState,
  ObservedGeneration,
  StoppedEndpoint,
} from '../channel/messages.ts'
import type { Spawner } from '../children/spawner.ts'
import type { RuntimeStatus } from '../children/spec.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import { type BatchRunner, Lane, type Pending, type Whereto } from '../dispatch/lane.ts'
import type { Scheduler } from '../dispatch/scheduler.ts'
import type { Recorder } from '../metrics/recorder.ts'
import { laneShape } from './lane-shape.ts'
import { Pools } from './pools.ts'
import type { Origin } from './reroute.ts'

const NEXT: Readonly<Record<GenerationState, readonly GenerationState[]>> = {
  loading: ['warm', 'failed', 'draining'],
  warm: ['active', 'draining', 'failed'],
  active: ['warm', 'draining', 'failed'],
  draining: ['closed', 'failed'],
  closed: [],
  failed: ['draining'],
}

/** What a generation needs from its process. */
export interface GenerationDeps {
  readonly scheduler: Scheduler
  readonly recorder: Recorder
  readonly logger: Logger
  readonly defaultThreads: number
  readonly threadsMax: number
  readonly settings: RuntimeSettings
  /** Whose tokens open generations that ask for one. */
  readonly issuers: Issuers
  /** Starts the children of all generations. */
  readonly spawner: Spawner
  /**
   * Hung runs by "service/generation/endpoint", since the process started. They outlive the
   * Generation that had them: a count that fell when a failed one is loaded again would hide the
   * next hang from control.
   */
  readonly hangs: Map<string, number>
  /** Something that control should know has changed. */
  readonly onChange: () => void
  /** Finds the lane that is to answer a request instead. */
  readonly whereTo: (from: Origin, reroute: Reroute, pending: Pending) => Whereto | Promise<Whereto>
}

/** Endpoints that must not be run, and what their runs do. */
export type StoppedCauses = ReadonlyMap<string, StoppedEndpoint['cause']>

const REFUSALS = { hangs: 'ERR_ENDPOINT_HANGS', crashes: 'ERR_ENDPOINT_CRASHES' } as const

/** Only the verbs that the endpoint's type has. */
type EndpointLanes = Readonly<Partial<Record<Verb, Lane>>>

export class Generation {
  readonly desired: DesiredGeneration
  /** Judges tokens; null where keys, or nothing, are asked for. */
  readonly token: TokenGate | null
  readonly #deps: GenerationDeps
  readonly #lanes = new Map<string, EndpointLanes>()
  readonly #keys: ReadonlySet<string>
  #stopped: StoppedCauses = new Map()
  #state: GenerationState = 'loading'
  #reason: string | null = null
  #pools: Pools | null = null
  #loadMs: number | null = null
  #leases = 0
  #whenIdle: (() => void) | null = null
  #drained: Promise<void> | null = null

  constructor(desired: DesiredGeneration, deps: GenerationDeps) {
    this.desired = desired
    this.#deps = deps
    this.#keys = new Set(desired.plan.authorization.keys.map((key) => key.sha256))
    const { token } = desired.plan.authorization
    this.token = token === undefined ? null : deps.issuers.gateOf(token)
  }

  get state(): GenerationState {
    return this.#state
  }

  get reason(): string | null {
    return this.#reason
  }

  get isPublic(): boolean {
    return this.desired.plan.authorization.method === 'PUBLIC'
  }

  /** Keys that travel in the bundle, by digest. */
  accepts(digest: string): boolean {
    return this.#keys.has(digest)
  }

  get endpointIds(): readonly string[] {
    return this.desired.plan.endpoints.map((endpoint) => endpoint.id)
  }

  /** Ready to answer; a lane of a generation in this state always exists. */
  get serves(): boolean {
    return this.#state === 'warm' || this.#state === 'active'
  }

  readonly lane = (endpointId: string, verb: Verb): Lane | null =>
    this.#lanes.get(endpointId)?.[verb] ?? null

  /** Those of one endpoint; none before it has loaded. */
  readonly lanes = (endpointId: string): readonly Lane[] =>
    Object.values(this.#lanes.get(endpointId) ?? {})

  /** Loads all threads; never throws: a failure is a state with a reason. */
  async load(): Promise<void> {
    // Dropped while it waited for its turn: there is nothing to load any more.
    if (this.#state !== 'loading') return this.#settleIfIdle()
    const { damaged } = this.desired
    const startMs = nowMs()
    try {
      if (damaged !== undefined) throw new AppError('ERR_LOAD_FAILED', damaged)
      const pools = await this.#startPools()
      this.#pools = pools
      this.#loadMs = nowMs() - startMs
      this.#makeLanes(pools)
      // Dropped while it loaded: drain() waits for this.
      if (this.#state === 'loading') this.moveTo('warm')
    } catch (error) {
      this.#fail(messageOf(error))
    }
    this.#settleIfIdle()
  }

  #startPools(): Promise<Pools> {
    const { serviceId, generationId, directory, plan } = this.desired
    const { settings, spawner, logger, scheduler, defaultThreads, threadsMax } = this.#deps
    return Pools.start({
      setup: { serviceId, generationId, directory, plan, settings },
      threads: Math.min(plan.threads ?? defaultThreads, threadsMax),
      spawner,
      logger,
      onThread: () => scheduler.threadIsFree(),
      onStatus: () => this.#deps.onChange(),
      onDown: (reason) => this.#fail(reason),
    })
  }

  moveTo(next: GenerationState): void {
    if (next === this.#state) return
    assert(NEXT[this.#state].includes(next), `a generation goes not from ${this.#state} to ${next}`)
    this.#state = next
    const { serviceId, generationId } = this.desired
    this.#deps.logger.info({ serviceId, generationId, state: next }, 'generation')
    this.#deps.onChange()
  }

  takeLease(): void {
    this.#leases += 1
  }

  readonly endLease = (): void => {
    this.#leases -= 1
    assert(this.#leases >= 0, 'no lease ends twice')
    if (this.#leases === 0) this.#settleIfIdle()
  }

  /** Waits for the leases and closes the pool. New requests are routed elsewhere already. */
  drain(): Promise<void> {
    this.#drained ??= this.#drain()
    return this.#drained
  }

  async #drain(): Promise<void> {
    const loading = this.#state === 'loading'
    this.moveTo('draining')
    if (loading || this.#leases > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve
      })
    }
    await this.#pools?.close()
    const { serviceId, generationId } = this.desired
    this.#deps.recorder.forget(serviceId, generationId)
    if (this.#state === 'draining') this.moveTo('closed')
  }

  observe(): ObservedGeneration {
    const lanes = [...this.#lanes.values()].flatMap((verbs) => Object.values(verbs))
    return {
      serviceId: this.desired.serviceId,
      generationId: this.desired.generationId,
      state: this.#state,
      reason: this.#reason,
      threads: this.#pools?.threads ?? 0,
      threadsLost: this.#pools?.lostThreads ?? 0,
      loadMs: this.#loadMs,
      queued: lanes.reduce((sum, lane) => sum + lane.waiting, 0),
      running: this.#leases,
      stoppedEndpoints: this.endpointIds.filter((endpointId) => this.#stopped.has(endpointId)),
      hangs: this.#observeHangs(),
      runtimes: this.#statuses(),
    }
  }

  #statuses(): readonly RuntimeStatus[] {
    const statuses = this.#pools?.statuses ?? []
    return this.token === null ? statuses : [...statuses, this.token.status()]
  }

  /**
   * Control decides what is stopped, for it sees all processes and what came before this one. An
   * endpoint that is not named any more is run again.
   */
  stopEndpoints(stopped: StoppedCauses): void {
    this.#stopped = stopped
    // Lanes whose pool is down stay as they are: nothing could run there.
    if (this.#reason !== null) return
    for (const [endpointId, verbs] of this.#lanes) this.#stopOrResume(endpointId, verbs)
  }

  /** A run of this endpoint is so old that its thread counts as lost. */
  #hangs(endpointId: string, pool: PoolKind): void {
    this.#pools?.threadHangs(pool)
    const { hangs, logger, onChange } = this.#deps
    const subject = this.#subject(endpointId)
    const count = (hangs.get(subject) ?? 0) + 1
    hangs.set(subject, count)
    const { serviceId, generationId } = this.desired
    logger.error({ serviceId, generationId, endpointId, hangs: count }, 'a run hangs')
    onChange()
  }

  #observeHangs(): Readonly<Record<string, number>> {
    const counts = this.endpointIds.flatMap((endpointId) => {
      const count = this.#deps.hangs.get(this.#subject(endpointId))
      return count === undefined ? [] : [[endpointId, count] as const]
    })
    return Object.fromEntries(counts)
  }

  #subject(endpointId: string): string {
    return `${refKey(this.desired)}/${endpointId}`
  }

  #hangEnded(pool: PoolKind): void {
    this.#pools?.threadIsBack(pool)
    this.#deps.onChange()
  }

  #stopOrResume(endpointId: string, verbs: EndpointLanes): void {
    const cause = this.#stopped.get(endpointId)
    for (const lane of Object.values(verbs)) {
      if (cause === undefined) lane.resume()
      else this.#deps.scheduler.stopLane(lane, new AppError(REFUSALS[cause], lane.options.name))
    }
  }

  #fail(reason: string): void {
    if (this.#state === 'closed') return
    this.#reason = reason
    for (const verbs of this.#lanes.values()) {
      for (const lane of Object.values(verbs)) {
        this.#deps.scheduler.stopLane(lane, new AppError('ERR_POOL_DOWN', reason))
      }
    }
    if (this.#state !== 'draining') this.moveTo('failed')
  }

  #settleIfIdle(): void {
    if (this.#leases > 0 || this.#whenIdle === null) return
    this.#whenIdle()
    this.#whenIdle = null
  }

  #makeLanes(pools: Pools): void {
    for (const [index, plan] of this.desired.plan.endpoints.entries()) {
      const pool = pools.kindOf(plan)
      const runner = pools.runnerOf(plan)
      const lanes = verbsOf(plan).map(
        (verb) => [verb, this.#makeLane({ plan, index, pool, runner }, verb)] as const,
      )
      this.#lanes.set(plan.id, Object.fromEntries(lanes))
    }
    this.stopEndpoints(this.#stopped)
  }

  #makeLane({ plan, index, pool, runner }: Placed, verb: Verb): Lane {
    const { serviceId, generationId } = this.desired
    const subject = this.#subject(plan.id)
    return new Lane({
      name: `${subject} (${verb})`,
      subject,
      endpoint: index,
      verb,
      ...laneShape(plan, verb, pool),
      requestsMax: plan.queue.maxRequests,
      bytesMax: plan.queue.maxBytes,
      timeoutMs: plan.timeoutMs,
      runner,
      observer: this.#deps.recorder.endpoint(serviceId, generationId, plan.id),
      onSettled: this.endLease,
      onSentHere: () => this.takeLease(),
      whereTo: (reroute, pending) =>
        this.#deps.whereTo({ generation: this, endpointId: plan.id, verb }, reroute, pending),
      onHang: () => this.#hangs(plan.id, pool),
      onHangEnded: () => this.#hangEnded(pool),
    })
  }
}

/** An endpoint and where it runs. */
interface Placed {
  readonly plan: EndpointPlan
  readonly index: number
  readonly pool: PoolKind
  readonly runner: BatchRunner
}
