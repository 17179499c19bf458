/**
 * Limits of keys: requests per second and requests at once. A meter outlives the routing and
 * changes of its limits, so that nobody gets a fresh start by a switch; it is also the ticket of
 * every request of its key, so nothing is made for a request.
 *
 * Where several processes serve each has an even share of the limits. One that has used up its
 * share asks control for what the others do not need, and the request waits for the answer: all
 * connections of a caller may sit in one process, since the system shares out connections and not
 * requests. Nothing is said about keys that keep to their share.
 */

import { machineMs, nowMs } from '../base/clock.ts'
import { Refusal } from '../base/errors.ts'
import type {
  DesiredKey,
  KeyQuota,
  QuotaAsk,
  QuotaGave,
  QuotaGive,
  QuotaGrant,
} from '../channel/messages.ts'
import { LIMITS } from '../config/limits.ts'
import { evenShare, isSameQuota, QuotaShare } from './quota-share.ts'
import { RequestWindow } from './request-window.ts'
import type { Ticket } from './ticket.ts'

/** Requests at once end when they end; nobody knows when. */
const RETRY_S = 1
/** An answer that helped nobody is not asked for again before. */
const PAUSE_MS = 100
/** Whoever was refused within this time is short of its share. */
const SHORT_MS = 1_000
/** Requests of one key that wait for control's answer; their bodies are in memory. */
const WAITING_MAX = 1_024

/** How the processes that serve share each limit. */
export interface QuotaPlace {
  readonly processes: number
  readonly place: number
  /** Asks control; false when it is gone. */
  readonly ask: (ask: QuotaAsk) => boolean
  /** Default: nowMs(). */
  readonly clock?: () => number
}

const ALONE: QuotaPlace = { processes: 1, place: 0, ask: () => false }

export class KeyMeter implements Ticket {
  readonly callerId: string
  readonly #place: QuotaPlace
  readonly #clock: () => number
  #quota: KeyQuota = { requestsPerSecond: null, concurrentRequests: null }
  #window: RequestWindow
  #rate = new QuotaShare(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
  #concurrent = new QuotaShare(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
  #running = 0
  #shortMs = Number.NEGATIVE_INFINITY
  #pausedUntilMs = Number.NEGATIVE_INFINITY
  /** Requests that wait for control's answer, oldest first. */
  #waiting: ((isIn: boolean) => void)[] = []
  #patience: NodeJS.Timeout | null = null

  constructor(keyId: string, place: QuotaPlace = ALONE) {
    this.callerId = keyId
    this.#place = place
    this.#clock = place.clock ?? nowMs
    this.#window = new RequestWindow(null, this.#clock())
  }

  get running(): number {
    return this.#running
  }

  /** What was used up stays used up, however the limits change; the same limits change nothing. */
  limit(quota: KeyQuota): void {
    if (isSameQuota(quota, this.#quota)) return
    this.#quota = quota
    const { processes, place } = this.#place
    const now = this.#clock()
    this.#window.look(now)
    const { used } = this.#window
    this.#window = new RequestWindow(quota.requestsPerSecond, now)
    this.#window.add(used)
    const shareOf = (limit: number) => new QuotaShare(limit, evenShare(limit, processes, place))
    this.#rate = shareOf(this.#window.capacity)
    this.#concurrent = shareOf(quota.concurrentRequests ?? Number.POSITIVE_INFINITY)
    this.#pausedUntilMs = Number.NEGATIVE_INFINITY
  }

  /** True: the request is in, and settled() is due when it leaves. */
  enter(): boolean {
    const now = this.#clock()
    if (this.#running >= this.#concurrent.at(now)) return false
    if (this.#window.capacity !== Number.POSITIVE_INFINITY) {
      if (this.#window.look(now)) this.#rate.shrink(this.#window.used)
      if (this.#window.used >= this.#rate.at(now)) return false
      this.#window.add(1)
    }
    this.#running += 1
    return true
  }

  /**
   * For a request that did not enter(): true once it is in after all, by what other processes have
   * given back. Null: there is nothing to wait for.
   */
  enterLater(): Promise<boolean> | null {
    const now = this.#clock()
    const blocking = this.#running >= this.#concurrent.at(now) ? this.#concurrent : this.#rate
    this.#shortMs = now
    const missing = blocking.limit - blocking.at(now)
    if (this.#waiting.length >= Math.min(missing, WAITING_MAX) || now < this.#pausedUntilMs) {
      return null
    }
    if (this.#patience === null && !this.#ask()) return null
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** After enter() and enterLater() have let it down: whole seconds until another try. */
  retryAfterS(): number {
    const now = this.#clock()
    if (this.#running >= this.#concurrent.at(now)) return RETRY_S
    const { used, windowMs, capacity } = this.#window
    // Where all of it was used elsewhere nobody here knows when: so long it takes on average.
    const freeMs = used > 0 ? this.#window.nextLeavesMs(now) : windowMs / capacity
    return Math.max(1, Math.ceil(freeMs / 1_000))
  }

  settled(): void {
    this.#running -= 1
    this.#concurrent.shrink(this.#running)
  }

  /** Control collects for another process. Null: it speaks of other limits than are in force. */
  give({ keyId, quota, round, fair, untilMs }: QuotaGive): QuotaGave | null {
    if (!isSameQuota(quota, this.#quota)) return null
    const now = this.#clock()
    this.#window.look(now)
    const isShort = now - this.#shortMs < SHORT_MS
    const common = { isShort, nowMs: now, untilMs }
    const { used } = this.#window
    const has = {
      rate: this.#rate.give({ ...common, used, fair: fair.rate }),
      concurrent: this.#concurrent.give({
        ...common,
        used: this.#running,
        fair: fair.concurrent,
      }),
    }
    return { keyId, quota, round, has }
  }

  /** Control's answer. Late ones are taken all the same: they still say what is ours. */
  take({ quota, shares, untilMs }: QuotaGrant): void {
    if (!isSameQuota(quota, this.#quota)) return
    const now = this.#clock()
    this.#rate.take(shares.rate, now, untilMs)
    this.#concurrent.take(shares.concurrent, now, untilMs)
    this.#answerWaiting()
  }

  #ask(): boolean {
    if (!this.#place.ask({ keyId: this.callerId, quota: this.#quota })) return false
    this.#patience = setTimeout(() => this.#answerWaiting(), LIMITS.quotaAskMs)
    return true
  }

  #answerWaiting(): void {
    if (this.#patience !== null) clearTimeout(this.#patience)
    this.#patience = null
    const waiting = this.#waiting
    this.#waiting = []
    let isShort = false
    for (const settle of waiting) {
      const isIn = this.enter()
      isShort ||= !isIn
      settle(isIn)
    }
    if (isShort) this.#pausedUntilMs = this.#clock() + PAUSE_MS
  }
}

/** The meters of a serving process. */
export class Quotas {
  readonly #place: QuotaPlace
  /** From the clock of the machine to that of the meters. */
  readonly #offsetMs: number
  readonly #meters = new Map<string, KeyMeter>()

  constructor(place: QuotaPlace = ALONE) {
    this.#place = place
    this.#offsetMs = (place.clock ?? nowMs)() - machineMs()
  }

  /** Null: the key has no limits, and never had. */
  meterOf({ id, quota }: DesiredKey): KeyMeter | null {
    const known = this.#meters.get(id)
    if (known === undefined && quota === undefined) return null
    const meter = known ?? new KeyMeter(id, this.#place)
    this.#meters.set(id, meter)
    meter.limit(quota ?? { requestsPerSecond: null, concurrentRequests: null })
    return meter
  }

  /** Keys that are gone take their meters along. */
  keepOnly(keys: readonly DesiredKey[]): void {
    const ids = new Set(keys.map(({ id }) => id))
    for (const id of this.#meters.keys()) if (!ids.has(id)) this.#meters.delete(id)
  }

  /** What control collects for another process. Null: the key has no such limits here. */
  give(give: QuotaGive): QuotaGave | null {
    const meter = this.#meters.get(give.keyId)
    return meter?.give({ ...give, untilMs: give.untilMs + this.#offsetMs }) ?? null
  }

  take(grant: QuotaGrant): void {
    this.#meters.get(grant.keyId)?.take({ ...grant, untilMs: grant.untilMs + this.#offsetMs })
  }
}

export function quotaRefusal(keyId: string, retryAfterS: number): Refusal {
  const detail = `key ${keyId}: try again in ${retryAfterS} s`
  return new Refusal('ERR_QUOTA', detail, { 'Retry-After': String(retryAfterS) }, keyId)
}
