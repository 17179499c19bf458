/** Space on the data disk: asked for before much is written, and told when there is none. */

import { statfs } from 'node:fs/promises'
import { AppError, messageOf } from '../../core/base/errors.ts'

/** Free space that an import leaves: the state must always be writable. */
const FREE_BYTES_MIN = 64 * 1024 * 1024

/** Refuses what would fill the disk before a byte of it is written. */
export async function requireSpace(directory: string, bundleBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory)
  const neededBytes = Math.max(FREE_BYTES_MIN, 2 * bundleBytes)
  if (bavail * bsize >= neededBytes) return
  throw new AppError('ERR_DISK_FULL', `an import of this size needs ${neededBytes} bytes`)
}

/** A failed write of the file system, as the caller should see it. */
export function diskFailure(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : null
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return full ? new AppError('ERR_DISK_FULL', messageOf(error)) : error
}
