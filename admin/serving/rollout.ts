/**
 * New processes in all places, one place after the other, so that never more than one holds all
 * models twice. Who asks for it while it is under way joins.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { ReplaceOutcome, ReplaceReason } from '../contracts.ts'
import type { Slot } from './slot.ts'

interface Wish {
  readonly reason: ReplaceReason
  /** Only processes that have begun to listen since; null: all. */
  readonly listeningSinceMs: number | null
}

export class Rollout {
  readonly #slots: readonly Slot[]
  readonly #logger: Logger
  #running: { readonly reason: ReplaceReason; readonly done: Promise<ReplaceOutcome> } | null = null

  constructor(slots: readonly Slot[], logger: Logger) {
    this.#slots = slots
    this.#logger = logger
  }

  replace(wish: Wish): Promise<ReplaceOutcome> {
    const { reason } = wish
    const running = this.#running
    if (running !== null && (running.reason === reason || reason !== 'certificates')) {
      return running.done
    }
    // What listens from now on may have read what the caller has changed.
    const askedMs = nowMs()
    // What is under way may have read the old certificates, so these wait for a turn of their own.
    const before = running?.done ?? Promise.resolve()
    const done = before.then(() => this.#replaceAll(wish, askedMs))
    const mine = { reason, done }
    this.#running = mine
    void done.finally(() => {
      if (this.#running === mine) this.#running = null
    })
    return done
  }

  async #replaceAll(wish: Wish, askedMs: number): Promise<ReplaceOutcome> {
    const { reason, listeningSinceMs: sinceMs } = wish
    const startMs = nowMs()
    this.#logger.info({ reason }, 'the serving processes are to be replaced')
    let processes = 0
    let failure: string | null = null
    for (const slot of this.#slots) {
      if (sinceMs !== null && !slot.listensSince(sinceMs)) continue
      const outcome = await slot.replace(reason)
      if (outcome.kind === 'replaced') processes += 1
      else failure ??= outcome.reason
      // What is to be undone is undone wherever it can be.
      if (failure !== null && sinceMs === null) break
    }
    if (failure === null) return { kind: 'replaced', processes, ms: nowMs() - startMs }
    const isMixed = this.#slots.some((slot) => slot.listensSince(askedMs))
    const mixed = isMixed ? { listeningSinceMs: askedMs } : {}
    return { kind: 'failed', reason: failure, ...mixed }
  }
}
