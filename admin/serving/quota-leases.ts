/**
 * Lends shares of a key's quota from the processes that do not need them to the one that asks: the
 * system shares out connections and not requests, so all callers of a key may sit in one process.
 *
 * One round for one who asks: the others say what they keep, and do with it until after the loan
 * has ended; what they leave of the limit is lent. Whoever does not answer in time is taken to have
 * its even share, or what it was lent last. So no order of messages lets the processes together
 * pass the limit, and where control is slow or silent everybody is back at the even share soon.
 */

import { evenShare, isSameQuota } from '../../core/auth/quota-share.ts'
import { RequestWindow } from '../../core/auth/request-window.ts'
import { machineMs } from '../../core/base/clock.ts'
import type {
  KeyQuota,
  QuotaAsk,
  QuotaGave,
  QuotaGive,
  QuotaGrant,
  QuotaShares,
} from '../../core/channel/messages.ts'
import { LIMITS } from '../../core/config/limits.ts'

/** Those who have asked within this time share what there is. */
const HUNGRY_MS = 1_000
/** Between the end of a loan and its return: clocks agree, but not who is run when. */
const MARGIN_MS = 50
/** Of keys that nobody asks for more of nothing is kept. */
const FORGOTTEN_MS = 60_000

/** A serving process, as far as quotas go. */
export interface Lender {
  readonly number: number
  readonly place: number
  give(give: QuotaGive): void
  grant(grant: QuotaGrant): void
}

interface Round {
  readonly id: number
  readonly asker: Lender
  readonly ask: QuotaAsk
  readonly others: readonly Lender[]
  readonly untilMs: number
  /** What each has left, as far as they have said. */
  readonly has: Map<number, QuotaShares>
  readonly timer: NodeJS.Timeout
}

interface Lent {
  readonly shares: QuotaShares
  readonly untilMs: number
}

/** What is known of one key; it ends with the limits that it is about. */
interface Ledger {
  readonly quota: KeyQuota
  /** All of both limits. */
  readonly limit: QuotaShares
  /** Until a request that is let in now counts for nothing any more. */
  readonly forgottenInMs: number
  readonly lent: Map<number, Lent>
  readonly askedMs: Map<number, number>
  /** Askers that wait for the round under way. */
  readonly queue: Map<number, { readonly asker: Lender; readonly ask: QuotaAsk }>
  round: Round | null
  usedMs: number
}

export class QuotaLeases {
  readonly #processes: number
  readonly #lenders: () => readonly Lender[]
  readonly #clock: () => number
  readonly #ledgers = new Map<string, Ledger>()
  #rounds = 0

  /** `lenders`: all that answer callers now. */
  constructor(processes: number, lenders: () => readonly Lender[], clock = machineMs) {
    this.#clock = clock
    this.#processes = processes
    this.#lenders = lenders
  }

  ask(asker: Lender, ask: QuotaAsk): void {
    const ledger = this.#ledgerOf(ask)
    ledger.askedMs.set(asker.number, ledger.usedMs)
    if (ledger.round === null) this.#begin(ledger, asker, ask)
    else ledger.queue.set(asker.number, { asker, ask })
  }

  gave(lender: Lender, { keyId, round: id, has }: QuotaGave): void {
    const ledger = this.#ledgers.get(keyId)
    const round = ledger?.round ?? null
    if (ledger === undefined || round === null || round.id !== id) return
    round.has.set(lender.number, has)
    if (round.has.size === round.others.length) this.#end(ledger, round)
  }

  #ledgerOf({ keyId, quota }: QuotaAsk): Ledger {
    const now = this.#clock()
    const known = this.#ledgers.get(keyId)
    const isKnown = known !== undefined && isSameQuota(known.quota, quota)
    if (known !== undefined && !isKnown) this.#close(known)
    const ledger = isKnown ? known : newLedger(quota)
    ledger.usedMs = now
    // Behind all others, so that the first ones are those that nobody has asked for.
    this.#ledgers.delete(keyId)
    this.#ledgers.set(keyId, ledger)
    for (const [id, { usedMs, round }] of this.#ledgers) {
      if (now - usedMs < FORGOTTEN_MS || round !== null) break
      this.#ledgers.delete(id)
    }
    return ledger
  }

  /** Its limits have changed: what is asked for is answered by nobody, which costs one 429. */
  #close({ round, queue }: Ledger): void {
    if (round !== null) clearTimeout(round.timer)
    queue.clear()
  }

  #begin(ledger: Ledger, asker: Lender, ask: QuotaAsk): void {
    this.#rounds += 1
    const { keyId, quota } = ask
    const now = this.#clock()
    const untilMs = now + LIMITS.quotaLeaseMs
    const others = this.#lenders().filter(({ number }) => number !== asker.number)
    const round: Round = {
      id: this.#rounds,
      asker,
      ask,
      others,
      untilMs,
      has: new Map(),
      timer: setTimeout(() => this.#end(ledger, round), LIMITS.quotaGiveMs),
    }
    ledger.round = round
    const hungry = [...ledger.askedMs.values()].filter((ms) => now - ms < HUNGRY_MS).length
    const fair = {
      rate: Math.floor(ledger.limit.rate / hungry),
      concurrent: Math.floor(ledger.limit.concurrent / hungry),
    }
    const backMs = untilMs + ledger.forgottenInMs + MARGIN_MS
    for (const one of others) one.give({ keyId, quota, round: round.id, fair, untilMs: backMs })
    if (others.length === 0) this.#end(ledger, round)
  }

  #end(ledger: Ledger, round: Round): void {
    if (ledger.round !== round) return
    clearTimeout(round.timer)
    ledger.round = null
    const { asker, ask, untilMs } = round
    const { keyId, quota } = ask
    const shares = {
      rate: this.#granted(ledger, round, 'rate'),
      concurrent: this.#granted(ledger, round, 'concurrent'),
    }
    this.#note(ledger, asker, { shares, untilMs })
    asker.grant({ keyId, quota, shares, untilMs })
    const [next] = ledger.queue.values()
    if (next === undefined) return
    ledger.queue.delete(next.asker.number)
    this.#begin(ledger, next.asker, next.ask)
  }

  /** It keeps what it has where that is more, so a loan that has not ended counts on. */
  #note({ lent, forgottenInMs }: Ledger, { number }: Lender, next: Lent): void {
    const last = lent.get(number)
    const rate = Math.max(next.shares.rate, last?.shares.rate ?? 0)
    const concurrent = Math.max(next.shares.concurrent, last?.shares.concurrent ?? 0)
    const isOver = last === undefined || last.untilMs + forgottenInMs < this.#clock()
    lent.set(number, isOver ? next : { ...next, shares: { rate, concurrent } })
  }

  /**
   * What the others leave of a limit. An asker that waited may have given since: so what it said
   * that it has counts for nothing here; it takes nothing that is less than what it has now.
   */
  #granted(ledger: Ledger, round: Round, of: keyof QuotaShares): number {
    const limit = ledger.limit[of]
    if (limit === Number.POSITIVE_INFINITY) return limit
    const now = this.#clock()
    let left = limit
    for (const { number, place } of round.others) {
      const even = evenShare(limit, this.#processes, place)
      const lent = ledger.lent.get(number)
      // What a loan has let in counts for a while longer than the loan.
      const isOver = lent === undefined || lent.untilMs + ledger.forgottenInMs < now
      const most = isOver ? even : Math.max(even, lent.shares[of])
      left -= round.has.get(number)?.[of] ?? most
    }
    return Math.max(0, left)
  }
}

function newLedger(quota: KeyQuota): Ledger {
  const { capacity, forgottenInMs } = new RequestWindow(quota.requestsPerSecond, 0)
  const concurrent = quota.concurrentRequests ?? Number.POSITIVE_INFINITY
  return {
    quota,
    limit: { rate: capacity, concurrent },
    forgottenInMs,
    lent: new Map(),
    askedMs: new Map(),
    queue: new Map(),
    round: null,
    usedMs: 0,
  }
}
