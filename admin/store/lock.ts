/**
 * One control per data directory: LMDB itself lets two processes write the same one in silence.
 *
 * The lock names a process by its id and its start, so that a process id that was given again to
 * another program after a crash does not lock the directory for ever.
 */

import { readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'

export interface HomeLock {
  release(): Promise<void>
}

interface Holder {
  readonly pid: number
  /** Boot of the machine and start of the process; '' where the system does not tell. */
  readonly start: string
}

/** Throws ERR_STORE_LOCKED when a living process holds the lock. */
export async function lockHome(home: string): Promise<HomeLock> {
  const path = join(home, 'lock')
  const text = `${process.pid} ${await startOf(process.pid)}`
  if (!(await claimed(text, path))) {
    await removeStale(path)
    if (!(await claimed(text, path))) throw locked(home, null)
  }
  await removeLeft(home)
  return { release: () => rm(path, { force: true }) }
}

/** Id of the living process that holds the lock, or null; for who only wants to look. */
export async function lockHolder(home: string): Promise<number | null> {
  const holder = holderOf(await textOf(join(home, 'lock')))
  return holder !== null && (await isAlive(holder)) ? holder.pid : null
}

/**
 * A symbolic link that leads nowhere: it appears with its text or not at all, where a file would be
 * empty for a moment; and a text this short needs no block, so a node starts on a full disk too.
 */
async function claimed(text: string, path: string): Promise<boolean> {
  try {
    await symlink(text, path)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

/** Takes a dead process's lock away by renaming: of two that try, only one gets it. */
async function removeStale(path: string): Promise<void> {
  const text = await textOf(path)
  const holder = holderOf(text)
  if (holder !== null && (await isAlive(holder))) throw locked(path, holder)
  const aside = `${path}.stale.${process.pid}`
  await rename(path, aside).catch(() => {})
  await failpoint('lock.aside')
  const taken = await readlink(aside).catch(() => text)
  // Whatever it is: no node makes a directory of this name, so it holds nothing of ours.
  await rm(aside, { recursive: true, force: true })
  if (taken === text) return
  // In between somebody else had cleaned up and locked: what we took is their fresh lock.
  await symlink(taken, path).catch(() => {})
  throw locked(path, holderOf(taken))
}

/** Of a process that was killed in removeStale(); one that lives may have to put it back. */
async function removeLeft(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    const pid = Number(/^lock\.stale\.(\d+)$/.exec(name)?.[1] ?? 0)
    if (pid === 0 || (await isAlive({ pid, start: '' }))) continue
    await rm(join(home, name), { recursive: true, force: true })
  }
}

/** '' of anything that is no such link: it locks nothing. */
function textOf(path: string): Promise<string> {
  return readlink(path).catch(() => '')
}

function holderOf(text: string): Holder | null {
  const [, pid, start] = /^(\d+) (.*)$/.exec(text) ?? []
  // To kill, 0 is the group of whoever asks, which is always there; no process has it.
  return Number(pid) > 0 ? { pid: Number(pid), start: start ?? '' } : null
}

async function isAlive(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false
  }
  if (await isZombie(holder.pid)) return false
  const start = await startOf(holder.pid)
  return start === '' || holder.start === '' || start === holder.start
}

/** It has ended, and only its parent, init in a container for one, has not taken note yet. */
async function isZombie(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return /^State:\s+[ZX]/m.test(status)
}

/** Linux: boot id and start in clock ticks since boot, field 22 of stat. Elsewhere ''. */
async function startOf(pid: number): Promise<string> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The name of the program, in brackets, may hold spaces; what follows it may not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return `${boot.trim()}/${fields[19] ?? ''}`
  } catch {
    return ''
  }
}

function locked(path: string, holder: Holder | null): AppError {
  const who = holder === null ? 'another process' : `process ${holder.pid}`
  return new AppError('ERR_STORE_LOCKED', `${path} is held by ${who}`)
}
