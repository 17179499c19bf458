/**
 * What the query log costs: the same load on the node while nothing is logged, a query in a
 * hundred, and every one, in turn, so that a drift of the machine meets all three alike.
 */

import { median } from './latency.ts'
import type { Lineup } from './lineup.ts'
import type { Machine } from './machine.ts'
import type { Tool } from './measure.ts'
import { drive, wrk } from './tools.ts'

const MODES = ['off', 'sample:0.01', 'all'] as const
export type LogMode = (typeof MODES)[number]

interface Cost {
  readonly perSecond: number
  /** Of all processes and threads of the node, those that write among them. */
  readonly cpuUsPerRequest: number
}

/** Of one mode: medians over rounds, and medians of the ratios to `off` of each round. */
export interface LogCost extends Cost {
  readonly rateRatio: number
  readonly cpuRatio: number
}

export interface QueryLogTrial {
  readonly idle: boolean
  /** Each counted round, for whoever wants to see the noise. */
  readonly rounds: readonly Readonly<Record<LogMode, Cost>>[]
  readonly costs: Readonly<Record<LogMode, LogCost>>
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
  const rounds: Record<LogMode, Cost>[] = []
  let idle = true
  try {
    // The first round is not counted: the thread that writes starts, and its code gets warm.
    for (let round = 0; round <= options.rounds; round++) {
      const idleBefore = await machine.becomesIdle()
      const isUndisturbed = machine.watch(lineup.node.pid)
      const costs = {
        off: await costOf('off', lineup, machine, options),
        'sample:0.01': await costOf('sample:0.01', lineup, machine, options),
        all: await costOf('all', lineup, machine, options),
      }
      if (round === 0) continue
      idle = isUndisturbed() && idleBefore && idle
      rounds.push(costs)
    }
  } finally {
    await lineup.node.logQueries('off')
  }
  const costs = {
    off: summary('off', rounds),
    'sample:0.01': summary('sample:0.01', rounds),
    all: summary('all', rounds),
  }
  return { idle, rounds, costs }
}

async function costOf(
  mode: LogMode,
  { node, order }: Lineup,
  machine: Machine,
  { connections, seconds, tool }: TrialOptions,
): Promise<Cost> {
  await node.logQueries(mode)
  const load = order(node, { kind: 'autocannon', connections, seconds })
  const before = machine.usage(node.pid)
  const sample = tool === 'wrk' ? await wrk(load) : await drive(load).sample
  const after = machine.usage(node.pid)
  if (sample.failures > 0) throw new Error(`query log ${mode}: ${sample.failures} requests failed`)
  const cpuUsPerRequest = ((after.cpuS - before.cpuS) * 1e6) / sample.completed
  return { perSecond: sample.perSecond, cpuUsPerRequest }
}

function summary(mode: LogMode, rounds: readonly Record<LogMode, Cost>[]): LogCost {
  const of = (pick: (round: Record<LogMode, Cost>) => number) => median(rounds.map(pick))
  return {
    perSecond: of((round) => round[mode].perSecond),
    cpuUsPerRequest: of((round) => round[mode].cpuUsPerRequest),
    rateRatio: of((round) => round[mode].perSecond / round.off.perSecond),
    cpuRatio: of((round) => round[mode].cpuUsPerRequest / round.off.cpuUsPerRequest),
  }
}
