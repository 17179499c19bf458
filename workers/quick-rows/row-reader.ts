/**
 * Rows of numbers straight from the bytes of bodies, without an object for each: what JSON.parse
 * and a look-up per feature would give, at a fifth of the cost. Bodies that are written in another
 * way than the last ones, or that hold anything but the numbers of all features, are left to them.
 */

import { isAscii } from 'node:buffer'
import { LIMITS } from '../../core/config/limits.ts'
import type { FeatureMap } from '../predictions/values.ts'
import { JsonNumbers } from './json-number.ts'
import { layoutOf, type RowLayout, type Shape } from './row-layout.ts'

/** The rows of one body, in the values of their reader. */
export class QuickRows {
  readonly kind = 'rows'
  readonly rows: number
  readonly #at: number
  readonly #reader: RowReader

  constructor(reader: RowReader, at: number, rows: number) {
    this.#reader = reader
    this.#at = at
    this.rows = rows
  }

  row(index: number): QuickRow {
    return new QuickRow(this.#reader, this.#at + index * this.#reader.names.length)
  }
}

export class QuickRow {
  readonly kind = 'features'
  /** Index of its first value. */
  readonly at: number
  readonly #reader: RowReader

  constructor(reader: RowReader, at: number) {
    this.#reader = reader
    this.at = at
  }

  /** As JSON.parse would have given them, for whoever does not take the values. */
  get features(): FeatureMap {
    const { names, values } = this.#reader
    return Object.fromEntries(names.map((name, i) => [name, values[this.at + i]]))
  }
}

/** Of a body in the bytes of a batch. */
export interface Place {
  readonly start: number
  readonly end: number
  readonly shape: Shape
}

/** A body that is not learnt from costs this many others before the next attempt. */
const PAUSE_BODIES = 64
/** Callers of two programs may take turns. */
const LAYOUTS_MAX = 2
const VALUES_MIN = 1_024

export class RowReader {
  readonly names: readonly string[]
  /** Row by row, in the order of `names`; valid until clear(). */
  values = new Float64Array(VALUES_MIN)
  #used = 0
  readonly #numbers = new JsonNumbers()
  readonly #layouts: Readonly<Record<Shape, RowLayout[]>> = { row: [], rows: [] }
  #pause = 0

  /** Names of the features, none twice. */
  constructor(names: readonly string[]) {
    this.names = names
  }

  /** Forgets all rows, not how they were written. */
  clear(): void {
    this.#used = 0
    const usual = Math.max(VALUES_MIN, LIMITS.batchRowsMax * this.names.length)
    if (this.values.length > usual) this.values = new Float64Array(VALUES_MIN)
  }

  /** Null: this body is to be parsed. */
  read(bytes: Uint8Array, place: Place): QuickRows | null {
    for (const layout of this.#layouts[place.shape]) {
      const at = this.#used
      const rows = this.#rows(layout, bytes, place)
      if (rows > 0) return new QuickRows(this, at, rows)
      this.#used = at
    }
    return null
  }

  /** A body that was parsed: the next ones may be written alike. */
  learn(bytes: Uint8Array, { start, end, shape }: Place): void {
    if (this.#pause > 0) {
      this.#pause -= 1
      return
    }
    this.#pause = PAUSE_BODIES
    const body = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
    const layout = isAscii(body) ? layoutOf(body.toString('latin1'), shape, this.names) : null
    if (layout === null) return
    const layouts = this.#layouts[shape]
    layouts.unshift(layout)
    if (layouts.length > LAYOUTS_MAX) layouts.pop()
  }

  /** How many there are; 0: the body is written differently. */
  #rows(layout: RowLayout, bytes: Uint8Array, { start, end }: Place): number {
    let pos = literalEnd(layout.head, bytes, start)
    for (let rows = 1; pos >= 0 && rows <= LIMITS.multiRowsMax; rows++) {
      pos = this.#row(layout, bytes, pos)
      if (pos < 0) return 0
      const next = layout.between === null ? -1 : literalEnd(layout.between, bytes, pos)
      // It may have run into the next body of the batch, which is as good as any mismatch.
      if (next < 0 || next >= end) return literalEnd(layout.tail, bytes, pos) === end ? rows : 0
      pos = next
    }
    return 0
  }

  /** Where the row ends; -1: it is written differently. */
  #row({ literal, ends, slots }: RowLayout, bytes: Uint8Array, start: number): number {
    const numbers = this.#numbers
    const base = this.#room(slots.length)
    const { values } = this
    let pos = start
    let at = 0
    for (let i = 0; i < ends.length; i++) {
      const literalStop = ends[i] ?? 0
      while (at < literalStop) {
        if (bytes[pos] !== literal[at]) return -1
        pos += 1
        at += 1
      }
      if (i === slots.length) break
      const value = numbers.read(bytes, pos)
      if (Number.isNaN(value)) return -1
      values[base + (slots[i] ?? 0)] = value
      pos = numbers.end
    }
    return pos
  }

  #room(count: number): number {
    const base = this.#used
    this.#used += count
    if (this.#used > this.values.length) {
      const grown = new Float64Array(2 * this.#used)
      grown.set(this.values)
      this.values = grown
    }
    return base
  }
}

/** Behind the literal; -1: something else stands there. */
function literalEnd(literal: Uint8Array, bytes: Uint8Array, start: number): number {
  for (let i = 0; i < literal.length; i++) {
    if (bytes[start + i] !== literal[i]) return -1
  }
  return start + literal.length
}
