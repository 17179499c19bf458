/**
 * Makes a serving process follow the desired state: loads generations, one at a time, replaces the
 * routing in one assignment, and drains what is not wanted any more.
 */

import { Issuers, type IssuersOptions } from '../auth/issuers.ts'
import { KEY_TIMES } from '../auth/key-cache.ts'
import { Quotas } from '../auth/quotas.ts'
import { refKey } from '../base/ids.ts'
import type { Logger } from '../base/logger.ts'
import type {
  DesiredGeneration,
  DesiredService,
  DesiredState,
  ObservedGeneration,
  StoppedEndpoint,
} from '../channel/messages.ts'
import { Spawner } from '../children/spawner.ts'
import type { RuntimeSettings } from '../config/runtimes.ts'
import type { LaneLog } from '../dispatch/lane.ts'
import { type RunWitness, Scheduler } from '../dispatch/scheduler.ts'
import type { Recorder } from '../metrics/recorder.ts'
import { Generation, type GenerationDeps } from './generation.ts'
import { type MayVisit, Rerouter } from './reroute.ts'
import { buildRouting, EMPTY_ROUTING, type Find, type Held, type Routing } from './routing.ts'

const RETRY_MS = 10_000

export interface EngineOptions {
  readonly recorder: Recorder
  readonly logger: Logger
  readonly defaultThreads: number
  /** More would take turns on the same cores, and each holds the models once more. */
  readonly threadsMax: number
  readonly permits: number
  readonly hangMs: number
  /** For endpoints that are no ONNX model. */
  readonly runtimes: RuntimeSettings
  /** Notes which endpoints are inside a run; null: nobody asked for that. */
  readonly witness: RunWitness | null
  /** That share the limits of keys, this one included; default: 1. */
  readonly processes?: number
  /** Whose tokens services may ask for; default: nobody's. */
  readonly issuers?: Pick<IssuersOptions, 'settings' | 'times'>
  /** The observed state has changed. */
  readonly onChange: () => void
  /** The gate, for requests that one generation sends on to another. */
  readonly mayVisit: MayVisit
  /** Asked for each endpoint whenever the routing changes; absent: nothing is logged. */
  readonly logOf?: LogOf
}

/** Who is told of the answers of an endpoint; null where its service logs nothing. */
export type LogOf = (
  service: DesiredService,
  generationId: string,
  endpointId: string,
) => LaneLog | null

export class Engine {
  readonly scheduler: Scheduler
  readonly #options: EngineOptions
  readonly #deps: GenerationDeps
  readonly #spawner: Spawner
  readonly #held = new Map<string, Generation>()
  readonly #leaving = new Set<Generation>()
  readonly #retries = new WeakSet<Generation>()
  readonly #quotas: Quotas
  #routing: Routing = EMPTY_ROUTING
  #desired: DesiredState | null = null
  #stopped: readonly StoppedEndpoint[] = []
  #loads: Promise<void> = Promise.resolve()

  constructor(options: EngineOptions) {
    this.#options = options
    this.#quotas = new Quotas(options.processes ?? 1)
    const { permits, hangMs, logger, witness, recorder, runtimes: settings } = options
    const { defaultThreads, threadsMax } = options
    const spawner = new Spawner({ settings, logger })
    this.#spawner = spawner
    this.scheduler = new Scheduler({ permits, hangMs, logger, witness })
    const onChange = () => this.#changed()
    const threads = { defaultThreads, threadsMax }
    const hangs = new Map<string, number>()
    const issuers = new Issuers({
      settings: options.issuers?.settings ?? [],
      times: options.issuers?.times ?? KEY_TIMES,
      logger,
      onChange: options.onChange,
    })
    const ours = { settings, issuers, spawner, hangs, onChange }
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
    this.#held.get(refKey({ serviceId, generationId })) ?? null

  /** All generations of a service that the process holds, mapped or not, loaded or not. */
  readonly held = (serviceId: string): readonly Held[] =>
    [...this.#held.values()].filter(({ desired }) => desired.serviceId === serviceId)

  /**
   * Settles when everything that the state maps has loaded, or failed to. `stopped` holds at once,
   * for what drains too; an endpoint that is not in it any more is run again.
   */
  apply(desired: DesiredState, stopped: readonly StoppedEndpoint[]): Promise<void> {
    this.#stopped = stopped
    for (const generation of [...this.#held.values(), ...this.#leaving]) this.#stop(generation)
    const wanted = new Map(desired.generations.map((next) => [refKey(next), next]))
    // Where only `stopped` has changed nobody has asked for another try of what failed.
    const isNew = desired.revision !== this.#desired?.revision
    for (const [key, next] of wanted) if (isNew || !this.#held.has(key)) this.#hold(key, next)
    const services = new Set(desired.services.map(({ serviceId }) => serviceId))
    for (const { serviceId } of this.#desired?.services ?? []) {
      if (!services.has(serviceId)) this.#options.recorder.forgetService(serviceId)
    }
    this.#desired = desired
    this.#changed()
    // Only now does nothing lead there any more.
    for (const [key, generation] of this.#held) {
      if (!wanted.has(key)) this.#letGo(key, generation)
    }
    this.#options.onChange()
    return this.#loads
  }

  observe(): ObservedGeneration[] {
    return [...this.#held.values(), ...this.#leaving].map((generation) => generation.observe())
  }

  /** Closes all pools; only when no request is left. False when a run does not end. */
  async close(): Promise<boolean> {
    if (this.scheduler.running > 0) return false
    const generations = [...this.#held.values(), ...this.#leaving]
    this.#held.clear()
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

  #hold(key: string, next: DesiredGeneration): void {
    const held = this.#held.get(key)
    // Wanted again after a failure: control asks for another try.
    if (held !== undefined && held.state !== 'failed') return
    if (held !== undefined) this.#letGo(key, held)
    const generation = new Generation(next, this.#deps)
    this.#stop(generation)
    this.#held.set(key, generation)
    this.#loads = this.#loads.then(reported).then(() => generation.load())
  }

  #stop(generation: Generation): void {
    const key = refKey(generation.desired)
    const ours = this.#stopped.filter((one) => refKey(one) === key)
    generation.stopEndpoints(new Map(ours.map(({ endpointId, cause }) => [endpointId, cause])))
  }

  #letGo(key: string, generation: Generation): void {
    this.#held.delete(key)
    void this.#drain(generation)
  }

  async #drain(generation: Generation): Promise<void> {
    this.#leaving.add(generation)
    await generation.drain()
    this.#leaving.delete(generation)
    this.#options.onChange()
  }

  /** A generation became warm or failed, or the desired state is new. */
  #changed(): void {
    if (this.#desired === null) return
    this.#routing = buildRouting(this.#desired, this, this.#quotas)
    for (const service of this.#desired.services) this.#tellLanes(service)
    this.#markActive(this.#desired)
    for (const generation of this.#held.values()) {
      if (generation.state === 'failed') this.#retryLater(generation)
    }
    this.#options.onChange()
  }

  /** Lanes know whether their service's traffic is split, and who is told of its answers. */
  #tellLanes(service: DesiredService): void {
    const { logOf } = this.#options
    const split = service.mapping.length > 1
    for (const { desired, lanes } of this.held(service.serviceId)) {
      for (const { id } of desired.plan.endpoints) {
        const log = logOf?.(service, desired.generationId, id) ?? null
        for (const lane of lanes(id)) {
          lane.split = split
          lane.log = log
        }
      }
    }
  }

  /** What stays wanted though it failed, a crashed pool for one, is tried again. */
  #retryLater(generation: Generation): void {
    if (this.#retries.has(generation)) return
    this.#retries.add(generation)
    const key = refKey(generation.desired)
    const timer = setTimeout(() => {
      if (this.#held.get(key) !== generation) return
      // As it is wanted now: its files may have been found damaged, or repaired.
      const newest = this.#desired?.generations.find((one) => refKey(one) === key)
      this.#hold(key, newest ?? generation.desired)
    }, RETRY_MS)
    timer.unref()
  }

  #markActive(desired: DesiredState): void {
    const active = new Set<string>()
    for (const { serviceId, enabled, mapping } of desired.services) {
      if (!enabled) continue
      for (const { generationId } of mapping) active.add(refKey({ serviceId, generationId }))
    }
    for (const [key, generation] of this.#held) {
      if (generation.serves) generation.moveTo(active.has(key) ? 'active' : 'warm')
    }
  }
}

/**
 * A load may end the process, so control must know of it before it begins: a change is reported in
 * the next turn of the event loop, and this comes after it.
 */
function reported(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
