/**
 * Goal: a model that passes its test queries and hangs on a chosen input harms nobody else. Method:
 * a model that loops as often as its input says is asked for a run without end, three times, while
 * another service answers a steady load. Its callers get 504 on time; the process is replaced under
 * the load without a lost request; the third time the endpoint is stopped, so that nobody can keep
 * the node replacing its processes; and switching to the generation again gives it another chance.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openLoop } from '../../bench/open-loop.ts'
import { ROOT } from '../../bench/paths.ts'
import { nowMs } from '../../core/base/clock.ts'
import { bundleOf, Client, demoBundle } from '../tools/client.ts'
import { sayEffort } from '../tools/effort.ts'
import { startNode } from '../tools/node.ts'
import { countingLoop } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

const HANG_MS = 600
const TIMEOUT_MS = 300
/** What a timer, two processes and a busy machine may add to the deadline. */
const LATE_MS = 150
const HANGS_MAX = 3
/** Ask for the same while the first of them runs. */
const CALLERS = 6
const REPLACED_MS = 20_000

const FEW_TURNS = { features: { turns: { shape: [1], data: [10] } } }
/** Each on a connection of its own: a kept one leads to the old process, until that closes it. */
const FRESH = { connection: 'close' }
const ENDLESS = { features: { turns: { shape: [1], data: [1e12] } } }

t.setTimeout(240_000)

async function start(t: Parameters<typeof startNode>[0]) {
  const node = await startNode(t, { args: ['--hang-ms', String(HANG_MS)] })
  const client = new Client(node)
  await client.deploy('cancer', 'v1', demoBundle('cancer-v1.zip'))
  const endpoint = {
    prediction: 'RAW',
    timeoutMs: TIMEOUT_MS,
    testQueries: [{ name: 'few turns', q: FEW_TURNS }],
  }
  await client.deploy('loops', 'v1', bundleOf(countingLoop(), endpoint))
  return { node, client }
}

function loadOf(client: Client) {
  const { body } = JSON.parse(readFileSync(join(ROOT, 'bench/demo/demo.json'), 'utf8'))
  return openLoop({
    url: client.queryUrl('cancer/predict/predict'),
    bodies: [JSON.stringify(body)],
    connections: 32,
    ratePerS: 500,
    seconds: null,
  })
}

async function replacedHung(client: Client): Promise<number> {
  const { body } = await client.admin('GET', '/health')
  return body.details.serving.replacements.hung ?? 0
}

/** The old process may accept a connection in the moment before it stops listening. */
async function askedAnew(client: Client): ReturnType<Client['query']> {
  const ask = () => client.query('loops/p/predict', FEW_TURNS, FRESH)
  let answer = await ask()
  await until(async () => {
    if (answer.status === 504) answer = await ask()
    return answer.status !== 504
  })
  return answer
}

/** Of several callers one has the thread, and the others wait behind it: all are told in time. */
async function hangAll(t: Test, client: Client): Promise<number[]> {
  const startMs = nowMs()
  const asked = Array.from({ length: CALLERS }, async () => {
    const { status, body } = await client.query('loops/p/predict', ENDLESS, FRESH)
    t.match({ status, code: body.code }, { status: 504, code: 'ERR_DEADLINE' })
    return Math.round(nowMs() - startMs - TIMEOUT_MS)
  })
  return Promise.all(asked)
}

t.test('a run without end costs its process, and the endpoint after the third', async (t) => {
  const { client } = await start(t)
  t.equal((await client.query('loops/p/predict', FEW_TURNS, FRESH)).status, 200)
  const load = loadOf(client)
  const late: number[] = []
  for (let hang = 1; hang <= HANGS_MAX; hang++) {
    late.push(Math.max(...(await hangAll(t, client))))
    await until(async () => (await replacedHung(client)) === hang, REPLACED_MS)
    const again = await askedAnew(client)
    if (hang < HANGS_MAX) t.equal(again.status, 200, 'a fresh process answers')
    else t.match(again, { status: 503, body: { code: 'ERR_ENDPOINT_HANGS' } })
  }
  // Whoever computes beside it makes some of them late, and seldom all.
  t.ok(Math.min(...late) < LATE_MS, `504 came ${late.join(', ')} ms late`)

  const health = await client.admin('GET', '/health')
  t.equal(health.body.status, 'DEGRADED')
  t.match(JSON.stringify(health.body.details), /loops.*endpoint.*p/)
  const { status } = await client.query('loops/p/predict', ENDLESS, FRESH)
  t.equal(status, 503, 'the row that hangs is refused before it runs')
  t.equal(await replacedHung(client), HANGS_MAX, 'and costs no process any more')

  t.equal((await client.switchTo('loops', 'v1')).status, 200)
  t.equal(
    (await client.query('loops/p/predict', FEW_TURNS, FRESH)).status,
    200,
    'pardoned by a switch',
  )
  t.equal((await client.admin('GET', '/health')).body.status, 'HEALTHY')

  load.stop()
  const report = await load.done
  sayEffort({ hangs: HANGS_MAX, predictions: report.sent })
  t.comment(`the neighbour: ${JSON.stringify(report.latencyUs)}`)
  t.equal(report.failed + report.non2xx, 0, JSON.stringify([report.reasons, report.statuses]))
})
