/**
 * The serving processes of this node: as many places on the query port as `--processes` says, all
 * in step with one desired state, seen by the operations as if they were one.
 *
 * A process that has left its place and answers its last callers is told every state like the
 * others, and acknowledgements wait for it: a key that was revoked is refused on its connections
 * too. One that is starting is waited for by nobody, for it listens only once it is up to date.
 */

import { nowMs } from '../../core/base/clock.ts'
import type { GenerationRef } from '../../core/base/ids.ts'
import type { Logger } from '../../core/base/logger.ts'
import type { DesiredState, ObservedState, ServeConfig } from '../../core/channel/messages.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { MetricsDelta } from '../../core/metrics/delta.ts'
import type {
  ReplaceOutcome,
  ReplaceReason,
  Serving,
  ServingStatus,
  WarmOutcome,
} from '../contracts.ts'
import { Blame, type BlameOptions } from './blame.ts'
import { type Desired, Member } from './member.ts'
import { merged } from './merge.ts'
import { QuotaLeases } from './quota-leases.ts'
import { isSettled, lostLoad, type Report, warmth, whyKeep } from './readiness.ts'
import { Rollout } from './rollout.ts'
import type { Launch, ServeExit } from './serve-process.ts'
import { Slot, type SlotHost } from './slot.ts'
import { readOomKills, residentBytesOf } from './system.ts'
import { Waits } from './waits.ts'

/** Beyond the time that an operator waits for a state to be applied: then the process is lost. */
const LATE_MS = LIMITS.applyMs + 1_000
const LATE_AGAIN_MS = 500

export interface FleetOptions {
  readonly launch: Launch
  /** `processes` says how many; `witnessFile` is set here when it is needed. */
  readonly config: ServeConfig
  readonly metrics: {
    add(delta: MetricsDelta, source: number): void
    disconnected(source: number): void
  }
  /** How often each process must answer; three times missed and it is given up. */
  readonly beatEveryMs: number
  /** Of one process. */
  readonly memoryBytesMax: number
  readonly residentBytesOf?: (pid: number) => number | null
  readonly witnessPath: BlameOptions['witnessPath']
  readonly oomKills?: BlameOptions['oomKills']
  readonly tcpMigrateReq: boolean | null
  /** A process has crashed while it ran or loaded models of these generations. */
  readonly onCrash?: (suspects: readonly GenerationRef[]) => void
  readonly logger: Logger
}

export type Opened =
  | { readonly kind: 'listening'; readonly port: number; readonly server: 'uws' | 'node' }
  | { readonly kind: 'failed'; readonly reason: string }

interface Opening {
  readonly settle: (opened: Opened) => void
}

/** How a process ended, for those who wait for what it was about to do. */
interface Ended {
  readonly how: string
  readonly last: ObservedState | null
}

export class Fleet implements Serving, SlotHost {
  readonly logger: Logger
  readonly #options: FleetOptions
  readonly #slots: readonly Slot[]
  readonly #waits = new Waits<Ended | null>()
  readonly #blame: Blame
  readonly #rollout: Rollout
  readonly #leases: QuotaLeases
  readonly #replacements = new Map<ReplaceReason, number>()
  readonly #residentBytesOf: (pid: number) => number | null
  #desired: DesiredState | null = null
  #opening: Opening | null = null
  #mayListen = false
  #members = 0
  #port: number
  #lastExit: string | null = null
  #beat: NodeJS.Timeout | null = null

  constructor(options: FleetOptions) {
    this.#options = options
    this.logger = options.logger
    this.#port = options.config.port
    this.#residentBytesOf = options.residentBytesOf ?? residentBytesOf
    this.#blame = new Blame({ oomKills: readOomKills, ...options })
    const { processes } = options.config
    this.#slots = Array.from({ length: processes }, () => new Slot(this, options.memoryBytesMax))
    this.#leases = new QuotaLeases(processes, () => this.#all().filter(({ counts }) => counts))
    this.#rollout = new Rollout(this.#slots, options.logger)
  }

  start(): void {
    this.#beat = setInterval(() => this.#onBeat(), this.#options.beatEveryMs)
    for (const slot of this.#slots) slot.start()
  }

  /** Opens the query port once what is published is applied and loaded; settles when all listen. */
  open(): Promise<Opened> {
    this.#mayListen = true
    return new Promise((settle) => {
      this.#opening = { settle }
      this.#look()
    })
  }

  /** Ends a wait in open() that is of no use any more. */
  giveUp(reason: string): void {
    this.#settleOpening({ kind: 'failed', reason })
  }

  publish(state: DesiredState): void {
    this.#desired = state
    this.#sendDesired()
    for (const member of this.#all()) {
      const onTime = () => (member.observed?.revision ?? 0) >= state.revision
      // Twice: where the whole machine was stopped, the process was too.
      member.later(LATE_MS, () => {
        if (!onTime()) member.later(LATE_AGAIN_MS, () => onTime() || this.#late(member))
      })
    }
    this.#look()
  }

  whenApplied(revision: number): Promise<boolean> {
    const answer = (): true | undefined => {
      const reports = this.#reports()
      const all = reports.every(({ observed }) => (observed?.revision ?? 0) >= revision)
      return all && reports.length > 0 ? true : undefined
    }
    if (answer() === true) return Promise.resolve(true)
    return this.#waits.until<boolean>(answer, LIMITS.applyMs, false)
  }

  whenWarm(serviceId: string, generationId: string): Promise<WarmOutcome> {
    const answer = (ended: Ended | null): WarmOutcome | undefined => {
      const lost = ended === null ? undefined : lostLoad(ended, serviceId, generationId)
      if (lost !== undefined) return lost
      const reason = this.#blame.whyNotLoaded({ serviceId, generationId })
      if (reason !== null) return { kind: 'failed', reason }
      return warmth(this.#reports(), serviceId, generationId)
    }
    const outcome = answer(null)
    if (outcome !== undefined) return Promise.resolve(outcome)
    const reason = `it was not warm after ${LIMITS.loadMs / 1000} s`
    return this.#waits.until<WarmOutcome>(answer, LIMITS.loadMs, { kind: 'failed', reason })
  }

  observed(): ObservedState | null {
    const observed = merged(this.#reports())
    return observed && this.#blame.shown(observed, this.#desired)
  }

  async collect(): Promise<void> {
    await Promise.all(this.#all().map((member) => member.collect()))
  }

  replace(reason: ReplaceReason, listeningSinceMs?: number): Promise<ReplaceOutcome> {
    return this.#rollout.replace({ reason, listeningSinceMs: listeningSinceMs ?? null })
  }

  pardon(serviceId: string, generationId: string): void {
    if (this.#blame.pardon({ serviceId, generationId })) this.#sendDesired()
  }

  status(): ServingStatus {
    const members = this.#all()
    const serving = members.filter(({ state }) => state === 'serving')
    return {
      wanted: this.#slots.length,
      processes: members.map(({ pid, state, startedOn }) => ({
        pid,
        state,
        startedOn,
        residentBytes: pid === null ? null : this.#residentBytesOf(pid),
      })),
      listening: serving.length > 0,
      server: serving[0]?.server ?? null,
      port: serving.length > 0 ? this.#port : null,
      replacements: Object.fromEntries(this.#replacements),
      lastExit: this.#lastExit,
      stopped: this.#blame.stopped(),
      overMemory: this.#slots.some(({ growth }) => growth.isHopeless),
      tcpMigrateReq: this.#options.tcpMigrateReq,
    }
  }

  /** What is in flight is answered, for at most `drainMs`; true when all ended by themselves. */
  async stop(): Promise<boolean> {
    if (this.#beat !== null) clearInterval(this.#beat)
    const clean = await Promise.all(this.#slots.map((slot) => slot.stop()))
    return clean.every((one) => one)
  }

  /** At once, whatever is in flight. */
  kill(): void {
    for (const slot of this.#slots) slot.kill()
  }

  launch(slot: Slot): Member {
    this.#members += 1
    const witnessFile = this.#blame.newWitnessFile()
    const { config, launch, metrics } = this.#options
    return new Member({
      number: this.#members,
      launch,
      config: { ...config, port: this.#port, witnessFile, place: this.#slots.indexOf(slot) },
      host: {
        desired: () => this.#message(),
        onObserved: (member) => this.#observed(member),
        onListening: (member, message) => {
          this.#port = message.port
          slot.onListening(member, message)
          this.#listens(member, slot)
        },
        onListenFailed: (member, reason) => slot.onListenFailed(member, this.#whyNot(reason)),
        onRetired: (member) => slot.onRetired(member),
        onQuotaAsk: (member, ask) => this.#leases.ask(member, ask),
        onQuotaGave: (member, gave) => this.#leases.gave(member, gave),
        onCounted: ({ number, hasEnded }, delta) => {
          metrics.add(delta, number)
          // The last counts may come after the end; what is open now is nothing, though.
          if (hasEnded) metrics.disconnected(number)
        },
        onEnded: (member, exit) => this.#ended(member, exit, slot),
      },
    })
  }

  isOpening(): boolean {
    return this.#opening !== null
  }

  isReady(member: Member): boolean {
    const desired = this.#allowed()
    if (!this.#mayListen || desired === null) return false
    const scope = this.isServed() ? 'all' : 'mapped'
    if (isSettled(desired, member.observed, scope)) return true
    return member.mayListenEarly && member.observed !== null && member.hasApplied(desired)
  }

  readonly whyKeep = (): string | null => whyKeep(this.#allowed())

  isServed(): boolean {
    return this.#all().some(({ state, isAnswering }) => state === 'serving' && isAnswering)
  }

  readonly isUpToDate = (member: Member): boolean => member.hasApplied(this.#desired)

  replaced(reason: ReplaceReason): void {
    this.#replacements.set(reason, (this.#replacements.get(reason) ?? 0) + 1)
  }

  #all(): Member[] {
    return this.#slots.flatMap((slot) => slot.members())
  }

  /** Of all that answer callers; of those that are to, where nobody else stays. */
  #reports(): Report[] {
    const members = this.#all()
    const counting = members.filter(({ counts }) => counts)
    const someStay = counting.some(({ state }) => state !== 'retiring')
    return (someStay ? counting : members).map(({ observed, state }) => ({
      observed,
      leaves: state === 'retiring',
    }))
  }

  /** Of what is wanted, what processes may be told. */
  #allowed(): DesiredState | null {
    return this.#desired && this.#blame.allowed(this.#desired)
  }

  #message(): Desired | null {
    const state = this.#allowed()
    return state && { state, stopped: this.#blame.stopped() }
  }

  #sendDesired(): void {
    const message = this.#message()
    if (message !== null) for (const member of this.#all()) member.desire(message)
  }

  #look(): void {
    for (const slot of this.#slots) slot.look()
  }

  #observed(member: Member): void {
    if (this.isUpToDate(member)) member.isLate = false
    if (this.#blame.reported(member)) this.#sendDesired()
    this.#look()
    this.#waits.look(null)
    this.#replaceIfHung(member)
  }

  #replaceIfHung(member: Member): void {
    const isHung = member.observed?.generations.some(({ threadsLost }) => threadsLost > 0)
    if (isHung !== true) return
    for (const slot of this.#slots) slot.replaceFaulty(member, 'hung')
  }

  #listens(member: Member, slot: Slot): void {
    const bytes = member.pid === null ? null : this.#residentBytesOf(member.pid)
    if (bytes !== null) slot.growth.begun(bytes)
    this.#waits.look(null)
    const serving = this.#slots.map(({ current }) => current?.server ?? null)
    const { server } = member
    if (server !== null && serving.every((one) => one !== null)) {
      this.#settleOpening({ kind: 'listening', port: this.#port, server })
    }
  }

  /** node:http cannot share a port, so the second place can never be taken. */
  #whyNot(reason: string): string {
    const isNode = this.#slots.some(({ current }) => current?.server === 'node')
    if (!isNode || this.#slots.length === 1) return reason
    return 'without uWebSockets.js processes cannot share a port; use --processes 1'
  }

  #settleOpening(opened: Opened): void {
    this.#opening?.settle(opened)
    this.#opening = null
  }

  #ended(member: Member, exit: ServeExit, slot: Slot): void {
    const { number, state, isKilled } = member
    this.#options.metrics.disconnected(number)
    if (state !== 'retiring') this.#lastExit = exit.how
    const { hasCrashed, changes, leavesOut, suspects } = this.#blame.ended(member, exit)
    if (suspects.length > 0) this.#options.onCrash?.(suspects)
    if (leavesOut) for (const one of this.#slots) one.forgiveStarts()
    if (changes) this.#sendDesired()
    slot.onEnded(member, exit, hasCrashed)
    const tells = state !== 'retiring' && !isKilled
    this.#waits.look(tells ? { how: exit.how, last: member.observed } : null)
  }

  #late(member: Member): void {
    if (member.state === 'starting') return
    member.isLate = true
    this.#isLost(member)
  }

  #isLost(member: Member): void {
    if (member.state !== 'serving') member.kill()
    else for (const slot of this.#slots) slot.replaceFaulty(member, 'silent')
  }

  #onBeat(): void {
    this.#blame.beat()
    for (const member of this.#all()) {
      const isLate = member.isLate && !this.isUpToDate(member)
      if (!member.beat() || isLate) this.#isLost(member)
      else this.#replaceIfHung(member)
    }
    for (const slot of this.#slots) this.#checkMemory(slot)
  }

  #checkMemory(slot: Slot): void {
    const { current } = slot
    if (current?.state !== 'serving' || current.pid === null) return
    const residentBytes = this.#residentBytesOf(current.pid)
    if (residentBytes === null) return
    const fields = { pid: current.pid, residentBytes, limitBytes: this.#options.memoryBytesMax }
    const wasHopeless = slot.growth.isHopeless
    const growth = slot.growth.look(residentBytes, nowMs())
    if (growth === 'replace') {
      this.logger.warn(fields, 'the serving process has grown over its limit: to be replaced')
      void slot.replace('memory')
    } else if (growth === 'hopeless' && !wasHopeless) {
      this.logger.error(fields, 'a new serving process is over the limit too: raise it')
    }
  }
}
