/**
 * How the state is laid out as keys and sealed texts, in LMDB and in copies alike: `kind/id` for
 * records, `journal/seq` for the journal, `meta/…` for what the store knows about itself.
 */

import { seal } from './envelope.ts'
import type { JournalEntry, StateRecord } from './records.ts'

/**
 * 1: records and journal. 2: with totals. A node of format 1 refuses 2, because it would change
 * records and leave the totals behind; this node reads both.
 */
export const FORMAT = 2
export const FORMAT_WITHOUT_TOTALS = 1

export const META = 'meta/'
export const FORMAT_KEY = 'meta/format'
export const TOTALS_KEY = 'meta/totals'
export const GENERATION = 'generation/'
export const JOURNAL = 'journal/'
/** '0' follows '/': the end of all keys that start with "journal/". */
export const JOURNAL_END = 'journal0'
const SEQ_DIGITS = 16

export interface Sealed {
  readonly key: string
  readonly text: string
}

export function sealed(key: string, value: unknown): Sealed {
  return { key, text: seal(key, value) }
}

export function sealedRecord(item: StateRecord): Sealed {
  return sealed(keyOf(item), item.record)
}

export function sealedEntry(entry: JournalEntry): Sealed {
  return sealed(journalKey(entry.seq), entry)
}

/** Ids hold no slash, so these keys cannot be confused with each other. */
export function keyOf(item: StateRecord): string {
  const { kind, record } = item
  return kind === 'generation'
    ? `${GENERATION}${record.serviceId}/${record.id}`
    : `${kind}/${record.id}`
}

/** Only for what has a good checksum: then these are bytes that we wrote, so the shape is known. */
export function recordOf(key: string, record: unknown): StateRecord {
  const kind = key.slice(0, key.indexOf('/'))
  return { kind, record } as StateRecord
}

export function journalKey(seq: number): string {
  return `${JOURNAL}${String(seq).padStart(SEQ_DIGITS, '0')}`
}
