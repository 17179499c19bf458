/**
 * Endpoints that are no ONNX model: a trivial Python function and a lookup in a big table against
 * the model, and a scikit-learn forest against FastAPI with the same pickle.
 */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { median } from './latency.ts'
import type { Lineup } from './lineup.ts'
import type { Machine } from './machine.ts'
import type { Tool } from './measure.ts'
import { benchBody, predictUrl } from './node-server.ts'
import { ROOT } from './paths.ts'
import type { LoadOrder, LoadSample } from './sample.ts'
import { type Server, startServer } from './servers.ts'
import { drive, isInstalled, wrk } from './tools.ts'

const run = promisify(execFile)

const ROWS = 1_000_000
/** Keys that are asked in turn, all over the table. */
const KEYS = 1_000
const CLIENT_CORE = 0
const SERVICE = '/public/api/v1/types'

export interface Pair {
  readonly idle: boolean
  /** Medians over rounds. */
  readonly ours: number
  readonly theirs: number
  /** Median of the ratios of each round. */
  readonly ratio: number
}

export interface TypesTrial {
  readonly rows: number
  readonly functionP50: Pair | null
  readonly forestRate: Pair | null
  readonly lookupRate: Pair | null
  /** Why not all was measured; null: all was. */
  readonly lacking: string | null
}

interface TypesOptions {
  readonly rounds: number
  readonly seconds: number
  readonly python: string
  readonly tool: Tool
}

const NOTHING = { rows: ROWS, functionP50: null, forestRate: null, lookupRate: null }

export async function typesTrial(
  lineup: Lineup,
  machine: Machine,
  options: TypesOptions,
): Promise<TypesTrial> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-types-'))
  try {
    const script = join(ROOT, 'bench/peers/types_bundle.py')
    const { stdout } = await run(options.python, [script, folder, String(ROWS)])
    await lineup.node.deploy('types', join(folder, 'v1.zip'))
    return await measureAll({ lineup, machine, options, folder, forestBody: stdout.trim() })
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? `: ${error.cause}` : ''
    const lacking = `${error}${cause}`.slice(0, 1_000)
    return { ...NOTHING, lacking }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Trial {
  readonly lineup: Lineup
  readonly machine: Machine
  readonly options: TypesOptions
  readonly folder: string
  readonly forestBody: string
}

async function measureAll(trial: Trial): Promise<TypesTrial> {
  const { lineup, options, folder, forestBody } = trial
  const { node } = lineup
  const model = orderFor(node, predictUrl(node), [benchBody()])
  const ask = (path: string, bodies: string[]) => orderFor(node, node.url + SERVICE + path, bodies)
  const trivial = ask('/double/run', ['{"x":21}'])
  const keys = Array.from({ length: KEYS }, (_, i) => (i * 7_919 * 127) % ROWS)
  const lookup = ask(
    '/customer/lookup',
    keys.map((id) => JSON.stringify({ data: { id } })),
  )
  const functionP50 = isInstalled('taskset') ? await pinned(trial, trivial, model) : null
  const lookupRate = await rates(trial, lookup, model)
  const measured = { rows: ROWS, functionP50, lookupRate }
  const fastapi = await startPeer(options.python, join(folder, 'forest.pkl'))
  if (typeof fastapi === 'string') return { ...measured, forestRate: null, lacking: fastapi }
  try {
    const ours = ask('/forest/predict', [forestBody])
    const theirs = orderFor(fastapi, `${fastapi.url}${SERVICE}/forest/predict`, [forestBody])
    const [answer, peerAnswer] = [await resultOf(ours), await resultOf(theirs)]
    if (answer !== peerAnswer) throw new Error(`fastapi answers ${peerAnswer}, the node ${answer}`)
    const forestRate = await rates(trial, ours, theirs)
    return { ...measured, forestRate, lacking: null }
  } finally {
    await fastapi.stop()
  }
}

async function startPeer(python: string, pickle: string): Promise<Server | string> {
  const script = 'bench/peers/fastapi_peer.py'
  try {
    return await startServer({ name: 'fastapi', script, interpreter: python, args: [pickle] })
  } catch (error) {
    return String(error).slice(0, 1_000)
  }
}

/** Both must have done the same work. */
async function resultOf({ order }: Asked): Promise<string> {
  const { url, headers, body } = order
  const asJson = { 'content-type': 'application/json', ...headers }
  const response = await fetch(url, { method: 'POST', headers: asJson, body })
  const { result } = JSON.parse(await response.text())
  return JSON.stringify([result.prediction, result.probas])
}

interface Asked {
  readonly server: Server
  readonly order: Pick<LoadOrder, 'url' | 'headers' | 'body' | 'bodies'>
}

function orderFor(
  server: Server & { readonly headers?: Readonly<Record<string, string>> },
  url: string,
  bodies: readonly string[],
): Asked {
  const { headers = {} } = server
  return { server, order: { url, headers, body: bodies[0] ?? '', bodies } }
}

function pinned(trial: Trial, ours: Asked, theirs: Asked): Promise<Pair> {
  const { seconds } = trial.options
  const take = ({ order }: Asked) =>
    drive({ ...order, kind: 'closed', connections: 1, seconds }, CLIENT_CORE).sample
  return compare(trial, [ours, theirs], take, ({ p50Us }) => p50Us)
}

function rates(trial: Trial, ours: Asked, theirs: Asked): Promise<Pair> {
  const { seconds, tool } = trial.options
  const take = ({ order }: Asked) => {
    const load = { ...order, kind: 'autocannon', connections: 64, seconds } as const
    return tool === 'wrk' ? wrk(load) : drive(load).sample
  }
  return compare(trial, [ours, theirs], take, ({ perSecond }) => perSecond)
}

/** Interleaved; the first, uncounted round warms both up. */
async function compare(
  { machine, options }: Trial,
  [ours, theirs]: readonly [Asked, Asked],
  take: (asked: Asked) => Promise<LoadSample>,
  pick: (sample: LoadSample) => number,
): Promise<Pair> {
  const values: { ours: number; theirs: number }[] = []
  let idle = true
  for (let round = 0; round <= options.rounds; round++) {
    const measured: number[] = []
    for (const asked of [ours, theirs]) {
      const idleBefore = await machine.becomesIdle()
      const isUndisturbed = machine.watch(asked.server.pid)
      const sample = await take(asked)
      if (sample.failures > 0) {
        throw new Error(`${asked.order.url}: ${JSON.stringify(sample.failureKinds)}`)
      }
      measured.push(pick(sample))
      if (round > 0) idle = isUndisturbed() && idleBefore && idle
    }
    const [one = Number.NaN, other = Number.NaN] = measured
    if (round > 0) values.push({ ours: one, theirs: other })
  }
  return {
    idle,
    ours: median(values.map((value) => value.ours)),
    theirs: median(values.map((value) => value.theirs)),
    ratio: median(values.map((value) => value.ours / value.theirs)),
  }
}
