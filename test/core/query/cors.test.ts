/**
 * Goal: pages of origins that an operator allows may read every answer of a service, refusals
 * included, and no other page may; a mere link or image runs nothing. Method: raw requests to the
 * real handler and engine, as browsers write them, header by header.
 */

import { join } from 'node:path'
import t from 'tap'
import { digestOf } from '../../../core/auth/credentials.ts'
import type { CorsPolicy, DesiredKey } from '../../../core/channel/messages.ts'
import { answerDocument } from '../../../core/query/documents.ts'
import { queryHandler } from '../../../core/query/handler.ts'
import { listening } from '../../tools/listening.ts'
import { RawClient } from '../../tools/raw-http.ts'
import { serving } from '../../tools/serving.ts'

const PAGE = 'https://app.example.com'
const OTHER = 'https://other.example.com'
const PREDICT = '/public/api/v1/svc/score/predict'
const SIMPLE = '/public/api/v1/svc/score/predict-simple?x0=1'
const BODY = '{"features":{"x0":1}}'
const FORM = 'application/x-www-form-urlencoded'

const { engine, recorder, folder, generation, apply } = serving(t)
const handler = queryHandler({
  engine,
  recorder,
  bodyBytesMax: 1_000,
  notAliveFile: join(folder, 'not-alive'),
  isStopping: () => false,
  answerDocument,
})
const server = await listening({ limitBytes: 0, handler })
t.teardown(() => server.close())

interface Asked {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

async function ask({ method = 'POST', path = PREDICT, headers = {}, body = BODY }: Asked) {
  const raw = new RawClient(server.port)
  const given = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const length = method === 'POST' ? `Content-Length: ${body.length}\r\n` : ''
  raw.send(`${method} ${path} HTTP/1.1\r\nHost: x\r\n${given.join('')}${length}\r\n`)
  if (method === 'POST') raw.send(body)
  const [answer] = await raw.answers()
  raw.destroy()
  const text = answer?.body.toString() ?? ''
  const code = text.startsWith('{') ? JSON.parse(text).code : undefined
  const lines = answer?.headers ?? []
  const told = Object.fromEntries(lines.filter(([name]) => /^(access|vary|allow)/.test(name)))
  return { status: answer?.status, code, told, all: new Map(lines) }
}

const preflight = (origin: string, path = PREDICT) =>
  ask({
    method: 'OPTIONS',
    path,
    headers: {
      Origin: origin,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'authorization,content-type',
    },
  })

const SECRET = 'sk_secret'
const KEY: DesiredKey = { id: 'k', sha256: digestOf(SECRET), allowedServices: [] }
const closed = generation('closed', { keys: [] })
const bearer = { Authorization: `Bearer ${SECRET}` }

const serve = (cors: CorsPolicy | null, more: { enabled?: boolean; keys?: DesiredKey[] } = {}) =>
  apply({ hold: [closed], map: 'closed', keys: [KEY], ...(cors && { cors }), ...more })

t.test('without a policy no page is told anything', async (t) => {
  await serve(null)
  const answered = await ask({ headers: { ...bearer, Origin: PAGE } })
  t.equal(answered.status, 200)
  t.same(answered.told, {})
  const asked = await preflight(PAGE)
  t.same([asked.status, asked.told], [204, { allow: 'POST, OPTIONS' }])
})

t.test('a preflight needs no key and tells all that is allowed', async (t) => {
  await serve({ origins: [PAGE] })
  const { status, told } = await preflight(PAGE)
  t.equal(status, 204)
  t.same(told, {
    allow: 'POST, OPTIONS',
    vary: 'Origin',
    'access-control-allow-origin': PAGE,
    'access-control-allow-methods': 'POST, OPTIONS',
    'access-control-allow-headers': 'authorization, content-type',
    'access-control-max-age': '600',
  })
  const other = await preflight(OTHER)
  t.same([other.status, other.told], [204, { allow: 'POST, OPTIONS', vary: 'Origin' }])
  const nowhere = await preflight(PAGE, '/public/api/v1/svc/nobody/predict')
  t.equal(nowhere.told['access-control-allow-origin'], PAGE, 'so that the page sees the 404')
  const document = await preflight(PAGE, '/public/api/v1/svc/openapi.json')
  t.match(document.told, { allow: 'GET, HEAD, OPTIONS', 'access-control-allow-origin': PAGE })
})

t.test('every answer tells the page, and only the one that is allowed', async (t) => {
  await serve({ origins: [PAGE] })
  const origin = { Origin: PAGE }
  const answers = [
    [200, await ask({ headers: { ...bearer, ...origin } })],
    [400, await ask({ headers: { ...bearer, ...origin }, body: '{' })],
    [401, await ask({ headers: origin })],
    [404, await ask({ path: '/public/api/v1/svc/nobody/predict', headers: origin })],
    [405, await ask({ method: 'PUT', headers: origin })],
    [413, await ask({ headers: { ...bearer, ...origin }, body: 'x'.repeat(2_000) })],
    [415, await ask({ headers: { ...bearer, ...origin, 'Content-Type': FORM } })],
  ] as const
  for (const [expected, { status, code, told }] of answers) {
    t.equal(status, expected, code)
    t.match(
      told,
      { 'access-control-allow-origin': PAGE, vary: 'Origin' },
      `${expected} may be read`,
    )
    t.match(told['access-control-expose-headers'], /Retry-After, WWW-Authenticate/)
    t.notOk('access-control-allow-credentials' in told)
  }
  for (const headers of [{ ...bearer, Origin: OTHER }, { Origin: OTHER }, bearer]) {
    const { told } = await ask({ headers })
    t.same(told, { vary: 'Origin' }, 'neither another page nor a program')
  }
  const near = [`${PAGE}.evil.example`, PAGE.toUpperCase(), `${PAGE}:8443`, 'null', 'x', '*']
  for (const one of near) {
    const { told } = await ask({ headers: { ...bearer, Origin: one } })
    t.same(told, { vary: 'Origin' }, one)
  }
})

t.test('a page may read 429 and 503 too', async (t) => {
  const quota = { requestsPerSecond: 0.001, concurrentRequests: null }
  await serve({ origins: [PAGE] }, { keys: [{ ...KEY, quota }] })
  const headers = { ...bearer, Origin: PAGE }
  t.equal((await ask({ headers })).status, 200)
  const limited = await ask({ headers })
  t.same([limited.status, limited.code], [429, 'ERR_QUOTA'])
  t.match(limited.told, { 'access-control-allow-origin': PAGE })
  t.match(limited.all.get('retry-after'), /^\d+$/)
  await serve({ origins: [PAGE] }, { enabled: false })
  const disabled = await ask({ headers })
  t.same([disabled.status, disabled.code], [503, 'ERR_SERVICE_DISABLED'])
  t.match(disabled.told, { 'access-control-allow-origin': PAGE })
})

t.test('every origin, by a star; a change takes effect with the next request', async (t) => {
  await serve({ origins: ['*'] })
  for (const origin of [PAGE, OTHER, 'null']) {
    const { told } = await ask({ headers: { ...bearer, Origin: origin } })
    t.match(told, { 'access-control-allow-origin': '*' })
    t.equal((await preflight(origin)).told['access-control-allow-origin'], '*')
  }
  await serve({ origins: [OTHER] })
  t.same((await ask({ headers: { ...bearer, Origin: PAGE } })).told, { vary: 'Origin' })
  const { told } = await ask({ headers: { ...bearer, Origin: OTHER } })
  t.equal(told['access-control-allow-origin'], OTHER)
  await serve(null)
  t.same((await ask({ headers: { ...bearer, Origin: OTHER } })).told, {})
})

t.test('a link or an image of another site runs nothing', async (t) => {
  const open = generation('open', {})
  const get = (headers: Record<string, string>) => ask({ method: 'GET', path: SIMPLE, headers })
  const cross = { 'Sec-Fetch-Site': 'cross-site' }
  await apply({ hold: [open], map: 'open' })
  const forbidden = await get(cross)
  t.same([forbidden.status, forbidden.code], [403, 'ERR_ORIGIN_FORBIDDEN'])
  t.equal((await get({})).status, 200, 'programs')
  for (const site of ['none', 'same-origin', 'same-site']) {
    t.equal((await get({ 'Sec-Fetch-Site': site })).status, 200, site)
  }
  await apply({ hold: [open], map: 'open', cors: { origins: [PAGE] } })
  t.equal((await get(cross)).status, 403, 'an image says no origin')
  t.equal((await get({ ...cross, Origin: OTHER })).status, 403)
  t.equal((await get({ ...cross, Origin: PAGE })).status, 200)
})
