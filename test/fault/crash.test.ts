/**
 * Goal: a model that ends its process again and again is found out and stopped, and its neighbours
 * serve. Method: a model that runs as long as its input says, and while it runs the process is
 * ended by the signal of a crash, which is all that a crash inside a model leaves behind. A death
 * by SIGKILL, as an operator gives it, is nobody's fault, unless it comes twice in the same load.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { bundleOf, Client } from '../tools/client.ts'
import { sayEffort } from '../tools/effort.ts'
import { startNode } from '../tools/node.ts'
import { countingLoop } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

const FEW_TURNS = { features: { turns: { shape: [1], data: [10] } } }
const ENDLESS = { features: { turns: { shape: [1], data: [1e12] } } }
/** Its load, which ends with a warm-up, takes about a second. */
const MANY_TURNS = { features: { turns: { shape: [1], data: [2e6] } } }
const OTHER = '/services/other/generations/v1'
const SLOW = '/services/slow/generations/v1'
/** The first one is not noted: only after it the next processes note what they run. */
const CRASHES = 4

t.setTimeout(240_000)

interface ServingView {
  readonly processes: readonly { readonly pid: number; readonly state: string }[]
  readonly replacements: Readonly<Record<string, number>>
}

async function serving(client: Client): Promise<ServingView> {
  return (await client.admin('GET', '/health')).body.details.serving
}

async function servingPid(client: Client): Promise<number | null> {
  const { processes } = await serving(client)
  return processes.find(({ state }) => state === 'serving')?.pid ?? null
}

/** Ends a process inside the load of one generation, when that of the other is over. */
async function endLoad(client: Client, ended: Set<number>): Promise<void> {
  await until(async () => {
    const stateOf = async (path: string) => (await client.admin('GET', path)).body.state
    const { processes } = await serving(client)
    const loading = processes.find(({ pid, state }) => state === 'starting' && !ended.has(pid))
    if (loading === undefined || !['warm', 'active'].includes(await stateOf(OTHER))) return false
    if ((await stateOf(SLOW)) !== 'loading') return false
    ended.add(loading.pid)
    process.kill(loading.pid, 'SIGKILL')
    return true
  })
}

/** Ends the process inside a run of the endpoint; returns when the next one serves. */
async function end(client: Client, signal: NodeJS.Signals): Promise<void> {
  const pid = (await servingPid(client)) ?? 0
  const lost = client.query('loops/p/predict', ENDLESS).catch(() => null)
  await until(async () => (await client.admin('GET', '/metrics')).body.activeRequests > 0)
  await sleep(300)
  process.kill(pid, signal)
  await lost
  await until(async () => ![null, pid].includes(await servingPid(client)))
}

t.test('an endpoint in whose runs the process crashes is stopped', async (t) => {
  const client = new Client(await startNode(t))
  const queries = [{ name: 'few turns', q: FEW_TURNS }]
  const bundle = bundleOf(countingLoop(), { prediction: 'RAW', testQueries: queries })
  await client.deploy('loops', 'v1', bundle)
  await client.deploy('other', 'v1', bundle)
  const ask = (service: string) => client.query(`${service}/p/predict`, FEW_TURNS)
  await end(client, 'SIGKILL')
  for (let crash = 1; crash <= CRASHES; crash++) {
    t.equal((await ask('loops')).status, 200, `after ${crash - 1} crashes`)
    await end(client, crash % 2 === 0 ? 'SIGABRT' : 'SIGSEGV')
  }
  t.match((await serving(client)).replacements, { crashed: CRASHES, died: 1 })
  t.match(await ask('loops'), { status: 503, body: { code: 'ERR_ENDPOINT_CRASHES' } })
  t.equal((await ask('other')).status, 200, 'its neighbour serves')
  const { body } = await client.admin('GET', '/health')
  t.equal(body.status, 'DEGRADED')
  t.match(body.details.causes[0], /^loops: v1: endpoint p is stopped, its runs end the process/)
  t.equal((await client.switchTo('loops', 'v1')).status, 200)
  t.equal((await ask('loops')).status, 200, 'pardoned by a switch')
  sayEffort({ crashes: CRASHES })
})

t.test('a generation in whose load the process dies is left out', async (t) => {
  const client = new Client(await startNode(t))
  const few = { prediction: 'RAW', testQueries: [{ name: 'few turns', q: FEW_TURNS }] }
  await client.deploy('other', 'v1', bundleOf(countingLoop(), few))
  const slow = { prediction: 'RAW', testQueries: [{ name: 'many turns', q: MANY_TURNS }] }
  await client.deploy('slow', 'v1', bundleOf(countingLoop(), slow))
  const ask = (service: string) => client.query(`${service}/p/predict`, FEW_TURNS)
  const ended = new Set<number>()
  process.kill((await servingPid(client)) ?? 0, 'SIGKILL')
  for (let death = 1; death <= 2; death++) await endLoad(client, ended)
  await until(async () => ![null, ...ended].includes(await servingPid(client)))
  t.equal((await ask('other')).status, 200, 'its neighbour serves')
  const why = /loading it ended the serving process \(SIGKILL\) 2 times; switch to it again/
  const refused = await ask('slow')
  t.match(refused, { status: 503, body: { code: 'ERR_POOL_DOWN' } })
  t.match(JSON.stringify(refused.body), why)
  const { body } = await client.admin('GET', '/health')
  t.equal(body.status, 'DEGRADED')
  t.match(body.details.causes, [why])
  t.match((await client.admin('GET', SLOW)).body, { state: 'failed', reason: why })
  t.equal((await client.switchTo('slow', 'v1')).status, 200)
  t.equal((await ask('slow')).status, 200, 'pardoned by a switch')
})
