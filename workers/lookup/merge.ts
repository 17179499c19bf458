/** Merges sorted runs of rows into one, and rows of one key into one row. */

import { readSync } from 'node:fs'
import type { StoredRow } from './environment.ts'
import { keyOf, RECORD_HEAD_BYTES, recordBytes } from './record.ts'

/** Gives rows in order, then null; what it gave is valid until the next call. */
export interface SortedRows {
  next(): StoredRow | null
}

const BUFFER_BYTES = 128 * 1024

/** Reads one run back from the spill file. */
export class RunReader implements SortedRows {
  readonly #file: number
  readonly #fileEnd: number
  #fileAt: number
  #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  #at = 0
  #end = 0

  constructor(file: number, start: number, end: number) {
    this.#file = file
    this.#fileAt = start
    this.#fileEnd = end
  }

  next(): StoredRow | null {
    if (this.#at === this.#end && this.#fileAt === this.#fileEnd) return null
    this.#need(RECORD_HEAD_BYTES)
    const bytes = recordBytes(this.#buffer, this.#at)
    this.#need(bytes)
    const start = this.#at
    this.#at += bytes
    const key = keyOf(this.#buffer, start)
    const value = this.#buffer.subarray(start + RECORD_HEAD_BYTES + key.length, this.#at)
    return { key, value }
  }

  #need(bytes: number): void {
    if (this.#end - this.#at >= bytes) return
    const left = this.#buffer.subarray(this.#at, this.#end)
    const target = bytes > this.#buffer.length ? Buffer.allocUnsafeSlow(bytes) : this.#buffer
    left.copy(target)
    this.#buffer = target
    this.#end = left.length
    this.#at = 0
    while (this.#end < bytes) {
      const wanted = Math.min(target.length - this.#end, this.#fileEnd - this.#fileAt)
      const read = readSync(this.#file, target, this.#end, wanted, this.#fileAt)
      if (read === 0)
        throw new Error('the rows that were written out for sorting are not all there')
      this.#end += read
      this.#fileAt += read
    }
  }
}

interface Head {
  readonly rows: SortedRows
  row: StoredRow
}

/** What stands in the place of rows whose key is not theirs alone: a mark, then their number. */
export const MULTIPLE_MARK = '#'

export function* merged(runs: readonly SortedRows[]): Iterable<StoredRow> {
  const heap = new Heap(runs)
  for (let first = heap.take(); first !== null; ) {
    let count = 1
    // The next row of the same run overwrites the buffer that holds this one.
    const key = Buffer.from(first.key)
    const value = Buffer.from(first.value)
    let next = heap.take()
    for (; next?.key.equals(key) === true; next = heap.take()) count += 1
    yield { key, value: count === 1 ? value : Buffer.from(`${MULTIPLE_MARK}${count}`) }
    first = next
  }
}

/** The run whose first row has the least key is on top. */
class Heap {
  readonly #heads: Head[] = []
  /** Of whom the last row was taken: it moves on only when that row is not needed any more. */
  #taken: Head | null = null

  constructor(runs: readonly SortedRows[]) {
    for (const rows of runs) {
      const row = rows.next()
      if (row === null) continue
      this.#heads.push({ rows, row })
      this.#rise(this.#heads.length - 1)
    }
  }

  take(): StoredRow | null {
    if (this.#taken !== null) this.#advance(this.#taken)
    this.#taken = this.#heads[0] ?? null
    return this.#taken?.row ?? null
  }

  /** It is on top, as it was when it was taken. */
  #advance(head: Head): void {
    const row = head.rows.next()
    if (row !== null) {
      head.row = row
    } else {
      const last = this.#heads.pop()
      if (last === undefined || last === head) return
      this.#heads[0] = last
    }
    this.#sink()
  }

  #rise(from: number): void {
    for (let at = from; at > 0; ) {
      const above = (at - 1) >> 1
      if (!this.#isLess(at, above)) return
      this.#swap(at, above)
      at = above
    }
  }

  #sink(): void {
    for (let at = 0; ; ) {
      const left = 2 * at + 1
      const least = this.#isLess(left + 1, left) ? left + 1 : left
      if (!this.#isLess(least, at)) return
      this.#swap(at, least)
      at = least
    }
  }

  #isLess(a: number, b: number): boolean {
    const one = this.#heads[a]
    const other = this.#heads[b]
    return one !== undefined && other !== undefined && one.row.key.compare(other.row.key) < 0
  }

  #swap(a: number, b: number): void {
    const one = this.#heads[a]
    const other = this.#heads[b]
    if (one === undefined || other === undefined) return
    this.#heads[a] = other
    this.#heads[b] = one
  }
}
