/**
 * A piece of the disk that is kept for bad times. LMDB needs room even to remove something, so on a
 * disk without a free byte nobody could delete what fills it; this file is then given up first.
 */

import { randomBytes } from 'node:crypto'
import { rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { freeBytes } from './store-files.ts'

/** Many times what one change writes. */
const BYTES = 2 * 1024 * 1024

/** Of a data directory. */
export function reserveOf(root: string): string {
  return join(root, 'reserve')
}

export class Reserve {
  readonly #path: string
  readonly #directory: string
  #isKept = false

  constructor(directory: string, path: string) {
    this.#directory = directory
    this.#path = path
  }

  freeBytes(): Promise<number> {
    return freeBytes(this.#directory)
  }

  /** Takes the piece when `freeBytes` allow it and it is not there yet; never fails. */
  async keep(freeBytes: number, leaveBytes: number): Promise<void> {
    if (this.#isKept || freeBytes < leaveBytes + 2 * BYTES) return
    try {
      const present = await stat(this.#path).catch(() => null)
      // Noise, because a file system may store zeros without taking room for them.
      if (present?.size !== BYTES) await writeFile(this.#path, randomBytes(BYTES), { mode: 0o600 })
      await failpoint('reserve.written')
      this.#isKept = true
    } catch {
      // The disk filled in this very moment; a later change tries again.
      await rm(this.#path, { force: true }).catch(() => {})
    }
  }

  /** Before a change that removes: makes room for it where there is none. */
  async giveUpIfNeeded(): Promise<void> {
    if ((await this.freeBytes()) >= BYTES) return
    this.#isKept = false
    await rm(this.#path, { force: true }).catch(() => {})
  }

  /**
   * Whether a failed write of LMDB means a full disk. It says EIO of a write that was cut short,
   * which is what the last free bytes of a disk do.
   */
  async saysFull(error: unknown): Promise<boolean> {
    const message = messageOf(error)
    if (/no space left|ENOSPC|MDB_MAP_FULL/i.test(message)) return true
    return /input\/output error|EIO/i.test(message) && (await this.freeBytes()) < BYTES
  }
}
