/**
 * Goal: the admin port answers every operation with the right status and body, keeps strangers and
 * other web pages out, and survives what is wrong with HTTP itself.
 * Method: a real listener over the real store; fetch for what is well formed, raw sockets for what
 * is not. Loads and forging are in memory, as in operations.test.ts.
 */

import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ajv } from 'ajv'
import t, { type Test } from 'tap'
import { SCHEMAS, type SchemaName } from '../../admin/routes/schemas.ts'
import { ROUTES } from '../../admin/routes/table.ts'
import type { ERROR_TABLE } from '../../core/base/errors.ts'
import {
  type AdminListener,
  bundle,
  type ControlPlane,
  type FakeBundle,
  listenAdmin,
  openControlPlane,
  temporaryDirectory,
} from '../tools/control-plane.ts'

interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the node sent; the tests look inside.
  readonly body: any
}

interface Admin extends ControlPlane {
  readonly listener: AdminListener
  readonly key: string
  call(method: string, path: string, init?: RequestInit): Promise<Reply>
  upload(path: string, content: FakeBundle, name?: string): Promise<Reply>
}

async function openAdmin(t: Test, options: { metricsPublic?: boolean } = {}): Promise<Admin> {
  const plane = await openControlPlane(temporaryDirectory(t))
  t.teardown(() => plane.close())
  const listener = await listenAdmin(plane, options)
  t.teardown(() => listener.close())
  const key = (await plane.operations.ensureAdminKey(null)) ?? ''
  const call = (method: string, path: string, init: RequestInit = {}): Promise<Reply> =>
    send(`${listener.url}${path}`, {
      ...init,
      method,
      headers: { authorization: `Bearer ${key}`, ...init.headers },
    })
  const upload = (path: string, content: FakeBundle, name = 'v1.zip'): Promise<Reply> => {
    const form = new FormData()
    form.set('file', new Blob([bundle(content)]), name)
    return call('POST', path, { body: form })
  }
  return { ...plane, listener, key, call, upload }
}

async function send(url: string, init: RequestInit = {}): Promise<Reply> {
  const response = await fetch(url, init)
  const text = await response.text()
  const isJson = response.headers.get('content-type') === 'application/json'
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson && text !== '' ? JSON.parse(text) : null,
  }
}

const ajv = new Ajv({ strict: false })

function fits(t: Test, name: SchemaName, value: unknown): void {
  const validate = ajv.compile(SCHEMAS[name])
  t.ok(validate(value), `a ${name}: ${ajv.errorsText(validate.errors)}`)
}

function failed(t: Test, reply: Reply, status: number, code: keyof typeof ERROR_TABLE): void {
  t.equal(reply.status, status, `${code} ${reply.text.slice(0, 200)}`)
  t.equal(reply.body?.code, code)
  fits(t, 'Error', reply.body)
}

t.test('every operation', async (t) => {
  const { call, upload, key } = await openAdmin(t)
  const services = '/admin/api/services'
  const created = await call('POST', `${services}/`, { body: '{"serviceId":"s"}' })
  t.match(created, { status: 200, body: { ok: true, serviceId: 's' } }, 'with a trailing slash')
  t.equal(created.headers.get('dss-api-version'), '1.0')
  t.equal(created.headers.get('dss-version'), '0.0.0')
  t.equal(created.headers.get('x-content-type-options'), 'nosniff')
  t.equal((await call('POST', services, { body: '{"serviceId":"t"}' })).status, 200)

  const imported = await upload(`${services}/s/generations`, { content: 'one' })
  t.match(imported, { status: 200, body: { generationId: 'v1', active: false } })
  fits(t, 'GenerationSummary', imported.body)
  const named = `${services}/s/generations?generationId=v2`
  t.equal((await upload(named, { content: 'two' })).body.generationId, 'v2')

  const v1 = `${services}/s/generations/v1`
  t.match(await call('POST', `${v1}/preload`), { status: 200, body: { ok: true } })
  t.match(await call('POST', `${v1}/switch`), { status: 200, body: { ok: true } })
  t.match(await call('POST', `${services}/s/disable`), { status: 200, body: { ok: true } })
  t.match(await call('POST', `${services}/s/enable`), { status: 200, body: { ok: true } })

  const list = await call('GET', services)
  t.match(list.body, [{ serviceId: 's', activeGeneration: 'v1' }, { serviceId: 't' }])
  for (const summary of list.body) fits(t, 'ServiceSummary', summary)
  t.notOk('activeGeneration' in list.body[1], 'absent, never null')
  const service = await call('GET', `${services}/s`)
  fits(t, 'Service', service.body)
  t.same(service.body.mapping, { entries: [{ generation: 'v1', proba: 1 }] })
  t.match(service.body.pools, [{ generationId: 'v1', state: 'active' }])
  t.same(service.body.endpoints, [{ id: 'score', type: 'STD_PREDICTION', modelRef: 'model.onnx' }])
  const generation = await call('GET', v1)
  fits(t, 'Generation', generation.body)
  t.match(generation.body, { state: 'active', preloaded: true, report: { runtime: 'memory' } })

  failed(t, await call('DELETE', v1), 409, 'ERR_GENERATION_ACTIVE')
  t.match(await call('DELETE', `${services}/s/generations/v2`), { status: 204, text: '' })
  t.match((await call('GET', `${services}/s/generations/`)).body, [{ generationId: 'v1' }])

  const made = await call('POST', '/admin/api/auth/keys', { body: '{"label":"app"}' })
  fits(t, 'AuthKey', made.body)
  t.match(made.body, { label: 'app', key: /^sk_/, allowedServices: [] })
  const shown = await call('GET', `/admin/api/auth/keys/${made.body.id}`)
  fits(t, 'AuthKey', shown.body)
  const keys = await call('GET', '/admin/api/auth/keys')
  t.notOk(`${shown.text}${keys.text}`.includes(made.body.key), 'the secret is shown once')
  t.equal((await call('DELETE', `/admin/api/auth/keys/${made.body.id}`)).status, 204)
  failed(t, await call('DELETE', `/admin/api/auth/keys/${made.body.id}`), 404, 'ERR_KEY_UNKNOWN')

  fits(t, 'Metrics', (await call('GET', '/admin/api/metrics')).body)
  const prometheus = await call('GET', '/metrics')
  t.match(prometheus.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  t.match(prometheus.text, /^# HELP /m)
  const health = await call('GET', '/admin/api/health')
  fits(t, 'HealthStatus', health.body)
  t.notOk(health.text.includes(key))
  t.equal((await call('DELETE', `${services}/s`)).status, 204)
  failed(t, await call('GET', `${services}/s`), 404, 'ERR_SERVICE_UNKNOWN')
})

t.test('keys open it and nothing else does', async (t) => {
  const { call, listener, key, operations } = await openAdmin(t)
  const path = `${listener.url}/admin/api/services`
  const basic = `Basic ${Buffer.from(`${key}:`).toString('base64')}`
  t.equal((await send(path, { headers: { authorization: basic } })).status, 200)
  const wrong = ['', 'Bearer', 'Bearer nonsense', `Bearer  ${key}`, `Bearer ${key} x`, key]
  for (const authorization of wrong) {
    const reply = await send(path, { headers: authorization === '' ? {} : { authorization } })
    t.equal(reply.status, 401, authorization.slice(0, 12))
    t.match(reply.headers.get('www-authenticate'), /^Bearer/, 'browsers are not asked')
  }
  const { key: caller } = await operations.createKey({ label: '', allowedServices: [] }, 'me')
  const forbidden = await send(path, { headers: { authorization: `Bearer ${caller}` } })
  failed(t, forbidden, 403, 'ERR_AUTH_FORBIDDEN')
  for (const route of ROUTES) {
    const url = `${listener.url}${route.path.replaceAll(/\{\w+\}/g, 'x')}`
    const { status } = await send(url, { method: route.method })
    t.equal(status === 401, route.needs !== 'nothing', `${route.method} ${route.path}: ${status}`)
  }
  t.equal((await call('GET', '/metrics')).status, 200)
  const open = await openAdmin(t, { metricsPublic: true })
  t.equal((await send(`${open.listener.url}/metrics`)).status, 200, 'when it was told so')
})

t.test('other web pages are kept out', async (t) => {
  const { listener, key } = await openAdmin(t)
  const path = '/admin/api/services'
  const { port } = listener
  const own = `http://127.0.0.1:${port}`
  const cases: [Record<string, string>, number][] = [
    [{ 'sec-fetch-site': 'cross-site' }, 403],
    [{ origin: 'https://elsewhere.example' }, 403],
    [{ origin: 'null' }, 403],
    [{ origin: own }, 200],
    [{ origin: own, 'sec-fetch-site': 'same-origin' }, 200],
  ]
  for (const [headers, status] of cases) {
    const authorization = `Bearer ${key}`
    const reply = await request({ port, path, headers: { ...headers, authorization } })
    t.equal(reply.status, status, JSON.stringify(headers))
    if (status === 403) t.equal(JSON.parse(reply.text).code, 'ERR_ORIGIN_FORBIDDEN')
  }
})

t.test('paths and methods', async (t) => {
  const { call, listener, key } = await openAdmin(t)
  const raw = (path: string, method = 'GET') =>
    request({ port: listener.port, path, method, headers: { authorization: `Bearer ${key}` } })
  for (const path of ['//admin//api/services', '/admin/api/services/', '/admin/api/services?x=1']) {
    t.equal((await raw(path)).status, 200, path)
  }
  for (const path of ['/', '/admin', '/admin/api', '/admin/api/servicesx', '/public/api/v1/s']) {
    failed(t, await call('GET', path), 404, 'ERR_PATH_UNKNOWN')
  }
  failed(t, await call('GET', '/admin/api/services/a%2Fb'), 404, 'ERR_SERVICE_UNKNOWN')
  t.equal((await raw('/admin/api/services/%zz')).status, 400)
  t.equal((await raw('/admin/api/services/%2e%2e')).status, 404)
  const wrong = await call('PUT', '/admin/api/services')
  failed(t, wrong, 405, 'ERR_METHOD_NOT_ALLOWED')
  t.equal(wrong.headers.get('allow'), 'GET, POST, HEAD, OPTIONS')
  t.match(await call('OPTIONS', '/admin/api/services'), { status: 204, text: '' })
  const head = await call('HEAD', '/admin/api/services')
  t.match(head, { status: 200, text: '' })
  t.equal(head.headers.get('content-length'), '2', 'of the body that GET would send')
})

t.test('JSON bodies', async (t) => {
  const { call, listener, key } = await openAdmin(t)
  const keys = '/admin/api/auth/keys'
  const post = (body: string | Uint8Array, type?: string) =>
    call('POST', keys, {
      body,
      ...(type === undefined ? {} : { headers: { 'content-type': type } }),
    })
  const authorization = `Bearer ${key}`
  const bare = { port: listener.port, path: keys, method: 'POST', headers: { authorization } }
  t.equal((await request({ ...bare, body: '{"label":"x"}' })).status, 200, 'without a type')
  t.equal((await request(bare)).status, 200, 'an empty body is {}')
  t.equal((await post('{}', 'text/plain')).status, 200)
  t.equal((await post('{}', 'application/json; charset="UTF-8"')).status, 200)
  for (const type of ['application/json; charset=utf-16', 'multipart/form-data; boundary=x']) {
    failed(t, await post('{}', type), 415, 'ERR_BODY_TYPE')
  }
  failed(t, await post('a=b', 'application/x-www-form-urlencoded'), 415, 'ERR_BODY_TYPE')
  const zipped = { 'content-encoding': 'gzip' }
  failed(t, await call('POST', keys, { body: '{}', headers: zipped }), 415, 'ERR_BODY_TYPE')
  failed(t, await post('{"label":'), 400, 'ERR_BODY_INVALID')
  failed(t, await post(new Uint8Array([0x22, 0xff, 0x22])), 400, 'ERR_BODY_INVALID')
  const faulty = await post('{"label":1,"allowedService":["s"],"allowedServices":["../x"]}')
  failed(t, faulty, 400, 'ERR_PARAMETER_INVALID')
  const paths = faulty.body.faults.map(({ path }: { path: string }) => path).sort()
  t.same(paths, ['allowedService', 'allowedServices[0]', 'label'], 'every fault is named')
  failed(t, await post('[]'), 400, 'ERR_PARAMETER_INVALID')
  failed(t, await post('"x"'), 400, 'ERR_PARAMETER_INVALID')
  failed(t, await post(`{"label":"${'x'.repeat(2 ** 20)}"}`), 413, 'ERR_BODY_TOO_LARGE')
  failed(t, await call('POST', '/admin/api/services'), 400, 'ERR_PARAMETER_INVALID')
  const twice = await call('POST', '/admin/api/services', { body: '{"serviceId":"a"}' })
  t.equal(twice.status, 200)
  const again = await call('POST', '/admin/api/services', { body: '{"serviceId":"a"}' })
  failed(t, again, 409, 'ERR_SERVICE_EXISTS')
})

t.test('uploads', async (t) => {
  const admin = await openAdmin(t)
  const { call, upload, home } = admin
  await call('POST', '/admin/api/services', { body: '{"serviceId":"s"}' })
  const path = '/admin/api/services/s/generations'
  const raw = (type: string, query = '') =>
    call('POST', `${path}${query}`, {
      body: bundle({ content: 'raw' }),
      headers: type === '' ? {} : { 'content-type': type },
    })
  t.match(await raw('application/zip', '?generationId=raw1'), { body: { generationId: 'raw1' } })
  t.equal((await raw('application/octet-stream', '?generationId=raw2')).status, 200)
  failed(t, await raw('application/zip', '?generationId=../x'), 400, 'ERR_PARAMETER_INVALID')
  failed(t, await raw('application/json'), 415, 'ERR_BODY_TYPE')
  failed(t, await raw('application/x-www-form-urlencoded'), 415, 'ERR_BODY_TYPE')
  failed(t, await raw('multipart/form-data'), 400, 'ERR_BUNDLE_INVALID')

  const form = (...files: [string, string | Blob][]) => {
    const data = new FormData()
    for (const [name, value] of files) data.append(name, value)
    return call('POST', path, { body: data })
  }
  const file = new Blob([bundle({ content: 'x' })])
  const faulty: [Reply, RegExp][] = [
    [await form(['archive', file]), /"archive".*"file"/],
    [await form(['file', 'text instead']), /"file"/],
    [await form(), /no file/],
    [await form(['file', file], ['file', file]), /one file only/],
    [await form(['file', file], ['note', 'hello']), /"note"/],
  ]
  for (const [reply, detail] of faulty) {
    failed(t, reply, 400, 'ERR_BUNDLE_INVALID')
    t.match(reply.body.detailedMessage, detail)
  }
  failed(t, await upload('/admin/api/services/none/generations', {}), 404, 'ERR_SERVICE_UNKNOWN')
  const faults = [{ path: 'model', reason: 'is missing' }]
  const refuse = { code: 'ERR_BUNDLE_INVALID', detail: 'one fault', faults } as const
  const refused = await upload(path, { refuse })
  failed(t, refused, 400, 'ERR_BUNDLE_INVALID')
  t.same(refused.body.faults, faults)
  const model = { code: 'ERR_MODEL_REFUSED', detail: 'unknown operator', faults: [] } as const
  failed(t, await upload(path, { refuse: model }), 422, 'ERR_MODEL_REFUSED')

  t.equal((await upload(path, { content: 'y' }, 'v1.zip')).status, 200)
  t.equal((await upload(path, { content: 'y' }, 'v1.zip')).status, 200, 'the same again')
  failed(t, await upload(path, { content: 'z' }, 'v1.zip'), 409, 'ERR_GENERATION_EXISTS')
  failed(t, await upload(path, {}, 'actions.zip'), 400, 'ERR_PARAMETER_INVALID')
  await abortedUpload(admin)
  t.same(readdirSync(home.staging), [], 'nothing is left in staging')
})

/** Sends half of what it declares and leaves; returns when the node has noticed. */
async function abortedUpload({ listener, key, home }: Admin): Promise<void> {
  const socket = connect(listener.port, '127.0.0.1')
  const boundary = 'x'
  const part = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n`
  socket.write(
    `POST /admin/api/services/s/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n` +
      `Content-Type: multipart/form-data; boundary=${boundary}\r\nContent-Length: 5000000\r\n\r\n` +
      `${part}${'z'.repeat(100_000)}`,
  )
  await until(() => readdirSync(home.staging).length > 0)
  socket.destroy()
  await until(() => readdirSync(home.staging).length === 0)
}

t.test('a large upload is streamed', async (t) => {
  const { call, listener, key, forge } = await openAdmin(t)
  await call('POST', '/admin/api/services', { body: '{"serviceId":"s"}' })
  const found = bundle({ content: 'big' })
  const bytes = 64 * 1024 * 1024
  const before = process.memoryUsage().rss
  const upload = http.request({
    port: listener.port,
    method: 'POST',
    path: '/admin/api/services/s/generations?generationId=big',
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/zip',
      'content-length': bytes,
    },
  })
  // JSON may be followed by spaces: an archive of any size that the forge of this test can read.
  const chunk = Buffer.alloc(1024 * 1024, ' ')
  upload.write(found)
  let sent = found.length
  while (sent < bytes) {
    const piece = chunk.subarray(0, Math.min(chunk.length, bytes - sent))
    sent += piece.length
    if (!upload.write(piece)) await new Promise((resolve) => upload.once('drain', resolve))
  }
  upload.end()
  const [status, text] = await answerTo(upload)
  t.equal(status, 200, text)
  const grownMib = (process.memoryUsage().rss - before) / 1024 ** 2
  // The test reads the archive whole, and client and server share this process.
  t.ok(grownMib < 220, `grown by ${Math.round(grownMib)} MiB`)
  t.equal(forge.requests.length, 1)
})

t.test('what is wrong with HTTP itself', async (t) => {
  const { listener, key } = await openAdmin(t)
  const { port } = listener
  const auth = `Authorization: Bearer ${key}`
  const post = `POST /admin/api/auth/keys HTTP/1.1\r\nHost: x\r\n${auth}\r\n`
  const refused: [string, string, number][] = [
    ['length beside chunks', `${post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
    ['two lengths', `${post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400],
    ['odd coding', `${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 400],
    ['capital coding', `${post}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n`, 400],
    ['bad chunk', `${post}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['no host', 'GET /admin/api/health HTTP/1.1\r\n\r\n', 400],
    ['10 GB declared', `${post}Content-Length: 10000000000\r\n\r\n`, 413],
    ['headers of 40 KB', `${post}X: ${'x'.repeat(40_000)}\r\n\r\n`, 431],
    ['two keys', `GET /admin/api/services HTTP/1.1\r\nHost: x\r\n${auth}\r\n${auth}\r\n\r\n`, 401],
  ]
  for (const [name, bytes, status] of refused) {
    const answer = await rawExchange(port, bytes)
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), name)
    if (name !== 'no host') t.match(answer, /"code":"ERR_/, `${name}: the answer is JSON`)
    t.equal(answer.split('HTTP/1.1').length, 2, 'one answer')
  }
  const alive = await request({ port, path: '/admin/api/health' })
  t.equal(alive.status, 200, 'others are not touched')
  const continued = `${post}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n`
  t.match(await rawExchange(port, continued), /^HTTP\/1\.1 100 /)
  const stranger = continued.replace(auth, 'X: y')
  t.match(await rawExchange(port, stranger), /^HTTP\/1\.1 401 /, 'nobody asked for the body')
})

t.test('alive and closing', async (t) => {
  const { listener, directory, operations, serving, call } = await openAdmin(t)
  const url = `${listener.url}/isAlive/`
  t.equal((await send(url)).status, 200)
  const file = join(directory, 'apinode-not-alive.txt')
  writeFileSync(file, '')
  failed(t, await send(url), 503, 'ERR_STOPPING')
  rmSync(file)
  serving.running = false
  failed(t, await send(url), 503, 'ERR_STARTING')
  serving.running = true

  await operations.createService('s', 'me')
  serving.stalled = true
  serving.applyMs = 150
  const pending = call('POST', '/admin/api/services/s/disable')
  await sleep(30)
  const closing = listener.close()
  const reply = await pending
  failed(t, reply, 503, 'ERR_APPLY_PENDING')
  t.equal(reply.headers.get('connection'), 'close')
  t.equal(reply.headers.get('retry-after'), '1')
  await closing
  await t.rejects(send(url), 'nobody listens any more')
})

t.test('the document of the API', async (t) => {
  const { call } = await openAdmin(t)
  const { body } = await call('GET', '/openapi.json')
  t.match(body, { openapi: '3.1.0', info: { version: '0.0.0' } })
  const described = Object.entries<Record<string, { operationId: string }>>(body.paths).flatMap(
    ([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  )
  t.same(described.sort(), ROUTES.map(({ method, path }) => `${method} ${path}`).sort())
  const references = JSON.stringify(body).matchAll(/#\/components\/schemas\/(\w+)/g)
  for (const [, name = ''] of references) t.ok(name in body.components.schemas, name)
})

interface RawRequest {
  readonly port: number
  readonly path: string
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** node:http sends what it is told: paths as they are, no Content-Type, forbidden headers. */
async function request(raw: RawRequest): Promise<{ status: number; text: string }> {
  const { body, ...options } = raw
  const sent = http.request({ host: '127.0.0.1', agent: false, ...options })
  sent.end(body)
  const [status, text] = await answerTo(sent)
  return { status, text }
}

function answerTo(sent: http.ClientRequest): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    sent.on('error', reject)
    sent.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece
      })
      response.on('end', () => resolve([response.statusCode ?? 0, text]))
    })
  })
}

/** Everything that comes back within a moment, or until the node closes. */
async function rawExchange(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  let ended = false
  socket.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  socket.on('close', () => {
    ended = true
  })
  socket.on('error', () => {})
  socket.write(bytes)
  await until(() => ended || text.includes('\r\n\r\n'))
  await sleep(20)
  socket.destroy()
  return text
}

async function until(condition: () => boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs < 3_000 && !condition(); waitedMs += 5) await sleep(5)
}
