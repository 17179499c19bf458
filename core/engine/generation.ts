/**
 * One generation in a serving process, from its load to its end.
 *
 *   loading ──> warm <──> active ──> draining ──> closed
 *      └──────────┴──────────┴──────────┴──> failed
 *
 * A request takes a lease when it is routed here; a draining generation closes at zero leases.
 */

import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { refKey } from '../base/ids.ts'
import type { Logger } from '../base/logger.ts'
import type { Verb } from '../bundle/kinds.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import type {
  DesiredGeneration,
  GenerationState,
  ObservedGeneration,
  StoppedEndpoint,
} from '../channel/messages.ts'
import { LIMITS } from '../config/limits.ts'
import { Lane } from '../dispatch/lane.ts'
import type { Scheduler } from '../dispatch/scheduler.ts'
import type { Recorder } from '../metrics/recorder.ts'
import { Pool } from './pool.ts'

const NEXT: Readonly<Record<GenerationState, readonly GenerationState[]>> = {
  loading: ['warm', 'failed', 'draining'],
  warm: ['active', 'draining', 'failed'],
  active: ['warm', 'draining', 'failed'],
  draining: ['closed', 'failed'],
  closed: [],
  failed: ['draining'],
}

/** A run hangs that takes this many times what the longest took in the forge. */
const WORST_BATCHES = 10

/** What a generation needs from its process. */
export interface GenerationDeps {
  readonly scheduler: Scheduler
  readonly recorder: Recorder
  readonly logger: Logger
  readonly defaultThreads: number
  readonly threadsMax: number
  /**
   * Hung runs by "service/generation/endpoint", since the process started. They outlive the
   * Generation that had them: a count that fell when a failed one is loaded again would hide the
   * next hang from control.
   */
  readonly hangs: Map<string, number>
  /** Something that control should know has changed. */
  readonly onChange: () => void
}

/** Endpoints that must not be run, and what their runs do. */
export type StoppedCauses = ReadonlyMap<string, StoppedEndpoint['cause']>

const REFUSALS = { hangs: 'ERR_ENDPOINT_HANGS', crashes: 'ERR_ENDPOINT_CRASHES' } as const

type EndpointLanes = Readonly<Record<Verb, Lane>>

export class Generation {
  readonly desired: DesiredGeneration
  readonly #deps: GenerationDeps
  readonly #lanes = new Map<string, EndpointLanes>()
  readonly #keys: ReadonlySet<string>
  #stopped: StoppedCauses = new Map()
  #state: GenerationState = 'loading'
  #reason: string | null = null
  #pool: Pool | null = null
  #loadMs: number | null = null
  #leases = 0
  #whenIdle: (() => void) | null = null
  #drained: Promise<void> | null = null

  constructor(desired: DesiredGeneration, deps: GenerationDeps) {
    this.desired = desired
    this.#deps = deps
    this.#keys = new Set(desired.plan.authorization.keys.map((key) => key.sha256))
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

  lane(endpointId: string, verb: Verb): Lane | null {
    return this.#lanes.get(endpointId)?.[verb] ?? null
  }

  /** Loads all threads; never throws: a failure is a state with a reason. */
  async load(): Promise<void> {
    // Dropped while it waited for its turn: there is nothing to load any more.
    if (this.#state !== 'loading') return this.#settleIfIdle()
    const { serviceId, generationId, directory, plan, damaged } = this.desired
    const startMs = nowMs()
    try {
      if (damaged !== undefined) throw new AppError('ERR_LOAD_FAILED', damaged)
      const pool = await Pool.start({
        setup: { serviceId, generationId, directory, plan },
        threads: Math.min(plan.threads ?? this.#deps.defaultThreads, this.#deps.threadsMax),
        logger: this.#deps.logger,
        onThread: () => this.#deps.scheduler.threadIsFree(),
        onDown: (reason) => this.#fail(reason),
      })
      this.#pool = pool
      this.#loadMs = nowMs() - startMs
      this.#makeLanes(pool)
      // Dropped while it loaded: drain() waits for this.
      if (this.#state === 'loading') this.moveTo('warm')
    } catch (error) {
      this.#fail(messageOf(error))
    }
    this.#settleIfIdle()
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
    await this.#pool?.close()
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
      threads: this.#pool?.threads ?? 0,
      threadsLost: this.#pool?.lostThreads ?? 0,
      loadMs: this.#loadMs,
      queued: lanes.reduce((sum, lane) => sum + lane.waiting, 0),
      running: this.#leases,
      stoppedEndpoints: this.endpointIds.filter((endpointId) => this.#stopped.has(endpointId)),
      hangs: this.#observeHangs(),
    }
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
  #hangs(endpointId: string): void {
    this.#pool?.threadHangs()
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

  #hangEnded(): void {
    this.#pool?.threadIsBack()
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

  #makeLanes(pool: Pool): void {
    for (const [index, plan] of this.desired.plan.endpoints.entries()) {
      this.#lanes.set(plan.id, {
        single: this.#makeLane(pool, plan, index, 'single'),
        multi: this.#makeLane(pool, plan, index, 'multi'),
      })
    }
    this.stopEndpoints(this.#stopped)
  }

  #makeLane(pool: Pool, plan: EndpointPlan, endpoint: number, verb: Verb): Lane {
    const { serviceId, generationId } = this.desired
    const subject = this.#subject(plan.id)
    const serial = verb === 'multi' || !plan.prediction.batchable
    return new Lane({
      name: `${subject} (${verb})`,
      subject,
      endpoint,
      verb,
      serial,
      batchMax: serial ? LIMITS.batchRowsMax : plan.prediction.maxRows,
      requestsMax: plan.queue.maxRequests,
      bytesMax: plan.queue.maxBytes,
      timeoutMs: plan.timeoutMs,
      legalMs: legalMs(plan, verb),
      permit: true,
      wantsRequest: false,
      runner: pool,
      observer: this.#deps.recorder.endpoint(serviceId, generationId, plan.id),
      onSettled: this.endLease,
      onHang: () => this.#hangs(plan.id),
      onHangEnded: () => this.#hangEnded(),
    })
  }
}

/** A run of many rows goes on until its caller's time is up, and then ends its current batch. */
function legalMs({ worstBatchMs, timeoutMs }: EndpointPlan, verb: Verb): number {
  return WORST_BATCHES * worstBatchMs + (verb === 'multi' ? timeoutMs : 0)
}
