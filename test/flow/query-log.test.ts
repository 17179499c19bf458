/**
 * Goal: of every query that a service is asked, whatever its answer, there is a line that tells of
 * it as the caller saw it, and no secret; settings, processes and services may come and go.
 * Method: a started node with two serving processes is asked well and badly through every door that
 * leads to a status, and what callers got is compared with what the files say.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { zip } from '../../bench/workloads/zip-writer.ts'
import { nowMs } from '../../core/base/clock.ts'
import { bundleOf, Client, type Reply } from '../tools/client.ts'
import { type Line, linesSoFar, logFiles, loggedLines } from '../tools/logged.ts'
import { startNode } from '../tools/node.ts'
import { numberedCallers } from '../tools/numbered-callers.ts'
import { countingLoop, regressor } from '../tools/onnx-models.ts'
import { whyNoPython } from '../tools/python-endpoints.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(240_000)

const ROW = { features: { f0: 1, f1: 2 } }
const PYTHON = { SWITCHYARD_PYTHON: '/usr/bin/python3' }
/** Long enough for a deadline of 500 ms to pass, on any machine. */
const SLOW_MS = 1_500

async function started(t: Test, args: readonly string[] = []) {
  const node = await startNode(t, { args, env: PYTHON })
  const client = new Client(node)
  const log = async (service: string, queryLog: string) => {
    const set = await client.admin('PATCH', `/services/${service}/settings`, { queryLog })
    t.equal(set.status, 200, JSON.stringify(set.body))
  }
  /** All lines of a service, as soon as there are so many. */
  const lines = async (service: string, count: number): Promise<Line[]> => {
    await until(() => linesSoFar(node.home, service).length >= count)
    return linesSoFar(node.home, service)
  }
  return { node, client, log, lines }
}

interface Asked {
  readonly service: string
  readonly reply: Reply
  /** What is to be found in its line. */
  readonly line: object
}

/** Asks, and keeps what came back. */
function asker(client: Client) {
  const asked: Asked[] = []
  const ask = async (path: string, body: object | string, line: object, key?: string) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` }
    const reply = await client.query(path, body, headers)
    asked.push({ service: path.split('/')[0] ?? '', reply, line })
    return reply.status
  }
  return { asked, ask }
}

const AT = { endpoint: 'p', generation: 'v1' }
const TEXT = 'ž\n"\u2028 🐎'

/** Services with and without keys, and one whose runs take longer than its deadline. */
async function deployed(client: Client) {
  await client.deploy('open', 'v1', bundleOf(regressor(2)))
  await client.deploy('keyed', 'v1', bundleOf(regressor(2), {}, { authorization: 'API_KEYS' }))
  await client.admin('POST', '/services', { serviceId: 'other' })
  const testQueries = [{ q: { features: { turns: [1] } } }]
  const raw = { prediction: 'RAW', testQueries }
  const queue = { maxRequests: 1, maxBytes: 100_000 }
  await client.deploy('slow', 'v1', bundleOf(countingLoop(), { ...raw, timeoutMs: 500, queue }))
  await client.deploy('gauge', 'v1', bundleOf(countingLoop(), raw))
  // How long a turn takes here is measured, not guessed.
  const startMs = nowMs()
  const gauge = await client.query('gauge/p/predict', { features: { turns: [100_000] } })
  if (gauge.status !== 200) throw new Error(`the gauge answered ${gauge.status}`)
  return { turns: Math.ceil((100_000 * SLOW_MS) / (nowMs() - startMs)) }
}

async function newKeys(client: Client) {
  const keyOf = async (body: object) => (await client.admin('POST', '/auth/keys', body)).body
  const quota = { requestsPerSecond: 1 }
  const key = await keyOf({ label: 'k', allowedServices: ['keyed'], quota })
  return { key, foreign: await keyOf({ label: 'f', allowedServices: ['other'] }) }
}

t.test('every status, as its caller saw it', async (t) => {
  const { node, client, log, lines } = await started(t)
  const { turns } = await deployed(client)
  const services = ['open', 'keyed', 'slow']
  for (const service of services) await log(service, 'all')
  const { key, foreign } = await newKeys(client)
  const { asked, ask } = asker(client)
  await askOpenly(ask)
  await ask('keyed/p/predict', ROW, { endpoint: 'p' })
  await ask('keyed/p/predict', ROW, { endpoint: 'p' }, 'sk_of-nobody-at-all')
  await ask('keyed/p/predict', ROW, { endpoint: 'p', key: foreign.id }, foreign.key)
  await ask('keyed/p/predict', ROW, { ...AT, key: key.id }, key.key)
  const again = () => ask('keyed/p/predict', ROW, { endpoint: 'p', key: key.id }, key.key)
  while ((await again()) !== 429);
  const slow = { features: { turns: [turns] } }
  await Promise.all([1, 2, 3, 4].map(() => ask('slow/p/predict', slow, AT)))
  await client.admin('POST', '/services/open/disable')
  await ask('open/p/predict', ROW, { endpoint: 'p' })

  const seen = new Set(asked.map(({ reply }) => reply.status))
  t.same([...seen].sort(), [200, 400, 401, 403, 404, 429, 503, 504])
  for (const service of services) {
    const ours = asked.filter((one) => one.service === service)
    compare(t, ours, await lines(service, ours.length))
  }
  t.notOk(logFiles(node.home, 'other').length, 'nobody wanted these')
  t.equal(await node.stop(), 0)
  for (const service of services) {
    const all = Buffer.concat(logFiles(node.home, service).map(({ bytes }) => bytes)).toString()
    for (const secret of [key.key, foreign.key, node.adminKey, 'sk_of-nobody']) {
      t.notOk(all.includes(secret), `${service}: no secret`)
    }
  }
})

async function askOpenly(ask: ReturnType<typeof asker>['ask']): Promise<void> {
  const path = 'open/p/predict'
  const body = { ...ROW, context: { who: TEXT } }
  const items = [ROW, ROW]
  const long = JSON.stringify({ ...ROW, context: TEXT.repeat(20_000) })
  await ask(path, body, { ...AT, request: body })
  await ask('open/p/predict-multi', { items }, { ...AT, request: { items } })
  await ask(path, '{"features":\n', { ...AT, requestText: '{"features":\n' })
  await ask(path, { features: {} }, { ...AT, request: { features: {} } })
  await ask(path, '{"features":{"f0":NaN,"f1":2}}', { request: { features: { f0: null } } })
  await ask(path, long, { truncated: true, requestBytes: Buffer.byteLength(long) })
  await ask('open/nothing/predict', ROW, { endpoint: 'nothing' })
  await ask('open/p/run', ROW, { endpoint: 'p' })
}

function compare(t: Test, asked: readonly Asked[], found: readonly Line[]): void {
  t.equal(found.length, asked.length, 'one line each')
  for (const { service, reply, line } of asked) {
    const { status, body } = reply
    const it = found.find(status === 200 ? sameAnswer(body) : sameFailure(body))
    t.match(it, { service, status, ...line }, `${status} ${body.code}`)
    if (status === 200) t.match(it?.answer, body)
    if (status === 504) t.ok(it?.totalMs >= 450, `${it?.totalMs} ms`)
  }
}

const sameFailure = ({ requestId }: Line) => {
  return (line: Line) => line.requestId !== undefined && line.requestId === requestId
}
const sameAnswer = (body: Line) => {
  const text = JSON.stringify(body)
  return (line: Line) => JSON.stringify(line.answer) === text
}

t.test('requests by GET, and answers that are no JSON', { skip: whyNoPython() }, async (t) => {
  const { client, log, lines } = await started(t)
  const code = [
    'from dataiku.apinode import DkuCustomHttpResponse',
    'def binary(n, api_key=None):',
    '    if int(n) > 9: raise ValueError("too many")',
    '    data = bytes([0xff, 0, 10, 65]) * int(n)',
    '    return DkuCustomHttpResponse(422, data, {"Content-Type": "image/png"})',
  ]
  const its = { id: 'f', type: 'PYTHON_FUNCTION', file: 'f.py', function: 'binary' }
  const endpoints = [{ ...its, get: true, rawResponse: true, testQueries: [] }]
  const manifest = JSON.stringify({ formatVersion: 1, authorization: 'PUBLIC', endpoints })
  const files = { 'service.json': manifest, 'f.py': code.join('\n') }
  await client.deploy(
    'fn',
    'v1',
    zip(Object.entries(files).map(([name, data]) => ({ name, data }))),
  )
  await log('fn', 'failures')
  const url = `${client.queryUrl('fn/f/run')}?n=2&api_key=hush`
  t.equal((await fetch(url)).status, 422)
  t.equal((await client.query('fn/f/run', { n: 10 })).status, 500)
  const [get, post] = await lines('fn', 2)
  t.match(get, { status: 422, query: 'n=2&api_key=(hidden)', endpoint: 'f', generation: 'v1' })
  t.equal(get.answerText, '\ufffd\0\nA'.repeat(2))
  t.match(post, { status: 500, request: { n: 10 }, error: { message: /too many/ } })
})

t.test('settings change under load, by two processes', async (t) => {
  const { node, client, log } = await started(t, ['--processes', '2'])
  await client.deploy('s', 'v1', bundleOf(regressor(2)))
  const url = client.queryUrl('s/p/predict')
  const bodyOf = (n: number) => JSON.stringify({ ...ROW, context: { n } })
  const callers = numberedCallers({ t, url, callers: 16, pauseMs: 2, bodyOf })
  for (const mode of ['failures', 'off', 'sample:0.2', 'all', 'off', 'sample:0.01', 'off']) {
    await log('s', mode)
    await sleep(200)
  }
  const before = linesSoFar(node.home, 's').length
  await callers.stop()
  t.same(callers.others, [], 'no answer but 200')
  t.ok(before > 0 && before < callers.answered.size, `${before} of ${callers.answered.size}`)

  await log('s', 'all')
  const more = numberedCallers({ t, url, callers: 16, pauseMs: 1, bodyOf: (n) => bodyOf(n + 1e6) })
  await until(() => more.answered.size > 2_000)
  await more.stop()
  const counts = async () => (await client.admin('GET', '/metrics')).body.serviceMetrics.s?.queryLog
  // Absent where serving is too busy to tell in time: control does not wait for it.
  await until(async () => (await counts()) !== undefined)
  t.match(await counts(), { dropped: 0 })
  t.equal(await node.stop(), 0, 'a graceful stop')
  const lines = loggedLines(node.home, 's')
  const found = new Set(lines.map((line) => line.request.context.n))
  t.equal(found.size, lines.length, 'no line twice')
  t.same(
    [...more.answered.keys()].filter((n) => !found.has(n + 1e6)),
    [],
    'loses nothing',
  )
  const pids = new Set(logFiles(node.home, 's').map(({ name }) => name.split('-').at(-2)))
  t.equal(pids.size, 2, 'each process has files of its own')
})

t.test('a service that is deleted, and made again', async (t) => {
  const { node, client, log, lines } = await started(t)
  const round = async (count: number) => {
    await client.deploy('s', 'v1', bundleOf(regressor(2)))
    t.equal((await client.admin('GET', '/services/s')).body.settings.queryLog, 'off')
    await log('s', 'all')
    for (let i = 0; i < 10; i++) await client.query('s/p/predict', ROW)
    await lines('s', count)
    t.equal((await client.admin('DELETE', '/services/s')).status, 204)
    t.equal((await client.query('s/p/predict', ROW)).status, 404, 'nobody’s, and in no log')
  }
  await round(10)
  await round(20)
  const health = (await client.admin('GET', '/health')).body
  t.equal(health.status, 'HEALTHY')
  t.equal(await node.stop(), 0)
  t.equal(loggedLines(node.home, 's').length, 20)
})
