/**
 * Keeps one serving process alive and in step with the desired state.
 *
 * The newest desired state is kept here and nothing else: a process that takes the place of a dead
 * one is sent it like the first one was, so a restart is no special case. Several processes and a
 * hand-over need more than one ServeHandle here; the `Serving` contract stays as it is.
 */

import { assertNever } from '../../core/base/assert.ts'
import { wallMs } from '../../core/base/clock.ts'
import type { Logger } from '../../core/base/logger.ts'
import type {
  DesiredState,
  ObservedState,
  ServeConfig,
  ToControl,
} from '../../core/channel/messages.ts'
import { LIMITS } from '../../core/config/limits.ts'
import type { MetricsDelta } from '../../core/metrics/delta.ts'
import type { Serving, ServingStatus, WarmOutcome } from '../contracts.ts'
import { isSettled, type Observation, warmth, without } from './readiness.ts'
import type { Launch, ServeExit, ServeHandle } from './serve-process.ts'
import { Waits } from './waits.ts'

const COLLECT_WAIT_MS = 250
/** A process that leaves this many collections unanswered serves nobody any more. */
const SILENT_COLLECTIONS_MAX = 3
/** Dead before it served and before this: it died of its start, and the next one is delayed. */
const SHORT_LIFE_MS = 2_000
const DELAY_MS_MAX = 10_000
/** Starts that may fail before the first one listened, until the node gives up. */
const FIRST_STARTS_MAX = 3
/** Node itself takes longer to start, so this costs nothing; see #launch. */
const DESIRED_AFTER_MS = 30
/** After `drainMs`, the time to close what is left and end. */
const STOP_GRACE_MS = 2_000

export interface SupervisorOptions {
  readonly launch: Launch
  readonly config: ServeConfig
  readonly metrics: { add(delta: MetricsDelta): void; disconnected(): void }
  readonly collectEveryMs: number
  readonly logger: Logger
}

export type Opened =
  | { readonly kind: 'listening'; readonly port: number; readonly server: 'uws' | 'node' }
  | { readonly kind: 'failed'; readonly reason: string }

/** What is known of the process that runs now. */
interface Running {
  readonly handle: ServeHandle
  readonly startedOn: number
  observed: ObservedState | null
  desiredSent: boolean
  listenSent: boolean
  server: 'uws' | 'node' | null
  silentCollections: number
  readonly timers: Set<NodeJS.Timeout>
}

export class Supervisor implements Serving {
  readonly #options: SupervisorOptions
  readonly #waits = new Waits<Observation>()
  readonly #collections = new Map<number, () => void>()
  #desired: DesiredState | null = null
  #current: Running | null = null
  /** The port once one was bound: a replacement must get the same. */
  #port: number
  #mayListen = false
  #stopping = false
  #shortLives = 0
  #replaced = 0
  #lastExit: string | null = null
  #lastCollection = 0
  #restart: NodeJS.Timeout | null = null
  #ticker: NodeJS.Timeout | null = null
  #opened: ((opened: Opened) => void) | null = null

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#port = options.config.port
  }

  start(): void {
    this.#ticker = setInterval(() => this.#tick(), this.#options.collectEveryMs)
    this.#launch(true)
  }

  /** Opens the query port once what is published is applied and loaded. */
  open(): Promise<Opened> {
    this.#mayListen = true
    return new Promise((resolve) => {
      this.#opened = resolve
      if (this.#current !== null) this.#listenAtTheLatest(this.#current, LIMITS.loadMs)
      this.#listenWhenSettled()
    })
  }

  /** Ends a wait in open() that is of no use any more. */
  giveUp(reason: string): void {
    this.#tellOpened({ kind: 'failed', reason })
  }

  publish(state: DesiredState): void {
    this.#desired = state
    const current = this.#current
    if (current === null) return
    if (current.observed !== null) current.observed = without(current.observed, state)
    if (current.desiredSent) current.handle.channel.send({ kind: 'desired', state })
  }

  whenApplied(revision: number): Promise<boolean> {
    const answer = (observation: Observation): true | undefined =>
      observation.kind === 'state' && observation.state.revision >= revision ? true : undefined
    const known = this.#observation()
    if (known !== null && answer(known)) return Promise.resolve(true)
    return this.#waits.until<boolean>(answer, LIMITS.applyMs, false)
  }

  whenWarm(serviceId: string, generationId: string): Promise<WarmOutcome> {
    const answer = (observation: Observation): WarmOutcome | undefined =>
      warmth(observation, serviceId, generationId)
    const known = this.#observation()
    const outcome = known === null ? undefined : answer(known)
    if (outcome !== undefined) return Promise.resolve(outcome)
    const reason = `it was not warm after ${LIMITS.loadMs / 1000} s`
    return this.#waits.until<WarmOutcome>(answer, LIMITS.loadMs, { kind: 'failed', reason })
  }

  observed(): ObservedState | null {
    return this.#current?.observed ?? null
  }

  async collect(): Promise<void> {
    const current = this.#current
    if (current === null) return
    const id = this.#nextCollection()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#collections.get(id)?.(), COLLECT_WAIT_MS)
      this.#collections.set(id, () => {
        clearTimeout(timer)
        this.#collections.delete(id)
        resolve()
      })
      if (!current.handle.channel.send({ kind: 'collect', id })) this.#collections.get(id)?.()
    })
  }

  status(): ServingStatus {
    const server = this.#current?.server ?? null
    return {
      pid: this.#current?.handle.pid ?? null,
      listening: server !== null,
      server,
      replaced: this.#replaced,
      lastExit: this.#lastExit,
    }
  }

  /** Wall clock, for metrics; null while none runs. */
  startedOn(): number | null {
    return this.#current?.startedOn ?? null
  }

  /** All that is in flight is answered, for at most `drainMs`; true when serve ended by itself. */
  async stop(): Promise<boolean> {
    this.#stopping = true
    if (this.#ticker !== null) clearInterval(this.#ticker)
    if (this.#restart !== null) clearTimeout(this.#restart)
    const handle = this.#current?.handle
    if (handle === undefined) return true
    handle.channel.send({ kind: 'stop' })
    const limitMs = this.#options.config.drainMs + STOP_GRACE_MS
    const timer = setTimeout(() => handle.kill(), limitMs)
    const exit = await handle.exited
    clearTimeout(timer)
    return exit.clean
  }

  /** At once, whatever is in flight. */
  kill(): void {
    this.#stopping = true
    this.#current?.handle.kill()
  }

  #observation(): Observation | null {
    const state = this.observed()
    return state === null ? null : { kind: 'state', state }
  }

  #launch(first: boolean): void {
    this.#restart = null
    const handle = this.#options.launch({ ...this.#options.config, port: this.#port })
    const current: Running = {
      handle,
      startedOn: wallMs(),
      observed: null,
      desiredSent: false,
      listenSent: false,
      server: null,
      silentCollections: 0,
      timers: new Set(),
    }
    this.#current = current
    handle.channel.onMessage((message) => this.#receive(current, message))
    // If the last process died of a load, whoever waited for it now takes it out of the desired
    // state; sent right away, the new process would begin with the same load.
    this.#later(current, DESIRED_AFTER_MS, () => this.#sendDesired(current))
    if (this.#mayListen) this.#listenAtTheLatest(current, first ? LIMITS.loadMs : LIMITS.applyMs)
    handle.exited.then(
      (exit) => this.#ended(current, exit),
      () => {},
    )
  }

  /** A replacement does not keep all services waiting for one that loads slowly. */
  #listenAtTheLatest(current: Running, ms: number): void {
    this.#later(current, ms, () => this.#listen(current))
  }

  #later(current: Running, ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      current.timers.delete(timer)
      act()
    }, ms)
    current.timers.add(timer)
  }

  #sendDesired(current: Running): void {
    current.desiredSent = true
    if (this.#desired !== null) {
      current.handle.channel.send({ kind: 'desired', state: this.#desired })
    }
  }

  #receive(current: Running, message: ToControl): void {
    switch (message.kind) {
      case 'observed':
        current.observed = message.state
        this.#listenWhenSettled()
        this.#waits.look({ kind: 'state', state: message.state })
        return
      case 'metrics':
        current.silentCollections = 0
        this.#options.metrics.add(message.delta)
        this.#collections.get(message.id)?.()
        return
      case 'drained':
        this.#options.metrics.add(message.delta)
        return
      case 'listening':
        this.#port = message.port
        current.server = message.server
        this.#options.logger.info({ ...message, pid: current.handle.pid }, 'queries are served')
        this.#tellOpened(message)
        return
      case 'listenFailed':
        this.#listenFailed(current, message.reason)
        return
      default:
        assertNever(message)
    }
  }

  #listenFailed(current: Running, reason: string): void {
    this.#options.logger.error({ reason, port: this.#port }, 'the query port cannot be opened')
    this.#tellOpened({ kind: 'failed', reason })
    // A process that cannot listen is of no use; the next one tries again, later each time.
    current.handle.kill()
  }

  #listenWhenSettled(): void {
    const current = this.#current
    if (current === null || this.#desired === null) return
    if (isSettled(this.#desired, current.observed)) this.#listen(current)
  }

  #listen(current: Running): void {
    if (!this.#mayListen || current.listenSent) return
    current.listenSent = true
    current.handle.channel.send({ kind: 'listen' })
  }

  #tellOpened(opened: Opened): void {
    this.#opened?.(opened)
    this.#opened = null
  }

  #ended(current: Running, exit: ServeExit): void {
    for (const timer of current.timers) clearTimeout(timer)
    for (const settle of [...this.#collections.values()]) settle()
    this.#current = null
    this.#options.metrics.disconnected()
    if (this.#stopping) return
    this.#lastExit = exit.how
    const diedOfStart = current.server === null && exit.aliveMs < SHORT_LIFE_MS
    this.#shortLives = diedOfStart ? this.#shortLives + 1 : 0
    this.#waits.look({ kind: 'ended', how: exit.how, last: current.observed })
    if (this.#opened !== null && this.#shortLives >= FIRST_STARTS_MAX) {
      this.#tellOpened({ kind: 'failed', reason: `the serving process ended (${exit.how})` })
      return
    }
    this.#replaced += 1
    const delayMs = this.#shortLives === 0 ? 0 : restartDelayMs(this.#shortLives)
    const { pid } = current.handle
    this.#options.logger.error({ pid, ...exit, delayMs }, 'the serving process ended: replaced')
    if (delayMs === 0) this.#launch(false)
    else this.#restart = setTimeout(() => this.#launch(this.#opened !== null), delayMs)
  }

  #tick(): void {
    const current = this.#current
    if (current === null) return
    current.silentCollections += 1
    if (current.silentCollections > SILENT_COLLECTIONS_MAX) {
      this.#options.logger.error({ pid: current.handle.pid }, 'the serving process is silent')
      current.handle.kill()
      return
    }
    void this.collect()
  }

  #nextCollection(): number {
    this.#lastCollection += 1
    return this.#lastCollection
  }
}

/** The first replacement comes at once; what keeps dying must not burn a core. */
function restartDelayMs(shortLives: number): number {
  return shortLives <= 1 ? 0 : Math.min(DELAY_MS_MAX, 125 * 2 ** shortLives)
}
