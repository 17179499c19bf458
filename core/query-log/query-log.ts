/**
 * The query log of a serving process: what services are to be logged, and the thread that writes.
 *
 * Nothing here waits for a disk. Lines that find no room, or that cannot be written, are counted
 * and told of; queries are answered whatever becomes of their lines.
 */

import { existsSync } from 'node:fs'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { AppError } from '../base/errors.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { DesiredService, QueryLogSettings } from '../channel/messages.ts'
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

export interface QueryLogOptions {
  readonly settings: QueryLogSettings
  readonly logger: Logger
}

/** A query that no lane has seen. */
export interface RefusedQuery {
  readonly service: DesiredService
  /** As the caller has named it; null: none. */
  readonly endpointId: string | null
  readonly generationId: string | null
  readonly callerId: string | null
  readonly error: AppError
}

export class QueryLog {
  readonly #options: QueryLogOptions
  readonly #counts = new Map<string, ServiceCount>()
  readonly #outbox: Outbox
  #worker: Worker | null = null
  #restart: NodeJS.Timeout | null = null
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
    if (policy === undefined || policy.mode === 'off') return null
    if (this.#worker === null && this.#restart === null) this.#start()
    const count = this.#counts.get(serviceId) ?? new ServiceCount(serviceId)
    this.#counts.set(serviceId, count)
    const subject = { serviceId, endpointId, generationId }
    return new EndpointLog({ outbox: this.#outbox, count, policy, subject })
  }

  /** Called after it was refused, for services that exist. */
  readonly refused = ({ service, endpointId, generationId, callerId, error }: RefusedQuery): void =>
    this.logOf(service, generationId, endpointId)?.refused(callerId, error, null)

  /** What became of lines since the last call; only services with any. */
  drain(): QueryLogDelta[] {
    return [...this.#counts.values()].flatMap((count) => {
      const { written, dropped } = count.drain()
      return written + dropped === 0 ? [] : [{ serviceId: count.serviceId, written, dropped }]
    })
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

  /** Nothing is logged after it. */
  async close(limitMs: number): Promise<void> {
    this.#closing = true
    await this.flush(limitMs)
    const worker = this.#worker
    clearTimeout(this.#restart ?? undefined)
    if (worker === null) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs)
      worker.once('exit', () => {
        clearTimeout(timer)
        resolve()
      })
      this.#post({ kind: 'close' }, [])
    })
  }

  #post(message: ToWriter, transfer: readonly ArrayBuffer[]): boolean {
    this.#worker?.postMessage(message, [...transfer])
    return this.#worker !== null
  }

  #start(): void {
    const { settings, logger } = this.#options
    const worker = new Worker(WRITER_URL, { workerData: settings, env: {}, execArgv: [] })
    worker.unref()
    this.#worker = worker
    worker.on('message', (message: FromWriter) => this.#receive(message))
    worker.on('error', (error) => {
      logger.error({ reason: messageOf(error) }, 'the writer of the query log has failed')
    })
    worker.on('exit', () => {
      this.#worker = null
      if (this.#closing) return
      this.#outbox.writerLost()
      for (const done of this.#flushes.values()) done()
      this.#restart = setTimeout(() => {
        this.#restart = null
        this.#start()
      }, RESTART_MS).unref()
    })
  }

  #receive(message: FromWriter): void {
    if (message.kind === 'done') this.#outbox.returned(message)
    else if (message.kind === 'flushed') this.#flushes.get(message.id)?.()
    else this.#trouble(message)
  }

  #trouble({ serviceId, reason }: Extract<FromWriter, { kind: 'trouble' }>): void {
    const { logger } = this.#options
    if (reason === null) logger.info({ serviceId }, 'the query log is written again')
    else logger.error({ serviceId, reason }, 'the query log cannot be written; lines are dropped')
  }
}
