/**
 * Brings serving to what is committed: publishes the desired state after every change, warms
 * generations before they are mapped and waits for them to be gone after they are not.
 *
 * Loads run one at a time on the node, because each takes a core away from predictions. What is in
 * memory already never waits for a load of something else.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { ObservedGeneration } from '../../core/channel/messages.ts'
import type { Serving, WarmOutcome } from '../contracts.ts'
import { SerialQueue } from '../serial.ts'
import type { GenerationRecord, ServiceRecord } from '../store/records.ts'
import { needsOf } from '../store/thin-generation.ts'
import type { Catalog } from './catalog.ts'
import type { CompiledForms } from './compiled-forms.ts'
import { buildDesiredState } from './desired.ts'
import { type MemoryEstimate, type MemoryUnits, memoryOf } from './memory.ts'
import { Residents } from './residents.ts'

const GONE_POLL_MS = 20

export interface PublisherOptions {
  readonly catalog: Catalog
  readonly serving: Serving
  readonly directoryOf: (serviceId: string, generationId: string) => string
  readonly keepPreviousMs: number
  readonly drainMs: number
  /** When a service was last called; null: nobody knows. */
  readonly lastUse: (record: ServiceRecord) => number | null
  readonly units: MemoryUnits
  /** Null: nothing is compiled. */
  readonly forms: CompiledForms | null
  readonly logger: Logger
}

export class Publisher {
  readonly residents: Residents
  readonly #options: PublisherOptions
  readonly #loads = new SerialQueue()
  readonly #excluded = new Set<string>()
  readonly #withdrawn = new Set<string>()
  #published: ReadonlySet<string> = new Set()
  /** Estimates need the plans. */
  readonly #memory = new WeakMap<GenerationRecord, MemoryEstimate>()
  #revision = 0

  constructor(options: PublisherOptions) {
    this.#options = options
    this.residents = new Residents(options.keepPreviousMs, () => this.publish())
  }

  /** Sends the state as it is now; returns its revision. */
  publish(): number {
    this.#revision += 1
    const { catalog, directoryOf, lastUse } = this.#options
    const state = buildDesiredState({
      revision: this.#revision,
      ...{ catalog, directoryOf, lastUse },
      memoryOf: (record) => this.#memoryOf(record),
      needed: this.residents.needed(),
      kept: this.residents.kept(),
      excluded: this.#excluded,
      withdrawn: this.#withdrawn,
    })
    this.#published = new Set(state.generations.map(refKey))
    this.#options.serving.publish(state)
    return this.#revision
  }

  #memoryOf(record: GenerationRecord): MemoryEstimate {
    const { units, forms } = this.#options
    // Which of its models are compiled may change any time.
    const mayShare = forms !== null && needsOf(record).hasWeights
    const known = mayShare ? undefined : this.#memory.get(record)
    if (known !== undefined) return known
    const { plan, report } = record
    const keys = mayShare ? forms.compiledOf(plan) : null
    const estimate = memoryOf({ plan, report }, units, ({ id }) => keys?.get(id) ?? null)
    if (!mayShare) this.#memory.set(record, estimate)
    return estimate
  }

  /** Publishes and waits until serving follows; throws ERR_APPLY_PENDING when it does not. */
  async apply(): Promise<void> {
    const revision = this.publish()
    if (await this.#options.serving.whenApplied(revision)) return
    throw new AppError('ERR_APPLY_PENDING', 'the change is kept and will be applied')
  }

  /**
   * Keeps a generation from being deleted or unloaded while `task` runs. It warms it with
   * `ensureWarm` when it needs it in memory.
   */
  async withReserved<T>(ref: GenerationRef, task: () => Promise<T>): Promise<T> {
    if (this.#withdrawn.has(ref.serviceId) || this.#withdrawn.has(refKey(ref))) {
      throw new AppError('ERR_GENERATION_BUSY', 'it is being deleted')
    }
    this.residents.reserve(ref)
    try {
      return await task()
    } finally {
      this.residents.unreserve(ref)
      if (this.#published.has(refKey(ref))) this.publish()
    }
  }

  /** The same for several: all of them are kept, or none. */
  async withAllReserved<T>(refs: readonly GenerationRef[], task: () => Promise<T>): Promise<T> {
    const [first, ...rest] = refs
    if (first === undefined) return task()
    return this.withReserved(first, () => this.withAllReserved(rest, task))
  }

  /** Of a reserved generation: returns when it is warm, throws ERR_LOAD_FAILED with the reason. */
  async ensureWarm(ref: GenerationRef): Promise<void> {
    if (this.#published.has(refKey(ref)) && this.isWarm(ref) && (await this.#hold(ref))) return
    await this.#loads.run(() => this.#load(ref))
  }

  /** It is in memory, and must not make room any more; false when it just has. */
  async #hold(ref: GenerationRef): Promise<boolean> {
    const isHeld = this.residents.isNeeded(ref)
    this.residents.markLoaded(ref)
    if (isHeld) return true
    const { serving } = this.#options
    return (await serving.whenApplied(this.publish())) && this.isWarm(ref)
  }

  /** It answers, and is loaded first; not in memory of at least one process. */
  isCold(ref: GenerationRef): boolean {
    if (!this.#published.has(refKey(ref)) || this.residents.isNeeded(ref)) return false
    const state = this.observed(ref)?.state
    return state === undefined || state === 'cold'
  }

  isWarm(ref: GenerationRef): boolean {
    const state = this.observed(ref)?.state
    return state === 'warm' || state === 'active'
  }

  /** In memory of serving, or on its way there. */
  isHeld(ref: GenerationRef): boolean {
    const state = this.observed(ref)?.state
    return state !== undefined && !['cold', 'closed', 'failed'].includes(state)
  }

  observed(ref: GenerationRef): ObservedGeneration | null {
    const generations = this.#options.serving.observed()?.generations ?? []
    return generations.find((observed) => refKey(observed) === refKey(ref)) ?? null
  }

  /**
   * A service (by id) or a generation (by refKey) is being deleted: the service is as if disabled,
   * pools drain, and nothing can reserve it any more. Ids hold no slash, so names never clash.
   */
  withdraw(name: string): void {
    this.#withdrawn.add(name)
  }

  endWithdrawal(name: string): void {
    this.#withdrawn.delete(name)
  }

  /** True once serve has closed every one of them; false when draining takes too long. */
  async whenGone(refs: readonly GenerationRef[]): Promise<boolean> {
    const deadlineMs = nowMs() + this.#options.drainMs
    while (refs.some((ref) => this.#isPresent(ref))) {
      if (nowMs() > deadlineMs) return false
      await sleep(GONE_POLL_MS)
    }
    return true
  }

  close(): void {
    this.residents.close()
  }

  async #load(ref: GenerationRef): Promise<void> {
    // A failed attempt stays failed while it is desired: serve must be told to forget it first.
    if (this.observed(ref)?.state === 'failed') await this.#forget(ref)
    this.residents.markLoaded(ref)
    const outcome = await this.#outcomeOf(ref)
    if (outcome.kind === 'warm') return
    throw new AppError('ERR_LOAD_FAILED', `${refKey(ref)}: ${outcome.reason}`)
  }

  /**
   * `warm` counts once serve knows of this revision, for before that it may be said of an earlier
   * life of the generation; a failure counts at once, for the process may have died of this load.
   */
  async #outcomeOf(ref: GenerationRef): Promise<WarmOutcome> {
    const { serving } = this.#options
    const applied = serving.whenApplied(this.publish())
    const warm = () => serving.whenWarm(ref.serviceId, ref.generationId)
    const failed = new Promise<WarmOutcome>((resolve, reject) => {
      warm().then((outcome) => (outcome.kind === 'failed' ? resolve(outcome) : undefined), reject)
    })
    return Promise.race([failed, applied.then(warm)])
  }

  async #forget(ref: GenerationRef): Promise<void> {
    this.#excluded.add(refKey(ref))
    await this.#options.serving.whenApplied(this.publish())
    this.#excluded.delete(refKey(ref))
  }

  #isPresent(ref: GenerationRef): boolean {
    // Wanted again meanwhile, by a preload for one: what is there now is to stay.
    return !this.#published.has(refKey(ref)) && this.isHeld(ref)
  }
}
