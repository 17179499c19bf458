/**
 * Which endpoints must not be run any more, so that a hostile row cannot keep the node replacing
 * its serving processes. Three hangs, or three crashes of a process, within ten minutes stop an
 * endpoint until an operator pardons it. Counts live as long as control does.
 */

import { refKey } from '../../core/base/ids.ts'
import type { StoppedEndpoint } from '../../core/channel/messages.ts'

const WINDOW_MS = 600_000
const HANGS_MAX = 3
const CRASHES_MAX = 3

export type EndpointRef = Omit<StoppedEndpoint, 'cause'>

interface Crash {
  readonly atMs: number
  /** The endpoints that were inside a run, by key. */
  readonly running: ReadonlyMap<string, EndpointRef>
}

export class Circuit {
  readonly #clockMs: () => number
  readonly #stopped = new Map<string, StoppedEndpoint>()
  readonly #hangs = new Map<string, { readonly ref: EndpointRef; atMs: number[] }>()
  #crashes: Crash[] = []

  constructor(clockMs: () => number) {
    this.#clockMs = clockMs
  }

  stopped(): readonly StoppedEndpoint[] {
    return [...this.#stopped.values()]
  }

  /** So many more of its runs did not end; true when that stops it. */
  hung(ref: EndpointRef, count: number): boolean {
    const nowMs = this.#clockMs()
    const key = keyOf(ref)
    const before = this.#hangs.get(key)?.atMs ?? []
    const recent = before.filter((atMs) => nowMs - atMs < WINDOW_MS)
    // More than the limit need not be kept, however large the number in a report.
    for (let i = 0; i < Math.min(count, HANGS_MAX); i++) recent.push(nowMs)
    this.#hangs.set(key, { ref, atMs: recent.slice(-HANGS_MAX) })
    return recent.length >= HANGS_MAX && this.#stop(ref, 'hangs')
  }

  /** A process crashed while these were inside a run; true when that stops any of them. */
  crashed(refs: readonly EndpointRef[]): boolean {
    if (refs.length === 0) return false
    const nowMs = this.#clockMs()
    this.#crashes = this.#crashes.filter(({ atMs }) => nowMs - atMs < WINDOW_MS)
    this.#crashes.push({ atMs: nowMs, running: new Map(refs.map((ref) => [keyOf(ref), ref])) })
    const guilty = refs.filter((ref) => this.#isGuilty(keyOf(ref)))
    return guilty.filter((ref) => this.#stop(ref, 'crashes')).length > 0
  }

  /** What the endpoints of this generation did is forgotten; true when one of them was stopped. */
  pardon(serviceId: string, generationId: string): boolean {
    const generation = refKey({ serviceId, generationId })
    const isOfIt = (ref: EndpointRef): boolean => refKey(ref) === generation
    for (const [key, { ref }] of this.#hangs) if (isOfIt(ref)) this.#hangs.delete(key)
    this.#crashes = this.#crashes.map(({ atMs, running }) => ({
      atMs,
      running: new Map([...running].filter(([, ref]) => !isOfIt(ref))),
    }))
    const freed = [...this.#stopped].filter(([, ref]) => isOfIt(ref))
    for (const [key] of freed) this.#stopped.delete(key)
    return freed.length > 0
  }

  /** Inside enough crashes, and no other endpoint was inside each of these and more. */
  #isGuilty(key: string): boolean {
    const own = this.#crashes.filter(({ running }) => running.has(key))
    if (own.length < CRASHES_MAX) return false
    const others = new Set(own.flatMap(({ running }) => [...running.keys()]))
    return ![...others].some((other) => {
      const isInAll = own.every(({ running }) => running.has(other))
      return isInAll && this.#count(other) > own.length
    })
  }

  #count(key: string): number {
    return this.#crashes.filter(({ running }) => running.has(key)).length
  }

  #stop(ref: EndpointRef, cause: StoppedEndpoint['cause']): boolean {
    if (this.#stopped.has(keyOf(ref))) return false
    const { serviceId, generationId, endpointId } = ref
    this.#stopped.set(keyOf(ref), { serviceId, generationId, endpointId, cause })
    return true
  }
}

/** Ids hold no slash, so no two endpoints share a key. */
function keyOf(ref: EndpointRef): string {
  return `${refKey(ref)}/${ref.endpointId}`
}
