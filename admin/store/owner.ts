/**
 * Whose the files are when root works for another user. What root makes in a data directory would
 * keep the node's own user from starting; so what a command makes is given to the owner of the
 * directory, and a node, which goes on making files, is refused.
 */

import { lchown, lstat, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { AppError } from '../../core/base/errors.ts'
import { mkdirDurably } from './files.ts'
import type { Home } from './home.ts'

export interface Owner {
  readonly uid: number
  readonly gid: number
}

/**
 * Makes the directory as the owner of what is above it would; returns whose it is. null: we are
 * not root, so all that we make is ours.
 */
export async function ownedDirectory(path: string): Promise<Owner | null> {
  if (!isRoot()) return null
  const present = await lstat(path).catch(() => null)
  if (present !== null) return { uid: present.uid, gid: present.gid }
  const owner = await ownedDirectory(dirname(path))
  await mkdirDurably(path)
  if (owner !== null) await lchown(path, owner.uid, owner.gid)
  return owner
}

/**
 * Gives what belongs to root below a directory to its owner. Not what has another name elsewhere:
 * that could be anything of root's.
 */
export async function giveTo(owner: Owner | null, path: string): Promise<void> {
  if (owner === null || owner.uid === 0) return
  const found = await lstat(path)
  if (found.isDirectory()) {
    for (const name of await readdir(path)) await giveTo(owner, join(path, name))
  } else if (found.nlink > 1) return
  if (found.uid === 0) await lchown(path, owner.uid, owner.gid)
}

/** Throws when we are root and the state is another user's, by the files that both have made. */
export async function refuseAsRoot(home: Home): Promise<void> {
  if (!isRoot()) return
  const state = await lstat(join(home.state, 'data.mdb')).catch(() => null)
  // Where the file system gives every file to one user, that of the lock is the same.
  const lock = await lstat(join(home.root, 'lock'))
  if (state === null || state.uid === lock.uid) return
  const whose = `${home.root} belongs to user ${state.uid}, who could not start after root has`
  const cure = `start as that user, or take it over: chown -R ${lock.uid} ${home.root}`
  throw new AppError('ERR_STORE_FAILED', `${whose}; ${cure}`)
}

function isRoot(): boolean {
  return process.geteuid?.() === 0
}
