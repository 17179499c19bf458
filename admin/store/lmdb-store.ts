/**
 * The state in LMDB, on this machine. The only file that imports lmdb.
 *
 * Of lmdb-js's ways to write only childTransaction() both rolls back when its callback throws and
 * survives a full disk; a plain put aborts the process there. Its promise means visible, `flushed`
 * means durable. So all writes go through #write(), and there is no other.
 */

import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import { wallMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { SerialQueue } from '../serial.ts'
import { canonicalJson, seal, unseal } from './envelope.ts'
import { appendDurably } from './files.ts'
import type { JournalEntry, StateRecord } from './records.ts'
import type { StateChange, StateStore } from './state-store.ts'

const FORMAT = 1
const FORMAT_KEY = 'meta/format'
const JOURNAL = 'journal/'
/** '0' follows '/': the end of all keys that start with "journal/". */
const JOURNAL_END = 'journal0'
const SEQ_DIGITS = 16
/**
 * Below this, only changes that free space are taken: LMDB should never meet a full disk. Imports
 * leave more than this, so a disk that bundles have filled still lets an operator switch back.
 */
const FREE_BYTES_MIN = 8 * 1024 * 1024
/** Trimmed once this share of it is too much, so that it happens seldom. */
const TRIM_SHARE = 0.01

export class LmdbStore implements StateStore {
  readonly #env: RootDatabase<string, string>
  readonly #directory: string
  readonly #entriesMax: number
  readonly #trimEvery: number
  readonly #writes = new SerialQueue()
  #seq = 0
  /** The last write failed. */
  #hasFailed = false
  #closed = false

  private constructor(env: RootDatabase<string, string>, directory: string, entriesMax: number) {
    this.#env = env
    this.#directory = directory
    this.#entriesMax = entriesMax
    this.#trimEvery = Math.ceil(entriesMax * TRIM_SHARE)
  }

  /** `directory` exists, is ours alone, and no other process has it open (see lock.ts). */
  static async open(
    directory: string,
    journalEntriesMax: number = LIMITS.journalEntriesMax,
  ): Promise<LmdbStore> {
    const env = open<string, string>({
      path: directory,
      encoding: 'string',
      cache: false,
      // With it, a commit that fails rejects one promise more, which nobody can reach.
      eventTurnBatching: false,
      noSubdir: false,
      // Known to lmdb, absent from its types; without it the files are readable for everyone.
      ...{ permissionsMode: 0o600 },
    })
    const store = new LmdbStore(env, directory, journalEntriesMax)
    try {
      await store.#checkFormat()
      store.#seq = (await store.journal(1))[0]?.seq ?? 0
    } catch (error) {
      await env.close()
      throw error
    }
    return store
  }

  async load(): Promise<StateRecord[]> {
    const records: StateRecord[] = []
    for (const { key, value } of this.#env.getRange({})) {
      if (key.startsWith(JOURNAL) || key === FORMAT_KEY) continue
      records.push(recordOf(key, unseal(key, value)))
    }
    return records
  }

  commit(change: StateChange): Promise<JournalEntry> {
    // One after the other: `flushed` speaks of the newest write and stays silent when that fails.
    return this.#writes.run(() => this.#commit(change))
  }

  touch(records: readonly StateRecord[]): Promise<void> {
    return this.#writes.run(async () => {
      await this.#checkSpace({ puts: records, removes: [] })
      await this.#write(records.map(sealedRecord), [])
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

  async #probe(): Promise<boolean> {
    return this.#write([sealed(FORMAT_KEY, FORMAT)], []).then(
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
    const puts = change.puts.map(sealedRecord)
    puts.push(sealed(journalKey(seq), entry))
    await this.#write(puts, change.removes.map(keyOf))
    // The change is durable already, so a trim that fails is not its failure; the next one tries.
    if (seq % this.#trimEvery === 0) await this.#trimJournal().catch(() => {})
    return entry
  }

  async #checkFormat(): Promise<void> {
    const stored = this.#env.get(FORMAT_KEY)
    if (stored === undefined) return this.#write([sealed(FORMAT_KEY, FORMAT)], [])
    const format = unseal(FORMAT_KEY, stored)
    if (format === FORMAT) return
    throw new AppError('ERR_STORE_DAMAGED', `${FORMAT_KEY}: this node reads format ${FORMAT} only`)
  }

  async #checkSpace(change: Pick<StateChange, 'puts' | 'removes'>): Promise<void> {
    if (change.puts.length === 0 && change.removes.length > 0) return
    const { bavail, bsize } = await statfs(this.#directory)
    if (bavail * bsize < FREE_BYTES_MIN) throw new AppError('ERR_DISK_FULL')
  }

  async #write(puts: readonly Sealed[], removes: readonly string[]): Promise<void> {
    // A put after close() would end the process.
    if (this.#closed) throw new AppError('ERR_STOPPING')
    try {
      await this.#env.childTransaction(() => {
        for (const { key, text } of puts) ignored(this.#env.put(key, text))
        for (const key of removes) ignored(this.#env.remove(key))
      })
      await this.#env.flushed
      this.#hasFailed = false
    } catch (error) {
      this.#hasFailed = true
      throw await writeFailure(error)
    }
  }

  /** Keeps the newest entries; the older ones go to a file of JSON lines beside the store. */
  async #trimJournal(): Promise<void> {
    const range = { start: JOURNAL, end: journalKey(Math.max(0, this.#seq - this.#entriesMax) + 1) }
    const old = [...this.#env.getRange(range)]
    if (old.length === 0) return
    const lines = old.map(({ key, value }) => `${canonicalJson(unseal(key, value))}\n`)
    await appendDurably(join(this.#directory, 'journal.jsonl'), lines.join(''))
    await this.#write(
      [],
      old.map(({ key }) => key),
    )
  }
}

interface Sealed {
  readonly key: string
  readonly text: string
}

function sealed(key: string, value: unknown): Sealed {
  return { key, text: seal(key, value) }
}

function sealedRecord(item: StateRecord): Sealed {
  return sealed(keyOf(item), item.record)
}

/** Ids hold no slash, so these keys cannot be confused with each other. */
function keyOf(item: StateRecord): string {
  const { kind, record } = item
  return kind === 'generation'
    ? `generation/${record.serviceId}/${record.id}`
    : `${kind}/${record.id}`
}

/** The checksum has proven that these are bytes that we wrote, so their shape is known. */
function recordOf(key: string, record: unknown): StateRecord {
  const kind = key.slice(0, key.indexOf('/'))
  return { kind, record } as StateRecord
}

function journalKey(seq: number): string {
  return `${JOURNAL}${String(seq).padStart(SEQ_DIGITS, '0')}`
}

/** When a commit fails each write in it rejects too, and the commit has told it already. */
function ignored(write: Promise<unknown>): void {
  write.catch(() => {})
}

/** lmdb says that a commit failed; why is in a second promise, which also must not go unhandled. */
async function writeFailure(error: unknown): Promise<AppError> {
  const hasCause = typeof error === 'object' && error !== null && 'commitError' in error
  const cause = hasCause ? await Promise.resolve(error.commitError).catch((e: unknown) => e) : error
  const message = messageOf(cause)
  const full = /no space left|ENOSPC|MDB_MAP_FULL/i.test(message)
  return new AppError(full ? 'ERR_DISK_FULL' : 'ERR_STORE_FAILED', message)
}
