/**
 * Goal: what programs send that were written for Dataiku's API node, and no careful one would, is
 * understood by both APIs: bodies without a type, empty ones, NaN, doubled slashes, keys in either
 * scheme; and every refusal is an object that their client can print.
 * Method: HTTP by hand over sockets, against a whole node.
 */

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bundleOf, Client } from '../tools/client.ts'
import { freshHome, readyLine, startNode, startProcess, type TestNode } from '../tools/node.ts'
import { mixedPipeline, regressor } from '../tools/onnx-models.ts'
import { RawClient } from '../tools/raw-http.ts'
import { withoutUws } from '../tools/without-uws.ts'

t.setTimeout(240_000)

const GOOD = '{"features":{"f0":2}}'
const PREDICT = '/public/api/v1/s/p/predict'
const BODY_BYTES_MAX = 65_536

interface Asked {
  readonly method?: string
  readonly path: string
  readonly headers?: readonly string[]
  /** Undefined: none, and no length. */
  readonly body?: string
}

interface Told {
  readonly status: number
  readonly json: ReturnType<typeof JSON.parse>
  readonly headers: ReadonlyMap<string, string>
}

/** One of the two ports, by one connection that stays open as long as it may. */
class Side {
  readonly #port: number
  readonly #seen = new Set<string>()
  #raw: RawClient | null = null

  constructor(url: string) {
    this.#port = Number(new URL(url).port)
  }

  /** What holds of every answer is looked at here: no redirects, product headers, error objects. */
  async ask(t: Test, { method = 'POST', path, headers = [], body }: Asked): Promise<Told> {
    if (this.#raw === null || this.#raw.closed) this.#raw = new RawClient(this.#port)
    const length = body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]
    const head = [`${method} ${path} HTTP/1.1`, 'Host: x', ...headers, ...length, '', ''].join(
      '\r\n',
    )
    const [answer] = await this.#raw.send(`${head}${body ?? ''}`).answers()
    if (answer === undefined) throw new Error(`no answer to ${head}`)
    if (answer.status >= 400) this.close()
    const { status } = answer
    const found = new Map(answer.headers)
    const what = `${method} ${path.slice(0, 80)} ${status}`
    t.ok(status < 300 || status >= 400, `${what}: no redirect`)
    t.ok(found.has('dss-api-version') && found.has('dss-version'), `${what}: product headers`)
    const json = answer.body.length === 0 ? null : JSON.parse(answer.body.toString())
    if (status >= 400) this.#judge(t, what, json)
    return { status, json, headers: found }
  }

  close(): void {
    this.#raw?.destroy()
    this.#raw = null
  }

  #judge(t: Test, what: string, json: Told['json']): void {
    const { errorType, message, detailedMessage, code, requestId } = json
    for (const one of [errorType, message, detailedMessage, code, requestId]) {
      t.ok(typeof one === 'string' && one !== '', `${what}: an error object`)
    }
    t.ok(detailedMessage.startsWith(message), `${what}: ${detailedMessage}`)
    t.notOk(this.#seen.has(requestId), `${what}: an id of its own`)
    this.#seen.add(requestId)
  }
}

interface Sides {
  readonly node: Node
  readonly query: Side
  readonly admin: Side
  /** Headers that open the admin API, in both schemes. */
  readonly asAdmin: readonly (readonly string[])[]
}

const bearer = (key: string) => [`Authorization: Bearer ${key}`]
/** The key as the user's name, and a password or none. */
const basic = (key: string, password = '') => [
  `Authorization: Basic ${Buffer.from(`${key}:${password}`).toString('base64')}`,
]

async function bodies(t: Test, { query, admin, asAdmin }: Sides): Promise<void> {
  t.match(await query.ask(t, { path: PREDICT, body: GOOD }), {
    status: 200,
    json: { result: { prediction: 2 } },
  })
  const items = '{"items":[{"features":{"f0":1}},{"features":{"f0":NaN}},{"features":{"f0":3}}]}'
  const multi = await query.ask(t, { path: `${PREDICT}-multi`, body: items })
  t.match(multi.json.results, [
    { prediction: 1, ignored: false },
    { ignored: true, ignoreReason: 'INVALID_FEATURE', error: { message: /"?f0"?.*missing/ } },
    { prediction: 3, ignored: false },
  ])
  for (const token of ['Infinity', '-Infinity']) {
    const told = await query.ask(t, { path: PREDICT, body: `{"features":{"f0":${token}}}` })
    t.match(told, { status: 400, json: { detailedMessage: /f0/ } }, token)
  }
  const quoted = '{"features":{"f0":2,"note":"NaN, -Infinity \\"NaN"},"context":{"x":NaN}}'
  t.equal((await query.ask(t, { path: PREDICT, body: quoted })).json.result.prediction, 2)
  for (const body of ['', undefined, '{}', 'null', '[]', '{"features":null}']) {
    const told = await query.ask(t, { path: PREDICT, ...(body === undefined ? {} : { body }) })
    t.equal(told.status, 400, String(body))
  }
  for (const headers of asAdmin) {
    const path = '/admin/api/services/'
    const serviceId = `made-${randomBytes(6).toString('hex')}`
    const made = await admin.ask(t, { path, headers, body: JSON.stringify({ serviceId }) })
    t.match(made, { status: 200, json: { ok: true, serviceId } })
    for (const body of ['', undefined]) {
      const key = await admin.ask(t, {
        path: '/admin/api/keys',
        headers,
        ...(body === undefined ? {} : { body }),
      })
      t.match(key, { status: 200, json: { label: '', key: /^sk_/ } }, 'no body is {}')
    }
  }
}

async function paths(t: Test, { node, query, admin, asAdmin }: Sides): Promise<void> {
  for (const path of [
    `/${PREDICT}`,
    `${PREDICT}/`,
    '/public//api/v1/s///p/predict',
    '/public/api/v1/%73/p/predict',
    '/public/api/v1/s/%70/predict?x=1',
    '/%70ublic/api/v1/s/p/predict/',
  ]) {
    t.equal((await query.ask(t, { path, body: GOOD })).status, 200, path)
  }
  // Decoded once and no more: there is no service of that name.
  for (const [path, code] of [
    ['/public/api/v1/%2573/p/predict', 'ERR_SERVICE_UNKNOWN'],
    ['/public/api/v1/s%2Fp/predict', 'ERR_PATH_UNKNOWN'],
    ['/public/api/v1/s/v%201/predict', 'ERR_ENDPOINT_UNKNOWN'],
    ['/public/api/v1/%zz/p/predict', 'ERR_PATH_UNKNOWN'],
  ] as const) {
    t.match(await query.ask(t, { path, body: GOOD }), { status: 404, json: { code } }, path)
  }
  for (const alive of ['/isAlive/', '/isAlive', '//isAlive//']) {
    const told = await query.ask(t, { method: 'GET', path: alive })
    t.match(told, { status: 200, json: { alive: true } }, alive)
    t.equal((await admin.ask(t, { method: 'GET', path: alive })).status, 200, alive)
  }
  const [headers = []] = asAdmin
  const get = (path: string) => admin.ask(t, { method: 'GET', path, headers })
  const post = (path: string) => admin.ask(t, { path, headers })
  for (const path of [
    '//admin/api/services',
    '/admin/api//services/s/',
    '/admin/api/services/%73',
  ]) {
    t.equal((await get(path)).status, 200, path)
  }
  const at = '/admin/api/services/s'
  for (const path of [
    `/${at}/actions/enable`,
    `${at}/actions/enable/`,
    `${at}/generations/v%31/preload/`,
    `${at}/actions/switchTo/v%31`,
  ]) {
    t.match(await post(path), { status: 200, json: { ok: true } }, path)
  }
  for (const path of [`${at}/actions/switchTo/v%2531`, `${at}/generations/v%201/preload`]) {
    t.match(await post(path), { status: 404, json: { code: 'ERR_GENERATION_UNKNOWN' } }, path)
  }
  t.match(await get('/admin/api/services/%zz'), { status: 400 })
  const log = node.log()
  t.notOk(log.includes('threw') || log.includes('met a bug'), 'nothing of it is a bug of ours')
}

async function credentials(t: Test, sides: Sides, keys: readonly string[]): Promise<void> {
  const { node, query, admin } = sides
  const [right = '', wrong = ''] = keys
  const path = '/public/api/v1/closed/p/predict'
  for (const headers of [bearer(right), basic(right), basic(right, 'x')]) {
    t.equal((await query.ask(t, { path, headers, body: GOOD })).status, 200, String(headers[0]))
  }
  for (const [headers, status, code] of [
    [[], 401, 'ERR_AUTH_MISSING'],
    [bearer('nobody'), 401, 'ERR_AUTH_UNKNOWN'],
    [basic('nobody'), 401, 'ERR_AUTH_UNKNOWN'],
    [basic(''), 401, 'ERR_AUTH_MISSING'],
    [['Authorization: Digest x'], 401, 'ERR_AUTH_MISSING'],
    [bearer(node.adminKey), 401, 'ERR_AUTH_UNKNOWN'],
    [bearer(wrong), 403, 'ERR_AUTH_FORBIDDEN'],
    [basic(wrong), 403, 'ERR_AUTH_FORBIDDEN'],
  ] as const) {
    const told = await query.ask(t, { path, headers, body: GOOD })
    t.match(told, { status, json: { code } }, headers[0] ?? 'none')
    t.match(told.headers.get('www-authenticate') ?? '', status === 401 ? /^Bearer / : /^$/)
  }
  const services = { method: 'GET', path: '/admin/api/services' }
  for (const headers of [bearer(node.adminKey), basic(node.adminKey), basic(node.adminKey, 'x')]) {
    t.equal((await admin.ask(t, { ...services, headers })).status, 200, String(headers[0]))
  }
  for (const [headers, status] of [
    [[], 401],
    [basic('nobody'), 401],
    [basic(''), 401],
    [basic(right), 403],
    [bearer(right), 403],
  ] as const) {
    t.equal((await admin.ask(t, { ...services, headers })).status, status, headers[0] ?? 'none')
  }
}

async function refusals(t: Test, { query, admin, asAdmin }: Sides): Promise<void> {
  const large = `{"features":{"f0":2},"x":"${'x'.repeat(BODY_BYTES_MAX)}"}`
  const ofQueries: [Asked, number, string][] = [
    [{ path: '/' }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: '/public/api/v1/s/p/explode', body: GOOD }, 404, 'ERR_PATH_UNKNOWN'],
    [{ path: '/public/api/v1/none/p/predict', body: GOOD }, 404, 'ERR_SERVICE_UNKNOWN'],
    [{ path: '/public/api/v1/s/none/predict', body: GOOD }, 404, 'ERR_ENDPOINT_UNKNOWN'],
    [{ method: 'GET', path: PREDICT }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ method: 'DELETE', path: `${PREDICT}-simple` }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ method: 'POST', path: '/isAlive/' }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ path: '/public/api/v1/s/swagger', body: '' }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ path: PREDICT, body: large }, 413, 'ERR_BODY_TOO_LARGE'],
    [{ path: PREDICT, headers: ['Content-Type: text/html'], body: GOOD }, 415, 'ERR_BODY_TYPE'],
    [{ path: PREDICT, headers: ['Content-Encoding: gzip'], body: GOOD }, 415, 'ERR_BODY_TYPE'],
    [{ path: PREDICT, body: '{"features":' }, 400, 'ERR_BODY_INVALID'],
    [{ path: PREDICT, body: '{"features":{"f0":"x"}}' }, 400, 'ERR_FEATURE_INVALID'],
    [{ path: '/public/api/v1/s/p/forecast', body: GOOD }, 501, 'ERR_NOT_SUPPORTED'],
    [{ path: '/public/api/v1/off/p/predict', body: GOOD }, 503, 'ERR_SERVICE_DISABLED'],
    [{ path: '/public/api/v1/empty/p/predict', body: GOOD }, 503, 'ERR_NO_GENERATION'],
  ]
  for (const [asked, status, code] of ofQueries) {
    t.match(
      await query.ask(t, asked),
      { status, json: { code } },
      JSON.stringify(asked).slice(0, 90),
    )
  }
  const at = '/admin/api/services'
  const ofAdmin: [Asked, number, string][] = [
    [{ method: 'GET', path: '/admin/api' }, 404, 'ERR_PATH_UNKNOWN'],
    [{ method: 'GET', path: `${at}/none` }, 404, 'ERR_SERVICE_UNKNOWN'],
    [{ path: `${at}/none/actions/enable` }, 404, 'ERR_SERVICE_UNKNOWN'],
    [{ method: 'PUT', path: at }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ path: '/isAlive/' }, 405, 'ERR_METHOD_NOT_ALLOWED'],
    [{ path: at, body: '{"serviceId":"s"}' }, 409, 'ERR_SERVICE_EXISTS'],
    [{ path: at, body: '{"serviceId":' }, 400, 'ERR_BODY_INVALID'],
    [{ path: at, body: '{"serviceId":NaN}' }, 400, 'ERR_BODY_INVALID'],
    [{ path: at, body: '[]' }, 400, 'ERR_PARAMETER_INVALID'],
    [{ path: at, body: `"${'x'.repeat(2 ** 20)}"` }, 413, 'ERR_BODY_TOO_LARGE'],
    [{ path: at, headers: ['Content-Type: text/html'], body: '{}' }, 415, 'ERR_BODY_TYPE'],
    [{ path: '/admin/api/model-cache' }, 501, 'ERR_NOT_SUPPORTED'],
  ]
  for (const [asked, status, code] of ofAdmin) {
    for (const key of asAdmin) {
      const headers = [...key, ...(asked.headers ?? [])]
      const told = await admin.ask(t, { ...asked, headers })
      t.match(told, { status, json: { code } }, JSON.stringify(asked).slice(0, 90))
    }
  }
  const broken = await admin.ask(t, { method: 'GET', path: at, headers: ['no header'] })
  t.match(broken, { status: 400, json: { code: 'ERR_REQUEST_INVALID' } }, 'what is no HTTP')
}

const CATEGORIES = ['red', 'green', 'blue', 'dark red']

/** What is asked for is a text and a number; what is not known is told by the answer. */
function shopBundle(): Buffer {
  const features = [
    { name: 'colour', type: 'string', categories: CATEGORIES, onUnknown: 'IGNORE' },
    { name: 'unit size', input: 'size', type: 'number', onMissing: 'IMPUTE', value: 7 },
  ]
  return bundleOf(mixedPipeline(), { features })
}

/** The query names the features, as a person types it into a browser. */
async function simple(t: Test, { query }: Sides): Promise<void> {
  const at = '/public/api/v1/shop/p/predict-simple'
  const get = (text: string, headers: readonly string[] = []) =>
    query.ask(t, { method: 'GET', path: `${at}${text}`, headers })
  for (const [text, prediction] of [
    ['?colour=red&unit%20size=2', 21],
    ['?colour=red&unit+size=2', 21],
    ['/?%63olour=%72ed&unit+size=%32', 21],
    ['?unit%20size=-1.5e1&colour=green', -148],
    ['?colour=blue&unit+size=', 73],
    ['?colour=blue', 73],
    ['?colour=blue&more=1&&x&=', 73],
  ] as const) {
    const told = await get(text)
    t.match(told, { status: 200, json: { result: { prediction, ignored: false } } }, text)
    t.match(told.json.apiContext, { serviceId: 'shop', serviceGeneration: 'v1' })
  }
  for (const [text, reason] of [
    ['?colour=&unit+size=1', /""/],
    ['?colour=r+d', /"r d"/],
    ['?colour=r%2Bd', /"r\+d"/],
    ['?colour=%C3%BC', /"ü"/],
  ] as const) {
    const told = await get(text)
    t.match(told, { status: 200, json: { result: { ignored: true, ignoreDetail: reason } } }, text)
  }
  for (const [text, reason] of [
    ['', /"colour" is missing/],
    ['?', /"colour" is missing/],
    ['?unit+size=1', /"colour" is missing/],
    ['?colour=red&unit+size=two', /"unit size".*"two"/],
    ['?colour=red&colour=blue', /"colour" twice/],
    ['?colour=red&more=1&more=', /"more" twice/],
    ['?colour=%ff', /UTF-8/],
  ] as const) {
    t.match(await get(text), { status: 400, json: { detailedMessage: reason } }, text)
  }
  const foreign = await get('?colour=red', ['Sec-Fetch-Site: cross-site'])
  t.match(foreign, { status: 403, json: { code: 'ERR_ORIGIN_FORBIDDEN' } }, 'another web page')
  const posted = await query.ask(t, { path: at, body: GOOD })
  t.match(posted, { status: 405, json: { detailedMessage: /use GET/ } })
}

async function swagger(t: Test, { query }: Sides, key: string): Promise<void> {
  const get = (service: string, headers: readonly string[] = []) =>
    query.ask(t, { method: 'GET', path: `/public/api/v1/${service}/swagger`, headers })
  const { status, json } = await get('shop')
  t.equal(status, 200)
  t.match(json, { swagger: '2.0', basePath: '/public/api/v1/shop' })
  t.same(Object.keys(json.paths).sort(), ['/p/predict', '/p/predict-multi', '/p/predict-simple'])
  t.match(await get('none'), { status: 404, json: { code: 'ERR_SERVICE_UNKNOWN' } })
  t.match(await get('closed'), { status: 401, json: { code: 'ERR_AUTH_MISSING' } })
  for (const headers of [bearer(key), basic(key)]) {
    t.match(await get('closed', headers), { status: 200, json: { swagger: '2.0' } })
  }
  t.match(await get('off'), { status: 503, json: { code: 'ERR_SERVICE_DISABLED' } })
}

async function deployed(node: TestNode): Promise<string[]> {
  const client = new Client(node)
  const bundle = bundleOf(regressor(1))
  await client.deploy('s', 'v1', bundle)
  await client.deploy('off', 'v1', bundle)
  await client.admin('POST', '/services/off/disable')
  await client.admin('POST', '/services', { serviceId: 'empty' })
  const keyed = bundleOf(regressor(1), {}, { authorization: 'API_KEYS' })
  await client.deploy('closed', 'v1', keyed)
  await client.deploy('shop', 'v1', shopBundle())
  const keys: string[] = []
  for (const service of ['closed', 's']) {
    const made = await client.admin('POST', '/auth/keys', { allowedServices: [service] })
    keys.push(made.body.key)
  }
  return keys
}

type Node = Pick<TestNode, 'url' | 'adminUrl' | 'adminKey' | 'log'>

async function check(t: Test, node: Node, keys: readonly string[]): Promise<void> {
  const query = new Side(node.url)
  const admin = new Side(node.adminUrl)
  t.teardown(() => [query, admin].map((side) => side.close()))
  const asAdmin = [bearer(node.adminKey), basic(node.adminKey)]
  const sides = { node, query, admin, asAdmin }
  await t.test('bodies', (t) => bodies(t, sides))
  await t.test('paths', (t) => paths(t, sides))
  await t.test('keys', (t) => credentials(t, sides, keys))
  await t.test('refusals', (t) => refusals(t, sides))
  await t.test('features in the query', (t) => simple(t, sides))
  await t.test('the document of a service', (t) => swagger(t, sides, keys[0] ?? ''))
}

t.test('both APIs, by hand, over either way of carrying HTTP', async (t) => {
  const home = freshHome(t)
  const args = ['--body-bytes-max', String(BODY_BYTES_MAX)]
  const node = await startNode(t, { home, args })
  const keys = await deployed(node)
  await t.test('uWebSockets.js', (t) => check(t, node, keys))
  t.equal(await node.stop(), 0)
  // What the first has imported is there.
  const folder = join(home, '..', 'without-uws')
  mkdirSync(folder)
  const started = startProcess(t, { home, args }, [process.execPath, withoutUws(folder)])
  const { adminKey, log } = started
  const other = { ...(await readyLine(started)), adminKey, log }
  t.match(log(), /node:http/, 'it says so')
  await t.test('node:http', (t) => check(t, other, keys))
})
