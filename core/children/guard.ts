/**
 * Ends children that start more processes than they may. The kernel has a limit too, but counts per
 * user and not at all for root; this counts per child.
 *
 * The number of threads on the machine is one short read; only when it has grown by a good part of
 * what a child may add is it found out whose they are, the youngest first.
 */

import { closeSync, openSync, readSync } from 'node:fs'
import { factsOf, markOf, processIds } from './processes.ts'

const LOOK_EVERY_MS = 100
/** Whoever stays below this share of the limit is not looked for. */
const STEP_SHARE = 0.25

export interface Guarded {
  readonly pid: number
  readonly mark: string
  readonly processesMax: number
  /** Called once. */
  over(): void
}

export class Guard {
  readonly #guarded = new Set<Guarded>()
  #timer: NodeJS.Timeout | null = null
  #file: number | null = null
  readonly #text = Buffer.alloc(64)
  #base = 0
  #counts = false

  add(one: Guarded): void {
    this.#guarded.add(one)
    if (this.#timer !== null) return
    try {
      this.#file = openSync('/proc/loadavg', 'r')
    } catch {
      return
    }
    this.#base = this.#threads()
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
  }

  remove(one: Guarded): void {
    this.#guarded.delete(one)
    if (this.#guarded.size > 0) return
    if (this.#timer !== null) clearInterval(this.#timer)
    if (this.#file !== null) closeSync(this.#file)
    this.#timer = null
    this.#file = null
  }

  /** `0.20 0.18 0.12 1/80 11206`: the second number of the fourth field. */
  #threads(): number {
    if (this.#file === null) return 0
    try {
      const length = readSync(this.#file, this.#text, 0, this.#text.length, 0)
      return Number(/\/(\d+)/.exec(this.#text.toString('latin1', 0, length))?.[1] ?? 0)
    } catch {
      return 0
    }
  }

  #look(): void {
    const threads = this.#threads()
    this.#base = Math.min(this.#base, threads)
    const smallest = Math.min(...[...this.#guarded].map((one) => one.processesMax))
    if (this.#counts || threads - this.#base < Math.max(1, smallest * STEP_SHARE)) return
    this.#base = threads
    this.#counts = true
    void this.#count().finally(() => {
      this.#counts = false
    })
  }

  async #count(): Promise<void> {
    const counts = new Map<Guarded, number>()
    for (const pid of await processIds()) {
      const facts = await factsOf(pid)
      if (facts === null) continue
      const owner = this.#bySession(facts.session) ?? this.#byMark(await markOf(pid))
      if (owner === null) continue
      const count = (counts.get(owner) ?? 0) + facts.threads
      counts.set(owner, count)
      // The child itself is not one that it has added.
      if (count > owner.processesMax + 1 && this.#guarded.delete(owner)) owner.over()
    }
  }

  #bySession(session: number): Guarded | null {
    for (const one of this.#guarded) if (one.pid === session) return one
    return null
  }

  #byMark(mark: string | null): Guarded | null {
    if (mark === null) return null
    for (const one of this.#guarded) if (one.mark === mark) return one
    return null
  }
}
