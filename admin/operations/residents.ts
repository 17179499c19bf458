/**
 * Which generations are to be in memory beyond those that receive traffic, and for how long:
 * preloaded by an operator, being warmed for a switch, or replaced a moment ago and kept for a
 * rollback. None of it survives a restart.
 */

import { type GenerationRef, refKey } from '../../core/base/ids.ts'

export class Residents {
  readonly #preloaded = new Map<string, GenerationRef>()
  readonly #kept = new Map<string, { ref: GenerationRef; timer: NodeJS.Timeout }>()
  /** Generations that an operation needs to stay as they are; those also warmed are `loaded`. */
  readonly #reserved = new Map<string, { ref: GenerationRef; count: number; loaded: boolean }>()
  readonly #keepMs: number
  readonly #onExpired: () => void

  constructor(keepMs: number, onExpired: () => void) {
    this.#keepMs = keepMs
    this.#onExpired = onExpired
  }

  /** All that must be in memory. */
  needed(): GenerationRef[] {
    const loaded = [...this.#reserved.values()].filter((entry) => entry.loaded)
    return [...this.#preloaded.values(), ...loaded.map((entry) => entry.ref)]
  }

  /** What was replaced a moment ago, and stays as long as its memory is not needed. */
  kept(): GenerationRef[] {
    return [...this.#kept.values()].map((entry) => entry.ref)
  }

  isNeeded(ref: GenerationRef): boolean {
    const key = refKey(ref)
    return this.#reserved.get(key)?.loaded === true || this.#preloaded.has(key)
  }

  reserve(ref: GenerationRef): void {
    const entry = this.#reserved.get(refKey(ref))
    if (entry === undefined) this.#reserved.set(refKey(ref), { ref, count: 1, loaded: false })
    else entry.count += 1
  }

  unreserve(ref: GenerationRef): void {
    const entry = this.#reserved.get(refKey(ref))
    if (entry === undefined) return
    entry.count -= 1
    if (entry.count === 0) this.#reserved.delete(refKey(ref))
  }

  isReserved(ref: GenerationRef): boolean {
    return this.#reserved.has(refKey(ref))
  }

  isServiceReserved(serviceId: string): boolean {
    return [...this.#reserved.values()].some((entry) => entry.ref.serviceId === serviceId)
  }

  /** A reserved generation is about to be loaded. */
  markLoaded(ref: GenerationRef): void {
    const entry = this.#reserved.get(refKey(ref))
    if (entry !== undefined) entry.loaded = true
  }

  preload(ref: GenerationRef): void {
    this.#preloaded.set(refKey(ref), ref)
  }

  isPreloaded(ref: GenerationRef): boolean {
    return this.#preloaded.has(refKey(ref))
  }

  endPreload(ref: GenerationRef): void {
    this.#preloaded.delete(refKey(ref))
  }

  /** Stays in memory for a while, so that going back to it takes no load. */
  keep(ref: GenerationRef): void {
    this.#endKeep(refKey(ref))
    const timer = setTimeout(() => {
      this.#kept.delete(refKey(ref))
      this.#onExpired()
    }, this.#keepMs)
    timer.unref()
    this.#kept.set(refKey(ref), { ref, timer })
  }

  /** Replaced a moment ago. */
  isKept(ref: GenerationRef): boolean {
    return this.#kept.has(refKey(ref))
  }

  /** Neither preloaded nor kept any more. */
  drop(ref: GenerationRef): void {
    this.#preloaded.delete(refKey(ref))
    this.#endKeep(refKey(ref))
  }

  close(): void {
    for (const key of [...this.#kept.keys()]) this.#endKeep(key)
  }

  #endKeep(key: string): void {
    clearTimeout(this.#kept.get(key)?.timer)
    this.#kept.delete(key)
  }
}
