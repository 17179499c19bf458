/**
 * Large appends past the page cache (O_DIRECT of open(2)). Through the cache, each page of a log
 * costs a fault, a copy and its writing back, and pushes out what is read again: the weights of
 * models above all.
 *
 * The kernel takes whole blocks only, from memory that begins at one. So lines are copied together,
 * and the last of them is filled up with blanks before its line feed, where JSON may have them.
 */

import { constants, openSync, writeSync } from 'node:fs'
import { nowMs } from '../base/clock.ts'
import { codeOf } from '../base/errors.ts'
import { SLAB_LINE_BYTES } from './slab.ts'

/** A page: no disk has larger blocks, and what the cache holds of a file stays valid beside it. */
const BLOCK_BYTES = 4_096
/** Below it, a copy into the page cache costs less than to ask the disk. */
const BYTES_MIN = 64 * 1_024
const BYTES_MAX = SLAB_LINE_BYTES
/** Between two addresses that malloc() can give. */
const STEP_BYTES = 16
/** A disk that takes so long is busy: the page cache takes what comes in the time after. */
const SLOW_MS = 50
const PAUSE_MS = 10_000
const BLANK = 32
const LINE_FEED = 10

export interface Blocks {
  readonly blocks: readonly Uint8Array[]
  readonly blockBytes: number
}

/** Lines of so many bytes, with blanks in the last one up to the end of a block of their file. */
export function padded(lines: readonly Uint8Array[], bytes: number, startsAt: number): Blocks {
  const over = (startsAt + bytes) % BLOCK_BYTES
  const last = lines.at(-1)
  if (over === 0 || last === undefined) return { blocks: lines, blockBytes: bytes }
  const missing = BLOCK_BYTES - over
  const end = Buffer.alloc(missing + 1, BLANK)
  end[missing] = LINE_FEED
  const blocks = [...lines.slice(0, -1), last.subarray(0, -1), end]
  return { blocks, blockBytes: bytes + missing }
}

export function endsBlock(bytes: number): boolean {
  return bytes % BLOCK_BYTES === 0
}

export class DirectAppender {
  #memory: Buffer | null = null
  /** Where a block begins in it. No function of Node tells: the kernel does, by taking it. */
  #offset = 0
  #isFound = false
  #isPossible = true
  #pausedUntilMs = 0

  /** Whether so many bytes should be appended here rather than through the page cache. */
  suits(bytes: number): boolean {
    const fits = bytes >= BYTES_MIN && bytes <= BYTES_MAX
    return fits && this.#isPossible && nowMs() >= this.#pausedUntilMs
  }

  /** Opens a file that exists; null: its file system knows no such way. */
  open(path: string): number | null {
    const { O_WRONLY, O_APPEND, O_DIRECT } = constants
    try {
      return openSync(path, O_WRONLY | O_APPEND | O_DIRECT)
    } catch {
      this.#isPossible = false
      return null
    }
  }

  /**
   * Whole blocks, to a file that has only such. Whether it was done: if not, it cannot be here.
   * Throws when not all of it could be written.
   */
  append(file: number, pieces: readonly Uint8Array[]): boolean {
    while (this.#isPossible) {
      try {
        this.#append(file, pieces)
        return true
      } catch (error) {
        if (this.#isFound || codeOf(error) !== 'EINVAL') throw error
        this.#offset += STEP_BYTES
        this.#isPossible = this.#offset < BLOCK_BYTES
      }
    }
    return false
  }

  #append(file: number, pieces: readonly Uint8Array[]): void {
    this.#memory ??= Buffer.alloc(BYTES_MAX + 2 * BLOCK_BYTES)
    let end = this.#offset
    for (const piece of pieces) {
      this.#memory.set(piece, end)
      end += piece.byteLength
    }
    const startedMs = nowMs()
    for (let at = this.#offset; at < end; ) {
      at += writeSync(file, this.#memory, at, end - at)
      this.#isFound = true
    }
    const endedMs = nowMs()
    if (endedMs - startedMs > SLOW_MS) this.#pausedUntilMs = endedMs + PAUSE_MS
  }
}
