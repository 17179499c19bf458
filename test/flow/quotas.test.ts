/**
 * Goal: limits of a key hold in a real node, for that key alone, from the moment that they are set,
 * and wherever its connections sit. Method: keys with long windows, so that the machine's pace
 * plays no part; slow endpoints that are under way; and two processes, one of which is halted while
 * connections are made, so that all of them sit in the other one.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { bundleOf, Client, type Reply } from '../tools/client.ts'
import { servingProcesses, startNode, type TestNode } from '../tools/node.ts'
import { countingLoop, regressor } from '../tools/onnx-models.ts'
import { RawClient } from '../tools/raw-http.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(240_000)

const KEYS_ONLY = { authorization: 'API_KEYS' }
const QUICK = { features: { f0: 1 } }

interface Key {
  readonly id: string
  readonly headers: Record<string, string>
}

interface Limits {
  readonly requestsPerSecond?: number | null
  readonly concurrentRequests?: number | null
}

async function newKey(client: Client, quota?: Limits): Promise<Key> {
  const { status, body } = await client.admin('POST', '/auth/keys', {
    label: 'one',
    allowedServices: [],
    ...(quota === undefined ? {} : { quota }),
  })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return { id: body.id, headers: { authorization: `Bearer ${body.key}` } }
}

async function open(t: Test, args: readonly string[] = []) {
  const node = await startNode(t, { args })
  const client = new Client(node)
  await client.deploy('quick', 'v1', bundleOf(regressor(1), {}, KEYS_ONLY))
  const ask = (key: Key) => client.query('quick/p/predict', QUICK, key.headers)
  return { node, client, ask }
}

async function several(count: number, ask: () => Promise<Reply>): Promise<Reply[]> {
  return Promise.all(Array.from({ length: count }, ask))
}

function statuses(replies: readonly Reply[]): Record<string, number> {
  const found: Record<string, number> = {}
  for (const { status } of replies) found[status] = (found[status] ?? 0) + 1
  return found
}

t.test('requests per second', async (t) => {
  const { client, ask } = await open(t)
  const slow = await newKey(client, { requestsPerSecond: 0.01 })
  const free = await newKey(client)
  const other = await newKey(client, { requestsPerSecond: 0.01 })
  const replies = await several(10, () => ask(slow))
  t.same(statuses(replies), { 200: 1, 429: 9 })
  for (const { status, body, headers } of replies) {
    if (status === 200) continue
    t.match(body, { code: 'ERR_QUOTA', detailedMessage: new RegExp(slow.id) })
    const after = Number(headers.get('retry-after'))
    t.ok(after > 50 && after <= 101, `Retry-After: ${after}`)
  }
  t.same(statuses(await several(20, () => ask(free))), { 200: 20 }, 'neighbours go on')
  t.equal((await ask(other)).status, 200, 'and have windows of their own')

  await client.deploy('quick', 'v2', bundleOf(regressor(1, 2), {}, KEYS_ONLY))
  t.equal((await ask(slow)).status, 429, 'a switch is no fresh start')

  const patch = (quota: object) => client.admin('PATCH', `/auth/keys/${slow.id}`, { quota })
  const changed = await patch({ requestsPerSecond: 0.03, concurrentRequests: null })
  t.match(changed.body, { quota: { requestsPerSecond: 0.03, concurrentRequests: null } })
  // Of several processes the one that has let it in may be another than the one that is asked now.
  if (servingProcesses() === 1) t.equal((await ask(slow)).status, 429, 'what was used counts')
  await patch({ requestsPerSecond: 3_000, concurrentRequests: null })
  t.same(statuses(await several(20, () => ask(slow))), { 200: 20 }, 'changed at once')
  const none = await patch({ requestsPerSecond: null, concurrentRequests: null })
  t.equal(none.body.quota, null)
  t.same(statuses(await several(20, () => ask(slow))), { 200: 20 })
  const wrong = await patch({ requestsPerSecond: -1 })
  t.match(wrong, { status: 400, body: { detailedMessage: /requestsPerSecond/ } })

  const metrics = await client.admin('GET', '/metrics')
  t.match(metrics.status, 200)
})

t.test('requests at once', async (t) => {
  const { client } = await open(t)
  const turns = { testQueries: [{ q: { features: { turns: [1] } } }], prediction: 'RAW' }
  await client.deploy('slow', 'v1', bundleOf(countingLoop(), turns, KEYS_ONLY))
  const key = await newKey(client, { concurrentRequests: 2 })
  const free = await newKey(client)
  const body = { features: { turns: [1_500_000] } }
  const slow = () => client.query('slow/p/predict', body, key.headers)
  const running = [slow(), slow()]
  // What is under way is told by the node; only then are there two.
  const active = async () => (await client.admin('GET', '/metrics')).body.activeRequests
  await until(async () => Number(await active()) >= 2)
  const refused = await client.query('quick/p/predict', QUICK, key.headers)
  t.match(refused, { status: 429, body: { code: 'ERR_QUOTA' } }, 'of all services together')
  t.equal(refused.headers.get('retry-after'), '1')
  t.equal((await client.query('quick/p/predict', QUICK, free.headers)).status, 200)
  await Promise.all(running)
  t.equal((await client.query('quick/p/predict', QUICK, key.headers)).status, 200)
})

/** Of the serving processes. */
async function pids(client: Client): Promise<number[]> {
  const { body } = await client.admin('GET', '/health')
  return body.details.serving.processes.map(({ pid }: { pid: number }) => pid)
}

interface Kept {
  readonly clients: RawClient[]
  /** All that do not sit in the process that was halted. */
  readonly port: number
}

/** Connections that answer while the other process is halted sit in this one. */
async function connectionsInOne(t: Test, node: TestNode, client: Client): Promise<Kept> {
  const port = Number(new URL(node.url).port)
  const [halted = 0] = await pids(client)
  const clients: RawClient[] = []
  process.kill(halted, 'SIGSTOP')
  try {
    while (clients.length < 4) {
      const made = Array.from({ length: 8 }, () => new RawClient(port))
      t.teardown(() => made.forEach((one) => void one.destroy()))
      for (const one of made) one.send('GET /isAlive/ HTTP/1.1\r\nHost: x\r\n\r\n')
      const alive = async (one: RawClient) => {
        const [answer] = await one.answers(1, 1_000)
        return answer?.status === 200 ? [one] : []
      }
      clients.push(...(await Promise.all(made.map(alive))).flat())
    }
  } finally {
    process.kill(halted, 'SIGCONT')
  }
  return { clients: clients.slice(0, 4), port }
}

/** Asks on and on; when each request was sent that was let in, and how many were not. */
async function hammer(kept: Kept, key: Key, ms: number) {
  const body = JSON.stringify(QUICK)
  const lines = [
    'POST /public/api/v1/quick/p/predict HTTP/1.1',
    'Host: x',
    `Authorization: ${key.headers['authorization']}`,
    `Content-Length: ${body.length}`,
  ]
  const request = `${lines.join('\r\n')}\r\n\r\n${body}`
  const endMs = performance.now() + ms
  const answeredMs: number[] = []
  let refused = 0
  let failed = 0
  const one = async (client: RawClient): Promise<void> => {
    while (performance.now() < endMs) {
      const [answer] = await client.send(request).answers()
      if (answer?.status === 200) answeredMs.push(performance.now())
      else if (answer?.status === 429) refused += 1
      else failed += 1
      await sleep(1)
    }
  }
  await Promise.all(kept.clients.map(one))
  return { answeredMs, refused, failed }
}

/** The test has two processes of its own, so once is enough. */
const isAgain = servingProcesses() > 1
const isLinux = process.platform === 'linux'
const skip = !isLinux && 'only Linux shares out connections'

const together = async (t: Test) => {
  const { node, client } = await open(t, ['--processes', '2'])
  const kept = await connectionsInOne(t, node, client)
  const PER_S = 100
  const key = await newKey(client, { requestsPerSecond: PER_S })
  const startMs = performance.now()
  const { answeredMs, refused, failed } = await hammer(kept, key, 4_000)
  const seconds = (performance.now() - startMs) / 1_000
  t.equal(failed, 0)
  t.ok(refused > 0)
  t.comment(`${answeredMs.length} let in within ${seconds.toFixed(2)} s, ${refused} refused`)
  t.ok(answeredMs.length <= PER_S * (Math.floor(seconds) + 1), 'never more than the limit')
  // Of the even share it would be half.
  t.ok(answeredMs.length > 4 * PER_S * 0.75, 'nearly all of it')

  // All of a burst, although each process has half of it.
  const burst = await newKey(client, { requestsPerSecond: 0.01 * 40 })
  const one = await newKey(client, { requestsPerSecond: 0.01 })
  const ask = (asking: Key) => client.query('quick/p/predict', QUICK, asking.headers)
  t.equal(statuses(await several(10, () => ask(burst)))[200], 1, 'one in two and a half seconds')
  t.same(statuses(await several(40, () => ask(one))), { 200: 1, 429: 39 }, 'wherever they sit')
}

if (!isAgain) t.test('all connections in one process of two', { skip }, together)
