/**
 * One generation in a serving process, from the moment it is known to its end.
 *
 *   cold <──> loading ──> warm <──> active ──> draining ──> closed
 *     └──────────┴──────────┴──────────┴──> failed
 *
 * A request takes a lease when it is routed here; a draining generation closes at zero leases. One
 * that has been cold answers while it loads: its requests wait in the lanes. Of one that nobody has
 * asked yet there is little more than its name and the text of its plan.
 */

import type { TokenGate } from '../auth/issuers.ts'
import { assert } from '../base/assert.ts'
import { nowMs } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { refKey } from '../base/ids.ts'
import type { PoolKind, Verb } from '../bundle/kinds.ts'
import { readPlan } from '../bundle/late-plan.ts'
import type { GenerationPlan } from '../bundle/plan.ts'
import type { DesiredGeneration, GenerationState, ObservedGeneration } from '../channel/messages.ts'
import type { RuntimeStatus } from '../children/spec.ts'
import type { Lane } from '../dispatch/lane.ts'
import { type Door, doorOf } from './door.ts'
import type { Birth, GenerationDeps } from './generation-deps.ts'
import { Lanes, type LanesHost, type StoppedCauses } from './lanes.ts'
import { Pools } from './pools.ts'

const NEXT: Readonly<Record<GenerationState, readonly GenerationState[]>> = {
  cold: ['loading', 'draining', 'failed'],
  loading: ['warm', 'failed', 'draining'],
  warm: ['active', 'cold', 'draining', 'failed'],
  active: ['warm', 'cold', 'draining', 'failed'],
  draining: ['closed', 'failed'],
  closed: [],
  failed: ['draining'],
}

const NEEDED: Birth = { state: 'loading', isOpen: false }
const NOTHING_STOPPED: StoppedCauses = new Map()
const NO_LANES: ReadonlyMap<string, readonly Lane[]> = new Map()

export class Generation {
  /** How it is to be held may change, what it is may not. */
  desired: DesiredGeneration
  readonly #deps: GenerationDeps
  /** Made when they are needed first, like the door. */
  #lanes: Lanes | null = null
  #door: Door | null = null
  #stopped = NOTHING_STOPPED
  #state: GenerationState
  #reason: string | null
  /** It takes requests, whether or not it is loaded. */
  #isOpen: boolean
  /** Set by requests, and taken back by whoever asks for it. */
  #isUsed = false
  #pools: Pools | null = null
  #loadMs: number | null = null
  /** Monotonic clock: when it came into memory, and when a request was seen in it. */
  loadedMs = 0
  usedMs = Number.NEGATIVE_INFINITY
  /** The lower, the sooner it makes room: the time of its last use, or what stands for it. */
  rank = 0
  #leases = 0
  #whenIdle: (() => void) | null = null
  #drained: Promise<void> | null = null

  constructor(desired: DesiredGeneration, deps: GenerationDeps, birth: Birth = NEEDED) {
    this.desired = desired
    this.#deps = deps
    this.#state = birth.state
    this.#isOpen = birth.isOpen
    this.#reason = birth.before ?? null
  }

  get state(): GenerationState {
    return this.#state
  }

  get reason(): string | null {
    return this.#reason
  }

  get plan(): GenerationPlan {
    return readPlan(this.desired.plan)
  }

  get isPublic(): boolean {
    return (this.#door ?? this.#openDoor()).isPublic
  }

  /** Keys that travel in the bundle, by digest. */
  accepts(digest: string): boolean {
    return (this.#door ?? this.#openDoor()).digests.has(digest)
  }

  get token(): TokenGate | null {
    return (this.#door ?? this.#openDoor()).token
  }

  #openDoor(): Door {
    this.#door = doorOf(this.plan, this.#deps.issuers)
    return this.#door
  }

  /** Takes requests. */
  get serves(): boolean {
    return this.#isOpen
  }

  /** All its threads are there. */
  get isLoaded(): boolean {
    return this.#state === 'warm' || this.#state === 'active'
  }

  get leases(): number {
    return this.#leases
  }

  /** Of `isLoaded`: none of its runs is so old that nobody knows when it ends. */
  get canEnd(): boolean {
    return (this.#pools?.lostThreads ?? 0) === 0
  }

  lane(endpointId: string, verb: Verb): Lane | null {
    return (this.#lanes ?? this.#openLanes()).get(endpointId, verb)
  }

  /** All that there are by now, by endpoint. */
  get lanes(): ReadonlyMap<string, readonly Lane[]> {
    return this.#lanes?.byEndpoint() ?? NO_LANES
  }

  #openLanes(): Lanes {
    const { scheduler, recorder, onLanes } = this.#deps
    const { desired, plan } = this
    const lanes = new Lanes({ desired, plan, scheduler, recorder, host: this.#lanesHost() })
    this.#lanes = lanes
    lanes.stopEndpoints(this.#stopped)
    if (this.#state === 'failed') lanes.down(this.#reason ?? 'it has failed')
    onLanes(this)
    return lanes
  }

  /** Nobody asks it any more: what was only there for callers goes. */
  forgetLanes(): void {
    assert(this.#leases === 0, 'nobody waits in lanes that go')
    const { serviceId, generationId } = this.desired
    this.#deps.recorder.forget(serviceId, generationId)
    this.#lanes = null
  }

  /** Notes the time when a request was here since the last call. */
  seeUse(): void {
    const isUsed = this.#isUsed || this.#leases > 0
    this.#isUsed = false
    if (!isUsed) return
    this.usedMs = nowMs()
    this.rank = this.usedMs
  }

  /** A cold one shows that it is about to be loaded: control must know before load() begins. */
  announceLoad(): void {
    if (this.#state === 'cold') this.moveTo('loading')
  }

  /** Loads all threads; never throws: a failure is a state with a reason. */
  async load(): Promise<void> {
    const isAwaited = this.#state === 'draining' && this.#leases > 0
    // Dropped while it waited for its turn: there is nothing to load any more.
    if (this.#state !== 'loading' && !isAwaited) return this.#settleIfIdle()
    const { damaged } = this.desired
    const startMs = nowMs()
    try {
      if (damaged !== undefined) throw new AppError('ERR_LOAD_FAILED', damaged)
      const { plan } = this
      const pools = await this.#startPools(plan)
      this.#pools = pools
      this.loadedMs = nowMs()
      this.#loadMs = this.loadedMs - startMs
      this.#reason = null
      const lanes = this.#lanes ?? this.#openLanes()
      lanes.begin(plan, pools)
      // Dropped while it loaded: drain() waits for this.
      if (this.#state === 'loading') {
        const wasOpen = this.#isOpen
        this.#isOpen = true
        this.moveTo('warm')
        if (!wasOpen) this.#deps.onRoutes()
      }
    } catch (error) {
      this.fail(messageOf(error))
    }
    this.#settleIfIdle()
  }

  /** Out of memory, and still known: what comes waits until it is loaded again. */
  async chill(): Promise<void> {
    const pools = this.#pools
    this.#pools = null
    this.#lanes?.pause()
    this.#isUsed = false
    this.#loadMs = null
    this.moveTo('cold')
    await pools?.close()
  }

  #startPools(plan: GenerationPlan): Promise<Pools> {
    const { serviceId, generationId, directory } = this.desired
    const { settings, spawner, logger, scheduler, defaultThreads, threadsMax } = this.#deps
    const checked = this.#deps.checkedForms.of(plan)
    return Pools.start({
      setup: { serviceId, generationId, directory, plan, settings, checked },
      threads: Math.min(plan.threads ?? defaultThreads, threadsMax),
      spawner,
      logger,
      onThread: () => scheduler.threadIsFree(),
      onStatus: () => this.#deps.onChange(this),
      onDown: (reason) => {
        // Of threads that are on their way out nobody needs to know.
        if (this.#state !== 'cold') this.fail(reason)
      },
    })
  }

  moveTo(next: GenerationState): void {
    if (next === this.#state) return
    assert(NEXT[this.#state].includes(next), `a generation goes not from ${this.#state} to ${next}`)
    this.#state = next
    const { serviceId, generationId } = this.desired
    this.#deps.logger.info({ serviceId, generationId, state: next }, 'generation')
    this.#deps.onChange(this)
  }

  takeLease(): void {
    this.#leases += 1
    if (!this.#isUsed) this.#beginUse()
  }

  #beginUse(): void {
    this.#isUsed = true
    if (this.#state === 'cold') this.#deps.onNeeded(this)
  }

  endLease(): void {
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
    this.#isOpen = false
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
    return {
      serviceId: this.desired.serviceId,
      generationId: this.desired.generationId,
      state: this.#state,
      reason: this.#reason,
      threads: this.#pools?.threads ?? 0,
      threadsLost: this.#pools?.lostThreads ?? 0,
      loadMs: this.#loadMs,
      queued: this.#lanes?.all().reduce((sum, lane) => sum + lane.waiting, 0) ?? 0,
      running: this.#leases,
      stoppedEndpoints: this.#observeStopped(),
      hangs: this.#observeHangs(),
      runtimes: this.#statuses(),
    }
  }

  #statuses(): readonly RuntimeStatus[] {
    const statuses = this.#pools?.statuses ?? []
    const { token } = this
    return token === null ? statuses : [...statuses, token.status()]
  }

  /**
   * Control decides what is stopped, for it sees all processes and what came before this one. An
   * endpoint that is not named any more is run again.
   */
  stopEndpoints(stopped: StoppedCauses): void {
    this.#stopped = stopped
    this.#lanes?.stopEndpoints(stopped)
  }

  /** How many of its endpoints are stopped. */
  get stops(): number {
    return this.#stopped.size
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
    onChange(this)
  }

  #observeStopped(): string[] {
    if (this.stops === 0) return []
    const ids = this.plan.endpoints.map(({ id }) => id)
    return ids.filter((id) => this.#stopped.has(id))
  }

  #observeHangs(): Readonly<Record<string, number>> {
    const { hangs } = this.#deps
    if (hangs.size === 0) return {}
    const counts = this.plan.endpoints.flatMap(({ id }) => {
      const count = hangs.get(this.#subject(id))
      return count === undefined ? [] : [[id, count] as const]
    })
    return Object.fromEntries(counts)
  }

  #subject(endpointId: string): string {
    return `${refKey(this.desired)}/${endpointId}`
  }

  #hangEnded(pool: PoolKind): void {
    this.#pools?.threadIsBack(pool)
    this.#deps.onChange(this)
  }

  fail(reason: string): void {
    if (this.#state === 'closed') return
    this.#reason = reason
    this.#isOpen = false
    this.#lanes?.down(reason)
    if (this.#state === 'draining') return
    this.moveTo('failed')
    this.#deps.onRoutes()
  }

  #settleIfIdle(): void {
    if (this.#leases > 0 || this.#whenIdle === null) return
    this.#whenIdle()
    this.#whenIdle = null
  }

  #lanesHost(): LanesHost {
    return {
      endLease: () => this.endLease(),
      takeLease: () => this.takeLease(),
      whereTo: (endpointId, verb, reroute, pending) =>
        this.#deps.whereTo({ generation: this, endpointId, verb }, reroute, pending),
      hangs: (endpointId, pool) => this.#hangs(endpointId, pool),
      hangEnded: (pool) => this.#hangEnded(pool),
    }
  }
}
