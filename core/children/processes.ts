/** What the kernel tells of the processes of this machine; systems without /proc tell nothing. */

import { readdir, readFile, stat } from 'node:fs/promises'
import { MARK } from './command.ts'

const KERNEL_THREADS = 2

export interface ProcessFacts {
  readonly pid: number
  readonly parent: number
  readonly session: number
  readonly threads: number
}

/** The youngest first where the numbers have not wrapped: those are the ones that matter. */
export async function processIds(): Promise<readonly number[]> {
  const names = await readdir('/proc').catch(() => [])
  return names
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .sort((a, b) => b - a)
}

/** Null: it has ended, or belongs to the kernel. */
export async function factsOf(pid: number): Promise<ProcessFacts | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
  // The name may hold anything, brackets and spaces included; after the last bracket come numbers.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [parent, session, threads] = [fields[1], fields[3], fields[17]].map(Number)
  if (parent === undefined || session === undefined || threads === undefined) return null
  if (text === '' || pid === KERNEL_THREADS || parent === KERNEL_THREADS) return null
  return { pid, parent, session, threads }
}

/** The mark that it was started with, itself or by inheritance; null: none, ended or not ours. */
export async function markOf(pid: number): Promise<string | null> {
  const bytes = await readFile(`/proc/${pid}/environ`).catch(() => null)
  if (bytes === null) return null
  const key = `${MARK}=`
  let start = bytes.indexOf(key)
  while (start > 0 && bytes[start - 1] !== 0) start = bytes.indexOf(key, start + 1)
  if (start < 0) return null
  const end = bytes.indexOf(0, start)
  return bytes.toString('utf8', start + key.length, end < 0 ? bytes.length : end)
}

/** Processes and threads that a user has now. */
export async function threadsOfUser(uid: number): Promise<number> {
  let count = 0
  for (const pid of await processIds()) {
    const folder = await stat(`/proc/${pid}`).catch(() => null)
    if (folder?.uid === uid) count += (await factsOf(pid))?.threads ?? 0
  }
  return count
}

/** A signal that may come too late. Returns whether there was somebody to get it. */
export function signal(pid: number, name: 'SIGKILL' | 'SIGUSR1' | 'SIGINT'): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}
