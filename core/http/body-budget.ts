/**
 * The bytes of request bodies that one process holds, over all requests. Full means "no" at once:
 * a wait would be a queue that nobody sees.
 */

import { assert } from '../base/assert.ts'

export class BodyBudget {
  readonly #limitBytes: number
  #usedBytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  tryTake(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.#limitBytes) return false
    this.#usedBytes += bytes
    return true
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    assert(this.#usedBytes >= 0, 'no byte of a body is released twice')
  }
}
