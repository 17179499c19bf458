/**
 * The query log of a serving process: what services are to be logged, and the thread that writes.
 *
 * Nothing here waits for a disk. Lines that find no room, or that cannot be written, are counted
 * and told of; queries are answered whatever becomes of their lines.
 */

import { existsSync } from 'node:fs'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { nowMs } from '../base/clock.ts'
import type { AppError } from '../base/errors.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { DesiredService, QueryLogPolicy, QueryLogSettings } from '../channel/messages.ts'
import type { QueryLogDelta } from '../metrics/delta.ts'
import { EndpointLog } from './endpoint-log.ts'
import { Outbox, ServiceCount } from './outbox.ts'
import type { FromWriter, ToWriter } from './protocol.ts'

/** Compiled, the thread is a .js file; run from source it is a .ts file, as this one. */
const WRITER_URL = new URL(
  `./writer-main${extname(new URL(import.meta.url).pathname)}`,
  import.meta.url,
)
const RESTART_MS = 1_000
/** A thread that a disk holds up at its start is not waited for any longer. */
const START_MS = 2_000

export interface QueryLogOptions {
  readonly settings: QueryLogSettings
  readonly logger: Logger
  /** The program of the thread that writes. */
  readonly writer?: URL
}

/** A query that no lane has seen. */
export interface RefusedQuery {
  readonly service: DesiredService
  /** As the caller has named it; null: none. */
  readonly endpointId: string | null
  readonly generationId: string | null
  readonly callerId: string | null
  readonly requestId: string | null
  readonly error: AppError
}

export class QueryLog {
  readonly #options: QueryLogOptions
  readonly #counts = new Map<string, ServiceCount>()
  readonly #outbox: Outbox
  #worker: Worker | null = null
  #restart: NodeJS.Timeout | null = null
  /** Settles when the thread takes lines, or has had its time; null: it does already. */
  #starting: Promise<void> | null = null
  #closing = false
  readonly #flushes = new Map<number, () => void>()
  #flushId = 0

  constructor(options: QueryLogOptions) {
    this.#options = options
    this.#outbox = new Outbox({
      counts: this.#counts,
      post: (message, transfer) => this.#post(message, transfer),
    })
    // What a process before this one has left half-written is cut, whoever is logged now.
    if (existsSync(options.settings.directory)) this.#start()
  }

  /** Null: nothing of the service is logged, and nothing is paid for it. */
  readonly logOf = (
    service: DesiredService,
    generationId: string | null,
    endpointId: string | null,
  ): EndpointLog | null => {
    const { serviceId, queryLog: policy } = service
    if (!isOn(policy)) return null
    this.#startIfAbsent()
    const count = this.#countOf(serviceId)
    const subject = { serviceId, endpointId, generationId }
    return new EndpointLog({ outbox: this.#outbox, count, policy, subject })
  }

  /**
   * Starts the thread where one of these is to be logged. Lines that are made before it is there
   * wait in memory, and on a busy machine that can be long; so their queries should wait for this.
   * Null: there is nothing to wait for.
   */
  prepare(services: readonly DesiredService[]): Promise<void> | null {
    if (services.some(({ queryLog }) => isOn(queryLog))) this.#startIfAbsent()
    return this.#starting
  }

  /** Called after it was refused, for services that exist. */
  readonly refused = (refused: RefusedQuery): void => {
    const { service, endpointId, generationId, callerId, requestId, error } = refused
    this.logOf(service, generationId, endpointId)?.refused(callerId, error, requestId)
  }

  /** What became of lines since the last call; only services with any. */
  drain(): QueryLogDelta[] {
    return [...this.#counts.values()].flatMap((count) => {
      const counts = count.drain()
      const { written, dropped, trouble } = counts
      const isQuiet = written + dropped === 0 && trouble === null
      return isQuiet ? [] : [{ serviceId: count.serviceId, ...counts }]
    })
  }

  #countOf(serviceId: string): ServiceCount {
    const count = this.#counts.get(serviceId) ?? new ServiceCount(serviceId)
    this.#counts.set(serviceId, count)
    return count
  }

  /** Settles when all lines so far are in their files or given up, or at the limit. */
  async flush(limitMs: number): Promise<void> {
    this.#outbox.post()
    if (this.#worker === null) return
    this.#flushId += 1
    const id = this.#flushId
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      this.#flushes.set(id, () => {
        clearTimeout(timer)
        resolve()
      })
      this.#post({ kind: 'flush', id }, [])
    })
    this.#flushes.delete(id)
  }

  /**
   * Nothing is logged after it. False: the writer has not ended, for it is stuck in a write, and
   * an ordinary exit would wait for it.
   */
  async close(limitMs: number): Promise<boolean> {
    this.#closing = true
    const endMs = nowMs() + limitMs
    await this.flush(limitMs)
    const worker = this.#worker
    clearTimeout(this.#restart ?? undefined)
    const hasEnded = worker === null || (await this.#ended(worker, Math.max(0, endMs - nowMs())))
    this.#outbox.giveUp()
    return hasEnded
  }

  #ended(worker: Worker, limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), limitMs)
      worker.once('exit', () => {
        clearTimeout(timer)
        resolve(true)
      })
      this.#post({ kind: 'close' }, [])
    })
  }

  #post(message: ToWriter, transfer: readonly ArrayBuffer[]): boolean {
    this.#worker?.postMessage(message, [...transfer])
    return this.#worker !== null
  }

  #startIfAbsent(): void {
    if (this.#worker === null && this.#restart === null) this.#start()
  }

  #start(): void {
    const { settings, logger, writer = WRITER_URL } = this.#options
    const worker = new Worker(writer, { workerData: settings, env: {}, execArgv: [] })
    worker.unref()
    this.#worker = worker
    worker.on('message', (message: FromWriter) => this.#receive(message))
    worker.on('error', (error) => {
      logger.error({ reason: messageOf(error) }, 'the writer of the query log has failed')
    })
    worker.on('exit', () => {
      this.#worker = null
      for (const done of this.#flushes.values()) done()
      if (this.#closing) return
      this.#outbox.writerLost()
      this.#restart = setTimeout(() => {
        this.#restart = null
        this.#start()
      }, RESTART_MS).unref()
    })
    const starting = this.flush(START_MS).then(() => {
      if (this.#starting === starting) this.#starting = null
    })
    this.#starting = starting
  }

  #receive(message: FromWriter): void {
    if (message.kind === 'done') this.#outbox.returned(message)
    else if (message.kind === 'flushed') this.#flushes.get(message.id)?.()
    else this.#trouble(message)
  }

  #trouble({ serviceId, code, reason }: Extract<FromWriter, { kind: 'trouble' }>): void {
    const { logger } = this.#options
    this.#countOf(serviceId).trouble = code
    if (reason === null) logger.info({ serviceId }, 'the query log is written again')
    else logger.error({ serviceId, reason }, 'the query log cannot be written; lines are dropped')
  }
}

function isOn(policy: QueryLogPolicy | undefined): policy is QueryLogPolicy {
  return policy !== undefined && policy.mode !== 'off'
}
