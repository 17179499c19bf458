/**
 * The sealed texts of all records and of the newest journal entries, in memory; those of
 * generations, which never change, are packed.
 *
 * Copies are made from here: at one moment in time without holding a transaction, without asking
 * the event loop for more than a list of keys, and without passing on a page that went bad since.
 */

import { GENERATION, JOURNAL, type Sealed } from './entries.ts'
import { PackedTexts } from './packed-texts.ts'
import { EMPTY_TOTALS, Tally, type Totals } from './totals.ts'

/** How much of the journal a copy of the state holds. */
export const COPY_JOURNAL_MAX = 1_000

/** The state at one moment. */
export interface Snapshot {
  readonly totals: Totals
  /** Sorted by key. */
  readonly records: Iterable<Sealed>
  /** The newest entries, oldest first. */
  readonly journal: readonly Sealed[]
}

export class Mirror {
  readonly #records = new PackedTexts((key) => key.startsWith(GENERATION))
  #journal: Sealed[] = []
  #totals: Totals = EMPTY_TOTALS

  get totals(): Totals {
    return this.#totals
  }

  /** Filled from what is stored; `journal` oldest first. */
  fill(totals: Totals, records: Iterable<Sealed>, journal: Iterable<Sealed>): void {
    this.#records.clear()
    for (const { key, text } of records) this.#records.set(key, text)
    this.#journal = [...journal]
    this.#totals = totals
  }

  get(key: string): string | undefined {
    return this.#records.get(key)
  }

  /** See PackedTexts. */
  pack(): boolean {
    return this.#records.pack()
  }

  /** What is stored under these keys; keys without a record are left out. */
  find(keys: readonly string[]): Sealed[] {
    return keys.flatMap((key) => {
      const text = this.#records.get(key)
      return text === undefined ? [] : [{ key, text }]
    })
  }

  /** What the totals will be after a change; `removes` hold the texts that are stored. */
  totalsAfter(change: Change): Totals {
    const tally = new Tally(this.#totals)
    const gone = new Set(change.removes.map(({ key }) => key))
    for (const entry of change.removes) tally.subtract(entry)
    for (const entry of change.puts) {
      const old = gone.has(entry.key) ? undefined : this.#records.get(entry.key)
      if (old !== undefined) tally.subtract({ key: entry.key, text: old })
      tally.add(entry)
    }
    return tally.totals(change.seq, this.#totals.writes + 1)
  }

  apply(change: Change, totals: Totals): void {
    for (const { key } of change.removes) this.#records.delete(key)
    for (const entry of change.puts) {
      if (entry.key.startsWith(JOURNAL)) this.#journal.push(entry)
      else this.#records.set(entry.key, entry.text)
    }
    const surplus = this.#journal.length - COPY_JOURNAL_MAX
    // Cut seldom: moving a thousand places for every change would be for nothing.
    if (surplus >= COPY_JOURNAL_MAX) this.#journal.splice(0, surplus)
    this.#totals = totals
    this.#records.pack()
  }

  snapshot(): Snapshot {
    const records = this.#records.snapshot()
    return { totals: this.#totals, records, journal: this.#journal.slice(-COPY_JOURNAL_MAX) }
  }
}

export interface Change {
  readonly puts: readonly Sealed[]
  readonly removes: readonly Sealed[]
  /** Newest number of the journal after it. */
  readonly seq: number
}
