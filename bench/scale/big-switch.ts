/**
 * What callers feel while a model of 160 MB is loaded and switched to: requests come at half the
 * rate that the node can take, and the seconds of a switch are compared with all the others.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { callerHeaders, startBareNode, switchService, upload } from '../bare-node.ts'
import { median } from '../latency.ts'
import type { Machine } from '../machine.ts'
import { predictUrl } from '../node-server.ts'
import type { LoadOrder, LoadSample, LoadWindow } from '../sample.ts'
import { drive, takeRate } from '../tools.ts'
import { bundleFile } from '../workloads/bundle.ts'
import { otherDenseModel, rowsOf, workloadOf } from '../workloads/workloads.ts'
import type { ScaleOptions } from './growth.ts'

const WINDOW_MS = 1_000
/** Between two switches: seconds that count as quiet. */
const PAUSE_MS = 4_000
const SERVICE = 'bench'

/** When the admin call of a switch began and ended, ms since the epoch. */
export interface SwitchSpan {
  readonly startMs: number
  readonly endMs: number
}

export interface BigSwitchTrial {
  readonly idle: boolean
  readonly switches: number
  readonly ratePerS: number
  readonly failures: number
  readonly failureKinds: LoadSample['failureKinds']
  /** Median over switches of the worst second that a switch touched. */
  readonly switchP99Us: number
  /** Median over all other seconds. */
  readonly quietP99Us: number
  /** How late the client was; part of the latencies. */
  readonly lagP99Us: number
  /** Median time of a switch: load, warm up, switch. */
  readonly tookMs: number
}

export async function bigSwitchTrial(
  machine: Machine,
  options: ScaleOptions,
): Promise<BigSwitchTrial> {
  const workload = workloadOf('dense')
  const node = await startBareNode()
  try {
    const { admin } = node
    await admin('/services', { serviceId: SERVICE })
    await upload(admin, SERVICE, bundleFile(workload))
    const model = otherDenseModel()
    await upload(admin, SERVICE, bundleFile(workload, { model, generation: 'v2' }))
    await switchService(admin, SERVICE, 'v1')
    const headers = await callerHeaders(admin)
    const body = JSON.stringify({ features: rowsOf(workload, 1)[0] })
    const target = { url: predictUrl(node), headers, body, connections: 64 }
    const { seconds } = options
    const top = await takeRate(options.tool, { ...target, kind: 'autocannon', seconds })
    const ratePerS = Math.max(10, Math.round(top.perSecond / 2))
    const idleBefore = await machine.becomesIdle()
    const isUndisturbed = machine.watch(node.pid)
    const order = { ...target, kind: 'open', seconds: null, ratePerS, sleeps: true } as const
    const { sample, spans } = await loadedSwitches(order, options.rounds, (generation) =>
      switchFresh(admin, generation),
    )
    const idle = isUndisturbed() && idleBefore
    const tookMs = median(spans.map(({ startMs, endMs }) => endMs - startMs))
    const parts = windowFigures(sample.windows ?? [], spans)
    const { failures, failureKinds } = sample
    const lagP99Us = sample.lagUs?.p99 ?? Number.NaN
    const counts = { switches: spans.length, ratePerS, failures, failureKinds, lagP99Us }
    return { idle, tookMs, ...counts, ...parts }
  } finally {
    await node.stop()
  }
}

type Admin = Parameters<typeof switchService>[0]

/** Not to a generation that is still warm from before: that would only be a rollback. */
async function switchFresh(admin: Admin, generation: string): Promise<SwitchSpan> {
  await admin(`/services/${SERVICE}/generations/${generation}/unload`, null)
  await sleep(PAUSE_MS)
  const startMs = Date.now()
  await switchService(admin, SERVICE, generation)
  return { startMs, endMs: Date.now() }
}

async function loadedSwitches(
  order: LoadOrder,
  switches: number,
  switchTo: (generation: string) => Promise<SwitchSpan>,
): Promise<{ sample: LoadSample; spans: SwitchSpan[] }> {
  const load = drive({ ...order, windowMs: WINDOW_MS })
  const spans: SwitchSpan[] = []
  try {
    for (let i = 0; i < switches; i++) spans.push(await switchTo(i % 2 === 0 ? 'v2' : 'v1'))
    await sleep(PAUSE_MS)
  } finally {
    load.stop()
  }
  return { sample: await load.sample, spans }
}

/** The first and the last second are cut: the load fills them only in part. */
export function windowFigures(windows: readonly LoadWindow[], spans: readonly SwitchSpan[]) {
  const whole = windows.slice(1, -1)
  const touches = ({ startMs, endMs }: SwitchSpan, window: LoadWindow) =>
    window.startMs <= endMs && window.startMs + WINDOW_MS > startMs
  const worst = spans.map((span) =>
    Math.max(...whole.filter((window) => touches(span, window)).map(({ p99Us }) => p99Us)),
  )
  const quiet = whole.filter((window) => !spans.some((span) => touches(span, window)))
  return {
    switchP99Us: median(worst.filter(Number.isFinite)),
    quietP99Us: median(quiet.map(({ p99Us }) => p99Us)),
  }
}
