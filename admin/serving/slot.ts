/**
 * One place on the query port: the process that holds it, the one that is to take it over, and
 * those that have left it and answer who is still connected.
 *
 * A hand-over starts the next process beside the old one, and only when that listens is the old one
 * told to retire: there is no moment in which nobody accepts. Whatever goes wrong before, the old
 * one goes on. A process that dies is replaced at once, one that keeps dying of its start later
 * and later.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { Logger } from '../../core/base/logger.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { ReplaceReason } from '../contracts.ts'
import type { Listening, Member } from './member.ts'
import { GrowthPace, HangPace, restartDelayMs } from './pace.ts'
import { whatIsLost } from './readiness.ts'
import type { ServeExit } from './serve-process.ts'

/** Starts that may fail before the first one listened, until the node gives up. */
const FIRST_STARTS_MAX = 3
/** Old processes that may answer their last callers at once: each holds all models. */
const LEAVING_MAX = 3

/** How often a process that loads is asked whether waiting for it still makes sense. */
const LISTEN_CHECK_MS = LIMITS.applyMs

export type SlotOutcome =
  | { readonly kind: 'replaced' }
  | { readonly kind: 'failed'; readonly reason: string }

export interface SlotHost {
  readonly logger: Logger
  /** Starts a process whose events come back to the slot. */
  launch(slot: Slot): Member
  /** The node is starting, and nobody waits in vain yet. */
  isOpening(): boolean
  /** The state that is wanted is in force in it, so that it may listen. */
  isReady(member: Member): boolean
  /** Somebody else answers queries meanwhile. */
  isServed(): boolean
  /** Why the process at hand can do what no new one could; null: any may take its place. */
  whyKeep(): string | null
  /** It has applied the newest state. */
  isUpToDate(member: Member): boolean
  /** A start that cannot succeed. */
  giveUp(reason: string): void
  replaced(reason: ReplaceReason): void
}

interface HandOver {
  readonly reason: ReplaceReason
  /** Null: none was started, the process that is on its way is new enough. */
  readonly next: Member | null
  readonly outcome: Promise<SlotOutcome>
  readonly settle: (outcome: SlotOutcome) => void
}

export class Slot {
  readonly growth: GrowthPace
  readonly #host: SlotHost
  readonly #hangPace = new HangPace()
  readonly #leaving = new Set<Member>()
  #current: Member | null = null
  #next: Member | null = null
  #handOver: HandOver | null = null
  /** Only where two cannot listen at once: listens when the other has left the port. */
  #waitsFor: Member | null = null
  /** Processes in a row that ended before they served. */
  #failedStarts = 0
  #restart: NodeJS.Timeout | null = null
  #isStopping = false

  constructor(host: SlotHost, memoryBytesMax: number) {
    this.#host = host
    this.growth = new GrowthPace(memoryBytesMax)
  }

  /** The process that holds the port, or is to hold it next. */
  get current(): Member | null {
    return this.#current
  }

  /** All that live. */
  members(): Member[] {
    const held = [this.#current, this.#next].filter((member) => member !== null)
    return [...held, ...this.#leaving]
  }

  /** Its process has begun to listen then or later, or is about to. */
  listensSince(ms: number): boolean {
    const { current } = this
    return current?.counts === true && (current.listenedMs ?? ms) >= ms
  }

  start(): void {
    this.#restart = null
    this.#current = this.#launch()
  }

  /** Settles when a new process listens in the place of this one; joins one under way. */
  async replace(reason: ReplaceReason): Promise<SlotOutcome> {
    if (this.#handOver !== null) {
      const outcome = await this.#handOver.outcome
      // What is under way may have read the old certificates.
      return reason === 'certificates' ? this.replace(reason) : outcome
    }
    if (this.#leaving.size >= LEAVING_MAX) {
      await Promise.race([...this.#leaving].map((member) => member.exited))
      return this.replace(reason)
    }
    if (this.#isStopping) return { kind: 'failed', reason: 'the node is stopping' }
    const whyKeep = isUrgent(reason) ? null : this.#host.whyKeep()
    if (whyKeep !== null) return { kind: 'failed', reason: whyKeep }
    return this.#begin(reason)
  }

  /** Because of a fault: not more often than is good. */
  replaceFaulty(member: Member, reason: 'hung' | 'silent'): void {
    if (this.#isStopping || member !== this.#current || member.server === null) return
    if (this.#handOver !== null) return
    if (!this.#hangPace.mayBegin(nowMs())) return
    this.#host.logger.warn({ pid: member.pid, reason }, 'the serving process is to be replaced')
    void this.replace(reason)
  }

  /** Lets a process listen that has waited for this moment. */
  look(): void {
    for (const member of [this.#current, this.#next]) {
      const waits = member !== null && !member.counts && this.#waitsFor === null
      if (!waits || !this.#host.isReady(member)) continue
      const lost = member === this.#next ? this.#lossOf(member) : null
      if (lost === null) member.listen()
      else this.#giveUpNext(member, lost)
    }
  }

  /** Null also where the process at hand is so ill that any other is better. */
  #lossOf(next: Member): string | null {
    if (this.#handOver === null || isUrgent(this.#handOver.reason)) return null
    return whatIsLost(this.#current?.observed ?? null, next.observed)
  }

  async stop(): Promise<boolean> {
    this.#end()
    const staying = this.members().filter((member) => !this.#leaving.has(member))
    const leaving = [...this.#leaving].map((member) => member.stop())
    const clean = await Promise.all(staying.map((member) => member.stop()))
    await Promise.all(leaving)
    return clean.every((one) => one)
  }

  kill(): void {
    this.#end()
    for (const member of this.members()) member.kill()
  }

  onListening(member: Member, { port, server }: Listening): void {
    const { logger } = this.#host
    logger.info({ port, server, pid: member.pid }, 'queries are served')
    if (member === this.#next) {
      const old = this.#current
      this.#current = member
      this.#next = null
      if (old !== null) this.#leave(old)
    }
    const handOver = this.#handOver
    if (handOver === null || member !== this.#current) return
    if (handOver.next === member) this.#host.replaced(handOver.reason)
    this.#settle({ kind: 'replaced' })
  }

  onListenFailed(member: Member, reason: string): void {
    const { logger } = this.#host
    if (member === this.#next && this.#current?.server === 'node') {
      // node:http cannot share a port: the old one leaves it first, then the new one takes it.
      this.#waitsFor = this.#current
      this.#leaving.add(this.#current)
      this.#current.retire()
      this.#current = member
      this.#next = null
      return
    }
    logger.error({ reason, pid: member.pid }, 'the query port cannot be opened')
    if (member === this.#next) {
      this.#giveUpNext(member, reason)
      return
    }
    this.#host.giveUp(reason)
    // A process that cannot listen is of no use; the next one tries again, later each time.
    member.kill()
  }

  onRetired(member: Member): void {
    if (member !== this.#waitsFor) return
    this.#waitsFor = null
    if (this.#current?.counts === true) this.#current.listen()
    else this.look()
  }

  onEnded(member: Member, exit: ServeExit, hasCrashed: boolean): void {
    this.onRetired(member)
    const { pid } = member
    if (this.#leaving.delete(member)) {
      this.#host.logger.info({ pid, ...exit }, 'a replaced serving process has ended')
      return
    }
    if (member === this.#next) this.#abandonNext(`the new one ended (${exit.how})`)
    else if (member === this.#current) this.#lostCurrent(member, exit, hasCrashed)
  }

  /** What the starts failed of is gone. */
  forgiveStarts(): void {
    this.#failedStarts = 0
  }

  #begin(reason: ReplaceReason): Promise<SlotOutcome> {
    const startsOne = this.#current !== null && this.#current.server !== null
    const next = startsOne ? this.#launch() : null
    this.#next = next
    const { promise: outcome, resolve: settle } = withResolver<SlotOutcome>()
    this.#handOver = { reason, next, outcome, settle }
    return outcome
  }

  #launch(): Member {
    const member = this.#host.launch(this)
    this.#listenInTime(member)
    return member
  }

  /** A process that takes the place of a dead one does not keep all services waiting for one. */
  #listenInTime(member: Member): void {
    member.later(LISTEN_CHECK_MS, () => {
      if (member.counts) return
      const waitedMs = nowMs() - member.startedMs
      const isUrgent = !this.#host.isOpening() && !this.#host.isServed()
      member.mayListenEarly = isUrgent || waitedMs >= LIMITS.loadMs
      this.look()
      this.#listenInTime(member)
    })
  }

  #leave(old: Member): void {
    this.#leaving.add(old)
    const isLost = !old.isAnswering || (old.isLate && !this.#host.isUpToDate(old))
    if (isLost) old.kill()
    else old.retire()
  }

  #giveUpNext(next: Member, reason: string): void {
    // Before its end, so that this is no event any more.
    this.#abandonNext(reason)
    this.#leaving.add(next)
    next.kill()
  }

  /** The old one goes on. */
  #abandonNext(reason: string): void {
    const pid = this.#next?.pid
    this.#next = null
    this.#host.logger.error({ pid, reason }, 'the replacement failed: the old process goes on')
    this.#settle({ kind: 'failed', reason })
  }

  #lostCurrent(member: Member, exit: ServeExit, hasCrashed: boolean): void {
    const { logger } = this.#host
    const { pid } = member
    this.#current = this.#next
    this.#next = null
    if (this.#isStopping) return
    if (this.#current !== null) {
      logger.error({ pid, ...exit }, 'the serving process ended before its replacement listens')
      return
    }
    this.#settle({ kind: 'failed', reason: `the serving process ended (${exit.how})` })
    // However long it took: what dies while it loads, or finds its port taken, does so again.
    this.#failedStarts = member.server === null ? this.#failedStarts + 1 : 0
    if (this.#host.isOpening() && this.#failedStarts >= FIRST_STARTS_MAX) {
      this.#host.giveUp(`the serving process ended (${exit.how})`)
      return
    }
    this.#host.replaced(hasCrashed ? 'crashed' : 'died')
    const delayMs = restartDelayMs(this.#failedStarts)
    logger.error({ pid, ...exit, delayMs }, 'the serving process ended: replaced')
    if (delayMs === 0) this.start()
    else this.#restart = setTimeout(() => this.start(), delayMs)
  }

  #settle(outcome: SlotOutcome): void {
    const handOver = this.#handOver
    this.#handOver = null
    handOver?.settle(outcome)
  }

  #end(): void {
    this.#isStopping = true
    if (this.#restart !== null) clearTimeout(this.#restart)
    this.#settle({ kind: 'failed', reason: 'the node is stopping' })
  }
}

/** The process at hand does not serve as it should. */
function isUrgent(reason: ReplaceReason): boolean {
  return reason !== 'asked' && reason !== 'memory' && reason !== 'certificates'
}

function withResolver<T>() {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
