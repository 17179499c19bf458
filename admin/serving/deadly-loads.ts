/**
 * Generations whose load ends the serving process. Where somebody waits for the load he takes the
 * generation back; of one that receives traffic nobody would, and each new process would begin with
 * the same load. After the second death it is left out of what processes are told, so that all
 * others serve, until an operator asks for another try. Known as long as control lives.
 */

import { type GenerationRef, refKey } from '../../core/base/ids.ts'
import type {
  DesiredService,
  DesiredState,
  ObservedGeneration,
  ObservedState,
} from '../../core/channel/messages.ts'

const WINDOW_MS = 600_000
const DEATHS_MAX = 2

interface Deaths {
  readonly atMs: readonly number[]
  readonly how: string
}

export class DeadlyLoads {
  readonly #deaths = new Map<string, Deaths>()
  /** Why each is left out. */
  readonly #reasons = new Map<string, string>()

  /** A process ended after this report; the generation that is left out from now on, if any. */
  died(last: ObservedState | null, how: string, nowMs: number): GenerationRef | null {
    const loading = loadingIn(last)
    if (loading === null) return null
    const key = refKey(loading)
    const before = this.#deaths.get(key)?.atMs ?? []
    const atMs = [...before.filter((ms) => nowMs - ms < WINDOW_MS), nowMs]
    this.#deaths.set(key, { atMs, how })
    if (atMs.length < DEATHS_MAX || this.#reasons.has(key)) return null
    const times = `(${how}) ${atMs.length} times`
    const again = 'switch to it again to try once more'
    this.#reasons.set(key, `loading it ended the serving process ${times}; ${again}`)
    return { serviceId: loading.serviceId, generationId: loading.generationId }
  }

  /** What a process that began after a death has loaded is not what ended the other one. */
  reported(observed: ObservedState, startedMs: number): void {
    if (this.#deaths.size === 0) return
    for (const one of observed.generations) {
      const lastMs = this.#deaths.get(refKey(one))?.atMs.at(-1)
      const isLoaded = one.state === 'warm' || one.state === 'active'
      if (isLoaded && lastMs !== undefined && startedMs > lastMs) this.#deaths.delete(refKey(one))
    }
  }

  /** True when it was left out. */
  pardon(ref: GenerationRef): boolean {
    this.#deaths.delete(refKey(ref))
    return this.#reasons.delete(refKey(ref))
  }

  /** Null: it may be loaded. */
  whyNot(ref: GenerationRef): string | null {
    return this.#reasons.get(refKey(ref)) ?? null
  }

  /** What processes may be told. */
  allowed(desired: DesiredState): DesiredState {
    if (this.#reasons.size === 0) return desired
    return {
      ...desired,
      services: desired.services.map((service) => this.#allowedService(service)),
      generations: desired.generations.filter((one) => this.whyNot(one) === null),
    }
  }

  /** What processes report, and of those that they were not told of why. */
  shown(observed: ObservedState, desired: DesiredState | null): ObservedState {
    if (this.#reasons.size === 0) return observed
    const out = (desired?.generations ?? []).flatMap((one) => {
      const reason = this.whyNot(one)
      return reason === null ? [] : [failed(one, reason)]
    })
    if (out.length === 0) return observed
    const keys = new Set(out.map(refKey))
    const others = observed.generations.filter((one) => !keys.has(refKey(one)))
    return { ...observed, generations: [...others, ...out] }
  }

  #allowedService(service: DesiredService): DesiredService {
    const { serviceId } = service
    const whyNot = (generationId: string) => this.whyNot({ serviceId, generationId })
    const mapping = service.mapping.filter(({ generationId }) => whyNot(generationId) === null)
    if (mapping.length === service.mapping.length) return service
    const sum = mapping.reduce((total, { proba }) => total + proba, 0)
    // Callers shall hear why nobody answers, not that nothing was ever switched to.
    const [lost] = service.mapping
    const reason = lost === undefined ? null : whyNot(lost.generationId)
    const unusable = `generation "${lost?.generationId}": ${reason}`
    return {
      ...service,
      mapping: mapping.map((entry) => ({ ...entry, proba: entry.proba / sum })),
      ...(mapping.length === 0 ? { unusable } : {}),
    }
  }
}

/**
 * The one that was being loaded: generations load one at a time, in the order of the report. One
 * that was dropped while it loaded goes on before them, and cannot be told from one that only
 * waited for its turn, so then it is nobody.
 */
export function loadingIn(last: ObservedState | null): ObservedGeneration | null {
  const generations = last?.generations ?? []
  if (generations.some(({ state, loadMs }) => state === 'draining' && loadMs === null)) return null
  return generations.find(({ state }) => state === 'loading') ?? null
}

function failed({ serviceId, generationId }: GenerationRef, reason: string): ObservedGeneration {
  return {
    ...{ serviceId, generationId, state: 'failed', reason },
    ...{ threads: 0, threadsLost: 0, loadMs: null, queued: 0, running: 0 },
    ...{ stoppedEndpoints: [], hangs: {}, runtimes: [] },
  }
}
