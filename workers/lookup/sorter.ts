/**
 * Sorts the rows of a table by key, whatever their number, in memory of a fixed size: rows gather
 * in one buffer, full buffers are sorted and written out, and in the end these runs are merged.
 * Rows of one key come out as one, which says how many there were.
 */

import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { assert } from '../../core/base/assert.ts'
import type { StoredRow } from './environment.ts'
import { merged, RunReader, type SortedRows } from './merge.ts'
import { keyOf, RECORD_HEAD_BYTES, recordBytes, writeHead } from './record.ts'

const MIB = 1024 * 1024
const SLAB_BYTES = 24 * MIB
const WRITE_BYTES = 1 * MIB
/** Of the smallest rows no more fit. */
const ROWS_MAX = SLAB_BYTES / 16

interface Run {
  readonly start: number
  readonly end: number
}

export class RowSorter {
  readonly #path: string
  readonly #starts = new Uint32Array(ROWS_MAX)
  readonly #runs: Run[] = []
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #end = 0
  #rows = 0
  #spill: number | null = null
  #spilled = 0

  /** A file of this path is made when memory is not enough, and removed by close(). */
  constructor(path: string) {
    this.#path = path
  }

  add(key: string, value: string): void {
    this.#makeRoom(key, value)
    const start = this.#end
    const slab = this.#slab
    const keyBytes = slab.write(key, start + RECORD_HEAD_BYTES, 'utf8')
    const valueBytes = slab.write(value, start + RECORD_HEAD_BYTES + keyBytes, 'utf8')
    writeHead(slab, start, keyBytes, valueBytes)
    this.#starts[this.#rows++] = start
    this.#end = start + RECORD_HEAD_BYTES + keyBytes + valueBytes
  }

  /** All rows in the order of their keys; each is valid until the next is asked for. */
  sorted(): Iterable<StoredRow> {
    if (this.#runs.length === 0) return merged([this.#inMemory()])
    if (this.#rows > 0) this.#writeRun()
    const spill = this.#spill
    assert(spill !== null, 'runs are in the spill file')
    return merged(this.#runs.map(({ start, end }) => new RunReader(spill, start, end)))
  }

  close(): void {
    if (this.#spill === null) return
    closeSync(this.#spill)
    rmSync(this.#path, { force: true })
    this.#spill = null
  }

  #makeRoom(key: string, value: string): void {
    const isLikely = RECORD_HEAD_BYTES + 3 * (key.length + value.length)
    if (this.#end + isLikely <= this.#slab.length && this.#rows < ROWS_MAX) return
    const bytes = RECORD_HEAD_BYTES + Buffer.byteLength(key) + Buffer.byteLength(value)
    if (this.#end + bytes <= this.#slab.length && this.#rows < ROWS_MAX) return
    if (this.#rows > 0) this.#writeRun()
    if (bytes > this.#slab.length) this.#slab = Buffer.allocUnsafeSlow(bytes)
  }

  #writeRun(): void {
    const spill = this.#spill ?? openSync(this.#path, 'w+', 0o600)
    this.#spill = spill
    const slab = this.#slab
    const out = Buffer.allocUnsafeSlow(WRITE_BYTES)
    const start = this.#spilled
    let used = 0
    for (const row of this.#order()) {
      const from = this.#starts[row] ?? 0
      const bytes = recordBytes(slab, from)
      if (used + bytes > out.length) {
        this.#write(spill, out, used)
        used = 0
      }
      if (bytes > out.length) this.#write(spill, slab.subarray(from, from + bytes), bytes)
      else used += slab.copy(out, used, from, from + bytes)
    }
    this.#write(spill, out, used)
    this.#runs.push({ start, end: this.#spilled })
    this.#end = 0
    this.#rows = 0
  }

  #write(spill: number, bytes: Buffer, length: number): void {
    for (let at = 0; at < length; ) {
      const written = writeSync(spill, bytes, at, length - at, this.#spilled)
      at += written
      this.#spilled += written
    }
  }

  #inMemory(): SortedRows {
    const order = this.#order()
    const slab = this.#slab
    const starts = this.#starts
    let next = 0
    return {
      next: () => {
        if (next === order.length) return null
        const start = starts[order[next++] ?? 0] ?? 0
        const key = keyOf(slab, start)
        const end = start + recordBytes(slab, start)
        return { key, value: slab.subarray(start + RECORD_HEAD_BYTES + key.length, end) }
      },
    }
  }

  /**
   * Rows by key. Six bytes behind what all keys of the run share decide nearly always, and as a
   * double they are compared without a call.
   */
  #order(): Uint32Array {
    const slab = this.#slab
    const starts = this.#starts.subarray(0, this.#rows)
    const shared = sharedBytes(slab, starts)
    const prefixes = Float64Array.from(starts, (start) => prefixOf(keyOf(slab, start), shared))
    const order = Uint32Array.from(starts, (_, row) => row)
    return order.sort((a, b) => {
      const difference = (prefixes[a] ?? 0) - (prefixes[b] ?? 0)
      if (difference !== 0) return difference
      return keyOf(slab, starts[a] ?? 0).compare(keyOf(slab, starts[b] ?? 0)) || a - b
    })
  }
}

/** How many bytes all keys have in common at their beginning. */
function sharedBytes(slab: Buffer, starts: Uint32Array): number {
  const first = keyOf(slab, starts[0] ?? 0)
  let shared = starts.length === 0 ? 0 : first.length
  for (const start of starts) {
    const at = start + RECORD_HEAD_BYTES
    const most = Math.min(shared, slab.readUInt16LE(start))
    let same = 0
    while (same < most && slab[at + same] === first[same]) same += 1
    shared = same
  }
  return shared
}

function prefixOf(key: Buffer, from: number): number {
  let prefix = 0
  for (let i = from; i < from + 6; i++) prefix = prefix * 256 + (key[i] ?? 0)
  return prefix
}
