/**
 * Space on the data disk: promised before it is written, so that what cannot fit is refused early
 * and two imports that only fit one after the other do not fail halfway; and told when there is
 * none left all the same.
 */

import { type StatsFs, statfsSync } from 'node:fs'
import { AppError, type ErrorCode, messageOf } from '../../core/base/errors.ts'

const MIB = 1024 * 1024

/** What imports leave free, because the state must always be writable; less on a small disk. */
export function keptBytes(diskBytes: number): number {
  return Math.min(64 * MIB, Math.max(16 * MIB, Math.floor(diskBytes / 10)))
}

/** One import's share of the disk: bytes that it has yet to write. */
export interface SpaceClaim {
  /** Throws ERR_DISK_FULL when so many do not fit beside the claims of others. */
  claim(bytes: number): void
  /** As `claim`, for what was checked elsewhere or has become less. */
  remaining(bytes: number): void
  /** How many more could be written now, at most. */
  available(): number
  release(): void
}

export class DiskSpace {
  readonly #directory: string
  readonly #claims = new Map<SpaceClaim, number>()
  readonly #stat: (path: string) => StatsFs

  /** `stat` is asked at every claim; it is synchronous so that no two claims see the same space. */
  constructor(directory: string, stat: (path: string) => StatsFs = statfsSync) {
    this.#directory = directory
    this.#stat = stat
  }

  open(): SpaceClaim {
    const claim: SpaceClaim = {
      claim: (bytes) => {
        this.#require(claim, bytes)
        this.#claims.set(claim, bytes)
      },
      remaining: (bytes) => {
        this.#claims.set(claim, Math.max(0, bytes))
      },
      available: () => this.#look(claim).available,
      release: () => {
        this.#claims.delete(claim)
      },
    }
    return claim
  }

  #require(claim: SpaceClaim, bytes: number): void {
    const { free, kept, promised, available } = this.#look(claim)
    if (bytes <= available) return
    const others = promised === 0 ? '' : ` and ${promised} are promised to other imports`
    const detail =
      `an import of this size needs ${bytes} bytes in ${this.#directory}; ` +
      `${free} are free, of which ${kept} are kept for the state${others}`
    throw new AppError('ERR_DISK_FULL', detail)
  }

  #look(claim: SpaceClaim) {
    const { bavail, bsize, blocks } = this.#stat(this.#directory)
    const free = bavail * bsize
    const kept = keptBytes(blocks * bsize)
    let promised = 0
    for (const [other, bytes] of this.#claims) if (other !== claim) promised += bytes
    return { free, kept, promised, available: Math.max(0, free - kept - promised) }
  }
}

/** A disk that is full, or a quota or the longest file that it allows; all heal by making room. */
const FULL = ['ENOSPC', 'EDQUOT', 'EFBIG']
/** A disk that nothing can be written to, however much room there is. */
const UNWRITABLE = ['EROFS', 'EACCES', 'EPERM', 'EIO']

/** A failed write of the file system, as the caller should see it. */
export function diskFailure(error: unknown): unknown {
  const code = codeOf(error)
  return code === null ? error : new AppError(code, messageOf(error))
}

function codeOf(error: unknown): ErrorCode | null {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (FULL.includes(code)) return 'ERR_DISK_FULL'
  return UNWRITABLE.includes(code) ? 'ERR_DISK_UNWRITABLE' : null
}
