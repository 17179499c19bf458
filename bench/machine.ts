/**
 * What Linux says of processes and of the machine: CPU time and memory of a server with all its
 * processes, and whether anybody else is computing. Elsewhere figures are NaN and nothing is
 * judged.
 */

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Share of all cores that others may take before and during a measurement that counts. */
const FOREIGN_SHARE_MAX = 0.1
const IDLE_WAIT_MS = 10_000
const IDLE_LOOK_MS = 300

interface ProcessStat {
  readonly pid: number
  readonly parent: number
  readonly cpuTicks: number
  readonly endedChildrenTicks: number
  readonly rssPages: number
}

/** Fields behind the last `)`: the program's name may hold blanks and parentheses itself. */
function statOf(pid: number): ProcessStat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const at = (index: number) => Number(fields[index])
    const cpuTicks = at(11) + at(12)
    const endedChildrenTicks = at(13) + at(14)
    return { pid, parent: at(1), cpuTicks, endedChildrenTicks, rssPages: at(21) }
  } catch {
    return null // The process has ended meanwhile.
  }
}

function allProcesses(): ProcessStat[] {
  const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return names.map((name) => statOf(Number(name))).filter((stat) => stat !== null)
}

/** A process and all its descendants, as they are now. */
export function treeOf(rootPid: number): ProcessStat[] {
  return descendantsOf(rootPid, allProcesses())
}

/** A process, its children, and theirs. */
export function descendantsOf<P extends { readonly pid: number; readonly parent: number }>(
  rootPid: number,
  all: readonly P[],
): P[] {
  const wanted = new Set([rootPid])
  for (let size = 0; size !== wanted.size; ) {
    size = wanted.size
    for (const { pid, parent } of all) if (wanted.has(parent)) wanted.add(pid)
  }
  return all.filter(({ pid }) => wanted.has(pid))
}

function systemValue(name: string, fallback: number): number {
  try {
    return Number(execFileSync('getconf', [name], { encoding: 'utf8' }))
  } catch {
    return fallback
  }
}

/** Of a process and all its descendants, in bytes. */
export interface Memory {
  /** Counts what processes share once for each of them. */
  readonly rss: number
  /** Counts what processes share once. */
  readonly pss: number
  /**
   * What one process has written, so that nobody else can have it: without pages of files, which
   * count as private or shared by how often they are mapped, and which the system can take back.
   */
  readonly own: number
}

export interface Machine {
  /** The resolution of CPU times; a measurement must last many of these. */
  readonly tickMs: number
  /** CPU seconds and resident bytes of a process and all its descendants. */
  usage(rootPid: number): { cpuS: number; rssBytes: number }
  memory(rootPid: number): Memory
  /** Waits up to ten seconds for an idle machine, or as said; false when it stays busy. */
  becomesIdle(waitMs?: number): Promise<boolean>
  /**
   * Begins to watch; the returned function says whether, since then, nobody computed but the server
   * and this process with the children that it has seen end.
   */
  watch(serverPid: number): () => boolean
}

export function machine(): Machine {
  const ticksPerS = systemValue('CLK_TCK', 100)
  const pageBytes = systemValue('PAGESIZE', 4_096)
  return {
    tickMs: 1_000 / ticksPerS,
    usage: (rootPid) => {
      if (process.platform !== 'linux') return { cpuS: Number.NaN, rssBytes: Number.NaN }
      const tree = treeOf(rootPid)
      const cpuTicks = tree.reduce((sum, stat) => sum + stat.cpuTicks, 0)
      const rssPages = tree.reduce((sum, stat) => sum + stat.rssPages, 0)
      return { cpuS: cpuTicks / ticksPerS, rssBytes: rssPages * pageBytes }
    },
    memory: (rootPid) => (process.platform === 'linux' ? memoryOf(rootPid) : NO_MEMORY),
    becomesIdle,
    watch: (serverPid) => (process.platform === 'linux' ? watch(serverPid) : () => false),
  }
}

const NO_MEMORY = { rss: Number.NaN, pss: Number.NaN, own: Number.NaN }

function memoryOf(rootPid: number): Memory {
  const texts = treeOf(rootPid).map(({ pid }) => rollupOf(pid))
  const sum = (field: string) => texts.reduce((all, text) => all + kilobytesIn(text, field), 0)
  return {
    rss: sum('Rss') * 1_024,
    pss: sum('Pss') * 1_024,
    own: sum('Private_Dirty') * 1_024,
  }
}

function rollupOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')
  } catch {
    return '' // The process has ended meanwhile.
  }
}

/** A field of the kernel's text, for example `Pss:   1234 kB`. */
export function kilobytesIn(text: string, field: string): number {
  return Number(new RegExp(`^${field}: *(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0)
}

function watch(serverPid: number): () => boolean {
  const before = { machine: cpuTimes(), known: knownTicks(serverPid) }
  return () => {
    const machineTimes = cpuTimes()
    const known = knownTicks(serverPid) - before.known
    const computed = machineTimes.computing - before.machine.computing
    const all = Math.max(1, machineTimes.total - before.machine.total)
    return (computed - known) / all <= FOREIGN_SHARE_MAX
  }
}

/** Ticks of the server's processes, of this one, and of its children that have ended. */
function knownTicks(serverPid: number): number {
  const own = statOf(process.pid)
  const server = treeOf(serverPid).reduce((sum, stat) => sum + stat.cpuTicks, 0)
  return server + (own?.cpuTicks ?? 0) + (own?.endedChildrenTicks ?? 0)
}

async function becomesIdle(waitMs = IDLE_WAIT_MS): Promise<boolean> {
  if (process.platform !== 'linux') return false
  for (let waitedMs = 0; waitedMs < waitMs; waitedMs += IDLE_LOOK_MS) {
    if ((await busyShare()) <= FOREIGN_SHARE_MAX) return true
  }
  return false
}

/** Stolen time counts as busy: then a neighbour of the virtual machine is computing. */
async function busyShare(): Promise<number> {
  const before = cpuTimes()
  await sleep(IDLE_LOOK_MS)
  const after = cpuTimes()
  return 1 - (after.idle - before.idle) / Math.max(1, after.total - before.total)
}

interface CpuTimes {
  readonly idle: number
  /**
   * User, nice, system and stolen; interrupts belong to nobody, most are the load's own packets.
   */
  readonly computing: number
  readonly total: number
}

function cpuTimes(): CpuTimes {
  const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n')
  const times = line.trim().split(/\s+/).slice(1, 9).map(Number)
  const [user = 0, nice = 0, system = 0, idle = 0, waiting = 0, , , stolen = 0] = times
  return {
    idle: idle + waiting,
    computing: user + nice + system + stolen,
    total: times.reduce((sum, time) => sum + time, 0),
  }
}
