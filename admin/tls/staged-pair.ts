/**
 * The pair that serving processes load, as one file of ours in the data directory.
 *
 * uWebSockets.js reads certificates from files only. Given the operator's own files, a process that
 * is replaced in the middle of a renewal, or after a broken one, would find a pair that does not
 * match and could not listen. This copy always holds a pair that was checked, and changes whole.
 */

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { reserveOf } from '../store/reserve.ts'

/** On a disk with so much free, the next start is taken to find room. */
const FREE_BYTES_MIN = 256 * 1024 * 1024

export class StagedPair {
  readonly path: string
  readonly #home: string
  readonly #folder: string

  constructor(home: string) {
    this.#home = home
    this.#folder = join(home, 'tls')
    this.path = join(this.#folder, 'query.pem')
  }

  /** Before the state is opened: serving is what the bad times are about that a reserve is for. */
  writeAtStart(pem: string): void {
    try {
      this.write(pem)
    } catch (error) {
      const reserve = reserveOf(this.#home)
      const isFull = error instanceof AppError && error.code === 'ERR_DISK_FULL'
      if (!isFull || !existsSync(reserve)) throw error
      rmSync(reserve, { force: true })
      this.write(pem)
    }
  }

  /** Only the user of the node can read it, whatever the mask of its parent says. */
  write(pem: string): void {
    if (this.#holds(pem)) return
    const next = `${this.path}.next`
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
      chmodSync(this.#folder, 0o700)
      rmSync(next, { force: true })
      writeFileSync(next, pem, { mode: 0o600, flush: true })
      renameSync(next, this.path)
    } catch (error) {
      const isFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC'
      const code = isFull ? 'ERR_DISK_FULL' : 'ERR_CERTIFICATE_INVALID'
      throw new AppError(code, `${this.path} cannot be written: ${messageOf(error)}`)
    }
  }

  /**
   * A key must not lie about for longer than it is needed: on a disk that may have no room for it
   * at the next start, the next start needs it.
   */
  discard(): void {
    try {
      if (!this.#canBeMadeAgain()) return
      rmSync(this.#folder, { recursive: true, force: true })
    } catch {
      // A disk that has become read-only keeps it; a stop has more to do than this.
    }
  }

  #canBeMadeAgain(): boolean {
    if (existsSync(reserveOf(this.#home))) return true
    const { bavail, bsize } = statfsSync(this.#home)
    return bavail * bsize >= FREE_BYTES_MIN
  }

  /** After a kill the last one is still there: a full disk then does not keep the node down. */
  #holds(pem: string): boolean {
    try {
      return readFileSync(this.path, 'latin1') === pem
    } catch {
      return false
    }
  }
}
