/**
 * Limits of keys: requests per second and requests at once. A meter outlives the routing and
 * changes of its limits, so that nobody gets a fresh start by a switch; it is also the ticket of
 * every request of its key, so nothing is made for a request.
 */

import { nowMs } from '../base/clock.ts'
import { Refusal } from '../base/errors.ts'
import type { DesiredKey, KeyQuota } from '../channel/messages.ts'
import type { Ticket } from './ticket.ts'

/** Requests at once end when they end; nobody knows when. */
const RETRY_S = 1

export class KeyMeter implements Ticket {
  readonly callerId: string
  /** Per second; Infinity: no limit. */
  #rate = Number.POSITIVE_INFINITY
  #concurrentMax = Number.POSITIVE_INFINITY
  /** Requests that may come at once now: what one second lets through, and 1 at least. */
  #tokens = Number.POSITIVE_INFINITY
  #filledMs = nowMs()
  #running = 0

  constructor(keyId: string) {
    this.callerId = keyId
  }

  get running(): number {
    return this.#running
  }

  /** What was used up stays used up, however the limits change. */
  limit({ requestsPerSecond, concurrentRequests }: KeyQuota): void {
    this.#fill()
    const wasUnlimited = this.#rate === Number.POSITIVE_INFINITY
    this.#rate = requestsPerSecond ?? Number.POSITIVE_INFINITY
    this.#concurrentMax = concurrentRequests ?? Number.POSITIVE_INFINITY
    const burst = this.#burst()
    this.#tokens = wasUnlimited ? burst : Math.min(this.#tokens, burst)
  }

  /** 0: the request is in, and settled() is due when it leaves. Else seconds until another try. */
  enter(): number {
    if (this.#running >= this.#concurrentMax) return RETRY_S
    if (this.#rate !== Number.POSITIVE_INFINITY) {
      this.#fill()
      if (this.#tokens < 1) return Math.max(1, Math.ceil((1 - this.#tokens) / this.#rate))
      this.#tokens -= 1
    }
    this.#running += 1
    return 0
  }

  settled(): void {
    this.#running -= 1
  }

  #burst(): number {
    return Math.max(1, this.#rate)
  }

  #fill(): void {
    const now = nowMs()
    const grown = this.#tokens + ((now - this.#filledMs) / 1000) * this.#rate
    this.#tokens = Math.min(this.#burst(), grown)
    this.#filledMs = now
  }
}

/** The meters of a serving process; `processes` share each limit evenly. */
export class Quotas {
  readonly #processes: number
  readonly #meters = new Map<string, KeyMeter>()

  constructor(processes: number) {
    this.#processes = processes
  }

  /** Null: the key has no limits, and never had. */
  meterOf({ id, quota }: DesiredKey): KeyMeter | null {
    const known = this.#meters.get(id)
    if (known === undefined && quota === undefined) return null
    const meter = known ?? new KeyMeter(id)
    this.#meters.set(id, meter)
    meter.limit(shareOf(quota, this.#processes))
    return meter
  }

  /** Keys that are gone take their meters along. */
  keepOnly(keys: readonly DesiredKey[]): void {
    const ids = new Set(keys.map(({ id }) => id))
    for (const id of this.#meters.keys()) if (!ids.has(id)) this.#meters.delete(id)
  }
}

/** Rounded down, so that the processes together never let through more; but none is shut. */
function shareOf(quota: KeyQuota | undefined, processes: number): KeyQuota {
  const { requestsPerSecond = null, concurrentRequests = null } = quota ?? {}
  return {
    requestsPerSecond: requestsPerSecond === null ? null : requestsPerSecond / processes,
    concurrentRequests:
      concurrentRequests === null ? null : Math.max(1, Math.floor(concurrentRequests / processes)),
  }
}

export function quotaRefusal(keyId: string, retryAfterS: number): Refusal {
  const detail = `key ${keyId}: try again in ${retryAfterS} s`
  return new Refusal('ERR_QUOTA', detail, { 'Retry-After': String(retryAfterS) })
}
