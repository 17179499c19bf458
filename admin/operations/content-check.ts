/**
 * Whether the files of generations are, bit for bit, those that were imported: disks flip bits, and
 * a model with one flipped answers wrongly without an error.
 *
 * At start, before anything is loaded, what is active comes first and as much is read as takes no
 * noticeable time; damage there keeps the generation from being loaded. The rest is read after the
 * node is ready, at half of one core's speed. What is found damaged then and is in memory already
 * goes on serving, for its memory may well be good and nobody would thank us for stopping it; the
 * log and health say so.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { nowMs } from '../../core/base/clock.ts'
import type { Logger } from '../../core/base/logger.ts'
import { contentFault, type Pace } from '../store/contents.ts'
import type { Home } from '../store/home.ts'
import type { GenerationRecord } from '../store/records.ts'
import type { Catalog } from './catalog.ts'

/** About a quarter of a second of hashing. */
const BYTES_AT_START = 256 * 1024 * 1024
/** More than a start loads; each costs the opening of its files. */
const GENERATIONS_AT_START = 100
const CURE = 'import the bundle again'

export interface ContentCheckOptions {
  readonly home: Home
  readonly catalog: Catalog
  readonly logger: Logger
  /** Default 256 MiB. */
  readonly bytesAtStart?: number
}

/** Whether serving has it in memory, and what to do when it must not be loaded any more. */
export interface CheckedServing {
  isHeld(record: GenerationRecord): boolean
  publish(): void
}

export class ContentCheck {
  readonly #options: ContentCheckOptions
  readonly #end = new AbortController()
  #left: readonly GenerationRecord[] = []
  #running: Promise<void> = Promise.resolve()

  constructor(options: ContentCheckOptions) {
    this.#options = options
  }

  async atStart(): Promise<void> {
    const { catalog, logger, bytesAtStart = BYTES_AT_START } = this.#options
    const startMs = nowMs()
    const all = inOrder(catalog)
    let bytes = 0
    let count = 0
    for (const record of all) {
      if (count === GENERATIONS_AT_START || bytes + record.bytes > bytesAtStart) break
      bytes += record.bytes
      count += 1
      await this.#check(record, async () => {})
    }
    this.#left = all.slice(count)
    const fields = { generations: count, bytes, left: this.#left.length }
    logger.info(
      { ...fields, ms: Math.round(nowMs() - startMs) },
      'the files were read and compared',
    )
  }

  /** Reads what `atStart` left, and returns at once. */
  afterwards(serving: CheckedServing): void {
    this.#running = this.#checkRest(serving)
  }

  async close(): Promise<void> {
    this.#end.abort()
    await this.#running
  }

  async #checkRest(serving: CheckedServing): Promise<void> {
    const { catalog, logger } = this.#options
    const startMs = nowMs()
    for (const record of this.#left) {
      // Deleted meanwhile, or imported anew.
      if (catalog.findGeneration(record.serviceId, record.id) !== record) continue
      await this.#check(record, this.#halfSpeed(), serving)
      if (this.#end.signal.aborted) return
    }
    if (this.#left.length === 0) return
    const fields = { generations: this.#left.length, ms: Math.round(nowMs() - startMs) }
    logger.info(fields, 'the other files were read and compared')
  }

  async #check(
    record: GenerationRecord,
    pace: Pace,
    serving: CheckedServing | null = null,
  ): Promise<void> {
    const { home, catalog, logger } = this.#options
    const { serviceId, id: generationId } = record
    const fault = await contentFault(home.directoryOf(serviceId, generationId), record, pace)
    const isGone = catalog.findGeneration(serviceId, generationId) !== record
    if (fault === null || isGone || this.#end.signal.aborted) return
    const isHeld = serving?.isHeld(record) === true
    const reason = isHeld ? `${fault}; it serves from memory; ${CURE}` : `${fault}; ${CURE}`
    const fields = { serviceId, generationId, reason }
    if (isHeld) {
      catalog.markDamaged(serviceId, generationId, reason)
      logger.error(fields, 'the files of a loaded generation are damaged: it serves from memory')
    } else {
      catalog.quarantine(serviceId, generationId, reason)
      logger.error(fields, 'the files of a generation are damaged: it is not used')
    }
    serving?.publish()
  }

  /** Rests after each piece as long as the piece took. */
  #halfSpeed(): Pace {
    let sinceMs = nowMs()
    return async () => {
      this.#end.signal.throwIfAborted()
      await sleep(Math.max(1, nowMs() - sinceMs))
      sinceMs = nowMs()
    }
  }
}

/**
 * Active ones first, that called last before others; of the first ones, which are read at start,
 * small ones before large ones. Without those that are known to be unusable.
 */
function inOrder(catalog: Catalog): GenerationRecord[] {
  const found = catalog.services().flatMap((service) =>
    catalog.generations(service.id).map((record) => {
      const mapped = service.mapping.some(({ generationId }) => generationId === record.id)
      const rank = mapped && service.enabled ? 0 : 1
      return { record, rank, usedMs: service.lastUse ?? 0 }
    }),
  )
  const usable = found
    .filter(({ record }) => catalog.quarantined(record.serviceId, record.id) === null)
    .sort((a, b) => a.rank - b.rank || b.usedMs - a.usedMs || a.record.bytes - b.record.bytes)
  const first = usable
    .slice(0, GENERATIONS_AT_START)
    .sort((a, b) => a.rank - b.rank || a.record.bytes - b.record.bytes)
  return [...first, ...usable.slice(GENERATIONS_AT_START)].map(({ record }) => record)
}
