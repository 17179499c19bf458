/**
 * `switchyard backup`: state and bundles of a node in a directory of their own, taken beside a node
 * that runs and goes on changing, without a key: by who can read the data directory.
 */

import { readdir, realpath, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { AppError } from '../../core/base/errors.ts'
import { refKey } from '../../core/base/ids.ts'
import { exists, mkdirDurably, syncTree } from '../store/files.ts'
import type { GenerationRecord } from '../store/records.ts'
import { parseCopy, type StateCopy, serviceCount } from '../store/state-copy.ts'
import { freeBytes } from '../store/store-files.ts'
import {
  type BackedUp,
  bytesOf,
  copyGeneration,
  directoryIn,
  finishBackup,
  generationsOf,
  refOf,
} from './backup-files.ts'
import { freshCopy } from './fresh-copy.ts'

const SAY_EVERY_MS = 1_000
/** A node that deletes faster than this can copy is not one to wait for. */
const ROUNDS_MAX = 20

export interface BackupOptions {
  readonly home: string
  readonly target: string
  /** Leave out what is damaged, instead of failing. */
  readonly skipDamaged: boolean
  readonly say: (line: string) => void
}

export interface BackupSummary {
  readonly directory: string
  /** Number of the newest change that it holds. */
  readonly seq: number
  readonly services: number
  readonly generations: number
  readonly bytes: number
  readonly skipped: readonly string[]
}

export async function backup(options: BackupOptions): Promise<BackupSummary> {
  const root = resolve(options.home)
  const target = resolve(options.target)
  await checkHome(root)
  await prepareTarget(root, target)
  return new BackupRun({ ...options, home: root, target }).run()
}

interface Taken {
  readonly text: string
  readonly state: StateCopy
  readonly records: readonly GenerationRecord[]
}

class BackupRun {
  readonly #options: BackupOptions
  /** By service, generation and content: what is copied and proven. */
  readonly #copied = new Map<string, BackedUp>()
  readonly #skipped = new Map<string, string>()
  #saidMs = nowMs()

  constructor(options: BackupOptions) {
    this.#options = options
  }

  async run(): Promise<BackupSummary> {
    let taken = await this.#take()
    this.#requireSpace(taken, await freeBytes(this.#options.target))
    for (let round = 1; ; round++) {
      const newer = await this.#copyAll(taken)
      if (newer === null) break
      if (round === ROUNDS_MAX) throw failed('generations are deleted faster than they are copied')
      taken = newer
    }
    await this.#removeOthers(taken)
    return this.#finish(taken)
  }

  async #take(): Promise<Taken> {
    const { home: root, target, say } = this.#options
    const text = await freshCopy({ root, scratch: join(target, 'reading'), say })
    const reading = parseCopy(text)
    if (reading.kind === 'bad') throw failed(reading.reason)
    return { text, state: reading.copy, records: generationsOf(reading.copy) }
  }

  /** null: all of them are there. Else one was deleted meanwhile, and this is the state since. */
  async #copyAll(taken: Taken): Promise<Taken | null> {
    for (const record of taken.records) {
      const key = keyOf(record)
      if (this.#copied.has(key) || this.#skipped.has(key)) continue
      const fault = (await this.#copy(record)) === null ? null : await this.#copy(record)
      if (fault !== null) {
        const newer = await this.#take()
        if (!newer.records.some((other) => keyOf(other) === key)) return newer
        this.#skip(record, fault)
      }
      this.#report(taken)
    }
    return null
  }

  async #copy(record: GenerationRecord): Promise<string | null> {
    const { home, target } = this.#options
    const ref = refOf(record)
    const to = directoryIn(target, ref)
    // Of an attempt that failed, or of other content under the same name.
    await rm(to, { recursive: true, force: true })
    const { files, fault } = await copyGeneration(directoryIn(home, ref), to, record)
    if (fault === null) this.#copied.set(keyOf(record), { ...ref, files })
    else await rm(to, { recursive: true, force: true })
    return fault
  }

  #skip(record: GenerationRecord, fault: string): void {
    const name = refKey(refOf(record))
    const line = `generation ${name} is damaged: ${fault}`
    if (!this.#options.skipDamaged) {
      throw failed(`${line}; import it again, or leave it out with --skip-damaged`)
    }
    this.#options.say(`${line}; it is left out`)
    this.#skipped.set(keyOf(record), name)
  }

  async #removeOthers({ records }: Taken): Promise<void> {
    const wanted = new Set(records.map(keyOf))
    const kept = new Set(records.map((record) => refKey(refOf(record))))
    for (const [key, ref] of this.#copied) {
      if (wanted.has(key)) continue
      this.#copied.delete(key)
      if (kept.has(refKey(ref))) continue
      await rm(directoryIn(this.#options.target, ref), { recursive: true, force: true })
    }
  }

  async #finish({ text, state, records }: Taken): Promise<BackupSummary> {
    const { target, say } = this.#options
    await syncTree(target)
    const generations = [...this.#copied.values()]
    const skipped = records.flatMap((record) => this.#skipped.get(keyOf(record)) ?? [])
    await finishBackup(target, text, { createdOn: wallMs(), generations, skipped })
    const services = serviceCount(state)
    const bytes = bytesOf(generations)
    say(`${generations.length} generations, ${bytes} bytes: every file was read back and is right`)
    const { seq } = state
    return { directory: target, seq, services, generations: generations.length, bytes, skipped }
  }

  #report({ records }: Taken): void {
    if (nowMs() - this.#saidMs < SAY_EVERY_MS) return
    this.#saidMs = nowMs()
    const done = [...this.#copied.values()]
    const all = records.reduce((sum, { bytes }) => sum + bytes, 0)
    const sums = `${bytesOf(done)} of ${all} bytes`
    this.#options.say(`${done.length} of ${records.length} generations, ${sums}`)
  }

  #requireSpace({ text, records }: Taken, bytesFree: number): void {
    const needed = records.reduce((sum, { bytes }) => sum + bytes, 2 * text.length)
    if (bytesFree >= needed) return
    const { target } = this.#options
    const figures = `${needed} bytes are needed, ${bytesFree} are free`
    throw new AppError('ERR_DISK_FULL', `${target}: ${figures}`)
  }
}

function keyOf(record: GenerationRecord): string {
  return `${refKey(refOf(record))} ${record.sha256}`
}

async function checkHome(root: string): Promise<void> {
  const isHome = (await exists(join(root, 'state'))) || (await exists(join(root, 'copies')))
  if (!isHome) throw failed(`${root} is no data directory of a node; name it with --home`)
}

async function prepareTarget(root: string, target: string): Promise<void> {
  const [inner, outer] = [`${await realPathOf(target)}/`, `${await realPathOf(root)}/`]
  if (inner.startsWith(outer) || outer.startsWith(inner)) {
    throw failed(`${target}: a back-up lies outside the data directory ${root}`)
  }
  await mkdirDurably(target)
  if ((await readdir(target)).length > 0) throw failed(`${target} is not empty; name a new one`)
}

/** Where links lead; of what does not exist yet, where its nearest folder that does is. */
async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch {
    const above = dirname(path)
    return above === path ? path : join(await realPathOf(above), basename(path))
  }
}

function failed(reason: string): AppError {
  return new AppError('ERR_STORE_FAILED', reason)
}
