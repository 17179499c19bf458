/** The files of the store as the file system sees them, before anything opens them. */

import { chmod, lstat, readdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../core/base/errors.ts'
import type { Logger } from '../../core/base/logger.ts'

const OTHERS = 0o077

export type StoreFile =
  | { readonly kind: 'missing' }
  | { readonly kind: 'damaged'; readonly reason: string }
  | { readonly kind: 'file'; readonly path: string; readonly bytes: number }

export async function storeFile(directory: string): Promise<StoreFile> {
  const path = join(directory, 'data.mdb')
  try {
    const found = await lstat(path)
    if (!found.isFile()) return { kind: 'damaged', reason: 'it is no file' }
    // LMDB would make a new, empty store of it and say nothing.
    if (found.size === 0) return { kind: 'damaged', reason: 'it is empty' }
    return { kind: 'file', path, bytes: found.size }
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    return isMissing ? { kind: 'missing' } : { kind: 'damaged', reason: messageOf(error) }
  }
}

/**
 * Takes away what others may do with them, and a lock file of LMDB that is none. One that holds
 * nonsense does not matter: whoever opens it alone, as control does, writes it anew.
 */
export async function prepareFiles(directory: string, logger: Logger): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    const found = await lstat(path)
    if (name === 'lock.mdb' && !found.isFile()) {
      await rm(path, { recursive: true, force: true })
      logger.warn({ path }, 'removed: it was no lock file of the store')
      continue
    }
    if (!found.isFile()) continue
    if ((found.mode & OTHERS) !== 0)
      logger.warn({ path }, 'others could use it; now only the owner')
    if ((found.mode & 0o777) !== 0o600) await chmod(path, 0o600)
  }
}

export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}
