/**
 * To load a model takes a core for as long as it takes. Where a machine has few of them, requests
 * that others answer would wait for it, so a thread that loads lets all others go first.
 *
 * On Linux each thread has a nice value of its own (setpriority(2), "C library/kernel
 * differences"). Anybody may raise it, but only CAP_SYS_NICE of the system, or a limit on nice
 * values, lets it come down again: where neither is there it is left alone.
 */

import { readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { getPriority, setPriority } from 'node:os'
import { messageOf } from '../core/base/errors.ts'

/**
 * A tenth of a core that others want as well. While a model of 160 MB is loaded at half of the top
 * rate of two cores, one of which a load generator takes, p99 is 4.6 times the usual with 0, 3.1
 * times with 5, twice with 10 and 15, 2.6 times with 19; the load takes 0.6 s, 1.3 s, 2.7 s, 6.5 s
 * and 4.5 s. Where processor time is left, 1.3 to 1.7 times and 0.4 s, with 0 as with 10.
 */
const LOADING_NICE = 10
const CAP_SYS_NICE = 1n << 23n
/** Limits on nice values count from it downwards (getrlimit(2)). */
const RLIMIT_NICE_ZERO = 20

/** What the kernel tells of a thread and its process, as texts of /proc. */
export interface ThreadFacts {
  readonly status: string
  readonly limits: string
  readonly uidMap: string
}

/** Whether a thread may come back to this nice value from a higher one. */
export function mayReturnTo(nice: number, { status, limits, uidMap }: ThreadFacts): boolean {
  const [, soft = '0'] = /^Max nice priority +(\d+|unlimited)/m.exec(limits) ?? []
  if (soft === 'unlimited' || Number(soft) >= RLIMIT_NICE_ZERO - nice) return true
  const [, capabilities = '0'] = /^CapEff:\s*([0-9a-f]+)/m.exec(status) ?? []
  // It is asked for in the first user namespace, which maps all ids to themselves.
  const isFirst = /^\s*0\s+0\s+4294967295\s*$/.test(uidMap)
  return isFirst && (BigInt(`0x${capabilities}`) & CAP_SYS_NICE) !== 0n
}

/** Lets other threads go before this one. The result undoes it and says what kept it from that. */
export async function yieldToOthers(): Promise<() => string | null> {
  const restored = (): null => null
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    const before = getPriority(thread)
    if (before >= LOADING_NICE || !mayReturnTo(before, await factsOf(thread))) return restored
    setPriority(thread, LOADING_NICE)
    return () => restoreTo(thread, before)
  } catch {
    // No Linux, or no /proc.
    return restored
  }
}

/**
 * Read by threads of libuv, which start with the first such call of the process: were that one of
 * the load's own, they would have its low priority for good.
 */
async function factsOf(thread: number): Promise<ThreadFacts> {
  const names = ['status', 'limits', 'uid_map']
  const read = names.map((name) => readFile(`/proc/self/task/${thread}/${name}`, 'latin1'))
  const [status = '', limits = '', uidMap = ''] = await Promise.all(read)
  return { status, limits, uidMap }
}

function restoreTo(thread: number, nice: number): string | null {
  try {
    setPriority(thread, nice)
    return null
  } catch (error) {
    return messageOf(error)
  }
}
