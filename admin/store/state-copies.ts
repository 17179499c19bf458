/**
 * Keeps copies of the whole state beside the store: a new one less than a second after a change.
 *
 * The file `current` is there only while the newest copy holds every change that is in the store:
 * it is removed before a change is written and made again after the copy. So a back-up, which may
 * ask nobody, can see whether it has all; and removing a file works on a full disk too.
 */

import { chmod, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import type { Logger } from '../../core/base/logger.ts'
import { SerialQueue } from '../serial.ts'
import { syncPath } from './files.ts'
import type { WriteWatcher } from './lmdb-store.ts'
import type { Snapshot } from './mirror.ts'
import { copiesFolder, copyName, copyNames, copyPieces, type FoundCopies } from './state-copy.ts'

/** With the time of writing it stays below a second, and a burst of changes costs one copy. */
const DELAY_MS = 700
const RETRY_MS = 5_000
const KEPT = 3
const DAMAGED = '.damaged'

export interface CopySource {
  snapshot(): Snapshot
}

export interface CopiesOptions {
  /** The data directory. */
  readonly root: string
  readonly source: CopySource
  readonly logger: Logger
  /** Whether the newest copy there holds all that the store holds. */
  readonly isCurrent: boolean
}

/** What health shows of the copies. */
export interface CopyStatus {
  /** Since when changes are in no copy; 0: all are. */
  readonly behindMs: number
  readonly lastError: string | null
}

export function currentMark(root: string): string {
  return join(copiesFolder(root), 'current')
}

export class StateCopies implements WriteWatcher {
  readonly #options: CopiesOptions
  readonly #folder: string
  readonly #mark: string
  readonly #writing = new SerialQueue()
  /** Monotonic time of the oldest change that no copy holds; null: there is none. */
  #behindSinceMs: number | null = null
  #timer: NodeJS.Timeout | null = null
  #isMarked: boolean
  /** A change is being written: no copy can be known to hold it. */
  #isChanging = false
  #marking: Promise<unknown> = Promise.resolve()
  #lastError: string | null = null
  #closed = false

  private constructor(options: CopiesOptions) {
    this.#options = options
    this.#folder = copiesFolder(options.root)
    this.#mark = currentMark(options.root)
    this.#isMarked = options.isCurrent
  }

  static async open(options: CopiesOptions): Promise<StateCopies> {
    const copies = new StateCopies(options)
    // A folder that cannot be used keeps nobody from starting: health tells of it.
    await makeFolder(copies.#folder).catch((error: unknown) => copies.#failed(messageOf(error)))
    if (options.isCurrent) await writeFile(copies.#mark, '', { mode: 0o600 }).catch(() => {})
    else {
      await rm(copies.#mark, { force: true }).catch(() => {})
      copies.changed()
    }
    return copies
  }

  status(): CopyStatus {
    const sinceMs = this.#behindSinceMs
    return { behindMs: sinceMs === null ? 0 : nowMs() - sinceMs, lastError: this.#lastError }
  }

  async changing(): Promise<void> {
    this.#isChanging = true
    await this.#marking
    if (!this.#isMarked) return
    this.#isMarked = false
    await rm(this.#mark, { force: true }).catch(() => {})
    await failpoint('copy.unmarked')
  }

  changed(): void {
    this.#isChanging = false
    this.#behindSinceMs ??= nowMs()
    this.#schedule(DELAY_MS)
  }

  /** The last copy is written, as far as the disk lets it. */
  async close(): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    await this.#writing.run(() => this.#save())
  }

  #schedule(ms: number): void {
    if (this.#timer !== null || this.#closed) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      void this.#writing.run(() => this.#save())
    }, ms)
    this.#timer.unref()
  }

  async #save(): Promise<void> {
    const behindSinceMs = this.#behindSinceMs
    if (behindSinceMs === null) return
    const snapshot = this.#options.source.snapshot()
    const savedOn = wallMs()
    // Changes from here on belong to the next copy.
    this.#behindSinceMs = null
    try {
      await makeFolder(this.#folder)
      await writeCopy(this.#folder, snapshot, savedOn)
      await this.#prune(copyName(snapshot.totals.seq))
      await failpoint('copy.pruned')
      await this.#markCurrent()
      this.#succeeded()
    } catch (error) {
      this.#behindSinceMs = behindSinceMs
      this.#failed(messageOf(error))
    }
  }

  async #markCurrent(): Promise<void> {
    if (this.#isChanging || this.#behindSinceMs !== null) return
    this.#isMarked = true
    // Waited for by the next change, which removes it.
    this.#marking = writeFile(this.#mark, '', { mode: 0o600 }).catch(() => {})
    await this.#marking
    await failpoint('copy.marked')
  }

  #succeeded(): void {
    if (this.#lastError !== null) this.#options.logger.info({}, 'copies of the state work again')
    this.#lastError = null
  }

  /** Said once, however often it is tried. */
  #failed(reason: string): void {
    if (this.#lastError === null) {
      const what = 'the state could not be copied; it is tried again'
      this.#options.logger.error({ folder: this.#folder, reason }, what)
    }
    this.#lastError = reason
    this.#schedule(RETRY_MS)
  }

  async #prune(newest: string): Promise<void> {
    const others = (await copyNames(this.#folder)).filter((name) => name !== newest)
    for (const name of others.slice(KEPT - 1)) await rm(join(this.#folder, name), { force: true })
    const damaged = (await readdir(this.#folder)).filter((name) => name.endsWith(DAMAGED)).sort()
    for (const name of damaged.slice(0, -KEPT)) {
      await rm(join(this.#folder, name), { recursive: true, force: true })
    }
  }
}

/** With the right mode, which one that was there may not have. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  await chmod(path, 0o700)
}

/** Copies that are no good: out of the way of the good ones, for a name says which is newest. */
export async function putAside(root: string, { bad }: Pick<FoundCopies, 'bad'>): Promise<void> {
  const folder = copiesFolder(root)
  for (const { name } of bad) {
    await rename(join(folder, name), join(folder, `${name}${DAMAGED}`)).catch(() => {})
  }
}

/**
 * There under its name only when it is whole and durable. `savedOn` is the time of the snapshot:
 * whatever was acknowledged before it is in it.
 */
async function writeCopy(folder: string, snapshot: Snapshot, savedOn: number): Promise<string> {
  const path = join(folder, copyName(snapshot.totals.seq))
  const unfinished = join(folder, 'unfinished')
  try {
    const file = await open(unfinished, 'w', 0o600)
    try {
      for (const piece of copyPieces(snapshot, savedOn)) await file.appendFile(piece)
      await file.sync()
    } finally {
      await file.close()
    }
    await failpoint('copy.flushed')
    await rename(unfinished, path)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
  await failpoint('copy.named')
  await syncPath(folder)
  return path
}
