/**
 * What the writer's thread does with what it is sent: lines into files, and where they cannot be
 * written, counts of them, which the file tells of as soon as it can be written again.
 */

import { existsSync } from 'node:fs'
import { wallMs } from '../base/clock.ts'
import { codeOf, messageOf } from '../base/errors.ts'
import { type Chunk, Composer } from './compose.ts'
import { DirectAppender } from './direct.ts'
import type { FromWriter, LinesMessage, ServiceLines, ToWriter, WriterSetup } from './protocol.ts'
import { repairAll } from './repair.ts'
import { ServiceFiles } from './service-files.ts'

/** Where a file cannot be written, so often another try is made when no lines come. */
const RETRY_MS = 1_000

export interface WriterOptions {
  readonly setup: WriterSetup
  readonly tell: (message: FromWriter, transfer: readonly ArrayBuffer[]) => void
}

interface ServiceLog {
  readonly files: ServiceFiles
  /** Dropped or lost lines that the file does not tell of yet. */
  untold: number
  inTrouble: boolean
}

export class Writer {
  readonly #options: WriterOptions
  readonly #composer = new Composer()
  readonly #appender = new DirectAppender()
  readonly #services = new Map<string, ServiceLog>()
  #timer: NodeJS.Timeout | null = null

  constructor(options: WriterOptions) {
    this.#options = options
    const { directory } = options.setup
    try {
      if (existsSync(directory)) repairAll(directory)
    } catch {
      // A file that cannot be mended is no reason not to write others.
    }
  }

  receive(message: ToWriter): void {
    if (message.kind === 'lines') this.#lines(message)
    else if (message.kind === 'flush') this.#options.tell({ kind: 'flushed', id: message.id }, [])
    else this.#close()
  }

  #lines(message: LinesMessage): void {
    const written: ServiceLines[] = []
    const lost: ServiceLines[] = []
    for (const [serviceId, lines] of message.dropped) this.#log(serviceId).untold += lines
    for (const chunk of this.#composer.chunks(message)) {
      const counts = this.#write(chunk) ? written : lost
      counts.push([chunk.serviceId, chunk.lines])
    }
    for (const [serviceId] of message.dropped) this.#tellDropped(serviceId)
    const { buffer } = message
    this.#options.tell({ kind: 'done', buffer, written, lost }, [buffer])
  }

  #write({ serviceId, pieces, lines, bytes }: Chunk): boolean {
    const log = this.#log(serviceId)
    const told = this.#droppedLine(serviceId, log.untold)
    if (this.#append(serviceId, [...told, ...pieces], bytes + sumOf(told))) {
      log.untold = 0
      return true
    }
    log.untold += lines
    return false
  }

  #tellDropped(serviceId: string): void {
    const log = this.#log(serviceId)
    if (log.untold === 0) return
    const told = this.#droppedLine(serviceId, log.untold)
    if (this.#append(serviceId, told, sumOf(told))) log.untold = 0
  }

  #append(serviceId: string, pieces: readonly Uint8Array[], bytes: number): boolean {
    const log = this.#log(serviceId)
    try {
      log.files.append(pieces, bytes)
    } catch (error) {
      this.#say(serviceId, log, error)
      this.#timer ??= setTimeout(() => this.#retry(), RETRY_MS)
      return false
    }
    this.#say(serviceId, log, null)
    return true
  }

  /** Once when it begins, once when it is over. */
  #say(serviceId: string, log: ServiceLog, error: unknown): void {
    if (log.inTrouble === (error !== null)) return
    log.inTrouble = error !== null
    const reason = error === null ? null : messageOf(error)
    const code = error === null ? null : (codeOf(error) ?? 'unknown')
    this.#options.tell({ kind: 'trouble', serviceId, reason, code }, [])
  }

  #retry(): void {
    this.#timer = null
    for (const serviceId of this.#services.keys()) this.#tellDropped(serviceId)
  }

  #droppedLine(service: string, dropped: number): Buffer[] {
    if (dropped === 0) return []
    const time = new Date(wallMs()).toISOString()
    return [Buffer.from(`${JSON.stringify({ time, service, dropped })}\n`)]
  }

  #log(serviceId: string): ServiceLog {
    const known = this.#services.get(serviceId)
    if (known !== undefined) return known
    const files = new ServiceFiles(serviceId, this.#options.setup, this.#appender)
    const made = { files, untold: 0, inTrouble: false }
    this.#services.set(serviceId, made)
    return made
  }

  #close(): void {
    clearTimeout(this.#timer ?? undefined)
    this.#timer = null
    for (const serviceId of this.#services.keys()) this.#tellDropped(serviceId)
    clearTimeout(this.#timer ?? undefined)
    for (const { files } of this.#services.values()) files.close()
  }
}

function sumOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
}
