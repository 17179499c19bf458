/**
 * `npm run bench -- --full`: everything, into bench/report/. Parts go one after the other, and
 * after each the report is written, so that a run that ends early keeps what it has.
 */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { ENVIRONMENTS, environmentPins } from '../environments.ts'
import type { Machine } from '../machine.ts'
import type { Tool } from '../measure.ts'
import type { BenchOptions, Part } from '../options.ts'
import { ROOT } from '../paths.ts'
import type { Row } from '../rows.ts'
import { type Workload, workloadOf } from '../workloads/workloads.ts'
import { type FullLineup, startFullLineup } from './lineup.ts'
import { writePages } from './pages.ts'
import {
  measureCells,
  measureClients,
  measureLimits,
  measureOpen,
  type PartOptions,
  warmUpAll,
} from './parts.ts'
import { cellKey, continued, type ReportData, replaced, writeReport } from './report-data.ts'

/** The number of connections that the figures rest on gets more rounds. */
const GATED_CONNECTIONS = 64
const ROUNDS = { gated: 3, workload: 2, other: 1 }

export interface FullRun {
  readonly machine: Machine
  readonly tools: readonly Tool[]
  readonly options: BenchOptions
  /** Measures the rows of the table; called first. */
  rows(): Promise<readonly Row[]>
}

export async function runFull(run: FullRun): Promise<void> {
  const { options } = run
  const report = new Report(options.report)
  const deadlineMs = performance.now() + options.minutes * 60_000
  const part: PartOptions = {
    machine: run.machine,
    tools: run.tools,
    seconds: options.seconds,
    isOver: () => performance.now() > deadlineMs,
    say: (line) => console.error(line),
  }
  const workloads = options.workloads.map(workloadOf)
  const wants = (name: Part) => options.only.includes(name)
  const rows = await attempt('the figures', run.rows)
  if (rows !== null && rows.length > 0) {
    const measured = rows.filter((row) => row.verdict !== 'not measured')
    report.keep('rows', (data) => {
      data.rows = replaced(data.rows, measured, (row) => String(row.row))
      data.rows.sort((one, other) => one.row - other.row)
    })
  }
  if (wants('limits')) {
    const limits = (await attempt('the limits', () => measureLimits(workloads, part))) ?? []
    report.keep('limits', (data) => {
      data.limits = replaced(data.limits, limits, ({ workload, rows: n }) => `${workload} ${n}`)
    })
  }
  const inLineup = (['clients', 'connections', 'workloads', 'open'] as const).filter(wants)
  for (const workload of inLineup.length > 0 ? workloads : []) {
    if (part.isOver()) console.error(`Time is over: ${workload.name} is left out.`)
    else {
      await attempt(workload.name, () =>
        withLineup(run, workload, (lineup) => partsOf({ report, part, lineup, run })),
      )
    }
  }
  console.log(`The report is in ${options.report}`)
}

/** What fails costs its own part of the report only. */
async function attempt<R>(what: string, measure: () => Promise<R>): Promise<R | null> {
  try {
    return await measure()
  } catch (error) {
    console.error(`Without ${what}: ${error instanceof Error ? error.message : String(error)}`)
    return null
  }
}

async function withLineup(
  run: FullRun,
  workload: Workload,
  use: (lineup: FullLineup) => Promise<void>,
): Promise<void> {
  console.error(`Starting the systems for ${workload.name}: ${workload.title}`)
  const lineup = await startFullLineup(workload, run.options.peers)
  for (const { system, reason } of lineup.missing) console.error(`Without ${system}: ${reason}`)
  try {
    const { systems, missing } = await warmUpAll(lineup, 1)
    for (const { system, reason } of missing) console.error(`Without ${system}: ${reason}`)
    await use({ ...lineup, systems, missing: [...lineup.missing, ...missing] })
  } finally {
    await lineup.stop()
  }
}

interface InLineup {
  readonly report: Report
  readonly part: PartOptions
  readonly lineup: FullLineup
  readonly run: FullRun
}

async function partsOf({ report, part, lineup, run }: InLineup): Promise<void> {
  const { workload, missing } = lineup
  const wants = (name: Part) => run.options.only.includes(name)
  const isFirst = workload.name === 'mlp'
  report.keep('systems', (data) => {
    data.missing = [...data.missing.filter((one) => one.workload !== workload.name), ...missing]
  })
  if (isFirst && wants('clients')) {
    const clients = await measureClients(lineup, part)
    report.keep('clients', (data) => {
      data.clients = replaced(data.clients, clients, ({ system, tool }) => `${system} ${tool}`)
    })
  }
  if (isFirst && wants('connections')) await measureConnections({ report, part, lineup, run })
  if (wants('workloads')) await measureShapes({ report, part, lineup, run })
  if (isFirst && wants('open')) {
    const open = await measureOpen(lineup, part)
    report.keep('open', (data) => {
      const measured = new Set(open.map(({ system }) => system))
      data.open = [...data.open.filter(({ system }) => !measured.has(system)), ...open]
    })
  }
}

async function measureConnections({ report, part, lineup, run }: InLineup): Promise<void> {
  const [shape] = lineup.workload.shapes
  if (shape === undefined) return
  for (const connections of run.options.connections) {
    const isGated = connections === GATED_CONNECTIONS
    const rounds = (tool: Tool) =>
      isGated && tool === run.tools.at(-1) ? ROUNDS.gated : ROUNDS.other
    const cells = await measureCells(lineup, { shape, connections, rounds }, part)
    report.keep('connections', (data) => {
      data.cells = replaced(data.cells, cells, cellKey)
    })
  }
}

/** The single rows of the first workload are among the numbers of connections already. */
async function measureShapes({ report, part, lineup, run }: InLineup): Promise<void> {
  const { workload } = lineup
  const systems = lineup.systems.filter(({ name }) => name !== 'constant')
  const isKnown = (name: string) => workload.name === 'mlp' && name === 'single'
  for (const shape of workload.shapes.filter(({ name }) => !isKnown(name))) {
    const rounds = (tool: Tool) => (tool === run.tools.at(-1) ? ROUNDS.workload : ROUNDS.other)
    const plan = { shape, connections: shape.connections, rounds }
    const cells = await measureCells({ workload, systems }, plan, part)
    report.keep('workloads', (data) => {
      data.cells = replaced(data.cells, cells, cellKey)
    })
  }
}

/** The report as it grows. */
class Report {
  readonly #folder: string
  readonly #data: ReportData

  constructor(folder: string) {
    this.#folder = folder
    this.#data = continued(folder, machineOf())
    this.#data.versions = versionsOf()
  }

  /** Changes the data, notes when and how that was measured, and writes all of it. */
  keep(part: string, change: (data: ReportData) => void): void {
    change(this.#data)
    const command = ['npm run bench --', ...process.argv.slice(2)].join(' ')
    this.#data.parts[part] = { date: new Date().toISOString(), commit: commitOf(), command }
    writeReport(this.#folder, this.#data)
    writePages(this.#folder, this.#data)
  }
}

function machineOf(): ReportData['machine'] {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `${process.platform} ${release()}`,
  }
}

const NODE_PACKAGES = ['onnxruntime-node', 'uWebSockets.js', 'fastify', 'piscina', 'autocannon']
const PYTHON_PACKAGES = {
  fastapi: ['fastapi', 'uvicorn', 'litserve', 'onnxruntime'],
  mlserver: ['mlserver'],
  bentoml: ['bentoml'],
  pytriton: ['nvidia-pytriton'],
} as const

function versionsOf(): Record<string, string> {
  const { version, dependencies, devDependencies } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  )
  const pinned: Record<string, string> = { ...devDependencies, ...dependencies }
  const ours = NODE_PACKAGES.map((name) => [name, pinned[name] ?? 'unknown'] as const)
  const theirs = ENVIRONMENTS.flatMap((environment) => {
    const pins = environmentPins(environment)
    return PYTHON_PACKAGES[environment].map((name) => [name, pins.get(name) ?? 'unknown'] as const)
  })
  return Object.fromEntries([
    ['switchyard', version],
    ['node', process.version],
    ...ours,
    ...theirs,
  ])
}

function commitOf(): string {
  try {
    const say = (...args: string[]) =>
      execFileSync('git', args, {
        cwd: ROOT,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
    const changed = say('status', '--porcelain', '--', 'core', 'workers', 'admin', 'bench/peers')
    return (
      say('rev-parse', '--short', 'HEAD').trim() + (changed.trim() === '' ? '' : ' and changes')
    )
  } catch {
    return 'unknown'
  }
}
