/**
 * A node under attack, and what must be true of it all the while and afterwards: the processes are
 * those of before, nothing in the log that nobody caught, no request left in flight, memory as it
 * was, and a caller with a proper request gets the proper answer.
 */

import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { compiled } from '../../../bench/paths.ts'
import { Client } from '../client.ts'
import { effort } from '../effort.ts'
import { type NodeSettings, readyLine, startNode, startProcess, type TestNode } from '../node.ts'
import { until } from '../waiting.ts'

/** pino's number for errors: all that is less has been dealt with. */
const ERROR_LEVEL = 50
const MIB = 1024 ** 2
/** Looks of one attack, so many that the least of a quarter of them says something. */
export const LOOKS = 60
const GROWTH_MIB_MAX = 150
/** Of each thread; its young part alone would else grow to 48 MiB within minutes. */
const SMALL_HEAP = ['--max-old-space-size=64', '--max-semi-space-size=2'] as const
const DRIFT_PERCENT_MAX = effort(50, 5)

export interface Memory {
  readonly driftPercent: number
  readonly fromMib: number
  readonly toMib: number
  /** At each look, of control and of each serving process. */
  readonly looksMib: string
}

export interface Watched {
  readonly node: TestNode
  readonly client: Client
  readonly queryPort: number
  readonly adminPort: number
  /** A look at the memory, for the drift. */
  look(): Promise<void>
  /** What the serving process holds of its native libraries' main heap; 0: the system is silent. */
  nativeBytes(): Promise<number>
  /** The invariants; `allowed` are texts of log lines of level error that are to be expected. */
  check(t: Test, allowed?: RegExp): Promise<void>
  /**
   * Own memory of all processes; `drift` is how much more than in the second quarter they have at
   * the least in the last one, in percent.
   */
  memory(): Memory
}

interface WatchedSettings extends NodeSettings {
  /** For what needs more room than leaks would leave; then growth says little. */
  readonly isRoomy?: true
}

export async function watchedNode(t: Test, settings: WatchedSettings = {}): Promise<Watched> {
  const node = await (settings.isRoomy === true ? startNode : smallHeapNode)(t, settings)
  const client = new Client(node)
  const pids = await pidsOf(client, node)
  const looks: number[][] = []
  const look = async (): Promise<void> => {
    const bytes = (await pidsOf(client, node)).map(ownBytes)
    looks.push(bytes.map((one) => Math.round(one / MIB)))
  }
  const check = async (t: Test, allowed: RegExp = /^$/): Promise<void> => {
    t.same(await pidsOf(client, node), pids, 'no process was lost or replaced')
    t.same(faultsIn(node.log(), allowed), [], 'the log tells of nothing that nobody caught')
    await until(async () => (await activeOf(client)) === 0, 20_000)
    t.pass('no request is left in flight')
  }
  const memory = (): Memory => memoryOf(looks)
  const nativeBytes = async (): Promise<number> => heapBytes((await pidsOf(client, node))[1] ?? 0)
  const port = (url: string) => Number(new URL(url).port)
  const ports = { queryPort: port(node.url), adminPort: port(node.adminUrl) }
  return { node, client, ...ports, look, nativeBytes, check, memory }
}

/**
 * Its JavaScript has little room, so that what nobody holds any more is collected while a test runs
 * and not at some time afterwards: what grows then is a leak.
 */
async function smallHeapNode(t: Test, settings: NodeSettings): Promise<TestNode> {
  const program = [process.execPath, ...SMALL_HEAP, compiled('core/main.ts')]
  const started = startProcess(t, settings, program)
  const { child, home, adminKey, log, ended } = started
  const ready = await readyLine(started)
  const stop = (): Promise<number> => {
    child.kill('SIGTERM')
    return ended
  }
  return { ...ready, adminKey, home, log, stop }
}

function memoryOf(looks: readonly (readonly number[])[]): Memory {
  const sums = looks.map((look) => look.reduce((sum, one) => sum + one, 0))
  // A heap grows until it is collected, so what it is at the least is what somebody holds.
  const least = (from: number, until: number): number =>
    Math.min(...sums.slice(Math.floor(from * sums.length), Math.ceil(until * sums.length)))
  const [before, toMib] = [least(1 / 4, 1 / 2), least(3 / 4, 1)]
  const driftPercent = Math.round((toMib / before - 1) * 1000) / 10
  const looksMib = looks.map((look) => look.join('+')).join(' ')
  return { driftPercent, fromMib: sums[0] ?? 0, toMib, looksMib }
}

/** After a warm-up memory stays what it is; a short run is all warm-up. */
export function noDrift(t: Test, { driftPercent, fromMib, toMib, looksMib }: Memory): void {
  t.ok(toMib - fromMib < GROWTH_MIB_MAX, `own memory at each look: ${looksMib} MiB`)
  t.ok(driftPercent < DRIFT_PERCENT_MAX, `${driftPercent} % from the second to the last quarter`)
}

/** Of control, then of the serving processes. */
async function pidsOf(client: Client, node: TestNode): Promise<number[]> {
  const { body } = await client.admin('GET', '/health')
  const serving: number[] = body.details.serving.processes.map((one: { pid: number }) => one.pid)
  return [node.pid, ...serving.sort((a, b) => a - b)]
}

async function activeOf(client: Client): Promise<number> {
  return (await client.admin('GET', '/metrics')).body.activeRequests
}

/** Memory that no file backs; 0 where the system does not tell. */
function ownBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return 1024 * Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0)
  } catch {
    return 0
  }
}

function heapBytes(pid: number): number {
  try {
    const [, heap = ''] = readFileSync(`/proc/${pid}/smaps`, 'utf8').split('[heap]')
    return 1024 * Number(/^Anonymous:\s+(\d+)/m.exec(heap)?.[1] ?? 0)
  } catch {
    return 0
  }
}

/** Lines that are no log lines, and those of errors. */
function faultsIn(log: string, allowed: RegExp): string[] {
  return log.split('\n').filter((line) => {
    if (line === '' || line.startsWith('switchyard:')) return false
    if (!line.startsWith('{')) return true
    return Number(JSON.parse(line).level) >= ERROR_LEVEL && !allowed.test(line)
  })
}
