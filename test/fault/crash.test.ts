/**
 * Goal: a model that ends its process again and again is found out and stopped, and its neighbours
 * serve. Method: a model that runs as long as its input says, and while it runs the process is
 * ended by the signal of a crash, which is all that a crash inside a model leaves behind. A death
 * by SIGKILL, as an operator gives it, is nobody's fault.
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
/** The first one is not noted: only after it the next processes note what they run. */
const CRASHES = 4

t.setTimeout(120_000)

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

/** Ends the process inside a run of the endpoint; returns when the next one serves. */
async function end(client: Client, signal: NodeJS.Signals): Promise<void> {
  const pid = (await servingPid(client)) ?? 0
  const lost = client.query('loops/p/predict', ENDLESS).catch(() => null)
  await sleep(300)
  process.kill(pid, signal)
  await lost
  await until(async () => ![null, pid].includes(await servingPid(client)), 20_000)
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
