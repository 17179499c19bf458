/**
 * What the whole store adds up to. LMDB does not notice rows that are missing: a zeroed page may
 * read as an empty leaf. So one sealed record counts them, changed in the same transaction.
 */

import { isObject } from '../../core/base/json.ts'
import { JOURNAL, type Sealed } from './entries.ts'
import { CHECKSUM_CHARS } from './envelope.ts'

export interface Totals {
  readonly records: number
  /** Entries of the journal. */
  readonly journal: number
  /** Newest number of the journal. */
  readonly seq: number
  /** Changes so far, those without a journal entry too: of two states the larger is the newer. */
  readonly writes: number
  /** Of the checksums of all records and entries, modulo 2^256: the same in any order. */
  readonly sum: string
}

const MODULUS = 1n << 256n
export const EMPTY_TOTALS: Totals = Object.freeze({
  records: 0,
  journal: 0,
  seq: 0,
  writes: 0,
  sum: hexOf(0n),
})

/** Adds up as entries come and go. */
export class Tally {
  #records: number
  #journal: number
  #sum: bigint

  constructor(from: Totals = EMPTY_TOTALS) {
    this.#records = from.records
    this.#journal = from.journal
    this.#sum = BigInt(`0x${from.sum}`)
  }

  add(entry: Sealed): void {
    this.#count(entry.key, 1)
    this.#sum += checksumOf(entry)
  }

  subtract(entry: Sealed): void {
    this.#count(entry.key, -1)
    this.#sum -= checksumOf(entry)
  }

  totals(seq: number, writes: number): Totals {
    const sum = ((this.#sum % MODULUS) + MODULUS) % MODULUS
    return { records: this.#records, journal: this.#journal, seq, writes, sum: hexOf(sum) }
  }

  #count(key: string, by: 1 | -1): void {
    if (key.startsWith(JOURNAL)) this.#journal += by
    else this.#records += by
  }
}

/** null: this is no record of totals. */
export function totalsOf(value: unknown): Totals | null {
  if (!isObject(value)) return null
  const { records, journal, seq, writes, sum } = value
  if (!isCount(records) || !isCount(journal) || !isCount(seq) || !isCount(writes)) return null
  if (typeof sum !== 'string' || !/^[0-9a-f]{64}$/.test(sum)) return null
  return { records, journal, seq, writes, sum }
}

/** null: they agree. Else what is missing or too much. */
export function totalsFault(stored: Totals, found: Totals): string | null {
  for (const name of ['records', 'journal', 'seq', 'sum'] as const) {
    if (stored[name] === found[name]) continue
    if (name === 'sum') return 'meta/totals: the records are not those that were written last'
    const what = name === 'seq' ? 'the newest number of the journal' : `the number of its ${name}`
    return `meta/totals: ${what} is ${found[name]}, but should be ${stored[name]}`
  }
  return null
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** Every sealed text opens with its checksum. */
function checksumOf({ text }: Sealed): bigint {
  return BigInt(`0x${text.slice(0, CHECKSUM_CHARS)}`)
}

function hexOf(sum: bigint): string {
  return sum.toString(16).padStart(CHECKSUM_CHARS, '0')
}
