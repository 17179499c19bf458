/**
 * Goal: from a request line to a prediction and back over a real socket: paths, verbs, keys, kinds
 * of body, and callers that leave, each with the answer that the contract promises.
 *
 * Method: the query handler on the real listener in front of the real engine.
 */

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { digestOf } from '../../../core/auth/credentials.ts'
import { queryHandler } from '../../../core/query/handler.ts'
import { listening } from '../../tools/listening.ts'
import { RawClient } from '../../tools/raw-http.ts'
import { serving } from '../../tools/serving.ts'
import { until } from '../../tools/waiting.ts'

const BASE = '/public/api/v1/svc/score'
const { engine, recorder, folder, generation, apply } = serving(t)
const notAliveFile = join(folder, 'not-alive.txt')
let stopping = false
const handler = queryHandler({
  engine,
  recorder,
  bodyBytesMax: 100_000,
  notAliveFile,
  isStopping: () => stopping,
})
const server = await listening({ limitBytes: 0, handler })
const clients: RawClient[] = []
t.teardown(() => {
  for (const client of clients) client.destroy()
  server.close()
})

function client(): RawClient {
  const made = new RawClient(server.port)
  clients.push(made)
  return made
}

interface Asked {
  readonly method?: string
  readonly path?: string
  readonly headers?: readonly string[]
  readonly body?: string
}

function requestOf({ method = 'POST', path = `${BASE}/predict`, headers = [], body = '' }: Asked) {
  const lines = [`${method} ${path} HTTP/1.1`, 'Host: x', ...headers]
  return `${lines.join('\r\n')}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

async function send(asked: Asked) {
  const raw = client().send(requestOf(asked))
  const [answer] = await raw.answers()
  raw.destroy()
  const text = answer?.body.toString() ?? ''
  const json = text.startsWith('{') ? JSON.parse(text) : {}
  return { status: answer?.status, code: json.code, json, headers: new Map(answer?.headers) }
}

const good = '{"features":{"x0":2}}'
const basic = (text: string) => `Authorization: Basic ${Buffer.from(text).toString('base64')}`

t.test('paths and verbs', async (t) => {
  await apply({ hold: [generation('a', {})], map: 'a' })
  const right = await send({ body: good })
  t.equal(right.status, 200)
  t.match(right.json, {
    result: { prediction: 2, ignored: false },
    apiContext: { serviceId: 'svc', endpointId: 'score', serviceGeneration: 'a' },
  })
  for (const path of [
    `/${BASE}/predict`,
    `${BASE}//predict`,
    `${BASE}/predict/`,
    '/public/api/v1/svc/sc%6Fre/predict',
    `${BASE}/predict?x=1`,
  ]) {
    t.equal((await send({ path, body: good })).status, 200, path)
  }
  const multi = await send({ path: `${BASE}/predict-multi`, body: `{"items":[${good}]}` })
  t.match(multi.json, { results: [{ prediction: 2 }] })
  const wrong: [Asked, number, string][] = [
    [{ path: '/' }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: '/admin/api/services' }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: '/public/api/v1/svc/score' }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: `${BASE}/explode` }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: `${BASE}/%zz/predict` }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: `${BASE}/predict/more`, body: good }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: '/public/api/v1/svc%2Fscore/predict', body: good }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: '/public/api/v1/svc/%2e%2e/predict' }, 404, 'ERR_ENDPOINT_UNKNOWN'],
    [{ path: '/public/api/v1/svc/other/predict' }, 404, 'ERR_ENDPOINT_UNKNOWN'],
    [{ path: '/public/api/v1/toString/score/predict' }, 404, 'ERR_SERVICE_UNKNOWN'],
    [{ method: 'GET' }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ method: 'PUT', body: good }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ body: '' }, 400, 'ERR_BODY_INVALID'],
    [{ body: '{"features":{}}' }, 400, 'ERR_FEATURE_INVALID'],
    [{ body: `${good}${' '.repeat(100_000)}` }, 413, 'ERR_BODY_TOO_LARGE'],
  ]
  for (const [asked, status, code] of wrong) {
    const answer = await send(asked)
    t.same([answer.status, answer.code], [status, code], JSON.stringify(asked).slice(0, 90))
    t.match(answer.json, { errorType: /./, message: /./, detailedMessage: /./, requestId: /./ })
  }
  t.equal((await send({ method: 'GET' })).headers.get('allow'), 'POST, OPTIONS')
  const options = await send({ method: 'OPTIONS' })
  t.equal(options.status, 204)
  t.equal(options.headers.get('allow'), 'POST, OPTIONS')
  const bare = client().send(`POST ${BASE}/predict HTTP/1.1\r\nHost: x\r\n\r\n`)
  t.equal((await bare.answers())[0]?.status, 400, 'a POST without any body')
})

t.test('verbs of GET, and those that nothing here answers', async (t) => {
  const path = `${BASE}/predict-simple`
  const got = await send({ method: 'GET', path: `${path}?x0=2` })
  t.match(got, { status: 200, json: { result: { prediction: 2 } } })
  const head = await fetch(`http://127.0.0.1:${server.port}${path}?x0=2`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.same([head.headers.get('dss-api-version'), head.headers.get('dss-version')], ['1.0', '1.2.3'])
  t.ok(Number(head.headers.get('content-length')) > 50, 'of the answer that a GET would have')
  const posted = await send({ path, body: good })
  t.same([posted.status, posted.code], [405, 'ERR_METHOD_NOT_ALLOWED'])
  t.equal(posted.headers.get('allow'), 'GET, HEAD, OPTIONS')
  t.equal((await send({ method: 'OPTIONS', path })).headers.get('allow'), 'GET, HEAD, OPTIONS')
  for (const verb of ['forecast', 'predict-effect', 'predict-effect-multi']) {
    const answer = await send({ path: `${BASE}/${verb}`, body: good })
    t.same([answer.status, answer.code], [501, 'ERR_NOT_SUPPORTED'], verb)
    t.match(answer.json.detailedMessage, `"${verb}" has no answer`)
  }
  const nowhere = '/public/api/v1/none/score/forecast'
  t.equal((await send({ path: nowhere, body: good })).code, 'ERR_SERVICE_UNKNOWN')
})

t.test('22: the id of a failure is never the caller’s', async (t) => {
  for (const id of ['mine', 'x'.repeat(10_000), '\u00ff', 'a;b"c']) {
    const { json, headers } = await send({ headers: [`X-Request-Id: ${id}`], body: '{' })
    t.match(json.requestId, /^[0-9a-f]+-[0-9a-z]+$/)
    t.notOk(
      [...headers.values()].some((value) => value.includes(id)),
      'nor is it in a header',
    )
  }
})

t.test('every answer says which API it speaks', async (t) => {
  for (const asked of [
    { body: good },
    { body: '' },
    { method: 'OPTIONS' },
    { method: 'GET' },
    { path: '/nowhere' },
    { method: 'GET', path: '/isAlive/' },
    { body: `${good}${' '.repeat(100_000)}` },
    { headers: ['Content-Encoding: gzip'], body: good },
  ]) {
    const { headers } = await send(asked)
    const both = [headers.get('dss-api-version'), headers.get('dss-version')]
    t.same(both, ['1.0', '1.2.3'], JSON.stringify(asked).slice(0, 80))
  }
})

t.test('kinds of body', async (t) => {
  for (const type of [
    '',
    'application/json',
    'text/plain',
    '*/*',
    'application/vnd.x+json; charset=UTF-8',
  ]) {
    const answer = await send({ headers: type === '' ? [] : [`Content-Type: ${type}`], body: good })
    t.equal(answer.status, 200, type)
  }
  for (const line of [
    'Content-Type: multipart/form-data; boundary=x',
    'Content-Type: application/x-www-form-urlencoded',
    'Content-Type: application/json; charset=utf-16',
    'Content-Encoding: gzip',
    'Content-Encoding: br',
  ]) {
    t.same((await send({ headers: [line], body: good })).status, 415, line)
  }
})

t.test('keys', async (t) => {
  const keys = [
    { id: 'all', sha256: digestOf('sk_all'), allowedServices: [] },
    { id: 'mine', sha256: digestOf('sk_mine'), allowedServices: ['svc'] },
    { id: 'other', sha256: digestOf('sk_other'), allowedServices: ['other'] },
  ]
  await apply({ hold: [generation('k', { keys: [digestOf('bundled')] })], map: 'k', keys })
  const cases: [string | null, number][] = [
    [null, 401],
    ['Authorization: Bearer sk_all', 200],
    ['authorization: bearer sk_mine', 200],
    [basic('sk_mine:'), 200],
    [basic('bundled:anything'), 200],
    ['Authorization: Bearer sk_other', 403],
    ['Authorization: Bearer nobody', 401],
    ['Authorization: Bearer ', 401],
    ['Authorization: Basic !!!', 401],
    ['Authorization: Digest sk_all', 401],
    [`Authorization: Bearer ${'x'.repeat(5_000)}`, 401],
    [`Authorization: Bearer ${digestOf('sk_all')}`, 401],
  ]
  for (const [line, status] of cases) {
    const answer = await send({ headers: line === null ? [] : [line], body: good })
    t.equal(answer.status, status, String(line).slice(0, 60))
  }
  await apply({ hold: [], map: null, keys })
})

t.test('a service that is off, empty or loading', async (t) => {
  const a = generation('a', {})
  const loading = apply({ hold: [a], map: 'a' })
  const starting = await send({ body: good })
  t.ok(starting.status === 503 || starting.status === 200)
  await loading
  await apply({ hold: [a], map: 'a', enabled: false })
  const off = await send({ body: good })
  t.same([off.status, off.code], [503, 'ERR_SERVICE_DISABLED'])
  t.equal(off.headers.get('retry-after'), '1')
  await apply({ hold: [a], map: null })
  t.equal((await send({ body: good })).code, 'ERR_NO_GENERATION')
})

t.test('alive, not alive, stopping', async (t) => {
  const alive = { method: 'GET', path: '/isAlive/' }
  t.equal((await send(alive)).status, 200)
  t.equal((await send({ ...alive, path: '/isAlive' })).status, 200)
  const deleted = await send({ ...alive, method: 'DELETE' })
  t.same([deleted.status, deleted.headers.get('allow')], [405, 'GET, HEAD'])
  writeFileSync(notAliveFile, '')
  t.equal((await send(alive)).status, 503)
  rmSync(notAliveFile)
  stopping = true
  t.equal((await send(alive)).status, 503)
  stopping = false
})

t.test(
  'callers that leave while they wait or run give back their place, bytes and lease',
  async (t) => {
    const queue = { maxRequests: 5, maxBytes: 1_000_000 }
    const a = generation('slow', { slow: true, queue })
    await apply({ hold: [a], map: 'slow' })
    const running = client().send(requestOf({ body: '{"features":{"turns":[400000]}}' }))
    await until(() => engine.scheduler.running === 1)
    const leaving = () => Array.from({ length: 5 }, () => client().send(requestOf({ body: good })))
    const queued = () => engine.observe()[0]?.queued
    for (let round = 0; round < 4; round++) {
      const gone = leaving()
      await until(() => queued() === 5)
      const extra = await send({ body: good })
      t.same([extra.status, extra.code], [429, 'ERR_LANE_FULL'])
      t.equal(extra.headers.get('retry-after'), '1')
      for (const raw of gone) raw.destroy()
      await until(() => queued() === 0)
    }
    t.equal(engine.scheduler.running, 1, 'all of that while one request ran')
    running.destroy()
    await until(() => engine.observe()[0]?.running === 0)
    t.equal(server.budget.usedBytes, 0)
    await until(() => engine.scheduler.running === 0)
    await apply({ hold: [], map: null })
    await until(() => engine.observe().length === 0)
    t.equal(server.active(), 0)
  },
)

t.test('every answer to a known service is counted once', async (t) => {
  const delta = recorder.drain({ activeRequests: 0, connections: 0 })
  const counts = new Map<number, number>()
  for (const { statuses } of [...delta.endpoints, ...delta.services]) {
    for (let i = 0; i + 1 < statuses.length; i += 2) {
      const status = statuses[i] ?? 0
      counts.set(status, (counts.get(status) ?? 0) + (statuses[i + 1] ?? 0))
    }
  }
  t.equal(counts.get(429), 4)
  t.equal(counts.get(415), 6)
  t.equal(counts.get(413), 2, 'a body that the listener refused counts too')
  t.equal(counts.get(401), 7)
  t.equal(counts.get(403), 1)
  t.same(delta.usedKeys, ['all', 'mine'], 'keys that opened something')
  t.ok((counts.get(200) ?? 0) >= 16)
})
