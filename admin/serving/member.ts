/**
 * One serving process as control knows it: what it was told, what it reported, whether it answers.
 * It decides nothing; what its reports mean for the place on the port is the slot's to say.
 */

import { assertNever } from '../../core/base/assert.ts'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { refKey } from '../../core/base/ids.ts'
import type {
  DesiredState,
  ObservedState,
  QuotaAsk,
  QuotaGave,
  QuotaGive,
  QuotaGrant,
  ServeConfig,
  StoppedEndpoint,
  ToControl,
} from '../../core/channel/messages.ts'
import { StateSent } from '../../core/channel/wire-state.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { MetricsDelta } from '../../core/metrics/delta.ts'
import type { ServingProcess } from '../contracts.ts'
import type { EndpointRef } from './circuit.ts'
import { without } from './readiness.ts'
import type { Launch, ServeExit, ServeHandle } from './serve-process.ts'

const COLLECT_WAIT_MS = 250
/** Beats that may stay unanswered; a process that was stopped for a moment is not given up. */
const UNANSWERED_MAX = 3
/** Node itself takes longer to start, so this costs nothing; see the constructor. */
const DESIRED_AFTER_MS = 30
/** Closing a listener in a quiet moment takes at most half a second. */
const RETIRED_WAIT_MS = 2_000
/** After the time to drain, the time to close what is left and end. */
const END_GRACE_MS = 2_000

/** In full: each process is sent what it does not know yet. */
export interface Desired {
  readonly state: DesiredState
  readonly stopped: readonly StoppedEndpoint[]
}

export type Listening = Extract<ToControl, { kind: 'listening' }>

export interface MemberHost {
  /** The newest desired state; null before the first. */
  desired(): Desired | null
  onObserved(member: Member): void
  onListening(member: Member, message: Listening): void
  onListenFailed(member: Member, reason: string): void
  onRetired(member: Member): void
  onQuotaAsk(member: Member, ask: QuotaAsk): void
  onQuotaGave(member: Member, gave: QuotaGave): void
  onCounted(member: Member, delta: MetricsDelta): void
  onEnded(member: Member, exit: ServeExit): void
}

export interface MemberOptions {
  /** Unique as long as control runs. */
  readonly number: number
  readonly launch: Launch
  readonly config: ServeConfig
  readonly host: MemberHost
}

export class Member {
  readonly number: number
  readonly place: number
  readonly startedOn = wallMs()
  readonly startedMs = nowMs()
  readonly witnessFile: string | null
  state: ServingProcess['state'] = 'starting'
  observed: ObservedState | null = null
  server: Listening['server'] | null = null
  /** When it said so. */
  listenedMs: number | null = null
  /** It has been waited for long enough: what is still loading need not be ready any more. */
  mayListenEarly = false
  /** It did not apply a state in time, and has not caught up since. */
  isLate = false
  hasEnded = false
  readonly #handle: ServeHandle
  readonly #host: MemberHost
  readonly #drainMs: number
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #collections = new Map<number, () => void>()
  readonly #sent = new StateSent()
  readonly #hangsSeen = new Map<string, number>()
  #lastCollection = 0
  #unanswered = 0
  #isDesiredSent = false
  #isListenSent = false
  #isRetired = false
  #isKilled = false

  constructor({ number, launch, config, host }: MemberOptions) {
    this.number = number
    this.place = config.place
    this.witnessFile = config.witnessFile
    this.#drainMs = config.drainMs
    this.#host = host
    this.#handle = launch(config)
    this.#handle.channel.onMessage((message) => this.#receive(message))
    // If the last process died of a load, whoever waited for it now takes it out of the desired
    // state; sent right away, the new process would begin with the same load.
    this.later(DESIRED_AFTER_MS, () => this.#beginDesired())
    this.#handle.exited.then(
      (exit) => this.#ended(exit),
      () => {},
    )
  }

  get pid(): number | null {
    return this.#handle.pid
  }

  get exited(): Promise<ServeExit> {
    return this.#handle.exited
  }

  /** It answers callers, or is about to: what is acknowledged must hold here. */
  get counts(): boolean {
    return this.#isListenSent
  }

  /** Control ended it, so the way it ended says nothing. */
  get isKilled(): boolean {
    return this.#isKilled
  }

  /** It answered the last time it was asked. */
  get isAnswering(): boolean {
    return this.#unanswered <= 1
  }

  desire(message: Desired): void {
    if (this.observed !== null) this.observed = without(this.observed, message.state)
    if (this.#isDesiredSent) this.#send(message)
  }

  hasApplied(state: DesiredState | null): boolean {
    return state === null || (this.observed?.revision ?? 0) >= state.revision
  }

  give(give: QuotaGive): void {
    this.#handle.channel.send({ kind: 'quotaGive', give })
  }

  grant(grant: QuotaGrant): void {
    this.#handle.channel.send({ kind: 'quotaGrant', grant })
  }

  listen(): void {
    this.#isListenSent = true
    this.#handle.channel.send({ kind: 'listen' })
  }

  /** Another process listens: it answers who is connected, and ends; at worst by SIGKILL. */
  retire(): void {
    this.state = 'retiring'
    this.#handle.channel.send({ kind: 'retire' })
    this.later(RETIRED_WAIT_MS, () => {
      if (!this.#isRetired) this.kill()
    })
    this.later(Math.max(this.#drainMs, LIMITS.retireMs) + END_GRACE_MS, () => this.kill())
  }

  /** Answers what is in flight for at most `drainMs`; true when it ended by itself. */
  async stop(): Promise<boolean> {
    this.#handle.channel.send({ kind: 'stop' })
    const timer = setTimeout(() => this.kill(), this.#drainMs + END_GRACE_MS)
    const exit = await this.exited
    clearTimeout(timer)
    return exit.clean
  }

  /** At once, whatever is in flight. */
  kill(): void {
    this.#isKilled = true
    this.#handle.kill()
  }

  /**
   * Asks for its counts, to see whether it answers; false when it has not for too long. Beats are
   * counted and not clocked: when control itself was stopped, the process is not to blame.
   */
  beat(): boolean {
    if (this.#unanswered >= UNANSWERED_MAX) return false
    this.#unanswered += 1
    void this.collect()
    return true
  }

  /** Asks for what was counted since the last time; waits a moment for it. */
  collect(): Promise<void> {
    this.#lastCollection += 1
    const id = this.#lastCollection
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#collected(id), COLLECT_WAIT_MS)
      this.#collections.set(id, () => {
        clearTimeout(timer)
        resolve()
      })
      if (!this.#handle.channel.send({ kind: 'collect', id })) this.#collected(id)
    })
  }

  /** Runs that were given up since the last call. */
  newHangs(): { readonly ref: EndpointRef; readonly count: number }[] {
    const found: { ref: EndpointRef; count: number }[] = []
    for (const { serviceId, generationId, hangs } of this.observed?.generations ?? []) {
      for (const [endpointId, total] of Object.entries(hangs)) {
        const key = `${refKey({ serviceId, generationId })}/${endpointId}`
        const seen = this.#hangsSeen.get(key) ?? 0
        // Fewer than before: the generation was loaded anew.
        const count = total < seen ? total : total - seen
        this.#hangsSeen.set(key, total)
        if (count > 0) found.push({ ref: { serviceId, generationId, endpointId }, count })
      }
    }
    return found
  }

  /**
   * Forgotten when the process ends first. When control itself was stopped all times are over at
   * once, so what the process has sent meanwhile is read before anything is concluded.
   */
  later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      setImmediate(() => setImmediate(() => this.hasEnded || act()))
    }, ms)
    this.#timers.add(timer)
  }

  #beginDesired(): void {
    this.#isDesiredSent = true
    const message = this.#host.desired()
    if (message !== null) this.#send(message)
  }

  #send({ state, stopped }: Desired): void {
    this.#handle.channel.send({ kind: 'desired', state: this.#sent.shorten(state), stopped })
  }

  #receive(message: ToControl): void {
    switch (message.kind) {
      case 'observed':
        this.observed = message.state
        this.#host.onObserved(this)
        return
      case 'metrics':
        this.#unanswered = 0
        this.#host.onCounted(this, message.delta)
        this.#collected(message.id)
        return
      case 'drained':
        this.#host.onCounted(this, message.delta)
        return
      case 'quotaAsk':
        this.#host.onQuotaAsk(this, message.ask)
        return
      case 'quotaGave':
        this.#host.onQuotaGave(this, message.gave)
        return
      case 'listening':
        this.server = message.server
        this.listenedMs = nowMs()
        if (this.state === 'starting') this.state = 'serving'
        this.#host.onListening(this, message)
        return
      case 'listenFailed':
        this.#host.onListenFailed(this, message.reason)
        return
      case 'retired':
        this.#isRetired = true
        this.#host.onRetired(this)
        return
      default:
        assertNever(message)
    }
  }

  #collected(id: number): void {
    this.#collections.get(id)?.()
    this.#collections.delete(id)
  }

  #ended(exit: ServeExit): void {
    this.hasEnded = true
    for (const timer of this.#timers) clearTimeout(timer)
    for (const id of [...this.#collections.keys()]) this.#collected(id)
    this.#host.onEnded(this, exit)
  }
}
