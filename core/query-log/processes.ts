/** Whether the process that began a file is still there, and no other one with its number. */

import { readFileSync } from 'node:fs'
import { codeOf } from '../base/errors.ts'
import type { LogFile } from './file-names.ts'

/** Linux counts the start of a process in hundredths of a second, whatever its own clock does. */
const TICKS_PER_S = 100
/** The clock may have been set a little between the start of the process and that of its file. */
const CLOCK_SLACK_MS = 5_000

export function isWriting({ pid, begunMs }: LogFile): boolean {
  if (!exists(pid)) return false
  const startedMs = startOf(pid)
  return startedMs === null || startedMs <= begunMs + CLOCK_SLACK_MS
}

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

/** Milliseconds since the epoch; null: the system does not tell. */
function startOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name of the program, in brackets, may hold spaces; what follows it may not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const bootS = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1]
    const ticks = Number(fields[19])
    if (bootS === undefined || Number.isNaN(ticks)) return null
    return (Number(bootS) + ticks / TICKS_PER_S) * 1_000
  } catch {
    return null
  }
}
