/** What a node takes while it runs: memory, open files and threads of all its processes. */

import { readdirSync, readFileSync } from 'node:fs'

export interface Sample {
  readonly atS: number
  readonly processes: number
  readonly ownMib: number
  readonly files: number
  readonly threads: number
}

const MIB = 1024 ** 2

/** Of the processes that live at this moment; without /proc all is 0. */
export function sample(pids: readonly number[], atS: number): Sample {
  let [ownBytes, files, threads, processes] = [0, 0, 0, 0]
  for (const pid of pids) {
    const status = textOf(`/proc/${pid}/status`)
    if (status === '') continue
    processes += 1
    ownBytes += 1024 * numberIn(status, 'RssAnon')
    threads += numberIn(status, 'Threads')
    files += countIn(`/proc/${pid}/fd`)
  }
  return { atS: Math.round(atS), processes, ownMib: Math.round(ownBytes / MIB), files, threads }
}

export interface Course {
  readonly first: number
  readonly last: number
  readonly max: number
  /** Change in an hour, of the line that fits best; the first quarter is warm-up. */
  readonly perHour: number
}

export function courseOf(samples: readonly Sample[], name: 'ownMib' | 'files' | 'threads'): Course {
  const values = samples.map((one) => one[name])
  const later = samples.slice(Math.floor(samples.length / 4))
  const slope = slopeOf(later.map((one) => [one.atS, one[name]] as const))
  return {
    first: values[0] ?? 0,
    last: values.at(-1) ?? 0,
    max: Math.max(0, ...values),
    perHour: Math.round(slope * 3_600 * 10) / 10,
  }
}

/** Least squares. */
function slopeOf(points: readonly (readonly [number, number])[]): number {
  const mean = (at: 0 | 1) => points.reduce((sum, point) => sum + point[at], 0) / points.length
  const [meanX, meanY] = [mean(0), mean(1)]
  const above = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0)
  const below = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
  return below === 0 ? 0 : above / below
}

function numberIn(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
}

function countIn(folder: string): number {
  try {
    return readdirSync(folder).length
  } catch {
    return 0
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
