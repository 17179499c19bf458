/**
 * Goal: every type of endpoint is found at the paths of its own verbs, GET and HEAD reach a
 * function only where its plan says so, and what a function answers or learns crosses HTTP
 * unharmed, over both ways of carrying it.
 *
 * Method: the routing of real plans, then the query handler on both real listeners in front of the
 * real engine with a model and Python functions in one generation.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PATH_VERBS } from '../../../core/bundle/kinds.ts'
import type { EndpointPlan, GenerationPlan } from '../../../core/bundle/plan.ts'
import type { MappingEntry } from '../../../core/channel/messages.ts'
import {
  buildRouting,
  type Held,
  type Holding,
  targetOf,
  whyUnroutable,
} from '../../../core/engine/routing.ts'
import type { MetricsDelta } from '../../../core/metrics/delta.ts'
import { queryHandler } from '../../../core/query/handler.ts'
import { setUp } from '../../tools/dispatching.ts'
import { type Listening, listening, SERVERS } from '../../tools/listening.ts'
import { generationPlan } from '../../tools/plans.ts'
import { functionPlan, predictionPlan, whyNoPython } from '../../tools/python-endpoints.ts'
import { RawClient } from '../../tools/raw-http.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { serving } from '../../tools/serving.ts'
import { until } from '../../tools/waiting.ts'

const BASE = '/public/api/v1/svc'

const { python: code, ...common } = functionPlan()
const sql = { connection: null, statements: [], maxRows: 1, commit: false, duckdb: null }

function planOf(type: EndpointPlan['type'], id: string, get = false): EndpointPlan {
  switch (type) {
    case 'STD_PREDICTION':
    case 'CUSTOM_PREDICTION':
      return predictionPlan({}, {}, { id })
    case 'PYTHON_FUNCTION':
      return functionPlan({ get }, { id })
    case 'R_FUNCTION':
    case 'CUSTOM_R_PREDICTION':
      return { ...common, id, type, r: { ...code, get } }
    case 'SQL_QUERY':
      return { ...common, id, type, sql }
    case 'DATASET_LOOKUP':
      return { ...common, id, type, lookup: { steps: [] } }
  }
}

const TYPES = [
  'CUSTOM_PREDICTION',
  'PYTHON_FUNCTION',
  'R_FUNCTION',
  'CUSTOM_R_PREDICTION',
  'SQL_QUERY',
  'DATASET_LOOKUP',
] as const

/** Two generations that share the traffic and differ in two endpoints. */
function split(t: Parameters<typeof setUp>[0]): Holding & { mapping: MappingEntry[] } {
  const { lane } = setUp(t, {})
  const held = (generationId: string, plan: GenerationPlan): Held => ({
    desired: { serviceId: 'svc', generationId, directory: '/nowhere', plan },
    serves: true,
    state: 'active',
    reason: null,
    isPublic: true,
    accepts: () => false,
    token: null,
    lane: () => lane,
    takeLease: () => {},
    endLease: () => {},
  })
  const a = generationPlan([
    ...TYPES.map((type) => planOf(type, type)),
    planOf('PYTHON_FUNCTION', 'both', false),
    planOf('SQL_QUERY', 'changed'),
  ])
  const b = generationPlan([
    planOf('R_FUNCTION', 'both', true),
    planOf('DATASET_LOOKUP', 'changed'),
  ])
  const generations = new Map([
    ['a', held('a', a)],
    ['b', held('b', b)],
  ])
  const find = (_: string, generationId: string) => generations.get(generationId) ?? null
  const all = () => [...generations.values()]
  const mapping = [
    { generationId: 'a', proba: 0.7 },
    { generationId: 'b', proba: 0.3 },
  ]
  return { find, held: all, mapping }
}

t.test('each type has the paths of its verbs, and generations may differ', async (t) => {
  const { mapping, ...holding } = split(t)
  const services = [{ serviceId: 'svc', enabled: true, mapping }]
  const routing = buildRouting({ revision: 1, services, generations: [], keys: [] }, holding)
  routing.routeOf('', 'svc')
  const pathsOf = (id: string) =>
    [...routing.routes.keys()]
      .filter((path) => path.startsWith(`${BASE}/${id}/`))
      .map((path) => path.slice(`${BASE}/${id}/`.length))
  for (const type of TYPES)
    t.same(
      pathsOf(type),
      PATH_VERBS[type].map(([name]) => name),
    )
  t.same(pathsOf('changed').sort(), ['lookup', 'lookup-multi', 'query'])
  const ids = (path: string, key: 'targets' | 'forGet') =>
    routing.routes
      .get(`${BASE}/${path}`)
      ?.[key].map(({ generation, upTo }) => [generation.desired.generationId, upTo])
  t.same(ids('both/run', 'targets'), [
    ['a', 0.7],
    ['b', 1],
  ])
  t.same(ids('both/run', 'forGet'), [['b', 1]], 'a GET goes where it is answered')
  t.same(ids('changed/query', 'targets'), [['a', 1]])
  t.same(ids('changed/lookup', 'targets'), [['b', 1]])
  t.same(ids('SQL_QUERY/query', 'forGet'), [])
  t.equal(targetOf([], Math.random), null)
  const why = whyUnroutable(routing, holding.find, {
    serviceId: 'svc',
    endpointId: 'DATASET_LOOKUP',
  })
  t.equal(why.code, 'ERR_PATH_UNKNOWN')
  t.match(why.message, `"DATASET_LOOKUP" is a DATASET_LOOKUP: use POST ${BASE}/`)
  t.match(why.message, /\/lookup or POST .*\/lookup-multi$/)
  t.equal(
    whyUnroutable(routing, holding.find, { serviceId: 'svc', endpointId: 'none' }).code,
    'ERR_ENDPOINT_UNKNOWN',
  )
})

const CODE = `
from dataiku.apinode.responses import DkuCustomApiException, DkuCustomHttpResponse

def add(a=1, b=2):
    return [a, b]

def refuse(status=418):
    raise DkuCustomApiException("no tea", http_status_code=status)

def custom(status="201"):
    response = DkuCustomHttpResponse(int(status), b"\\x00bytes", {"Content-Type": "image/x"})
    response.add_header("Set-Cookie", "a=1")
    response.add_header("Set-Cookie", "b=2")
    response.add_header("Connection", "close")
    return response

def facts(**given):
    meta = dku_http_request_metadata
    return [meta.path, meta.headers.get("x-one"), meta.headers.get("authorization"), given]

def large(size):
    return "x" * size
`

interface Sent {
  readonly method?: string
  readonly path: string
  readonly body?: string
  readonly lines?: readonly string[]
}

async function send(server: Listening, { method = 'POST', path, body, lines = [] }: Sent) {
  const length = body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]
  const head = [`${method} ${BASE}/${path} HTTP/1.1`, 'Host: x', ...length, ...lines].join('\r\n')
  const raw = new RawClient(server.port).send(`${head}\r\n\r\n${body ?? ''}`)
  if (method === 'HEAD') await until(() => raw.bytes.includes('\r\n\r\n'))
  const text = method === 'HEAD' ? raw.bytes.toString('latin1') : ''
  const [answer] = method === 'HEAD' ? [] : await raw.answers()
  raw.destroy()
  const said = answer?.body.toString() ?? ''
  const json = said.startsWith('{') ? JSON.parse(said) : {}
  const headers = new Map(answer?.headers)
  return { status: answer?.status, json, body: said, headers, lines: answer?.headers ?? [], text }
}

type Ask = (sent: Sent) => ReturnType<typeof send>

async function called(t: Test, ask: Ask): Promise<void> {
  const posted = await ask({ path: 'post/run', body: '{"a":"é"}' })
  t.equal(posted.status, 200)
  t.match(posted.json, { response: ['é', 2], apiContext: { endpointId: 'post' } })
  t.equal(posted.headers.get('content-type'), 'application/json')
  for (const sent of [{ body: '' }, {}]) {
    const empty = await ask({ path: 'post/run', ...sent })
    t.match(empty, { status: 200, json: { response: [1, 2] } }, 'no byte is no argument')
  }
  const got = await ask({ method: 'GET', path: 'add/run?a=x%20y&b=3', body: '{"a":"ignored"}' })
  t.match(got, { status: 200, json: { response: ['x y', '3'] } })
  t.match((await ask({ method: 'GET', path: 'add/run' })).json, { response: [1, 2] })
  t.equal((await ask({ method: 'GET', path: '%61dd/run/?a=1' })).status, 200, 'encoded')
  const headOnly = (await ask({ method: 'HEAD', path: 'add/run?a=1' })).text
  t.match(headOnly, /^HTTP\/1\.1 200 /)
  t.match(headOnly, /content-length: [1-9]/i)
  t.match(headOnly, /\r\n\r\n$/)
  const lines = ['X-One: 1', 'Authorization: Bearer k']
  const [seen, key] = [`${BASE}/facts/run`, 'Bearer k']
  const facts = await ask({ path: 'facts/run', body: '{"a":1}', lines })
  t.same(facts.json.response, [seen, '1', key, { a: 1 }])
  const factsOfGet = await ask({ method: 'GET', path: 'facts/run?a=1', lines })
  t.same(factsOfGet.json.response, [seen, '1', key, { a: '1' }])
}

async function refused(t: Test, ask: Ask): Promise<void> {
  const allowed = 'GET, HEAD, POST, OPTIONS'
  const wrong: [Sent, number, string, RegExp][] = [
    [{ method: 'GET', path: 'post/run' }, 405, 'ERR_METHOD_NOT_ALLOWED', /"get": true/],
    [{ method: 'GET', path: 'score/predict' }, 405, 'ERR_METHOD_NOT_ALLOWED', /use POST$/],
    [{ method: 'PUT', path: 'add/run' }, 405, 'ERR_METHOD_NOT_ALLOWED', /use POST or GET$/],
    [{ path: 'add/predict' }, 404, 'ERR_PATH_UNKNOWN', /is a PYTHON_FUNCTION: use POST .*\/run$/],
    [{ path: 'score/run' }, 404, 'ERR_PATH_UNKNOWN', /predict-multi or GET .*\/predict-simple$/],
    [
      { path: 'add/none' },
      404,
      'ERR_PATH_UNKNOWN',
      /predict, predict-multi, predict-simple, run, query, look/,
    ],
    [{ path: 'none/run' }, 404, 'ERR_ENDPOINT_UNKNOWN', /none/],
    [{ method: 'GET', path: 'add/run?z=1' }, 400, 'ERR_ARGUMENT_INVALID', /z/],
  ]
  for (const [sent, status, errorCode, message] of wrong) {
    const { json, ...answer } = await ask(sent)
    t.same([answer.status, json.code], [status, errorCode], `${sent.method} ${sent.path}`)
    t.match(json.detailedMessage, message)
  }
  const refusal = await ask({ method: 'GET', path: 'post/run' })
  t.equal(refusal.headers.get('allow'), 'POST, OPTIONS')
  for (const [path, methods] of [
    ['add/run', allowed],
    ['post/run', 'POST, OPTIONS'],
  ] as const) {
    const options = await ask({ method: 'OPTIONS', path })
    t.same([options.status, options.headers.get('allow')], [204, methods])
  }
}

async function answered(t: Test, ask: Ask, drain: () => MetricsDelta): Promise<void> {
  drain()
  const tea = await ask({ path: 'refuse/run' })
  t.match(tea, { status: 418, json: { code: 'ERR_CODE_RAISED', detailedMessage: /no tea/ } })
  t.equal((await ask({ path: 'refuse/run', body: '{"status":302}' })).status, 500)
  const custom = await ask({ method: 'GET', path: 'custom/run?status=201' })
  t.same([custom.status, custom.body], [201, '\0bytes'])
  const cookies = custom.lines.filter(([name]) => name === 'set-cookie').map(([, value]) => value)
  t.same(cookies, ['a=1', 'b=2'])
  t.equal(custom.headers.get('content-type'), 'image/x')
  t.not(custom.headers.get('connection'), 'close')
  t.same((await ask({ path: 'custom/run', body: '{"status":204}' })).body, '')
  const large = await ask({ path: 'large/run', body: '{"size":3000000}' })
  t.equal(large.json.response?.length, 3_000_000)

  const statuses = drain().endpoints.flatMap((one) => [...one.statuses])
  const pairs = statuses.flatMap((one, at) => (at % 2 === 0 ? [`${one}:${statuses[at + 1]}`] : []))
  t.same(pairs.sort(), ['200:1', '201:1', '204:1', '418:1', '500:1'], 'counted as answered')
}

t.test('functions over HTTP', { skip: whyNoPython() }, async (t) => {
  t.setTimeout(240_000)
  const node = serving(t, { runtimes: runtimes(t) })
  const { engine, recorder, folder, generation, apply } = node
  const settings = { engine, recorder, bodyBytesMax: 100_000, isStopping: () => false }
  const handler = queryHandler({ ...settings, notAliveFile: join(folder, 'not-alive') })
  const base = generation('a', {})
  writeFileSync(join(base.directory, 'code.py'), CODE)
  const endpoints = [
    ...base.plan.endpoints,
    functionPlan({ name: 'add', get: true }, { id: 'add' }),
    functionPlan({ name: 'add', get: false }, { id: 'post' }),
    functionPlan({ name: 'refuse', get: true }, { id: 'refuse' }),
    functionPlan({ name: 'custom', get: true, rawResponse: true }, { id: 'custom' }),
    functionPlan({ name: 'large', get: false }, { id: 'large' }),
    functionPlan({ name: 'facts', get: true, requestMetadata: true }, { id: 'facts' }),
  ]
  const plan = { ...base.plan, endpoints }
  await apply({ hold: [{ ...base, plan }], map: 'a' })
  const drain = () => recorder.drain({ activeRequests: 0, connections: 0 })

  for (const kind of SERVERS) {
    const server = await listening({ limitBytes: 0, handler, server: kind })
    t.teardown(() => server.close())
    const ask = (sent: Sent) => send(server, sent)

    await called(t, ask)
    await refused(t, ask)
    await answered(t, ask, drain)
    t.equal(server.budget.usedBytes, 0)
  }
})
