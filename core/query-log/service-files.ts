/**
 * The files of one service's log that this process writes: one after the other, each to its size,
 * and no more of them than are to be kept.
 *
 * Whole lines are appended in one call. Where that fails half-way the file is cut back to the last
 * whole line, so a full disk leaves nothing torn.
 */

import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writevSync,
} from 'node:fs'
import { join } from 'node:path'
import { wallMs } from '../base/clock.ts'
import { type DirectAppender, endsBlock, padded } from './direct.ts'
import { fileName, type LogFile, logFileOf } from './file-names.ts'
import { isWriting } from './processes.ts'
import type { WriterSetup } from './protocol.ts'

/** Of one call of the system. */
const PIECES_MAX = 512

export class ServiceFiles {
  readonly #directory: string
  readonly #setup: WriterSetup
  readonly #appender: DirectAppender
  #file: number | null = null
  /** The same file, opened for appends of whole blocks. */
  #direct: number | null = null
  #path = ''
  #bytes = 0
  #files = 0

  constructor(serviceId: string, setup: WriterSetup, appender: DirectAppender) {
    this.#directory = join(setup.directory, serviceId)
    this.#setup = setup
    this.#appender = appender
  }

  /** Throws when not all of it can be written, and then none of it is. */
  append(pieces: readonly Uint8Array[], bytes: number): void {
    const file = this.#fileFor(bytes)
    const before = this.#bytes
    try {
      if (this.#appender.suits(bytes)) this.#appendBlocks(file, pieces, bytes)
      else this.#write(file, pieces)
    } catch (error) {
      this.#bytes = before
      this.#cut(file, before)
      throw error
    }
  }

  close(): void {
    for (const file of [this.#file, this.#direct]) if (file !== null) closeSync(file)
    this.#file = null
    this.#direct = null
  }

  /** Through the cache at first, up to where a block begins. */
  #appendBlocks(file: number, pieces: readonly Uint8Array[], bytes: number): void {
    const { blocks, blockBytes } = padded(pieces, bytes, this.#bytes)
    const direct = endsBlock(this.#bytes) ? this.#directFile() : null
    if (direct !== null && this.#appender.append(direct, blocks)) this.#bytes += blockBytes
    else this.#write(file, blocks)
  }

  #directFile(): number | null {
    this.#direct ??= this.#appender.open(this.#path)
    return this.#direct
  }

  #write(file: number, pieces: readonly Uint8Array[]): void {
    for (let at = 0; at < pieces.length; at += PIECES_MAX) {
      this.#writeAtOnce(file, pieces.slice(at, at + PIECES_MAX))
    }
  }

  /** A call may take only a part of what it is given, before it says why. */
  #writeAtOnce(file: number, pieces: readonly Uint8Array[]): void {
    let left = pieces
    while (left.length > 0) {
      const written = writevSync(file, [...left])
      this.#bytes += written
      left = behind(left, written)
    }
  }

  #cut(file: number, bytes: number): void {
    try {
      ftruncateSync(file, bytes)
    } catch {
      // What is torn here is cut at the next start; what follows goes into a new file.
      this.close()
    }
  }

  #fileFor(bytes: number): number {
    const file = this.#file
    const isFull = this.#bytes > 0 && this.#bytes + bytes > this.#setup.fileBytesMax
    // Removed by somebody: what is written there nobody would ever read.
    if (file !== null && !isFull && fstatSync(file).nlink > 0) return file
    this.close()
    return this.#open()
  }

  #open(): number {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 })
    this.#makeRoom()
    this.#files += 1
    this.#path = join(this.#directory, fileName(wallMs(), process.pid, this.#files))
    this.#bytes = 0
    const file = openSync(this.#path, 'ax', 0o600)
    this.#file = file
    return file
  }

  /** Removes the oldest, until another whole file fits; never one that a process still writes. */
  #makeRoom(): void {
    const files = this.#others()
    let bytes = files.reduce((sum, { size }) => sum + size, 0)
    for (const { name, size } of files.filter(({ isOpen }) => !isOpen)) {
      if (bytes + this.#setup.fileBytesMax <= this.#setup.totalBytesMax) return
      rmSync(join(this.#directory, name), { force: true })
      bytes -= size
    }
  }

  /** Oldest first. The newest of each process that lives may be open there. */
  #others(): readonly (LogFile & { readonly size: number; readonly isOpen: boolean })[] {
    const found = readdirSync(this.#directory)
      .sort()
      .flatMap((name) => logFileOf(name) ?? [])
    const newest = new Map(found.map((one) => [one.pid, one.name]))
    return found.map((one) => {
      const size = statSync(join(this.#directory, one.name), { throwIfNoEntry: false })?.size ?? 0
      const isNewest = newest.get(one.pid) === one.name
      return { ...one, size, isOpen: isNewest && one.pid !== process.pid && isWriting(one) }
    })
  }
}

function behind(pieces: readonly Uint8Array[], written: number): Uint8Array[] {
  let left = written
  return pieces.flatMap((piece) => {
    const skipped = Math.min(left, piece.byteLength)
    left -= skipped
    return skipped === piece.byteLength ? [] : [piece.subarray(skipped)]
  })
}
