/**
 * The state in LMDB, on this machine.
 *
 * All writes go through #write(), and there is no other: one transaction with the totals in it,
 * durable before anything else learns of it. How lmdb itself must be used is in lmdb-env.ts.
 */

import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { wallMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { SerialQueue } from '../serial.ts'
import {
  FORMAT,
  FORMAT_KEY,
  FORMAT_WITHOUT_TOTALS,
  GENERATION,
  JOURNAL,
  JOURNAL_END,
  journalKey,
  keyOf,
  META,
  recordOf,
  type Sealed,
  sealed,
  sealedEntry,
  sealedRecord,
  TOTALS_KEY,
} from './entries.ts'
import { canonicalJson, jsonOf, unseal } from './envelope.ts'
import { appendDurably } from './files.ts'
import { commitDurably, openEnv, type StoreEnv } from './lmdb-env.ts'
import { type Change, COPY_JOURNAL_MAX, Mirror, type Snapshot } from './mirror.ts'
import type { GenerationRecord, JournalEntry, StateRecord } from './records.ts'
import { Reserve, reserveOf } from './reserve.ts'
import type { StateChange, StateStore } from './state-store.ts'
import { ThinGeneration } from './thin-generation.ts'
import { Tally, type Totals, totalsOf } from './totals.ts'

/**
 * Below this, only changes that free space are taken: LMDB should never meet a full disk. Imports
 * leave more than this, so a disk that bundles have filled still lets an operator switch back.
 */
export const FREE_BYTES_MIN = 8 * 1024 * 1024
/** Trimmed once this share of it is too much, so that it happens seldom. */
const TRIM_SHARE = 0.01
/** So that others have their turn between. */
const PACK_EVERY_MS = 10
const BLOCKS_AT_ONCE = 4

/** Told of every write: whoever keeps a copy of the state. */
export interface WriteWatcher {
  /** Before anything is written; must not fail. */
  changing(): Promise<void>
  /** Afterwards; what failed may have been written all the same. */
  changed(): void
}

export class LmdbStore implements StateStore {
  readonly #env: StoreEnv
  readonly #directory: string
  readonly #reserve: Reserve
  readonly #entriesMax: number
  readonly #trimEvery: number
  readonly #writes = new SerialQueue()
  readonly #mirror = new Mirror()
  #watcher: WriteWatcher | null = null
  #seq = 0
  /** The last write failed. */
  #hasFailed = false
  #closed = false

  private constructor(env: StoreEnv, directory: string, entriesMax: number) {
    this.#env = env
    this.#directory = directory
    this.#reserve = new Reserve(directory, reserveOf(dirname(directory)))
    this.#entriesMax = entriesMax
    this.#trimEvery = Math.ceil(entriesMax * TRIM_SHARE)
  }

  /** `directory` exists, is ours alone, and no other process has it open (see lock.ts). */
  static async open(
    directory: string,
    journalEntriesMax: number = LIMITS.journalEntriesMax,
  ): Promise<LmdbStore> {
    const env = openEnv(directory)
    const store = new LmdbStore(env, directory, journalEntriesMax)
    try {
      await store.#checkFormat()
      store.#fillMirror()
      store.#seq = store.#mirror.totals.seq
    } catch (error) {
      await env.close()
      throw error
    }
    return store
  }

  async load(): Promise<StateRecord[]> {
    // What is given is read from the mirror later: after a failure it may know less.
    if (this.#hasFailed) this.#fillMirror()
    const records: StateRecord[] = []
    for (const { key, value } of this.#env.getRange({})) {
      if (key.startsWith(JOURNAL) || key.startsWith(META)) continue
      const item = recordOf(key, unseal(key, value))
      records.push(item.kind === 'generation' ? { ...item, record: this.thin(item.record) } : item)
    }
    return records
  }

  thin(record: GenerationRecord): GenerationRecord {
    const key = keyOf({ kind: 'generation', record })
    return new ThinGeneration(record, () => this.#stored(key))
  }

  /** Whoever held its record when it was removed cannot be told more of it. */
  #stored(key: string): GenerationRecord {
    const text = this.#mirror.get(key)
    const item = text === undefined ? null : recordOf(key, JSON.parse(jsonOf(text)))
    if (item?.kind === 'generation') return item.record
    throw new AppError('ERR_GENERATION_UNKNOWN', key.slice(GENERATION.length))
  }

  /** Puts what is stored into less memory, little by little; settles when that is done. */
  async pack(): Promise<void> {
    while (!this.#closed && this.#packSome()) await sleep(PACK_EVERY_MS, null, { ref: false })
  }

  #packSome(): boolean {
    for (let i = 0; i < BLOCKS_AT_ONCE; i += 1) if (!this.#mirror.pack()) return false
    return true
  }

  commit(change: StateChange): Promise<JournalEntry> {
    // One after the other: `flushed` speaks of the newest write and stays silent when that fails.
    return this.#writes.run(() => this.#commit(change))
  }

  touch(records: readonly StateRecord[]): Promise<void> {
    return this.#writes.run(async () => {
      await this.#checkSpace({ puts: records, removes: [] })
      await this.#write({ puts: records.map(sealedRecord), removes: [] })
    })
  }

  async journal(limit: number): Promise<JournalEntry[]> {
    const range = { start: JOURNAL_END, end: JOURNAL, reverse: true, limit }
    const entries: JournalEntry[] = []
    for (const { key, value } of this.#env.getRange(range)) {
      entries.push(unseal(key, value) as JournalEntry)
    }
    return entries
  }

  /** At most one; before the first write. */
  watch(watcher: WriteWatcher): void {
    this.#watcher = watcher
  }

  /** The state as it was last made durable. */
  snapshot(): Snapshot {
    return this.#mirror.snapshot()
  }

  get isUncertain(): boolean {
    return this.#hasFailed
  }

  get totals(): Totals {
    return this.#mirror.totals
  }

  async close(): Promise<void> {
    await this.#writes.run(async () => {
      if (this.#closed) return
      // lmdb waits for the flush of the last write, and that of a failed one never comes. When the
      // disk is still full it stays open: nothing is pending, and the system closes it at the end.
      const isQuiet = !this.#hasFailed || (await this.#probe())
      this.#closed = true
      if (isQuiet) await this.#env.close()
    })
  }

  #probe(): Promise<boolean> {
    return commitDurably(this.#env, [sealed(FORMAT_KEY, FORMAT)], []).then(
      () => true,
      () => false,
    )
  }

  async #commit(change: StateChange): Promise<JournalEntry> {
    await this.#checkSpace(change)
    const { actor, action, before, after } = change
    const seq = this.#seq + 1
    const entry: JournalEntry = { seq, time: wallMs(), actor, action, before, after }
    // Taken before the write: a commit that failed leaves a gap, never a number given twice.
    this.#seq = seq
    const puts = [...change.puts.map(sealedRecord), sealedEntry(entry)]
    const removes = this.#mirror.find(change.removes.map(keyOf))
    await this.#write({ puts, removes, seq })
    // The change is durable already, so a trim that fails is not its failure; the next one tries.
    if (seq % this.#trimEvery === 0) await this.#trimJournal().catch(() => {})
    return entry
  }

  /** An empty store becomes one of ours; an older one gets what it lacks. */
  async #checkFormat(): Promise<void> {
    const stored = this.#env.get(FORMAT_KEY)
    const format = stored === undefined ? FORMAT_WITHOUT_TOTALS : unseal(FORMAT_KEY, stored)
    if (format === FORMAT) return
    if (format !== FORMAT_WITHOUT_TOTALS) {
      const formats = `${FORMAT_WITHOUT_TOTALS} and ${FORMAT}`
      throw new AppError('ERR_STORE_DAMAGED', `${FORMAT_KEY}: this node reads ${formats} only`)
    }
    const totals = sealed(TOTALS_KEY, totalsOfAll(this.#env))
    await this.#commitChecked([sealed(FORMAT_KEY, FORMAT), totals], [])
  }

  #fillMirror(): void {
    const stored = this.#env.get(TOTALS_KEY)
    const totals = stored === undefined ? null : totalsOf(unseal(TOTALS_KEY, stored))
    if (totals === null) throw new AppError('ERR_STORE_DAMAGED', `${TOTALS_KEY}: it is missing`)
    const range = { start: JOURNAL_END, end: JOURNAL, reverse: true, limit: COPY_JOURNAL_MAX }
    const journal = [...entriesOf(this.#env, range)].reverse()
    this.#mirror.fill(totals, recordsOf(this.#env), journal)
  }

  async #checkSpace(change: Pick<StateChange, 'puts' | 'removes'>): Promise<void> {
    if (change.puts.length === 0 && change.removes.length > 0) {
      await this.#reserve.giveUpIfNeeded()
      return
    }
    const free = await this.#reserve.freeBytes()
    if (free < FREE_BYTES_MIN) {
      const detail = `${free} bytes are free, the state takes changes from ${FREE_BYTES_MIN} on`
      throw new AppError('ERR_DISK_FULL', detail)
    }
    await this.#reserve.keep(free, FREE_BYTES_MIN)
  }

  async #write(wish: Omit<Change, 'seq'> & { readonly seq?: number }): Promise<void> {
    // A put after close() would end the process.
    if (this.#closed) throw new AppError('ERR_STOPPING')
    await this.#watcher?.changing()
    try {
      // Whether a write that failed is in the store or not, only the store knows.
      if (this.#hasFailed) this.#fillMirror()
      const change = { ...wish, seq: wish.seq ?? this.#mirror.totals.seq }
      const totals = this.#mirror.totalsAfter(change)
      const puts = [...change.puts, sealed(TOTALS_KEY, totals)]
      const removes = change.removes.map(({ key }) => key)
      await this.#commitChecked(puts, removes)
      this.#mirror.apply(change, totals)
    } finally {
      this.#watcher?.changed()
    }
  }

  async #commitChecked(puts: readonly Sealed[], removes: readonly string[]): Promise<void> {
    try {
      await commitDurably(this.#env, puts, removes)
      this.#hasFailed = false
    } catch (error) {
      this.#hasFailed = true
      const cause = await causeOf(error)
      const isFull = await this.#reserve.saysFull(cause)
      throw new AppError(isFull ? 'ERR_DISK_FULL' : 'ERR_STORE_FAILED', messageOf(cause))
    }
  }

  /** Keeps the newest entries; the older ones go to a file of JSON lines beside the store. */
  async #trimJournal(): Promise<void> {
    const end = journalKey(Math.max(0, this.#seq - this.#entriesMax) + 1)
    const old = [...entriesOf(this.#env, { start: JOURNAL, end })]
    if (old.length === 0) return
    const lines = old.map(({ key, text }) => `${canonicalJson(unseal(key, text))}\n`)
    await appendDurably(join(this.#directory, 'journal.jsonl'), lines.join(''))
    await failpoint('trim.exported')
    await this.#write({ puts: [], removes: old })
  }
}

function* entriesOf(env: StoreEnv, range: object): Generator<Sealed> {
  for (const { key, value } of env.getRange(range)) yield { key, text: value }
}

function* recordsOf(env: StoreEnv): Generator<Sealed> {
  for (const entry of entriesOf(env, {})) {
    if (entry.key.startsWith(JOURNAL) || entry.key.startsWith(META)) continue
    yield entry
  }
}

/** Of a store that was written without them. */
function totalsOfAll(env: StoreEnv): Totals {
  const tally = new Tally()
  let seq = 0
  for (const entry of entriesOf(env, {})) {
    if (entry.key.startsWith(META)) continue
    unseal(entry.key, entry.text)
    if (entry.key.startsWith(JOURNAL)) seq = Number(entry.key.slice(JOURNAL.length))
    tally.add(entry)
  }
  return tally.totals(seq, 0)
}

/** lmdb says that a commit failed; why is in a second promise, which also must not go unhandled. */
async function causeOf(error: unknown): Promise<unknown> {
  const hasCause = typeof error === 'object' && error !== null && 'commitError' in error
  return hasCause ? Promise.resolve(error.commitError).catch((e: unknown) => e) : error
}
