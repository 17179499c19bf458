/**
 * Composition root of a serving process: it follows the desired state that control sends, answers
 * queries, and leaves on control's word or when the channel to control closes.
 *
 * It leaves in one of two ways. `stop`: nobody takes its place, so it drains and is gone. `retire`:
 * another process listens on the port, so it stays until its callers have left it by themselves.
 */

import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { assert, assertNever } from './base/assert.ts'
import { nowMs } from './base/clock.ts'
import { messageOf } from './base/errors.ts'
import type { Logger } from './base/logger.ts'
import { Terminals } from './base/terminals.ts'
import { type Channel, channelToControl } from './channel/ipc.ts'
import {
  CHANNEL_VERSION,
  type QuotaGive,
  type ServeConfig,
  type ToControl,
  type ToServe,
} from './channel/messages.ts'
import { StateKnown } from './channel/wire-state.ts'
import { WitnessFile } from './channel/witness-file.ts'
import { LIMITS } from './config/limits.ts'
import { TELEMETRY } from './config/telemetry.ts'
import { coresForModels } from './engine/cores.ts'
import { Engine } from './engine/engine.ts'
import { inQuietTurn } from './http/quiet-turn.ts'
import { Recorder } from './metrics/recorder.ts'
import { answerDocument } from './query/documents.ts'
import { mayVisit } from './query/gate.ts'
import { queryHandler } from './query/handler.ts'
import { openListener, type QueryListener } from './query/listener.ts'
import { QueryLog } from './query-log/query-log.ts'

/** How long the loop is watched for a quiet turn to close the listener in. */
const QUIET_WAIT_MS = 500
/** On a stop nobody else takes what comes, so there is less to gain. */
const QUIET_WAIT_STOP_MS = 50
/** On a stop, a kept connection may have a request under way: so long we wait for silence. */
const SILENCE_MS = 300
const POLL_MS = 20
/** Threads get this much to release their models, however late it is. */
const CLOSE_MS_MIN = 1_000

/** uWebSockets.js reads it when it loads; its default of 4 KiB is too small for many tokens. */
const HEADER_BYTES_MAX = '16384'

export function serve(): void {
  process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = HEADER_BYTES_MAX
  process.env[TELEMETRY.name] = TELEMETRY.off
  const channel = channelToControl(process)
  let node: ServingNode | null = null
  // Made inside the callback: messages that follow in the same turn must find it.
  channel.onMessage((message) => {
    if (message.kind === 'configure') {
      // The files may have been replaced while an older control was running.
      assert(message.channel === CHANNEL_VERSION, 'control and serve are of one version')
      node = newNode(message.config, channel)
    } else void node?.receive(message)
  })
  // Without control nobody revokes keys or switches generations: serving on would be wrong.
  channel.onClose(() => {
    if (node === null) process.exit(0)
    void node.stop('the channel to control has closed')
  })
}

function newNode(config: ServeConfig, channel: Channel<ToControl, ToServe>): ServingNode {
  const destination = pino.destination(2)
  // A terminal that was closed takes no more lines; the requests in flight are answered still.
  destination.on('error', () => {})
  const logger = pino({ level: config.logLevel, base: { role: 'serve' } }, destination)
  return new ServingNode(config, channel, logger)
}

class ServingNode {
  readonly #config: ServeConfig
  readonly #channel: Channel<ToControl, ToServe>
  readonly #logger: Logger
  readonly #recorder = new Recorder()
  readonly #terminals = new Terminals()
  readonly #state = new StateKnown()
  readonly #queryLog: QueryLog
  readonly #engine: Engine
  #listener: QueryListener | null = null
  #revision = 0
  /** One listener at a time; a second `listen` is for a port that could not be had before. */
  #opening = false
  #retiring = false
  #stopping = false
  #observing = false

  constructor(config: ServeConfig, channel: Channel<ToControl, ToServe>, logger: Logger) {
    this.#config = config
    this.#channel = channel
    this.#logger = logger
    const { processes, modelCores } = config
    const cores = coresForModels(availableParallelism(), processes, modelCores)
    const { witnessFile } = config
    this.#queryLog = new QueryLog({ settings: config.queryLog, logger })
    this.#engine = new Engine({
      recorder: this.#recorder,
      logger,
      defaultThreads: config.threads,
      threadsMax: cores,
      permits: cores,
      hangMs: config.hangMs,
      capacity: config.capacity,
      runtimes: config.runtimes,
      witness: witnessFile === null ? null : WitnessFile.open(witnessFile, logger),
      onChange: () => this.#observeSoon(),
      quotas: {
        processes: config.processes,
        place: config.place,
        ask: (ask) => channel.send({ kind: 'quotaAsk', ask }),
      },
      issuers: { settings: config.issuers },
      mayVisit: (visit) => mayVisit({ engine: this.#engine, recorder: this.#recorder }, visit),
      logOf: this.#queryLog.logOf,
    })
  }

  async receive(message: Exclude<ToServe, { kind: 'configure' }>): Promise<void> {
    switch (message.kind) {
      case 'desired':
        await this.#follow(message)
        return
      case 'listen':
        await this.#listen()
        return
      case 'collect':
        this.#channel.send({ kind: 'metrics', id: message.id, delta: this.#delta() })
        return
      case 'quotaGive':
        this.#give(message.give)
        return
      case 'quotaGrant':
        this.#engine.quotas.take(message.grant)
        return
      case 'retire':
        await this.#retire()
        return
      case 'stop':
        await this.stop('control said so')
        return
      default:
        assertNever(message)
    }
  }

  /** What is to be logged from now on finds its writer there; at first, listening waits. */
  async #follow({ state, stopped }: Extract<ToServe, { kind: 'desired' }>): Promise<void> {
    const desired = this.#state.restore(state)
    const preparing = this.#listener === null ? null : this.#queryLog.prepare(desired.services)
    // States come one after the other: where nothing is waited for, nothing may come between.
    if (preparing !== null) await preparing
    this.#revision = desired.revision
    await this.#engine.apply(desired, stopped)
  }

  #give(give: QuotaGive): void {
    const gave = this.#engine.quotas.give(give)
    if (gave !== null) this.#channel.send({ kind: 'quotaGave', gave })
  }

  async stop(reason: string): Promise<void> {
    if (this.#stopping) return
    this.#stopping = true
    this.#logger.info({ reason }, 'draining')
    const deadlineMs = nowMs() + this.#config.drainMs
    await quietTurn(QUIET_WAIT_STOP_MS)
    this.#listener?.stop(this.#config.drainMs)
    await this.#silence(deadlineMs)
    await this.#end(deadlineMs)
  }

  /** Desired states are followed all the while: a key that is revoked now opens nothing here. */
  async #retire(): Promise<void> {
    if (this.#retiring || this.#stopping) return
    this.#retiring = true
    const deadlineMs = nowMs() + Math.max(this.#config.drainMs, LIMITS.retireMs)
    await quietTurn(QUIET_WAIT_MS)
    this.#listener?.leave()
    const connections = () => this.#listener?.connections() ?? 0
    this.#channel.send({ kind: 'retired', connections: connections() })
    this.#logger.info({ connections: connections() }, 'retiring')
    while (connections() > 0 && nowMs() < deadlineMs && !this.#stopping) await sleep(POLL_MS)
    if (this.#stopping) return // stop() goes on from here, and is shorter.
    this.#stopping = true
    // Nobody waits for what still runs, so it gets no more than a moment.
    await this.#end(nowMs() + CLOSE_MS_MIN)
  }

  /** Waits for the threads until the deadline, says the last, and is gone. */
  async #end(deadlineMs: number): Promise<never> {
    while (this.#engine.scheduler.running > 0 && nowMs() < deadlineMs) await sleep(POLL_MS)
    const logged = await this.#queryLog.close(CLOSE_MS_MIN)
    this.#channel.send({ kind: 'drained', delta: this.#delta() })
    const closed = await Promise.race([this.#engine.close(), this.#closeTooLate(deadlineMs)])
    await this.#engine.endChildren()
    this.#logger.info({ closed }, 'serving has ended')
    await sleep(POLL_MS)
    // A thread inside a model would abort an ordinary exit half-way; so does a closed terminal,
    // and one inside a write would keep it waiting.
    if (!closed || !logged || this.#terminals.lost) process.kill(process.pid, 'SIGKILL')
    process.exit(0)
  }

  /** A model that is loading may take for ever; its thread must not be waited for so long. */
  async #closeTooLate(deadlineMs: number): Promise<false> {
    await sleep(Math.max(CLOSE_MS_MIN, deadlineMs - nowMs()))
    return false
  }

  /** Until every request is answered and no kept connection has sent another for a while. */
  async #silence(deadlineMs: number): Promise<void> {
    let quietSinceMs = nowMs()
    while (this.#listener !== null && nowMs() < deadlineMs) {
      const { active, connections } = this.#listener
      if (active() > 0) quietSinceMs = nowMs()
      if (connections() === 0 || nowMs() - quietSinceMs > SILENCE_MS) return
      await sleep(POLL_MS)
    }
  }

  async #listen(): Promise<void> {
    if (this.#opening) return
    assert(this.#listener === null, 'the query port is not open yet')
    this.#opening = true
    // It mends what a process before this one has left, and takes the first line at once.
    await this.#queryLog.prepare([])
    const handler = queryHandler({
      engine: this.#engine,
      recorder: this.#recorder,
      bodyBytesMax: this.#config.bodyBytesMax,
      notAliveFile: this.#config.notAliveFile,
      isStopping: () => this.#stopping,
      onRefusal: this.#queryLog.refused,
      answerDocument,
    })
    try {
      this.#listener = await openListener(this.#config, this.#logger, handler)
      const { port, server } = this.#listener
      this.#channel.send({ kind: 'listening', port, server })
    } catch (error) {
      this.#channel.send({ kind: 'listenFailed', reason: messageOf(error) })
    }
    this.#opening = false
  }

  #delta() {
    const gauges = {
      activeRequests: this.#listener?.active() ?? 0,
      connections: this.#listener?.connections() ?? 0,
      held: this.#listener?.held() ?? { bodies: 0, answers: 0 },
    }
    const queryLog = this.#queryLog.drain()
    const sheds = this.#listener?.drainSheds() ?? []
    return {
      ...this.#recorder.drain(gauges),
      ...(queryLog.length > 0 ? { queryLog } : {}),
      ...(sheds.length > 0 ? { sheds } : {}),
    }
  }

  /** Several changes in one turn of the event loop are one report. */
  #observeSoon(): void {
    if (this.#observing) return
    this.#observing = true
    setImmediate(() => this.#observe())
  }

  #observe(): void {
    this.#observing = false
    const generations = this.#engine.observe()
    const connections = this.#listener?.connections() ?? 0
    this.#channel.send({
      kind: 'observed',
      state: { revision: this.#revision, generations, connections },
    })
  }
}

function quietTurn(limitMs: number): Promise<void> {
  return new Promise((resolve) => inQuietTurn(limitMs, resolve))
}
