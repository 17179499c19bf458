/**
 * What the report is made of, as it lies in report.json. Written after every part of a run, so that
 * a run that is ended keeps what it has; a part that is measured anew takes the place of the old.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { median } from '../latency.ts'
import type { Tool } from '../measure.ts'
import type { Row } from '../rows.ts'

/** One load on one system, or the medians of several. */
export interface Round {
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly cpuUsPerRequest: number
  readonly rssBytes: number
  readonly pssBytes: number
  readonly failures: number
  /** Nobody else computed. */
  readonly idle: boolean
}

export interface Cell {
  readonly workload: string
  readonly shape: string
  readonly system: string
  readonly connections: number
  readonly tool: Tool
  readonly rounds: readonly Round[]
}

/** A fixed rate that was asked for, and what came of it. */
export interface OpenCell {
  readonly system: string
  readonly tool: 'open' | 'autocannon'
  readonly ratePerS: number
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
  /** How late the client itself was; null: the tool does not tell. */
  readonly lagP99Us: number | null
  readonly failures: number
  readonly idle: boolean
}

/** `session.run` in a loop. */
export interface Limit {
  readonly workload: string
  readonly rows: number
  readonly perSecond: number
  readonly cpuUsPerRun: number
}

/** The same load by different tools: do they see the same? */
export interface ClientCell {
  readonly system: string
  readonly tool: string
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
}

export interface Missing {
  readonly workload: string
  readonly system: string
  readonly reason: string
}

interface PartMeta {
  readonly date: string
  readonly commit: string
  readonly command: string
}

export interface ReportData {
  readonly format: 1
  machine: Readonly<Record<string, string | number>>
  versions: Readonly<Record<string, string>>
  /** When and how each part was measured last. */
  parts: Record<string, PartMeta>
  rows: Row[]
  cells: Cell[]
  open: OpenCell[]
  limits: Limit[]
  clients: ClientCell[]
  missing: Missing[]
}

export function emptyReport(): ReportData {
  const lists = { rows: [], cells: [], open: [], limits: [], clients: [], missing: [] }
  return { format: 1, machine: {}, versions: {}, parts: {}, ...lists }
}

export function readReport(folder: string): ReportData {
  const path = join(folder, 'report.json')
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : emptyReport()
}

/** What is there, to be measured on further; nothing where another machine has measured it. */
export function continued(folder: string, machine: ReportData['machine']): ReportData {
  const kept = readReport(folder)
  const isSame =
    kept.machine['cpu'] === machine['cpu'] && kept.machine['cores'] === machine['cores']
  return { ...(isSame ? kept : emptyReport()), machine }
}

export function writeReport(folder: string, data: ReportData): void {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'report.json')
  // NaN is no JSON: what could not be measured is null, and reads as NaN in every sum.
  writeFileSync(`${path}.part`, `${JSON.stringify(data, null, 1)}\n`)
  renameSync(`${path}.part`, path)
}

/** Puts new items in the place of those with the same key. */
export function replaced<T>(
  old: readonly T[],
  fresh: readonly T[],
  keyOf: (item: T) => string,
): T[] {
  const keys = new Set(fresh.map(keyOf))
  return [...old.filter((item) => !keys.has(keyOf(item))), ...fresh]
}

export function cellKey({ workload, shape, system, connections, tool }: Cell): string {
  return [workload, shape, system, connections, tool].join()
}

/** Medians over rounds; all failures; idle if every round was. */
export function cellFigures({ rounds }: Cell): Round {
  const of = (pick: (round: Round) => number) => median(rounds.map(pick))
  return {
    perSecond: of(({ perSecond }) => perSecond),
    p50Us: of(({ p50Us }) => p50Us),
    p99Us: of(({ p99Us }) => p99Us),
    cpuUsPerRequest: of(({ cpuUsPerRequest }) => cpuUsPerRequest),
    rssBytes: of(({ rssBytes }) => rssBytes),
    pssBytes: of(({ pssBytes }) => pssBytes),
    failures: rounds.reduce((sum, { failures }) => sum + failures, 0),
    idle: rounds.every(({ idle }) => idle),
  }
}
