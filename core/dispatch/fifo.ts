/** A queue as a ring: push and shift cost the same however long it is, and a slot is reused. */

import { assert } from '../base/assert.ts'

const CAPACITY_MIN = 16

export class Fifo<T> {
  #slots: (T | undefined)[] = new Array(CAPACITY_MIN)
  #head = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  push(item: T): void {
    if (this.#size === this.#slots.length) this.#grow()
    this.#slots[(this.#head + this.#size) & (this.#slots.length - 1)] = item
    this.#size += 1
  }

  /** At the head. */
  unshift(item: T): void {
    if (this.#size === this.#slots.length) this.#grow()
    this.#head = (this.#head - 1) & (this.#slots.length - 1)
    this.#slots[this.#head] = item
    this.#size += 1
  }

  /** Before all items at the end of the queue that it should precede. */
  insert(item: T, precedes: (other: T) => boolean): void {
    this.push(item)
    const mask = this.#slots.length - 1
    for (let left = this.#size - 1; left > 0; left--) {
      const at = (this.#head + left) & mask
      const before = (at - 1) & mask
      const other = this.#slots[before] as T
      if (!precedes(other)) return
      this.#slots[at] = other
      this.#slots[before] = item
    }
  }

  peek(): T | undefined {
    return this.#slots[this.#head]
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined
    const item = this.#slots[this.#head]
    this.#slots[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#slots.length - 1)
    this.#size -= 1
    return item
  }

  /** Keeps the items that pass, in their order. */
  keep(passes: (item: T) => boolean): void {
    for (let left = this.#size; left > 0; left--) {
      const item = this.shift() as T
      if (passes(item)) this.push(item)
    }
  }

  /** Capacities are powers of two, so that an index wraps by a mask. */
  #grow(): void {
    const old = this.#slots
    this.#slots = new Array(old.length * 2)
    for (let i = 0; i < this.#size; i++) {
      this.#slots[i] = old[(this.#head + i) & (old.length - 1)]
    }
    this.#head = 0
    assert(this.#size < this.#slots.length, 'a grown ring has room')
  }
}
