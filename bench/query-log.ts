/**
 * What the query log costs: the same load on the node while a query in a hundred is logged, or
 * every one, each between two measurements while nothing is. A shared machine changes its speed by
 * a third within seconds; the mean of what came before and after has met most of it too.
 */

import { median } from './latency.ts'
import type { Lineup } from './lineup.ts'
import type { Machine } from './machine.ts'
import type { Tool } from './measure.ts'
import { drive, wrk } from './tools.ts'

export type LoggedMode = 'sample:0.01' | 'all'
/** What it costs to log all of them is near its bound: it is measured twice as often. */
const LOGGED: readonly LoggedMode[] = ['all', 'sample:0.01', 'all']
/** A round is cut into so many: what is compared should follow soon. */
const PARTS = 3

interface Cost {
  readonly perSecond: number
  /** Of all processes and threads of the node, those that write among them. */
  readonly cpuUsPerRequest: number
}

/** One measurement of a mode, and the mean of its two neighbours. */
interface Compared extends Cost {
  readonly off: Cost
}

/** Medians, and medians of the ratios of each measurement to its neighbours. */
export interface LogCost extends Compared {
  readonly rateRatio: number
  readonly cpuRatio: number
}

export interface QueryLogTrial {
  readonly idle: boolean
  /** Each measurement that counts, for whoever wants to see the noise. */
  readonly compared: Readonly<Record<LoggedMode, readonly Compared[]>>
  readonly costs: Readonly<Record<LoggedMode, LogCost>>
}

interface TrialOptions {
  readonly rounds: number
  readonly seconds: number
  readonly connections: number
  readonly tool: Tool
}

export async function queryLogTrial(
  lineup: Lineup,
  machine: Machine,
  options: TrialOptions,
): Promise<QueryLogTrial> {
  const compared: Record<LoggedMode, Compared[]> = { 'sample:0.01': [], all: [] }
  let idle = true
  try {
    // The first round is not counted: the thread that writes starts, and its code gets warm.
    for (let round = 0; round <= options.rounds; round++) {
      const idleBefore = await machine.becomesIdle()
      const isUndisturbed = machine.watch(lineup.node.pid)
      let before = await costOf('off', lineup, machine, options)
      for (let part = 0; part < PARTS; part++) {
        for (const mode of LOGGED) {
          const cost = await costOf(mode, lineup, machine, options)
          const after = await costOf('off', lineup, machine, options)
          if (round > 0) compared[mode].push({ ...cost, off: mean(before, after) })
          before = after
        }
      }
      if (round > 0) idle = isUndisturbed() && idleBefore && idle
    }
  } finally {
    await lineup.node.logQueries('off')
  }
  const costs = { 'sample:0.01': summary(compared['sample:0.01']), all: summary(compared.all) }
  return { idle, compared, costs }
}

async function costOf(
  mode: 'off' | LoggedMode,
  { node, order }: Lineup,
  machine: Machine,
  { connections, seconds, tool }: TrialOptions,
): Promise<Cost> {
  await node.logQueries(mode)
  const load = order(node, { kind: 'autocannon', connections, seconds: seconds / PARTS })
  const before = machine.usage(node.pid)
  const sample = tool === 'wrk' ? await wrk(load) : await drive(load).sample
  const after = machine.usage(node.pid)
  if (sample.failures > 0) throw new Error(`query log ${mode}: ${sample.failures} requests failed`)
  const cpuUsPerRequest = ((after.cpuS - before.cpuS) * 1e6) / sample.completed
  return { perSecond: sample.perSecond, cpuUsPerRequest }
}

function mean(one: Cost, other: Cost): Cost {
  return {
    perSecond: (one.perSecond + other.perSecond) / 2,
    cpuUsPerRequest: (one.cpuUsPerRequest + other.cpuUsPerRequest) / 2,
  }
}

function summary(compared: readonly Compared[]): LogCost {
  const of = (pick: (one: Compared) => number) => median(compared.map(pick))
  return {
    perSecond: of(({ perSecond }) => perSecond),
    cpuUsPerRequest: of(({ cpuUsPerRequest }) => cpuUsPerRequest),
    off: {
      perSecond: of(({ off }) => off.perSecond),
      cpuUsPerRequest: of(({ off }) => off.cpuUsPerRequest),
    },
    rateRatio: of(({ perSecond, off }) => perSecond / off.perSecond),
    cpuRatio: of(({ cpuUsPerRequest, off }) => cpuUsPerRequest / off.cpuUsPerRequest),
  }
}
