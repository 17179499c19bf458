/**
 * Slabs on their way to the writer and back, on the main thread.
 *
 * Memory is bounded by the number of slabs: when all are with the writer there is no room, and
 * whoever asked counts the line as dropped. The writer is told with the next slab.
 */

import { nowMs, wallMs } from '../base/clock.ts'
import type { QueryLogDelta } from '../metrics/delta.ts'
import type { FromWriter, ServiceLines, Source, ToWriter } from './protocol.ts'
import { headTemplate, Slab, shortId } from './slab.ts'

/** About 16 MiB. */
const SLABS_MAX = 24
/** Empty ones that are kept at hand; the others are given back to the system. */
const SPARE_MAX = 4
/** A line waits no longer for others before it is handed over. */
const FLUSH_MS = 50
/** Keys and endpoints times generations; when there are more, all are forgotten and named anew. */
const SOURCES_MAX = 4_096

/** The lines of one service since the process started, and what becomes of them. */
export class ServiceCount {
  readonly serviceId: string
  /** Queries that were to be logged. */
  recorded = 0
  /** Those of which it is known what became of their lines. */
  settled = 0
  /** Why the writer cannot write them at the moment; null: it can, or has not tried. */
  trouble: string | null = null
  #written = 0
  #dropped = 0
  /** Dropped ones that the file does not tell of yet. */
  #untold = 0

  constructor(serviceId: string) {
    this.serviceId = serviceId
  }

  /** A line that never reached the writer. */
  drop(lines = 1): void {
    this.#dropped += lines
    this.#untold += lines
    this.settled += lines
  }

  wrote(lines: number): void {
    this.#written += lines
    this.settled += lines
  }

  /** The writer could not write these; it tells of them in the file itself. */
  lost(lines: number): void {
    this.#dropped += lines
    this.settled += lines
  }

  /** What was dropped and is told now. */
  tell(): number {
    const untold = this.#untold
    this.#untold = 0
    return untold
  }

  /** It could not be told after all. */
  untell(lines: number): void {
    this.#untold += lines
  }

  /** Since the last drain. */
  drain(): Omit<QueryLogDelta, 'serviceId'> {
    const { trouble } = this
    const counts = { written: this.#written, dropped: this.#dropped, trouble }
    this.#written = 0
    this.#dropped = 0
    return counts
  }
}

export interface KnownSource {
  readonly id: number
  readonly epoch: number
  /** Of its lines' heads, the time that a query took aside. */
  readonly headBytes: number
}

export interface OutboxOptions {
  readonly counts: ReadonlyMap<string, ServiceCount>
  /** False: nobody takes it, and the slab stays here. */
  readonly post: (message: ToWriter, transfer: readonly ArrayBuffer[]) => boolean
}

export class Outbox {
  readonly #options: OutboxOptions
  readonly #spare: Slab[] = []
  #slab: Slab | null = null
  #inFlight = 0
  #timer: NodeJS.Timeout | null = null
  readonly #sources = new Map<string, KnownSource>()
  #news: (readonly [number, Source])[] = []
  #nextId = 0
  #forget = false
  #epoch = 0
  /** Lines were dropped that the writer has not heard of. */
  #dropping = false

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** Sources of another epoch are not known to the writer any more. */
  get epoch(): number {
    return this.#epoch
  }

  /** The slab for the next line; null: there is no room for it. */
  room(bytes: number): Slab | null {
    const slab = this.#slab
    if (slab?.hasRoom(bytes) === true) return slab
    this.post()
    // It stays where nobody takes it.
    if (this.#slab !== null || this.#inFlight >= SLABS_MAX) {
      this.#dropping = true
      return null
    }
    const next = this.#spare.pop() ?? new Slab()
    next.open(wallMs(), nowMs())
    this.#slab = next
    this.#postLater()
    return next.hasRoom(bytes) ? next : null
  }

  /** Null: there are too many, and those of lines that wait here cannot be forgotten yet. */
  sourceOf({ serviceId, generationId, ...chosen }: Source): KnownSource | null {
    // Callers choose these as they like, and as long.
    const endpointId = shortId(chosen.endpointId)
    const callerId = shortId(chosen.callerId)
    const source = { serviceId, generationId, endpointId, callerId }
    const key = JSON.stringify([serviceId, endpointId, generationId, callerId])
    const known = this.#sources.get(key)
    if (known !== undefined) return known
    if (this.#sources.size >= SOURCES_MAX) {
      this.post()
      if (this.#slab !== null) {
        this.#dropping = true
        return null
      }
      this.#nameAnew()
    }
    const headBytes = headTemplate(source).byteLength
    const made = { id: this.#nextId, epoch: this.#epoch, headBytes }
    this.#nextId += 1
    this.#sources.set(key, made)
    this.#news.push([made.id, source])
    return made
  }

  /** Hands over what there is. */
  post(): void {
    const slab = this.#slab
    // What was dropped may be told with any slab, and for it alone none is made beyond the last.
    const isFull = this.#inFlight >= SLABS_MAX
    if (slab === null && (isFull || !this.#dropping)) return
    const dropped = this.#untold()
    const carrier = slab ?? this.#spare.pop() ?? new Slab()
    if (slab === null) carrier.open(wallMs(), nowMs())
    const { buffer, count, usedBytes, baseMs } = carrier
    const lines = { kind: 'lines', buffer, count, usedBytes, baseMs, dropped } as const
    const message = { ...lines, sources: this.#news, forget: this.#forget }
    if (!this.#options.post(message, [buffer])) {
      for (const [serviceId, lines] of dropped) this.#options.counts.get(serviceId)?.untell(lines)
      this.#postLater()
      return
    }
    this.#inFlight += 1
    this.#slab = null
    this.#news = []
    this.#forget = false
    this.#dropping = false
  }

  /** A slab has come back. */
  returned(message: Extract<FromWriter, { kind: 'done' }>): void {
    this.#inFlight -= 1
    const { buffer, written, lost } = message
    for (const [serviceId, lines] of written) this.#options.counts.get(serviceId)?.wrote(lines)
    for (const [serviceId, lines] of lost) this.#options.counts.get(serviceId)?.lost(lines)
    if (this.#spare.length < SPARE_MAX) this.#spare.push(new Slab(buffer))
    if (this.#dropping) this.#postLater()
  }

  /** Nobody will hear what becomes of the lines on their way: they count as dropped. */
  giveUp(): void {
    this.#slab = null
    for (const count of this.#options.counts.values()) {
      if (count.recorded > count.settled) count.drop(count.recorded - count.settled)
    }
  }

  /** The writer has ended by itself: what was with it is lost, and its successor knows nothing. */
  writerLost(): void {
    this.#inFlight = 0
    for (const count of this.#options.counts.values()) count.trouble = null
    this.giveUp()
    this.#dropping = true
    this.#postLater()
    this.#nameAnew()
  }

  #nameAnew(): void {
    this.#sources.clear()
    this.#news = []
    this.#forget = true
    this.#epoch += 1
  }

  #postLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.post()
    }, FLUSH_MS).unref()
  }

  #untold(): ServiceLines[] {
    const counts = [...this.#options.counts.values()]
    return counts.flatMap((count): ServiceLines[] => {
      const lines = count.tell()
      return lines === 0 ? [] : [[count.serviceId, lines]]
    })
  }
}
