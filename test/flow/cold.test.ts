/**
 * Goal: a node with room for two generations serves five services: nobody is refused because his
 * generation is not in memory, deadlines hold, what cannot be loaded says why, and an operator who
 * asks for more than fits is told the figures.
 *
 * Method: a whole node, its limits set by its own flags; closed-loop callers of all five at once.
 */

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { nowMs } from '../../core/base/clock.ts'
import { bundleOf, Client, type Reply } from '../tools/client.ts'
import { freshHome, startNode, type TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'

t.setTimeout(240_000)

const NAMES = ['s1', 's2', 's3', 's4', 's5']
const ROW = { features: { f0: 2 } }
const LOAD_MS = 5_000

async function open(t: Test, home: string, args: readonly string[]) {
  const node = await startNode(t, { home, args: [...args, '--keep-previous-ms', '0'] })
  return { node, client: new Client(node) }
}

/** Service `s3` multiplies by three. */
async function deployAll(client: Client): Promise<void> {
  for (const [i, name] of NAMES.entries()) {
    await client.deploy(name, 'v1', bundleOf(regressor(1, i + 1)))
  }
}

function ask(client: Client, name: string): Promise<Reply> {
  return client.query(`${name}/p/predict`, ROW)
}

async function coldOnes(client: Client): Promise<string[]> {
  const cold: string[] = []
  for (const name of NAMES) {
    const { body } = await client.admin('GET', `/services/${name}`)
    if (body.cold.length > 0) cold.push(name)
  }
  return cold
}

async function failuresUnderLoad(client: Client): Promise<Record<string, number>> {
  const untilMs = nowMs() + LOAD_MS
  const answered: Record<string, number> = {}
  const callers = NAMES.flatMap((name, i) =>
    [1, 2].map(async () => {
      while (nowMs() < untilMs) {
        const { status, body } = await ask(client, name)
        const isRight = status === 200 && body.result.prediction === 2 * (i + 1)
        const key = isRight ? name : `${name}: ${status} ${JSON.stringify(body)}`
        answered[key] = (answered[key] ?? 0) + 1
      }
    }),
  )
  await Promise.all(callers)
  return answered
}

async function metricsOf({ adminUrl, adminKey }: TestNode): Promise<string> {
  const headers = { authorization: `Bearer ${adminKey}` }
  return (await fetch(`${adminUrl}/metrics`, { headers })).text()
}

t.test('five services in room for two, before and after a restart', async (t) => {
  const home = freshHome(t)
  const first = await open(t, home, ['--max-loaded-generations', '2'])
  await deployAll(first.client)
  t.same(await coldOnes(first.client), ['s1', 's2', 's3'])
  const cold = await first.client.admin('GET', '/services/s1/generations/v1')
  t.match(cold.body, { state: 'cold', active: true, preloaded: false })
  t.same(Object.keys(await failuresUnderLoad(first.client)).sort(), NAMES)
  t.equal((await first.client.admin('GET', '/health')).body.status, 'HEALTHY')
  t.match(await metricsOf(first.node), /^switchyard_generations_loaded [0-2]$/m)
  t.match(await metricsOf(first.node), /^switchyard_generations_cold [3-5]$/m)
  t.match(await metricsOf(first.node), /^switchyard_generation_loads_total.*request.* [1-9]/m)
  for (const name of ['s4', 's2']) t.equal((await ask(first.client, name)).status, 200)
  t.equal(await first.node.stop(), 0)

  const { client, node } = await open(t, home, ['--max-loaded-generations', '2'])
  t.equal((await coldOnes(client)).length, 3, 'ready with two')
  for (const name of NAMES) t.equal((await ask(client, name)).status, 200, name)
  t.ok((await client.admin('POST', '/services/s1/disable')).status < 300)
  t.match(await ask(client, 's1'), { status: 503, body: { code: 'ERR_SERVICE_DISABLED' } })
  t.equal(await node.stop(), 0)
})

t.test('a switch while it is cold, broken files, and deadlines', async (t) => {
  const home = freshHome(t)
  const { client } = await open(t, home, ['--max-loaded-generations', '2'])
  await deployAll(client)
  t.equal((await client.upload('s1', 'v2', bundleOf(regressor(1, 10)))).status, 200)
  const [answered, switched] = await Promise.all([ask(client, 's1'), client.switchTo('s1', 'v2')])
  t.equal(switched.status, 200, JSON.stringify(switched.body))
  t.match(answered, { status: 200 })
  t.match((await ask(client, 's1')).body, { result: { prediction: 20 } })

  const isCold = async (name: string) => (await coldOnes(client)).includes(name)
  const broken = (await isCold('s2')) ? 's2' : 's3'
  rmSync(join(home, 'generations', broken, 'v1'), { recursive: true })
  const refused = await ask(client, broken)
  t.match(refused, { status: 503, body: { code: 'ERR_POOL_DOWN' } })
  t.match((await ask(client, broken)).body, { code: 'ERR_POOL_DOWN' }, 'and says so at once')
  const { body: health } = await client.admin('GET', '/health')
  t.match(health, { status: 'DEGRADED' })
  t.match(health.details.causes.join(), new RegExp(`${broken}: v1 failed`))
})

t.test('what does not fit is refused with the figures', async (t) => {
  const home = freshHome(t)
  const args = ['--memory-budget-bytes', String(48 * 1024 * 1024), '--processes', '1']
  const { client } = await open(t, home, args)
  await deployAll(client)
  t.equal((await coldOnes(client)).length, 1, 'four times ten MiB')
  const preload = (name: string) => client.admin('POST', `/services/${name}/generations/v1/preload`)
  for (const name of ['s1', 's2', 's3', 's4']) t.ok((await preload(name)).status < 300, name)
  const refused = await preload('s5')
  t.equal(refused.status, 422)
  const figures = /needs 10\.0 MiB, and 40\.0 MiB of 48\.0 MiB are in use.*memoryBudgetBytes/
  t.match(refused.body, { code: 'ERR_LOAD_FAILED', detailedMessage: figures })
  t.match(await ask(client, 's5'), { status: 503, body: { detailedMessage: figures } })
  t.match(await ask(client, 's1'), { status: 200 })
})
