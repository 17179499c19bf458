/**
 * What more cores would do, by a model of costs that were measured here: a machine with many cores
 * is not at hand, and what it would be limited by is worth knowing before it is.
 *
 * A serving process has one event loop, which takes `loopUs` of a core for each request, and
 * threads for its models, which take `threadUs`. With k processes that share a port, n cores answer
 * at most min(k / loopUs, n / (loopUs + threadUs)) requests; the kernel spreads connections, not
 * requests, so the process with the most of them is full first.
 */

import { readdirSync, readFileSync } from 'node:fs'
import type { Lineup } from '../lineup.ts'
import { treeOf } from '../machine.ts'
import type { Tool } from '../measure.ts'
import { count } from '../rows.ts'
import { drive, wrk } from '../tools.ts'

/** CPU of a request of the small model, in microseconds of one core. */
export interface RequestCost {
  readonly loopUs: number
  readonly threadUs: number
}

export interface CoresTrial extends RequestCost {
  readonly sizes: readonly CoresFigures[]
}

export interface CoresFigures {
  readonly cores: number
  /** Serving processes with which the model answers the most. */
  readonly processes: number
  readonly perSecond: number
  /** With 1,024 connections that the kernel has spread by chance. */
  readonly spreadPerSecond: number
}

const CONNECTIONS = 64
const MANY_CONNECTIONS = 1_024
const SIZES = [2, 4, 8, 16, 32, 64]

export async function coresTrial(
  { node, order }: Lineup,
  { seconds, tool }: { readonly seconds: number; readonly tool: Tool },
): Promise<CoresTrial> {
  const load = order(node, { kind: 'autocannon', connections: CONNECTIONS, seconds })
  const before = threadTimes(node.pid)
  const sample = tool === 'wrk' ? await wrk(load) : await drive(load).sample
  const after = threadTimes(node.pid)
  const us = (of: keyof ThreadTimes) => (after[of] - before[of]) / 1_000 / sample.completed
  const cost = { loopUs: us('loopNs'), threadUs: us('otherNs') }
  return { ...cost, sizes: SIZES.map((cores) => figuresOf(cores, cost)) }
}

export function figuresOf(cores: number, { loopUs, threadUs }: RequestCost): CoresFigures {
  const processes = Math.max(1, Math.round((cores * loopUs) / (loopUs + threadUs)))
  const perSecond = Math.min(processes / loopUs, cores / (loopUs + threadUs)) * 1e6
  const mean = MANY_CONNECTIONS / processes
  // About the most of k Poisson counts; one process has all there are.
  const most = processes === 1 ? mean : mean + Math.sqrt(2 * mean * Math.log(processes))
  return { cores, processes, perSecond, spreadPerSecond: (perSecond * mean) / most }
}

export function coresText({ loopUs, threadUs, sizes }: CoresTrial): string {
  const [loop, thread] = [loopUs, threadUs].map((us) => us.toFixed(1))
  const cost = `${loop} µs of the event loop and ${thread} µs of threads a request`
  const lines = sizes.map(({ cores, processes, perSecond, spreadPerSecond }) => {
    const spread = `${count(spreadPerSecond)}/s with ${count(MANY_CONNECTIONS)} connections`
    return `  ${cores} cores, ${processes} processes: ${count(perSecond)}/s, ${spread}`
  })
  return [`By a model of ${cost}, callers elsewhere:`, ...lines].join('\n')
}

interface ThreadTimes {
  /** Of the main thread of the process that has computed most. */
  readonly loopNs: number
  /** Of all other threads of all processes. */
  readonly otherNs: number
}

function threadTimes(rootPid: number): ThreadTimes {
  const threads = treeOf(rootPid).flatMap(({ pid }) => threadsOf(pid))
  const mains = threads.filter(({ isMain }) => isMain).map(({ ns }) => ns)
  const loopNs = Math.max(...mains)
  return { loopNs, otherNs: threads.reduce((sum, { ns }) => sum + ns, 0) - loopNs }
}

function threadsOf(pid: number): { readonly isMain: boolean; readonly ns: number }[] {
  return readdirSync(`/proc/${pid}/task`).map((tid) => {
    const [ns = '0'] = textOf(`/proc/${pid}/task/${tid}/schedstat`).split(' ')
    return { isMain: Number(tid) === pid, ns: Number(ns) }
  })
}

/** '' when it has ended meanwhile. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
