/** What the system offers to hold a child process within limits, one small function each. */

import { type ChildProcess, execFile } from 'node:child_process'
import { accessSync, constants, writeFile } from 'node:fs'
import { setPriority } from 'node:os'
import { join } from 'node:path'

const NICE = 10
const LOOK_EVERY_MS = 250

/** SIGKILL to the group that the child leads; nothing happens when it is gone. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // All of it has ended.
  }
}

/** Before the child has threads: on Linux each thread has its own priority and passes it on. */
export function lowerPriority(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    setPriority(child.pid, NICE)
  } catch {
    // Gone, or not allowed: the limits hold all the same.
  }
  // Where the kernel groups processes by session, the group's own value decides, not the child's.
  writeFile(`/proc/${child.pid}/autogroup`, String(NICE), () => {})
}

/** For systems without prlimit: looks at the resident memory. Returns what ends the watch. */
export function watchMemory(child: ChildProcess, bytesMax: number, over: () => void): () => void {
  const timer = setInterval(() => {
    execFile('ps', ['-o', 'rss=', '-p', String(child.pid)], (error, kib) => {
      if (error === null && Number(kib) * 1024 > bytesMax) over()
    })
  }, LOOK_EVERY_MS)
  return () => clearInterval(timer)
}

/** Absolute path of a program in one of the folders of PATH; null: the system has none. */
export function findProgram(name: string, path: string): string | null {
  for (const folder of path.split(':').filter((entry) => entry.startsWith('/'))) {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return join(folder, name)
    } catch {
      // Not in this folder.
    }
  }
  return null
}
