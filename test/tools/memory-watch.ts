/**
 * Looks at the memory of a node's processes while something goes on: a peak that is gone before
 * anybody asks is what a test of flat memory is about. Linux only; elsewhere there are no samples.
 */

import { readFileSync } from 'node:fs'

export type Role = 'control' | 'serve' | 'forge'

export interface Peak {
  /** At the first look. */
  readonly firstBytes: number
  readonly maxBytes: number
  /** Memory of its own at most: without pages of files, which the system can take back. */
  readonly ownMaxBytes: number
}

const MIB = 1024 * 1024

export class MemoryWatch {
  readonly #control: number
  readonly #peaks = new Map<Role, { firstBytes: number; maxBytes: number; ownMaxBytes: number }>()
  readonly #timer: NodeJS.Timeout

  constructor(controlPid: number, everyMs = 50) {
    this.#control = controlPid
    this.#look()
    this.#timer = setInterval(() => this.#look(), everyMs)
  }

  stop(): ReadonlyMap<Role, Peak> {
    clearInterval(this.#timer)
    return this.#peaks
  }

  #look(): void {
    this.#sample(this.#control, 'control')
    for (const pid of childrenOf(this.#control)) {
      const role = roleOf(pid)
      if (role !== null) this.#sample(pid, role)
    }
  }

  #sample(pid: number, role: Role): void {
    const memory = memoryOf(pid)
    if (memory === null) return
    const { bytes, ownBytes } = memory
    const peak = this.#peaks.get(role) ?? { firstBytes: bytes, maxBytes: 0, ownMaxBytes: 0 }
    peak.maxBytes = Math.max(peak.maxBytes, bytes)
    peak.ownMaxBytes = Math.max(peak.ownMaxBytes, ownBytes)
    this.#peaks.set(role, peak)
  }
}

/** Of a process that did not exist at the first look all of it counts. */
export function growthMib(peak: Peak | undefined): number {
  return peak === undefined ? 0 : Math.round((peak.maxBytes - peak.firstBytes) / MIB)
}

export function inMib(peaks: ReadonlyMap<Role, Peak>): Record<string, Record<string, number>> {
  return Object.fromEntries(
    [...peaks].map(([role, { firstBytes, maxBytes, ownMaxBytes }]) => [
      role,
      {
        first: Math.round(firstBytes / MIB),
        max: Math.round(maxBytes / MIB),
        ownMax: Math.round(ownMaxBytes / MIB),
      },
    ]),
  )
}

function roleOf(pid: number): Role | null {
  const command = textOf(`/proc/${pid}/cmdline`)
  if (command.includes('forge/main.js')) return 'forge'
  return command.includes('core/main.js') ? 'serve' : null
}

/** All were started by the main thread. */
function childrenOf(pid: number): number[] {
  return textOf(`/proc/${pid}/task/${pid}/children`).split(/\s+/).filter(Boolean).map(Number)
}

function memoryOf(pid: number): { bytes: number; ownBytes: number } | null {
  const status = textOf(`/proc/${pid}/status`)
  const field = (name: string): number =>
    1024 * Number(status.match(new RegExp(`^${name}:\\s+(\\d+)`, 'm'))?.[1] ?? 0)
  return status.includes('VmRSS') ? { bytes: field('VmRSS'), ownBytes: field('RssAnon') } : null
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
