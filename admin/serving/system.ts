/** What the system tells of memory and of the network; each is null where it tells nothing. */

import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import type { Capacity } from '../../core/channel/messages.ts'
import { LIMITS } from '../../core/config/limits.ts'

/** A node's processes may take this share together, the rest is for the system and its cache. */
const MEMORY_SHARE = 0.75

/** Linux only; a file of the kernel, so reading it waits for no disk. */
export function residentBytesOf(pid: number): number | null {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1]
  return kib === undefined ? null : Number(kib) * 1024
}

/** What each serving process may take when nobody said it: of the machine, or of the container. */
export function memoryBytesOfEach(processes: number): number {
  // 0 or more than there is: no limit.
  const container = process.constrainedMemory() || Number.POSITIVE_INFINITY
  return Math.floor((Math.min(totalmem(), container) * MEMORY_SHARE) / processes)
}

/** Of what a serving process may take; the rest is for requests, and for the process itself. */
const GENERATIONS_SHARE = 0.9

export interface MemorySettings {
  readonly processes: number
  readonly serveMemoryBytes: number | null
  readonly maxLoadedGenerations: number | null
  readonly memoryBudgetBytes: number | null
}

/** Of the same, for answers whose readers are slow. */
const UNREAD_SHARE = 1 / 8

/** Of each serving process. */
export function unreadBytesOf(
  settings: Pick<MemorySettings, 'processes' | 'serveMemoryBytes'> & {
    readonly unreadBytesMax: number | null
  },
): number {
  if (settings.unreadBytesMax !== null) return settings.unreadBytesMax
  const each = settings.serveMemoryBytes ?? memoryBytesOfEach(settings.processes)
  return Math.max(LIMITS.unreadBytesMin, Math.floor(each * UNREAD_SHARE))
}

/** Of each serving process. */
export function capacityOf(settings: MemorySettings): Capacity {
  const { processes, serveMemoryBytes, memoryBudgetBytes } = settings
  const each = serveMemoryBytes ?? memoryBytesOfEach(processes)
  const bytes =
    memoryBudgetBytes === null ? each * GENERATIONS_SHARE : memoryBudgetBytes / processes
  return { generationsMax: settings.maxLoadedGenerations, bytesMax: Math.floor(bytes) }
}

/** Whether the kernel hands connections that are being made to another listener of the port. */
export function readTcpMigrateReq(): boolean | null {
  const text = readText('/proc/sys/net/ipv4/tcp_migrate_req')
  return text === null ? null : text.trim() !== '0'
}

/**
 * How many processes the kernel has killed for want of memory: of the container where it counts
 * them, for what dies elsewhere on the machine says nothing; of the machine else.
 */
export function readOomKills(): number | null {
  const group = /^0::(\/.*)$/m.exec(readText('/proc/self/cgroup') ?? '')?.[1]
  const events = group === undefined ? null : readText(`/sys/fs/cgroup${group}/memory.events`)
  const count = /^oom_kill (\d+)$/m.exec(events ?? readText('/proc/vmstat') ?? '')?.[1]
  return count === undefined ? null : Number(count)
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
