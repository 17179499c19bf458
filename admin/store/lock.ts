/**
 * One control per data directory: LMDB itself lets two processes write the same one in silence.
 *
 * The lock names a process by its id and its start, so that a process id that was given again to
 * another program after a crash does not lock the directory for ever.
 */

import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../core/base/errors.ts'

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
  const ours = join(home, `lock.${process.pid}`)
  const text = JSON.stringify({ pid: process.pid, start: await startOf(process.pid) })
  await writeFile(ours, text, { mode: 0o600 })
  try {
    // A link appears with its whole content or not at all; a file that is created and then
    // written would be empty for a moment.
    if (!(await linked(ours, path))) {
      await removeStale(path)
      if (!(await linked(ours, path))) throw locked(home, null)
    }
  } finally {
    await rm(ours, { force: true })
  }
  return { release: () => rm(path, { force: true }) }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

/** Takes a dead process's lock away by renaming: of two that try, only one gets it. */
async function removeStale(path: string): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const holder = holderOf(text)
  if (holder !== null && (await isAlive(holder))) throw locked(path, holder)
  const aside = `${path}.stale.${process.pid}`
  await rename(path, aside).catch(() => {})
  const taken = await readFile(aside, 'utf8').catch(() => text)
  if (taken !== text) {
    // In between somebody else had cleaned up and locked: what we took is their fresh lock.
    await link(aside, path).catch(() => {})
    await rm(aside, { force: true })
    throw locked(path, holderOf(taken))
  }
  await rm(aside, { force: true })
}

function holderOf(text: string): Holder | null {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return null
    if (!('pid' in value && 'start' in value)) return null
    const { pid, start } = value
    return typeof pid === 'number' && typeof start === 'string' ? { pid, start } : null
  } catch {
    return null
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false
  }
  const start = await startOf(holder.pid)
  return start === '' || holder.start === '' || start === holder.start
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
