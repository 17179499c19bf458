/**
 * Measures one cell (server, tool, connections) and repeats cells in interleaved rounds: A B C A B
 * C, so that a drift of the machine meets all servers alike. Figures are medians over rounds.
 */

import { median } from './latency.ts'
import type { Lineup } from './lineup.ts'
import type { Machine } from './machine.ts'
import type { LoadSample } from './sample.ts'
import type { Server } from './servers.ts'
import { drive, wrk } from './tools.ts'

export type Tool = 'autocannon' | 'wrk'

interface Cell {
  readonly server: Server
  readonly tool: Tool
  readonly connections: number
  readonly seconds: number
}

export interface Measurement {
  readonly server: string
  readonly tool: Tool
  readonly connections: number
  /** Nobody else was computing when it began and while it ran. */
  readonly idle: boolean
  /** CPU time of all processes of the server, over the answers that the tool saw. */
  readonly cpuUsPerRequest: number
  readonly rssBytes: number
  readonly sample: LoadSample
}

export async function measure(cell: Cell, lineup: Lineup, machine: Machine): Promise<Measurement> {
  const { server, tool, connections, seconds } = cell
  const order = lineup.order(server, { kind: 'autocannon', connections, seconds })
  const observed = await observe(server, machine, () =>
    tool === 'wrk' ? wrk(order) : drive(order).sample,
  )
  return { server: server.name, tool, connections, ...observed }
}

interface Observed {
  readonly idle: boolean
  readonly cpuUsPerRequest: number
  readonly rssBytes: number
  readonly sample: LoadSample
}

/** One load, and what the server and the rest of the machine did meanwhile. */
export async function observe(
  server: Server,
  machine: Machine,
  take: () => Promise<LoadSample>,
  idleWaitMs?: number,
): Promise<Observed> {
  const idleBefore = await machine.becomesIdle(idleWaitMs)
  const isUndisturbed = machine.watch(server.pid)
  const before = machine.usage(server.pid)
  const sample = await take()
  const after = machine.usage(server.pid)
  const idle = isUndisturbed() && idleBefore
  const cpuUsPerRequest = ((after.cpuS - before.cpuS) * 1e6) / sample.completed
  return { idle, cpuUsPerRequest, rssBytes: after.rssBytes, sample }
}

interface CellPlan {
  readonly rounds: number
  readonly seconds: number
}

interface RateOptions {
  readonly connections: readonly number[]
  readonly tools: readonly Tool[]
  /** Of a cell: how often it is measured, and how long each time. */
  plan(connections: number, tool: Tool): CellPlan
  onMeasured(measurement: Measurement): void
}

export async function measureRates(
  lineup: Lineup,
  machine: Machine,
  options: RateOptions,
): Promise<Measurement[]> {
  const { connections: counts, tools } = options
  const servers = [lineup.constant, lineup.fastify, lineup.node]
  const cells = counts.flatMap((connections) =>
    tools.map((tool) => ({ connections, tool, ...options.plan(connections, tool) })),
  )
  const measured: Measurement[] = []
  for (let round = 0; cells.some(({ rounds }) => round < rounds); round++) {
    for (const { connections, tool, seconds } of cells.filter(({ rounds }) => round < rounds)) {
      // There and back: none of them always comes first, or next to the same one.
      for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
        const result = await measure({ server, tool, connections, seconds }, lineup, machine)
        options.onMeasured(result)
        measured.push(result)
      }
    }
  }
  return measured
}

/** Each server's code is compiled by V8 and its caches are filled before anything counts. */
export async function warmUp(lineup: Lineup, seconds: number): Promise<void> {
  for (const server of [lineup.constant, lineup.fastify, lineup.inline, lineup.node]) {
    await drive(lineup.order(server, { kind: 'closed', connections: 64, seconds })).sample
  }
}

export interface Figures {
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly cpuUsPerRequest: number
  readonly rssBytes: number
  readonly failures: number
}

export function figuresOf(measurements: readonly Measurement[]): Figures {
  const of = (pick: (measurement: Measurement) => number) => median(measurements.map(pick))
  return {
    perSecond: of(({ sample }) => sample.perSecond),
    p50Us: of(({ sample }) => sample.p50Us),
    p99Us: of(({ sample }) => sample.p99Us),
    cpuUsPerRequest: of(({ cpuUsPerRequest }) => cpuUsPerRequest),
    rssBytes: of(({ rssBytes }) => rssBytes),
    failures: measurements.reduce((sum, { sample }) => sum + sample.failures, 0),
  }
}

/** Median of the ratios of each round: both sides of a ratio met the same minute of the machine. */
export function pairedRatio(
  one: readonly Measurement[],
  other: readonly Measurement[],
  pick: (measurement: Measurement) => number,
): number {
  const rounds = Math.min(one.length, other.length)
  const ratios = one.slice(0, rounds).map((measurement, round) => {
    const base = other[round]
    return base === undefined ? Number.NaN : pick(measurement) / pick(base)
  })
  return median(ratios)
}

/** The rounds in which nobody else computed beside any of the servers, of each server in turn. */
export function idleRounds(servers: readonly (readonly Measurement[])[]): Measurement[][] {
  const rounds = Math.min(...servers.map((cells) => cells.length))
  const isIdle = (round: number) => servers.every((cells) => cells[round]?.idle === true)
  const kept = Array.from({ length: rounds }, (_, round) => round).filter(isIdle)
  return servers.map((cells) => cells.filter((_, round) => kept.includes(round)))
}
