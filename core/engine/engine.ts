/**
 * Makes a serving process follow the desired state: loads generations, one at a time, replaces the
 * routing in one assignment, and drains what is not wanted any more. What may be cold is loaded
 * when somebody asks for it, and goes when its memory is needed.
 */

import { Issuers, type IssuersOptions } from '../auth/issuers.ts'
import { KEY_TIMES } from '../auth/key-cache.ts'
import { type QuotaPlace, Quotas } from '../auth/quotas.ts'
import { refKey } from '../base/ids.ts'
import type { Logger } from '../base/logger.ts'
import type {
  Capacity,
  DesiredGeneration,
  DesiredService,
  DesiredState,
  ObservedGeneration,
  StoppedEndpoint,
} from '../channel/messages.ts'
import { Spawner } from '../children/spawner.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import type { LaneLog } from '../dispatch/lane-listeners.ts'
import { type RunWitness, Scheduler } from '../dispatch/scheduler.ts'
import type { Recorder } from '../metrics/recorder.ts'
import { CheckedForms } from './checked-forms.ts'
import { Generation } from './generation.ts'
import type { Birth, GenerationDeps } from './generation-deps.ts'
import { Holdings } from './holdings.ts'
import { KeptRoutes } from './kept-routes.ts'
import { Loads } from './loads.ts'
import { type MayVisit, Rerouter } from './reroute.ts'
import { buildRouting, EMPTY_ROUTING, type Find, type Held, type Routing } from './routing.ts'

const RETRY_MS = 10_000
/** What may be cold and cannot be loaded is tried again later each time. */
const RETRY_MS_MAX = 300_000
/** How coarse it is known when a generation was last used. */
const USE_EVERY_MS = 1_000
const UNLIMITED: Capacity = { generationsMax: null, bytesMax: null }
const COLD: Birth = { state: 'cold', isOpen: true }
/** So many may be loaded before anybody asks: a start must not take minutes. */
const LOADED_AT_START_MAX = 64

export interface EngineOptions {
  readonly recorder: Recorder
  readonly logger: Logger
  readonly defaultThreads: number
  /** More would take turns on the same cores, and each holds the models once more. */
  readonly threadsMax: number
  readonly permits: number
  readonly hangMs: number
  /** Default: everything fits. */
  readonly capacity?: Capacity
  /** For endpoints that are no ONNX model. */
  readonly runtimes: RuntimeSettings
  /** Notes which endpoints are inside a run; null: nobody asked for that. */
  readonly witness: RunWitness | null
  /** How this process shares the limits of keys with others; default: it is alone. */
  readonly quotas?: QuotaPlace
  /** Whose tokens services may ask for; default: nobody's. */
  readonly issuers?: Pick<IssuersOptions, 'settings' | 'times'>
  /** The observed state has changed. */
  readonly onChange: () => void
  /** The gate, for requests that one generation sends on to another. */
  readonly mayVisit: MayVisit
  /** Asked for each endpoint whenever the routing changes; absent: nothing is logged. */
  readonly logOf?: LogOf
}

/** Tells of one after the other whether it is loaded though nobody asks: while there is room. */
type IsStarted = (next: DesiredGeneration) => boolean

/** Who is told of the answers of an endpoint; null where its service logs nothing. */
export type LogOf = (
  service: DesiredService,
  generationId: string,
  endpointId: string,
) => LaneLog | null

export class Engine {
  readonly scheduler: Scheduler
  readonly quotas: Quotas
  readonly #options: EngineOptions
  readonly #deps: GenerationDeps
  readonly #spawner: Spawner
  readonly #held = new Holdings()
  readonly #loads: Loads
  readonly #uses: NodeJS.Timeout
  readonly #leaving = new Set<Generation>()
  readonly #retries = new WeakSet<Generation>()
  /** Loads in a row that have failed, of what may be cold. */
  readonly #failures = new Map<string, number>()
  #added = 0
  readonly #routes = new KeptRoutes()
  #routing: Routing = EMPTY_ROUTING
  #desired: DesiredState | null = null
  #stopped: readonly StoppedEndpoint[] = []

  constructor(options: EngineOptions) {
    this.#options = options
    this.quotas = new Quotas(options.quotas)
    const { permits, hangMs, logger, witness, recorder, runtimes: settings } = options
    const { defaultThreads, threadsMax } = options
    const spawner = new Spawner({ settings, logger })
    this.#spawner = spawner
    this.scheduler = new Scheduler({ permits, hangMs, logger, witness })
    this.#loads = new Loads({
      capacity: options.capacity ?? UNLIMITED,
      logger,
      known: () => this.#held.values(),
      onLoad: (cause, ms) => recorder.loaded(cause, ms),
      onEvicted: (generation) => this.#evicted(generation),
    })
    this.#uses = setInterval(() => this.#seeUses(), USE_EVERY_MS)
    this.#uses.unref()
    const threads = { defaultThreads, threadsMax }
    const hangs = new Map<string, number>()
    const issuers = new Issuers({
      settings: options.issuers?.settings ?? [],
      times: options.issuers?.times ?? KEY_TIMES,
      logger,
      onChange: options.onChange,
    })
    const checkedForms = new CheckedForms(settings.compiled)
    const ours = { settings, issuers, spawner, checkedForms, hangs, ...this.#events() }
    const { mayVisit } = options
    const { held } = this
    const rerouter = new Rerouter({ routing: () => this.#routing, held, mayVisit })
    const whereTo: GenerationDeps['whereTo'] = (from, reroute, pending) =>
      rerouter.whereTo(from, reroute, pending)
    this.#deps = { scheduler: this.scheduler, recorder, logger, ...threads, ...ours, whereTo }
  }

  get routing(): Routing {
    return this.#routing
  }

  readonly find: Find = (serviceId, generationId) =>
    this.#held.get({ serviceId, generationId }) ?? null

  /** All generations of a service that the process holds, mapped or not, loaded or not. */
  readonly held = (serviceId: string): readonly Held[] => this.#held.of(serviceId)

  /**
   * Settles when everything has loaded that must be, or is loaded without being asked for, or has
   * failed to. `stopped` holds at once, for what drains too; an endpoint that is not in it any more
   * is run again.
   */
  async apply(desired: DesiredState, stopped: readonly StoppedEndpoint[]): Promise<void> {
    const stops = stopped.length > 0 || this.#stopped.length > 0
    this.#stopped = stopped
    if (stops) for (const generation of this.#all()) this.#stop(generation)
    const wanted = new Set(desired.generations.map(refKey))
    // Where only `stopped` has changed nobody has asked for another try of what failed.
    const isNew = desired.revision !== this.#desired?.revision
    const next = desired.generations.filter((one) => {
      const held = this.#held.get(one)
      return held === undefined || (isNew && (held.desired !== one || isNeeded(one)))
    })
    // What must be in memory comes before what finds room there.
    const loads = next.filter(isNeeded).map((one) => this.#hold(one))
    const isStarted = this.#startsAhead()
    const others = next.filter((one) => !isNeeded(one))
    loads.push(...others.map((one) => this.#hold(one, isStarted)))
    this.#forgetServices(desired)
    this.#desired = desired
    this.#route()
    // Only now does nothing lead there any more.
    for (const generation of [...this.#held.values()]) {
      if (!wanted.has(refKey(generation.desired))) this.#letGo(generation)
    }
    this.#options.onChange()
    await Promise.all(loads)
  }

  /** What is cold and has nothing to tell is left out; what is being loaded comes first. */
  observe(): ObservedGeneration[] {
    const isTold = (one: Generation) => one.state !== 'cold' || one.reason !== null
    const { current } = this.#loads
    const told = this.#all().filter((one) => isTold(one) && one !== current)
    return [...(current === null ? [] : [current]), ...told].map((one) => one.observe())
  }

  /** Closes all pools; only when no request is left. False when a run does not end. */
  async close(): Promise<boolean> {
    if (this.scheduler.running > 0) return false
    clearInterval(this.#uses)
    const generations = this.#all()
    for (const generation of generations) this.#held.remove(generation)
    await Promise.all(generations.map((generation) => this.#drain(generation)))
    return true
  }

  /**
   * Whatever close() has come to, no child outlives the process: where it did not end them these
   * are killed, and their callers have had their answers.
   */
  endChildren(): Promise<void> {
    return this.#spawner.close()
  }

  #all(): Generation[] {
    return [...this.#held.values(), ...this.#leaving]
  }

  #events(): Pick<GenerationDeps, 'onRoutes' | 'onChange' | 'onNeeded' | 'onLanes'> {
    return {
      onRoutes: () => this.#route(),
      onChange: (generation) => this.#changed(generation),
      onNeeded: (generation) => void this.#loads.add(generation, 'request'),
      onLanes: (generation) => this.#tellLanes(generation),
    }
  }

  /** Settles when it is loaded, where it is to be: asked for, or else where `isStarted` says so. */
  async #hold(next: DesiredGeneration, isStarted: IsStarted = () => false): Promise<void> {
    const held = this.#held.get(next)
    const isAsked = isNeeded(next)
    if (held !== undefined) {
      held.desired = next
      if (held.state === 'cold' && isAsked) return this.#loads.add(held, 'asked')
      // Wanted again after a failure: control asks for another try.
      if (held.state !== 'failed' || !isAsked) return
      this.#letGo(held)
    }
    const starts = isAsked || isStarted(next)
    const birth: Birth = starts ? { state: 'loading', isOpen: !isAsked } : COLD
    const generation = this.#add(next, birth)
    if (starts) await this.#loads.add(generation, isAsked ? 'asked' : 'start')
  }

  /** For one state: what is in memory is looked through once, however many are to be told. */
  #startsAhead(): IsStarted {
    let there = 0
    for (const { state } of this.#held.values()) if (state !== 'cold') there += 1
    const takesRoom = this.#loads.roomAhead()
    return (next) => {
      if (there >= LOADED_AT_START_MAX || !takesRoom(next)) return false
      there += 1
      return true
    }
  }

  #add(next: DesiredGeneration, birth: Birth): Generation {
    const generation = new Generation(next, this.#deps, birth)
    this.#added += 1
    // Control names first what was used last.
    generation.rank = -this.#added
    this.#stop(generation)
    this.#held.add(generation)
    return generation
  }

  #stop(generation: Generation): void {
    if (this.#stopped.length === 0 && generation.stops === 0) return
    const key = refKey(generation.desired)
    const ours = this.#stopped.filter((one) => refKey(one) === key)
    generation.stopEndpoints(new Map(ours.map(({ endpointId, cause }) => [endpointId, cause])))
  }

  #letGo(generation: Generation): void {
    this.#held.remove(generation)
    void this.#drain(generation)
  }

  async #drain(generation: Generation): Promise<void> {
    this.#leaving.add(generation)
    // Whoever waits in it is answered still.
    if (generation.state === 'cold' && generation.leases > 0) {
      void this.#loads.add(generation, 'request')
    }
    await generation.drain()
    this.#leaving.delete(generation)
    this.#options.onChange()
  }

  #forgetServices({ services }: DesiredState): void {
    const wanted = new Set(services.map(({ serviceId }) => serviceId))
    for (const { serviceId } of this.#desired?.services ?? []) {
      if (!wanted.has(serviceId)) this.#options.recorder.forgetService(serviceId)
    }
  }

  /** The desired state is new, or a generation has begun or ceased to take requests. */
  #route(): void {
    if (this.#desired === null) return
    this.#routing = buildRouting(this.#desired, this, this.quotas, this.#routes)
    for (const generation of this.#held.values()) {
      this.#tellLanes(generation)
      this.#markActive(generation)
    }
    this.#options.onChange()
  }

  #changed(generation: Generation): void {
    const isHeld = this.#held.get(generation.desired) === generation
    if (isHeld) {
      this.#markActive(generation)
      if (generation.state === 'failed') this.#retryLater(generation)
      if (generation.isLoaded) this.#failures.delete(refKey(generation.desired))
    }
    this.#options.onChange()
  }

  /** Its memory was needed; who came meanwhile waits for its next load. */
  #evicted(generation: Generation): void {
    if (generation.leases > 0) {
      void this.#loads.add(generation, 'request')
      return
    }
    this.#routing.forget(generation.desired.serviceId)
    generation.forgetLanes()
  }

  #seeUses(): void {
    for (const generation of this.#held.values()) if (generation.isLoaded) generation.seeUse()
  }

  /** Lanes know whether their service's traffic is split, and who is told of its answers. */
  #tellLanes({ desired, lanes }: Generation): void {
    const service = this.#routing.services.get(desired.serviceId)
    if (service === undefined) return
    const { logOf } = this.#options
    const split = service.mapping.length > 1
    for (const [endpointId, ours] of lanes) {
      const log = logOf?.(service, desired.generationId, endpointId) ?? null
      for (const lane of ours) {
        lane.split = split
        lane.log = log
      }
    }
  }

  /**
   * What stays wanted though it failed, a crashed pool for one, is tried again; what may be cold
   * when the next request comes, and later each time.
   */
  #retryLater(generation: Generation): void {
    if (this.#retries.has(generation)) return
    this.#retries.add(generation)
    const { desired } = generation
    const key = refKey(desired)
    const failures = this.#failures.get(key) ?? 0
    this.#failures.set(key, failures + 1)
    const waitMs = isNeeded(desired) ? RETRY_MS : RETRY_MS * 2 ** failures
    const timer = setTimeout(() => this.#retry(generation), Math.min(RETRY_MS_MAX, waitMs))
    timer.unref()
  }

  #retry(failed: Generation): void {
    const { desired, reason } = failed
    if (this.#held.get(desired) !== failed) return
    if (isNeeded(desired)) {
      void this.#hold(desired)
      return
    }
    this.#letGo(failed)
    this.#add(desired, { ...COLD, ...(reason === null ? {} : { before: reason }) })
    this.#route()
  }

  #markActive(generation: Generation): void {
    if (!generation.isLoaded) return
    const { serviceId, generationId } = generation.desired
    const service = this.#routing.services.get(serviceId)
    const isActive =
      service?.enabled === true && service.mapping.some((one) => one.generationId === generationId)
    generation.moveTo(isActive ? 'active' : 'warm')
  }
}

function isNeeded({ hold }: DesiredGeneration): boolean {
  return hold === undefined
}
