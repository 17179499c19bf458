/**
 * The three measurements that no load tool makes: the price of the hop to a thread, the tail at a
 * fixed rate, and switches under load.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { median } from './latency.ts'
import type { Lineup } from './lineup.ts'
import type { Machine } from './machine.ts'
import type { LoadSample } from './sample.ts'
import type { Server } from './servers.ts'
import { drive, isInstalled } from './tools.ts'

/** Core of the client when it is pinned; the scheduler's choice alone moves p50 by its double. */
const CLIENT_CORE = 0

interface TrialOptions {
  readonly rounds: number
  readonly seconds: number
}

export interface Compared {
  readonly idle: boolean
  readonly rounds: number
  readonly samples: Readonly<Record<string, readonly LoadSample[]>>
  /** Median of each round's figure. */
  p50Us(server: Server): number
  p99Us(server: Server): number
}

type Take = (server: Server) => Promise<LoadSample>

async function compare(
  servers: readonly Server[],
  machine: Machine,
  rounds: number,
  take: Take,
): Promise<Compared> {
  const samples: Record<string, LoadSample[]> = {}
  let idle = true
  for (let round = 0; round < rounds; round++) {
    for (const server of servers) {
      const idleBefore = await machine.becomesIdle()
      const isUndisturbed = machine.watch(server.pid)
      const list = samples[server.name] ?? []
      samples[server.name] = list
      list.push(await take(server))
      idle = isUndisturbed() && idleBefore && idle
    }
  }
  const of = (server: Server) => samples[server.name] ?? []
  return {
    idle,
    rounds,
    samples,
    p50Us: (server) => median(of(server).map(({ p50Us }) => p50Us)),
    p99Us: (server) => median(of(server).map(({ p99Us }) => p99Us)),
  }
}

/** Node and inline at one connection; null where a process cannot be pinned to a core. */
export async function hopCost(
  lineup: Lineup,
  machine: Machine,
  { rounds, seconds }: TrialOptions,
): Promise<Compared | null> {
  if (!isInstalled('taskset')) {
    console.error('The hop is not measured: taskset is missing.')
    return null
  }
  return compare([lineup.inline, lineup.node], machine, rounds, (server) => {
    const order = lineup.order(server, { kind: 'closed', connections: 1, seconds })
    return drive(order, CLIENT_CORE).sample
  })
}

/** Fastify and the node at the same fixed rate. */
export async function tailAtRate(
  lineup: Lineup,
  machine: Machine,
  options: TrialOptions & { readonly ratePerS: number },
): Promise<Compared> {
  const { rounds, seconds, ratePerS } = options
  return compare([lineup.fastify, lineup.node], machine, rounds, (server) => {
    const order = lineup.order(server, { kind: 'open', connections: 64, seconds, ratePerS })
    return drive(order).sample
  })
}

const PAUSE_MS = 40

/** What each generation's answers hold, and nobody else's. */
const MARKS = ['"prediction":"0"', '"prediction":"v2:0"']

export interface SwitchTrial {
  readonly idle: boolean
  readonly switches: number
  readonly sample: LoadSample
  /** How long the admin call took. */
  readonly switchP50Ms: number
  readonly switchMaxMs: number
}

/** 64 connections ask as fast as they can while the generation is switched back and forth. */
export async function switchUnderLoad(
  lineup: Lineup,
  machine: Machine,
  switches: number,
): Promise<SwitchTrial> {
  const { node } = lineup
  await node.switchTo('v2') // Loads it, so that every switch below is between warm generations.
  await node.switchTo('v1')
  const idleBefore = await machine.becomesIdle()
  const isUndisturbed = machine.watch(node.pid)
  const shape = { kind: 'closed', connections: 64, seconds: null, accepts: MARKS } as const
  const load = drive(lineup.order(node, shape))
  const took: number[] = []
  await sleep(10 * PAUSE_MS)
  try {
    for (let i = 0; i < switches; i++) {
      const started = performance.now()
      await node.switchTo(i % 2 === 0 ? 'v2' : 'v1')
      took.push(performance.now() - started)
      await sleep(PAUSE_MS)
    }
  } finally {
    load.stop()
  }
  const sample = await load.sample
  const idle = isUndisturbed() && idleBefore
  await node.switchTo('v1')
  return { idle, switches, sample, switchP50Ms: median(took), switchMaxMs: Math.max(...took) }
}
