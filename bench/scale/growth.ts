/**
 * What services cost that nobody calls: a node with a thousand of them, each with an active
 * generation and ten of these loaded, beside one with a single service and one with only the ten.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BareNode, callerHeaders, startBareNode } from '../bare-node.ts'
import { median } from '../latency.ts'
import type { Machine } from '../machine.ts'
import { observe, type Tool } from '../measure.ts'
import type { LoadOrder } from '../sample.ts'
import type { Server } from '../servers.ts'
import { takeRate } from '../tools.ts'
import { bundleFile } from '../workloads/bundle.ts'
import { rowsOf, workloadOf } from '../workloads/workloads.ts'
import { makeOriginal, manyServices, serviceName } from './homes.ts'

const SERVICES = 1_000
const LOADED = 10
const STARTS = 3
/** Until what a start leaves behind has been collected. */
const SETTLE_MS = 2_000

export interface GrowthTrial {
  readonly idle: boolean
  readonly rounds: number
  readonly services: number
  readonly loaded: number
  /** Median of the ratios of each round: with all services, against one. */
  readonly ratio: number
  readonly perSecond: number
  readonly perSecondAlone: number
  /** The ten loaded services asked in turn. */
  readonly perSecondSpread: number
  readonly failures: number
  /** Memory that a service adds which is deployed and not loaded. */
  readonly bytesPerService: number
  readonly pssBytes: number
  /** From the start of the process until it says that it is ready. */
  readonly startMs: number
}

export interface ScaleOptions {
  readonly rounds: number
  readonly seconds: number
  readonly tool: Tool
}

export async function growthTrial(machine: Machine, options: ScaleOptions): Promise<GrowthTrial> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-growth-'))
  try {
    const original = await makeOriginal(folder, bundleFile(workloadOf('mlp')))
    const home = (services: number) => manyServices(folder, original, services)
    const [one, ten, many] = [await home(1), await home(LOADED), await home(SERVICES)]
    const memory = await memoryOf(machine, ten, many)
    const rates = await ratesOf(machine, options, one, many)
    return { services: SERVICES, loaded: LOADED, rounds: options.rounds, ...memory, ...rates }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function memoryOf(machine: Machine, ten: string, many: string) {
  const seen = { ten: [] as number[], many: [] as number[] }
  const startMs: number[] = []
  for (let i = 0; i < STARTS; i++) {
    const small = await startedOnce(machine, ten)
    const large = await startedOnce(machine, many)
    seen.ten.push(small.pssBytes)
    seen.many.push(large.pssBytes)
    startMs.push(large.startMs)
  }
  const pssBytes = median(seen.many)
  const bytesPerService = (pssBytes - median(seen.ten)) / (SERVICES - LOADED)
  return { pssBytes, bytesPerService, startMs: median(startMs) }
}

async function startedOnce(machine: Machine, home: string) {
  const started = performance.now()
  const node = await startTen(home)
  const startMs = performance.now() - started
  await sleep(SETTLE_MS)
  const pssBytes = machine.memory(node.pid).pss
  await node.stop()
  return { startMs, pssBytes }
}

/** Services that were never called load in the order of their ids. */
function startTen(home: string): Promise<BareNode> {
  return startBareNode({ home, args: ['--max-loaded-generations', String(LOADED)] })
}

interface Asked {
  readonly server: Server
  readonly order: LoadOrder
}

async function ratesOf(machine: Machine, options: ScaleOptions, one: string, many: string) {
  const alone = await startTen(one)
  try {
    const crowded = await startTen(many)
    try {
      const path = (i: number) => `/public/api/v1/${serviceName(i)}/predict/predict`
      const body = JSON.stringify({ features: rowsOf(workloadOf('mlp'), 1)[0] })
      const shape = { kind: 'autocannon', body, connections: 64, seconds: options.seconds } as const
      const asked = async (node: typeof alone): Promise<Asked> => {
        const headers = await callerHeaders(node.admin)
        return { server: node, order: { ...shape, url: node.url + path(0), headers } }
      }
      const [few, all] = [await asked(alone), await asked(crowded)]
      const paths = Array.from({ length: LOADED }, (_, i) => path(i))
      const spread = { ...all, order: { ...all.order, paths } }
      return await compare(machine, options, [few, all, spread])
    } finally {
      await crowded.stop()
    }
  } finally {
    await alone.stop()
  }
}

/** Interleaved; the first, uncounted round warms all up. */
async function compare(
  machine: Machine,
  { rounds, tool }: ScaleOptions,
  [few, all, spread]: readonly [Asked, Asked, Asked],
) {
  const rates: { few: number; all: number; spread: number }[] = []
  let idle = true
  let failures = 0
  const rateOf = async ({ server, order }: Asked) => {
    const seen = await observe(server, machine, () => takeRate(tool, order))
    idle = idle && seen.idle
    failures += seen.sample.failures
    return seen.sample.perSecond
  }
  for (let round = 0; round <= rounds; round++) {
    if (round === 1) idle = true
    const rate = { few: await rateOf(few), all: await rateOf(all), spread: await rateOf(spread) }
    if (round > 0) rates.push(rate)
  }
  return {
    idle,
    failures,
    ratio: median(rates.map((rate) => rate.all / rate.few)),
    perSecond: median(rates.map((rate) => rate.all)),
    perSecondAlone: median(rates.map((rate) => rate.few)),
    perSecondSpread: median(rates.map((rate) => rate.spread)),
  }
}
