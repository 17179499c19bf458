/**
 * Goal: the admin port answers every operation with the right status and body, and keeps strangers
 * and other web pages out.
 * Method: a real listener over the real store, spoken to by HTTP; loads and forging are in memory,
 * as in operations.test.ts.
 */

import { readdirSync } from 'node:fs'
import t from 'tap'
import { ROUTES } from '../../admin/routes/table.ts'
import { SILENT } from '../../core/base/logger.ts'
import {
  abortedUpload,
  failed,
  fits,
  openAdmin,
  type Reply,
  request,
  send,
} from '../tools/admin-client.ts'
import { bundle } from '../tools/memory-forge.ts'

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
  const summaries: object[] = JSON.parse(list.text)
  for (const summary of summaries) fits(t, 'ServiceSummary', summary)
  t.notOk('activeGeneration' in (summaries[1] ?? {}), 'absent, never null')
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
  t.notOk(`${shown.text}${keys.text}`.includes(made.body.key ?? ''), 'the secret is shown once')
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

t.test('an operator replaces the serving processes', async (t) => {
  const { call, serving } = await openAdmin(t)
  const replace = '/admin/api/actions/replace-serving'
  const replaced = await call('POST', replace)
  t.match(replaced, { status: 200, body: { ok: true, replaced: 1, ms: 1 } })
  fits(t, 'Replaced', replaced.body)
  t.same(serving.replacements, ['asked'])
  serving.replaceOutcome = { kind: 'failed', reason: 'the new one ended (code 1)' }
  failed(t, await call('POST', replace), 503, 'ERR_REPLACE_FAILED')
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
  t.equal((await post('{}', 'application/vnd.x+json')).status, 200)
  for (const type of ['application/x-www-form-urlencoded', 'application/xml']) {
    failed(t, await post('{}', type), 415, 'ERR_BODY_TYPE')
  }
  const zipped = { 'content-encoding': 'gzip' }
  failed(t, await call('POST', keys, { body: '{}', headers: zipped }), 415, 'ERR_BODY_TYPE')
  failed(t, await post('{"label":'), 400, 'ERR_BODY_INVALID')
  failed(t, await post(new Uint8Array([0x22, 0xff, 0x22])), 400, 'ERR_BODY_INVALID')
  const faulty = await post('{"label":1,"allowedService":["s"],"allowedServices":["../x"]}')
  failed(t, faulty, 400, 'ERR_PARAMETER_INVALID')
  const paths = faulty.body.faults?.map(({ path }) => path).sort()
  t.same(paths, ['allowedService', 'allowedServices[0]', 'label'], 'every fault is named')
  t.match(faulty.body.detailedMessage, /did you mean "allowedServices"\?/)
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
  const bugs: unknown[] = []
  const logger = { ...SILENT, error: (fields: object) => void bugs.push(fields) }
  const admin = await openAdmin(t, { logger })
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
  const curl = 'application/x-www-form-urlencoded'
  t.equal((await raw(curl, '?generationId=raw3')).status, 200, 'as curl --data-binary says')
  failed(t, await raw('multipart/form-data'), 400, 'ERR_BUNDLE_INVALID')

  const form = (...files: [string, string | Blob][]) => {
    const data = new FormData()
    for (const [name, value] of files) data.append(name, value)
    return call('POST', path, { body: data })
  }
  const file = new Blob([bundle({ content: 'x' })])
  const part = 'Content-Disposition: form-data; name="file"; filename="a.zip"'
  const broken = { 'content-type': 'multipart/form-data; boundary=b' }
  const cut = await call('POST', path, { body: `--b\r\n${part}\r\n\r\nPK`, headers: broken })
  const faulty: [Reply, RegExp][] = [
    [cut, /form ends/],
    [await form(['archive', file]), /"archive".*"file"/],
    [await form(['file', 'text instead']), /"file" holds a text.*file=@/],
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
  t.same(bugs, [], 'no fault of a caller is logged as ours')
})

interface Document {
  readonly paths: Readonly<Record<string, object>>
  readonly components: { readonly schemas: object }
}

t.test('the document of the API', async (t) => {
  const { call } = await openAdmin(t)
  const body: Document = JSON.parse((await call('GET', '/openapi.json')).text)
  t.match(body, { openapi: '3.1.0', info: { version: '0.0.0' } })
  const described = Object.entries(body.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  )
  // Pieces of the page that shows the document are not part of the API.
  const routes = ROUTES.filter(({ operation }) => operation !== 'getDocsFile')
  t.same(described.sort(), routes.map(({ method, path }) => `${method} ${path}`).sort())
  const references = JSON.stringify(body).matchAll(/#\/components\/schemas\/(\w+)/g)
  for (const [, name = ''] of references) t.ok(name in body.components.schemas, name)
})
