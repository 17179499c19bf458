/**
 * The loads of a serving process: one at a time, since each takes a core from predictions, and what
 * has to leave memory first does. What an operator asks for comes first, then what requests wait
 * for, then what is loaded so that nobody has to wait.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs } from '../base/clock.ts'
import { refKey } from '../base/ids.ts'
import type { Logger } from '../base/logger.ts'
import type { Capacity, DesiredGeneration } from '../channel/messages.ts'
import { fits, type Occupant, roomFor, type Size } from './capacity.ts'
import type { Generation } from './generation.ts'

const RANKS = ['asked', 'request', 'start'] as const
export type LoadCause = (typeof RANKS)[number]

/** How long a load waits until it looks again whether something may leave. */
const LOOK_AGAIN_MS = 50

export interface LoadsOptions {
  readonly capacity: Capacity
  readonly logger: Logger
  /** All that may be in memory. */
  readonly known: () => Iterable<Generation>
  /** A load has ended, well or not. */
  readonly onLoad: (cause: LoadCause, ms: number) => void
  /** It had to leave. */
  readonly onEvicted: (generation: Generation) => void
}

interface Entry {
  readonly generation: Generation
  cause: LoadCause
  readonly ended: Promise<void>
  readonly end: () => void
}

export class Loads {
  readonly #options: LoadsOptions
  readonly #waiting: Entry[] = []
  #isRunning = false
  #current: Generation | null = null

  constructor(options: LoadsOptions) {
    this.#options = options
  }

  /** The one that is being loaded. */
  get current(): Generation | null {
    return this.#current
  }

  /** Settles when the load has ended, whatever came of it. */
  add(generation: Generation, cause: LoadCause): Promise<void> {
    const known = this.#waiting.find((entry) => entry.generation === generation)
    if (known !== undefined) {
      if (RANKS.indexOf(cause) < RANKS.indexOf(known.cause)) known.cause = cause
      return known.ended
    }
    let end = (): void => {}
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    this.#waiting.push({ generation, cause, ended, end })
    if (!this.#isRunning) void this.#run()
    return ended
  }

  /** Takes room beside what is in memory and what is on its way; false: there is none for it. */
  roomAhead(): (next: DesiredGeneration) => boolean {
    const { capacity } = this.#options
    const loaded = [...this.#options.known()].filter(({ isLoaded }) => isLoaded)
    const coming = this.#waiting.map(({ generation }) => generation)
    const taken: Size[] = loaded.concat(coming).map(occupant)
    return (next) => {
      const size = sizeOf(next)
      const hasRoom = fits(capacity, taken, size)
      if (hasRoom) taken.push(size)
      return hasRoom
    }
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    for (let entry = this.#next(); entry !== undefined; entry = this.#next()) {
      if (await this.#serve(entry)) {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1)
        entry.end()
      } else await sleep(LOOK_AGAIN_MS)
    }
    this.#isRunning = false
  }

  #next(): Entry | undefined {
    for (const rank of RANKS) {
      const first = this.#waiting.find(({ cause }) => cause === rank)
      if (first !== undefined) return first
    }
    return undefined
  }

  /** False: it has to wait for room. */
  async #serve({ generation, cause }: Entry): Promise<boolean> {
    const { state, leases } = generation
    if (generation.isLoaded || state === 'failed' || state === 'closed') return true
    if (cause === 'request' && leases === 0) {
      // Whoever waited has left; the next one asks again.
      generation.seeUse()
      return true
    }
    if (state !== 'draining' || leases > 0) {
      const room = await this.#makeRoom(generation, cause)
      if (room !== true) return room === null
    }
    const startMs = nowMs()
    this.#current = generation
    generation.announceLoad()
    await reported()
    await generation.load()
    this.#current = null
    const endMs = nowMs()
    if (cause !== 'start') generation.rank = endMs
    this.#options.onLoad(cause, endMs - startMs)
    return true
  }

  /** True: there is room. False: not yet. Null: there will be none. */
  async #makeRoom(generation: Generation, cause: LoadCause): Promise<boolean | null> {
    const { capacity, logger, onEvicted } = this.#options
    const loaded = [...this.#options.known()].filter(({ isLoaded }) => isLoaded)
    for (const one of loaded) one.seeUse()
    const occupants = loaded.map((one) => ({ ...occupant(one), one }))
    const wish = { ...sizeOf(generation.desired), isForRequest: cause === 'request' }
    const room = roomFor(capacity, occupants, wish, nowMs())
    if (room.kind === 'later') return false
    if (room.kind === 'none') {
      generation.fail(room.reason)
      return null
    }
    for (const { one } of room.evict) {
      // Its lease may have ended, or its drain begun, while another one was closed.
      if (!one.isLoaded) continue
      logger.info({ out: refKey(one.desired), for: refKey(generation.desired) }, 'makes room')
      await one.chill()
      onEvicted(one)
    }
    return true
  }
}

const NOTHING_SHARED: Size['shared'] = []

function sizeOf({ bytes = 0, shared = NOTHING_SHARED }: DesiredGeneration): Size {
  return { bytes, shared }
}

function occupant(generation: Generation): Occupant {
  const { desired, canEnd, leases, usedMs, loadedMs, rank } = generation
  return {
    ...sizeOf(desired),
    mayGo: desired.hold !== undefined && canEnd,
    isPrevious: desired.hold === 'previous',
    isBusy: leases > 0,
    usedMs,
    loadedMs,
    rank,
  }
}

/**
 * A load may end the process, so control must know of it before it begins: a change is reported in
 * the next turn of the event loop, and this comes after it.
 */
function reported(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
