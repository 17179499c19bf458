/**
 * Goal: keys are worth nothing to whoever reads what the node writes, and nothing to anybody from
 * the moment that their end is acknowledged. Method: a node with two serving processes makes many
 * keys, uses them rightly, wrongly and in places where they do not belong, with its log at its most
 * talkative; then everything that it has written, said or shows is searched for each of them. Keys
 * are revoked while callers ask with them on connections to both processes.
 */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Connection, type Outcome } from '../../bench/connection.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { startNode, type TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

const KEYS = effort(60, 1_000)
const REVOCATIONS = effort(12, 200)
const PROCESSES = 2
/** On so many connections, that both processes have some. */
const CONNECTIONS = 8
/** Unknown; and that too often in a short time. */
const DEAD = [401, 429]
const BODY = '{"features":{"f0":1,"f1":2}}'

t.setTimeout(240_000)

async function open(t: Test): Promise<{ node: TestNode; client: Client }> {
  const args = ['--processes', String(PROCESSES), '--log-level', 'debug']
  const node = await startNode(t, { args })
  const client = new Client(node)
  await client.deploy('svc', 'v1', bundleOf(regressor(2), {}, { authorization: 'API_KEYS' }))
  await client.admin('PATCH', '/services/svc/settings', { queryLog: 'all' })
  return { node, client }
}

async function newKey(client: Client): Promise<{ id: string; key: string }> {
  const { status, body } = await client.admin('POST', '/auth/keys', { label: 'secret' })
  if (status !== 200) throw new Error(JSON.stringify(body))
  return body
}

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

/** Every way in which a caller may get it wrong, answers included. */
async function misuse({ node, client }: { node: TestNode; client: Client }, key: string) {
  const texts: string[] = []
  const asked = async (url: string, init: RequestInit = {}): Promise<void> => {
    texts.push(await (await fetch(url, init)).text())
  }
  const predict = client.queryUrl('svc/p/predict')
  await asked(predict, { method: 'POST', body: BODY, headers: bearer(key) })
  await asked(predict, { method: 'POST', body: BODY, headers: bearer(`${key}x`) })
  await asked(predict, { method: 'POST', body: BODY, headers: { authorization: key } })
  await asked(`${predict}?key=${key}`, { method: 'POST', body: BODY })
  await asked(`${node.url}/public/api/v1/svc/${key}/predict`, { method: 'POST', body: BODY })
  await asked(predict, { method: 'POST', body: `{"features":"${key}"`, headers: bearer(key) })
  await asked(`${node.adminUrl}/admin/api/services`, { headers: bearer(key) })
  await asked(`${node.adminUrl}/admin/api/auth/keys/${key}`, { headers: bearer(node.adminKey) })
  await asked(`${node.adminUrl}/admin/api/services/${key}`, { headers: bearer(node.adminKey) })
  return texts
}

/** Texts of all files below a folder, by their paths. */
function filesBelow(folder: string): (readonly [string, Buffer])[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => [path, readFileSync(path)] as const)
}

function processTexts(pids: readonly number[]): (readonly [string, Buffer])[] {
  if (process.platform !== 'linux') return []
  return pids.flatMap((pid) =>
    ['cmdline', 'comm'].map((name) => [`${name} of ${pid}`, readFileSync(`/proc/${pid}/${name}`)]),
  ) as (readonly [string, Buffer])[]
}

async function pidsOf(client: Client, node: TestNode): Promise<number[]> {
  const { body } = await client.admin('GET', '/health')
  return [node.pid, ...body.details.serving.processes.map((one: { pid: number }) => one.pid)]
}

t.test('77: no key is in anything that the node writes, says or shows', async (t) => {
  const { node, client } = await open(t)
  const keys = await Promise.all(Array.from({ length: KEYS }, () => newKey(client)))
  const told: string[] = []
  for (const { key } of keys.slice(0, 20)) told.push(...(await misuse({ node, client }, key)))
  const shown = ['/auth/keys', '/health', '/metrics', '/services/svc', `/auth/keys/${keys[0]?.id}`]
  for (const path of shown) told.push(JSON.stringify((await client.admin('GET', path)).body))
  const prometheus = `${node.adminUrl}/metrics`
  told.push(await (await fetch(prometheus, { headers: bearer(node.adminKey) })).text())
  const processes = processTexts(await pidsOf(client, node))
  t.equal(await node.stop(), 0)
  const places: (readonly [string, Buffer])[] = [
    ...filesBelow(node.home),
    ...processes,
    ['the log', Buffer.from(node.log())],
    ['answers', Buffer.from(told.join('\n'))],
  ]
  const secrets = [...keys.map(({ key }) => key), node.adminKey]
  const found = places.flatMap(([place, bytes]) =>
    secrets.filter((secret) => bytes.includes(secret)).map((secret) => `${place}: ${secret}`),
  )
  // What a caller puts into a path is told to him again, and is in no log.
  const own = found.filter((text) => text.startsWith('answers: '))
  t.same(
    found.filter((text) => !own.includes(text)),
    [],
  )
  t.ok(own.length <= 20, `${own.length} callers were told what they had sent as a name`)
  const state = places.filter(([place]) => place.startsWith(join(node.home, 'state')))
  t.ok(state.length > 0 && node.log().includes('"level":20'), 'there was something to search')
  sayEffort({ keys: KEYS, places: places.length })
})

t.test('77: files and folders are open to their owner only', async (t) => {
  const { node, client } = await open(t)
  await newKey(client)
  await client.query('svc/p/predict', BODY)
  await until(() => existsSync(join(node.home, 'query-log', 'svc')))
  const open644 = readdirSync(node.home, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => (statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o077)
    // Sockets are in a folder of the owner; forms are read-only for everybody, in one too.
    .filter((path) => !path.includes('/run/'))
  t.same(open644, [])
})

/** Connections in both processes, each of which is asked in turn. */
function connections(t: Test, { url }: TestNode): Connection[] {
  const { hostname, port } = new URL(url)
  const made = Array.from({ length: CONNECTIONS }, () => {
    return new Connection({ host: hostname, port: Number(port) })
  })
  t.teardown(() => made.forEach((one) => void one.close('the test is over')))
  return made
}

function ask(connection: Connection, key: string): Promise<number> {
  const lines = ['Host: x', `Authorization: Bearer ${key}`, `Content-Length: ${BODY.length}`]
  const head = `POST /public/api/v1/svc/p/predict HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`
  return new Promise<Outcome>((done) => connection.send(Buffer.from(`${head}${BODY}`), done)).then(
    (outcome) => (outcome.kind === 'answer' ? outcome.status : 0),
  )
}

t.test('73: a key is dead in every process from the acknowledgement of its end on', async (t) => {
  const { node, client } = await open(t)
  const callers = connections(t, node)
  let before = 0
  for (let round = 0; round < REVOCATIONS; round += 1) {
    const { id, key } = await newKey(client)
    const first = await Promise.all(callers.map((one) => ask(one, key)))
    t.same([...new Set(first)], [200], 'alive in both from its acknowledgement on')
    const gate = { isAcknowledged: false }
    const late: number[] = []
    const load = callers.map(async (one) => {
      while (!gate.isAcknowledged) {
        const status = await ask(one, key)
        if (status === 200) before += 1
        else if (!DEAD.includes(status)) t.fail(`status ${status}`)
      }
      // Sent after the acknowledgement.
      late.push(await ask(one, key))
    })
    const deleted = await client.admin('DELETE', `/auth/keys/${id}`)
    gate.isAcknowledged = true
    t.equal(deleted.status, 204)
    await Promise.all(load)
    t.same(
      late.filter((status) => !DEAD.includes(status)),
      [],
      `round ${round}`,
    )
  }
  sayEffort({ revocations: REVOCATIONS, processes: PROCESSES, before })
})
