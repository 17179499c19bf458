/**
 * The parts of the report: loads on all systems by number of connections, by workload and at fixed
 * rates, and the limits beside them. Rounds are interleaved over systems, as in the short form.
 */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Machine } from '../machine.ts'
import { observe, type Tool } from '../measure.ts'
import { compiled } from '../paths.ts'
import type { LoadOrder } from '../sample.ts'
import { drive, takeRate } from '../tools.ts'
import { rowsOf, type Shape, type Workload } from '../workloads/workloads.ts'
import { type FullLineup, reasonOf } from './lineup.ts'
import type { Cell, ClientCell, Limit, Missing, OpenCell, Round } from './report-data.ts'
import { orderOf, type System } from './systems.ts'

const run = promisify(execFile)

/** Hundreds of loads: one that meets a busy machine is marked, not waited for. */
const IDLE_WAIT_MS = 600

export interface PartOptions {
  readonly machine: Machine
  readonly seconds: number
  readonly tools: readonly Tool[]
  /** True when nothing new may begin. */
  isOver(): boolean
  say(line: string): void
}

interface CellPlan {
  readonly shape: Shape
  readonly connections: number
  readonly rounds: (tool: Tool) => number
}

/** Systems beside each other: round by round, tool by tool. */
export async function measureCells(
  { workload, systems }: Pick<FullLineup, 'workload' | 'systems'>,
  plan: CellPlan,
  options: PartOptions,
): Promise<Cell[]> {
  const { shape, connections } = plan
  const cells: Cell[] = []
  const broken = new Set<string>()
  for (const tool of options.tools) {
    const rounds = new Map<string, Round[]>()
    for (let round = 0; round < plan.rounds(tool); round++) {
      for (const system of systems) {
        if (options.isOver() || broken.has(system.name)) continue
        const order = loadOf(system, workload, { ...shape, connections }, options.seconds)
        const taken = await takeRound(system, options, () => takeRate(tool, order))
        if (typeof taken === 'string') {
          broken.add(system.name)
          options.say(`${system.name} ${workload.name} ${shape.name}: ${taken}`)
          continue
        }
        rounds.set(system.name, [...(rounds.get(system.name) ?? []), taken])
        const rate = Math.round(taken.perSecond)
        const busy = taken.idle ? '' : ' (machine busy)'
        const where = `${workload.name} ${shape.name} ${connections} ${tool}`
        options.say(`${system.name} ${where}: ${rate}/s${busy}`)
      }
    }
    for (const [system, taken] of rounds) {
      const key = { workload: workload.name, shape: shape.name, system, connections, tool }
      cells.push({ ...key, rounds: taken })
    }
  }
  return cells
}

function loadOf(system: System, workload: Workload, shape: Shape, seconds: number): LoadOrder {
  const question = orderOf(system, workload, rowsOf(workload, shape.rows))
  return { ...question, kind: 'autocannon', connections: shape.connections, seconds }
}

/** A round, or why there is none. */
async function takeRound(
  { server, pause }: System,
  { machine }: PartOptions,
  take: () => ReturnType<typeof takeRate>,
): Promise<Round | string> {
  pause?.(false)
  try {
    const seen = await observe(server, machine, take, IDLE_WAIT_MS)
    const { sample, cpuUsPerRequest, idle } = seen
    if (sample.completed === 0) return 'not one answer'
    const { rss, pss } = machine.memory(server.pid)
    const { perSecond, p50Us, p99Us, failures } = sample
    const memory = { rssBytes: rss, pssBytes: pss }
    return { perSecond, p50Us, p99Us, cpuUsPerRequest, ...memory, failures, idle }
  } catch (error) {
    return String(error)
  } finally {
    pause?.(true)
  }
}

/** Code is compiled and caches are filled before anything counts. Returns who came through it. */
export async function warmUpAll(
  { workload, systems }: FullLineup,
  seconds: number,
): Promise<{ systems: System[]; missing: Missing[] }> {
  const [warm, missing]: [System[], Missing[]] = [[], []]
  for (const system of systems) {
    try {
      for (const shape of workload.shapes) {
        const order = loadOf(system, workload, shape, seconds)
        await drive({ ...order, kind: 'closed' }).sample
      }
      warm.push(system)
    } catch (error) {
      const reason = `it does not stand the load: ${reasonOf(error)}`
      missing.push({ workload: workload.name, system: system.name, reason })
    }
    system.pause?.(true)
  }
  return { systems: warm, missing }
}

/** From slow to fast; beyond the first rate that a system does not keep there is nothing to see. */
const RATES = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
const KEPT_SHARE = 0.95

export async function measureOpen(
  { workload, systems }: Pick<FullLineup, 'workload' | 'systems'>,
  options: PartOptions,
): Promise<OpenCell[]> {
  const cells: OpenCell[] = []
  for (const system of systems) {
    system.pause?.(false)
    for (const ratePerS of RATES) {
      if (options.isOver()) break
      const [shape] = workload.shapes
      if (shape === undefined) break
      const order = { ...loadOf(system, workload, shape, options.seconds), ratePerS }
      const own = await openCell(system, { ...order, kind: 'open' }, options)
      if (own === null) break
      const theirs = await openCell(system, { ...order, seconds: 1 }, options)
      cells.push(own, ...(theirs === null ? [] : [theirs]))
      const busy = own.idle ? '' : ' (machine busy)'
      options.say(`${system.name} at ${ratePerS}/s: p99 ${Math.round(own.p99Us)} µs${busy}`)
      if (own.failures > 0 || own.perSecond < ratePerS * KEPT_SHARE) break
    }
    system.pause?.(true)
  }
  return cells
}

async function openCell(
  system: System,
  order: LoadOrder & { readonly ratePerS: number },
  { machine, say }: PartOptions,
): Promise<OpenCell | null> {
  try {
    const take = () => drive(order).sample
    const { sample, idle } = await observe(system.server, machine, take, IDLE_WAIT_MS)
    const { perSecond, p50Us, p99Us, failures, lagUs } = sample
    const tool = order.kind === 'open' ? 'open' : 'autocannon'
    const lagP99Us = lagUs?.p99 ?? null
    const figures = { perSecond, p50Us, p99Us, lagP99Us, failures, idle }
    return { system: system.name, tool, ratePerS: order.ratePerS, ...figures }
  } catch (error) {
    say(`${system.name} at ${order.ratePerS}/s: ${reasonOf(error)}`)
    return null
  }
}

/** The same closed loop by all clients, on the fastest and on a slow server. */
export async function measureClients(
  { workload, systems }: Pick<FullLineup, 'workload' | 'systems'>,
  options: PartOptions,
): Promise<ClientCell[]> {
  const cells: ClientCell[] = []
  for (const system of systems.filter(({ name }) => name === 'node' || name === 'fastify')) {
    const [shape] = workload.shapes
    if (shape === undefined) break
    const order = loadOf(system, workload, shape, options.seconds)
    const own = await drive({ ...order, kind: 'closed' }).sample
    cells.push({ system: system.name, tool: 'own client', ...rateOf(own) })
    for (const tool of options.tools) {
      const sample = await takeRate(tool, order)
      cells.push({ system: system.name, tool, ...rateOf(sample) })
    }
  }
  return cells
}

function rateOf({ perSecond, p50Us, p99Us }: Awaited<ReturnType<typeof takeRate>>) {
  return { perSecond, p50Us, p99Us }
}

export async function measureLimits(
  workloads: readonly Workload[],
  { seconds, say, isOver }: PartOptions,
): Promise<Limit[]> {
  const limits: Limit[] = []
  for (const workload of workloads) {
    for (const { rows } of workload.shapes) {
      if (isOver()) break
      const args = [compiled('bench/peers/raw.ts'), workload.name, String(rows), String(seconds)]
      const { stdout } = await run(process.execPath, args)
      const limit: Limit = { workload: workload.name, rows, ...JSON.parse(stdout) }
      limits.push(limit)
      say(`session.run ${workload.name} ${rows} rows: ${Math.round(limit.perSecond)}/s`)
    }
  }
  return limits
}
