/**
 * One generation in a serving process, from its load to its end.
 *
 *   loading ──> warm <──> active ──> draining ──> closed
 *      └──────────┴──────────┴──────────┴──> failed
 *
 * A request takes a lease when it is routed here; a draining generation closes at zero leases.
 */

import type { Verb } from '../../workers/protocol.ts'
import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import type { DesiredGeneration, GenerationState, ObservedGeneration } from '../channel/messages.ts'
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

/** An endpoint whose runs hung this often within the window is stopped. */
const HANGS_MAX = 3
const HANG_WINDOW_MS = 600_000

/** A run hangs that takes this many times what the longest took in the forge. */
const WORST_BATCHES = 10

/** What a generation needs from its process. */
export interface GenerationDeps {
  readonly scheduler: Scheduler
  readonly recorder: Recorder
  readonly logger: Logger
  readonly defaultThreads: number
  readonly threadsMax: number
  /** Something that control should know has changed. */
  readonly onChange: () => void
}

type EndpointLanes = Readonly<Record<Verb, Lane>>

export class Generation {
  readonly desired: DesiredGeneration
  readonly #deps: GenerationDeps
  readonly #lanes = new Map<string, EndpointLanes>()
  readonly #keys: ReadonlySet<string>
  readonly #hangsMs = new Map<string, number[]>()
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
    const { serviceId, generationId, directory, plan } = this.desired
    const startMs = nowMs()
    try {
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
    const stopped = [...this.#lanes].filter(([, verbs]) => verbs.single.isStopped)
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
      stoppedEndpoints: stopped.map(([endpointId]) => endpointId),
    }
  }

  /** A run of this endpoint is so old that its thread counts as lost. */
  #hangs(id: string): void {
    this.#pool?.threadHangs()
    const now = nowMs()
    const recent = (this.#hangsMs.get(id) ?? []).filter((at) => now - at < HANG_WINDOW_MS)
    this.#hangsMs.set(id, [...recent, now])
    this.#deps.logger.error({ endpointId: id, hangs: recent.length + 1 }, 'a run hangs')
    if (recent.length + 1 >= HANGS_MAX) this.#stopEndpoint(id)
    this.#deps.onChange()
  }

  #hangEnded(): void {
    this.#pool?.threadIsBack()
    this.#deps.onChange()
  }

  #stopEndpoint(endpointId: string): void {
    for (const lane of Object.values(this.#lanes.get(endpointId) ?? {})) {
      this.#deps.scheduler.stopLane(lane, new AppError('ERR_ENDPOINT_HANGS', lane.options.name))
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
  }

  #makeLane(pool: Pool, plan: EndpointPlan, endpoint: number, verb: Verb): Lane {
    const { serviceId, generationId } = this.desired
    const serial = verb === 'multi' || !plan.prediction.batchable
    return new Lane({
      name: `${serviceId}/${generationId}/${plan.id} (${verb})`,
      endpoint,
      verb,
      serial,
      batchMax: serial ? LIMITS.batchRowsMax : plan.prediction.maxRows,
      requestsMax: plan.queue.maxRequests,
      bytesMax: plan.queue.maxBytes,
      timeoutMs: plan.timeoutMs,
      legalMs: legalMs(plan, verb),
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
