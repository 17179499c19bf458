/**
 * Goal: the admin API is the one that was asked for: every operation of the agreed document exists
 * and answers only with statuses and bodies that the document allows.
 * Method: a whole node in its own processes; every answer of every operation, good and bad, goes
 * through a validator that reads the document itself. Statuses beside the document's are allowed
 * where the document is silent, and are listed here one by one.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { bundleOf } from '../tools/client.ts'
import { startNode, type TestNode } from '../tools/node.ts'
import { int4Output, regressor } from '../tools/onnx-models.ts'
import { SHARED } from '../tools/paths.ts'

interface OpenApi {
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: object
}

interface Operation {
  readonly operationId: string
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>
}

/** What we answer beside the document, and why it may. */
const BESIDE: Readonly<Record<string, readonly number[]>> = {
  // Every operation but health needs a key, also where the document names no 401.
  '*': [401, 403],
  importGeneration: [408, 409, 413, 415, 422, 507],
  deleteGeneration: [409],
  switchGeneration: [409, 422],
  preloadGeneration: [422],
  createAuthKey: [415],
}

class Contract {
  readonly seen = new Map<string, Set<number>>()
  readonly #document: OpenApi
  readonly #ajv = ajvFormats.default(new Ajv2020({ strict: false, allErrors: true }))
  readonly #node: TestNode

  constructor(document: OpenApi, node: TestNode) {
    this.#document = document
    this.#node = node
  }

  operations(): string[] {
    return Object.values(this.#document.paths).flatMap((item) =>
      Object.values(item).flatMap(({ operationId }) => operationId ?? []),
    )
  }

  /** Calls one operation and holds its answer to the document. */
  async call(t: Test, operationId: string, request: CallRequest): Promise<Answered> {
    const { path, method, operation } = this.#find(operationId)
    const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => request.params?.[name] ?? '')
    const url = `${this.#node.adminUrl}/admin/api${filled}${request.query ?? ''}`
    const key = request.key === undefined ? this.#node.adminKey : request.key
    const headers = {
      ...request.headers,
      ...(key === '' ? {} : { authorization: `Bearer ${key}` }),
    }
    const body = request.body === undefined ? {} : { body: request.body }
    const response = await fetch(url, { method, headers, ...body })
    const text = await response.text()
    this.#note(operationId, response.status)
    const name = `${operationId} ${response.status}`
    t.equal(response.status, request.expect, `${name}: ${text.slice(0, 300)}`)
    const value: unknown = text === '' ? undefined : JSON.parse(text)
    this.#check(t, operation, response, value)
    return { value, text, headers: response.headers }
  }

  #check(t: Test, operation: Operation, response: Response, value: unknown): void {
    const { status } = response
    const name = `${operation.operationId} ${status}`
    const declared = operation.responses[String(status)]
    const allowed = [...(BESIDE['*'] ?? []), ...(BESIDE[operation.operationId] ?? [])]
    t.ok(declared !== undefined || allowed.includes(status), `${name} is a status of the document`)
    t.ok(response.headers.has('dss-api-version') && response.headers.has('dss-version'), name)
    const schema = declared?.content?.['application/json']?.schema
    if (schema !== undefined) {
      t.match(response.headers.get('content-type'), /^application\/json/, name)
      const validate = this.#compile(schema)
      t.ok(validate(value), `${name} is as described: ${this.#ajv.errorsText(validate.errors)}`)
    }
    if (status === 204) t.equal(value, undefined, `${name} has no body`)
    if (status >= 400) t.match(value, ERROR, `${name} is an error object`)
  }

  #find(operationId: string) {
    for (const [path, item] of Object.entries(this.#document.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (operation.operationId === operationId) {
          return { path, method: method.toUpperCase(), operation }
        }
      }
    }
    throw new TypeError(`the document has no ${operationId}`)
  }

  /** The schema with the document's components beside it, so that its references resolve. */
  #compile(schema: object): ValidateFunction {
    const { components } = this.#document
    return this.#ajv.compile({ ...schema, components })
  }

  #note(operationId: string, status: number): void {
    const statuses = this.seen.get(operationId) ?? new Set()
    this.seen.set(operationId, statuses.add(status))
  }
}

interface CallRequest {
  readonly expect: number
  readonly params?: Readonly<Record<string, string>>
  readonly query?: string
  readonly body?: string | FormData
  readonly headers?: Readonly<Record<string, string>>
  /** Default: the admin key; '' for none. */
  readonly key?: string
}

interface Answered {
  readonly value: unknown
  readonly text: string
  readonly headers: Headers
}

const ERROR = {
  errorType: String,
  message: String,
  detailedMessage: String,
  code: /^ERR_/,
  requestId: String,
}

function upload(file: Uint8Array, name: string, field = 'file'): FormData {
  const form = new FormData()
  form.set(field, new Blob([new Uint8Array(file)]), name)
  return form
}

async function contract(t: Test, document: OpenApi): Promise<void> {
  const node = await startNode(t)
  const api = new Contract(document, node)
  await t.test('health needs no key', async (t) => {
    const { text } = await api.call(t, 'getHealth', { expect: 200, key: '' })
    t.notOk(text.includes(node.adminKey))
  })
  await createService(node)
  await t.test('services', (t) => services(t, api))
  await t.test('import', (t) => imports(t, api))
  await t.test('generations', (t) => generations(t, api))
  await t.test('keys', (t) => keys(t, api))
  await t.test('metrics count what was asked', async (t) => {
    await fetch(`${node.url}/public/api/v1/s/none/predict`, { method: 'POST', body: '{}' })
    const { value } = await api.call(t, 'getMetrics', { expect: 200 })
    t.match(value, { totalRequests: 1, serviceMetrics: { s: { requestCount: 1 } } })
  })
  await t.test('every operation but health refuses a stranger', (t) => strangers(t, api))
  await t.test('health, and the end of the service', async (t) => {
    const { value } = await api.call(t, 'getHealth', { expect: 200, key: '' })
    t.match(value, { status: 'HEALTHY' })
    await api.call(t, 'deleteService', { expect: 204, params: S })
    await api.call(t, 'listServices', { expect: 200 })
  })

  t.same([...api.seen.keys()].sort(), api.operations().sort(), 'every operation was called')
  const successes = [...api.seen].filter(([, statuses]) => statuses.has(200) || statuses.has(204))
  t.equal(successes.length, 17, 'and each has succeeded')
}

const S = { serviceId: 's' }
const V1 = { ...S, generationId: 'v1' }
const V2 = { ...S, generationId: 'v2' }
const NO_SERVICE = { serviceId: 'none', generationId: 'v1' }
const NO_GENERATION = { ...S, generationId: 'none' }

/** The one operation that the document lacks, though nothing else can make a service. */
async function createService(node: TestNode): Promise<void> {
  const headers = { authorization: `Bearer ${node.adminKey}` }
  const body = JSON.stringify({ serviceId: 's' })
  await fetch(`${node.adminUrl}/admin/api/services/`, { method: 'POST', headers, body })
}

async function services(t: Test, api: Contract): Promise<void> {
  await api.call(t, 'listServices', { expect: 200 })
  const { value } = await api.call(t, 'getService', { expect: 200, params: S })
  t.match(value, { serviceId: 's', enabled: true, endpoints: [], generationCount: 0 })
  await api.call(t, 'disableService', { expect: 200, params: S })
  await api.call(t, 'enableService', { expect: 200, params: S })
  for (const operation of ['getService', 'deleteService', 'enableService', 'disableService']) {
    await api.call(t, operation, { expect: 404, params: NO_SERVICE })
  }
}

async function imports(t: Test, api: Contract): Promise<void> {
  const good = bundleOf(regressor(3, 1))
  const other = bundleOf(regressor(3, 2))
  const send = (expect: number, body: FormData, params: Record<string, string> = S) =>
    api.call(t, 'importGeneration', { expect, params, body })
  const first = await send(200, upload(good, 'v1.zip'))
  t.match(first.value, { generationId: 'v1', active: false })
  t.same((await send(200, upload(good, 'v1.zip'))).value, first.value, 'the same again')
  await send(409, upload(other, 'v1.zip'))
  await send(200, upload(other, 'v2.zip'))
  await send(404, upload(good, 'v1.zip'), NO_SERVICE)
  await send(400, upload(Buffer.from('no archive'), 'v3.zip'))
  await send(400, upload(good, 'v3.zip', 'archive'))
  await send(400, upload(good.subarray(0, good.length / 2), 'v3.zip'))
  await send(422, upload(bundleOf(int4Output()), 'v3.zip'))
}

async function generations(t: Test, api: Contract): Promise<void> {
  await api.call(t, 'getGeneration', { expect: 200, params: V1 })
  await api.call(t, 'preloadGeneration', { expect: 200, params: V1 })
  await api.call(t, 'switchGeneration', { expect: 200, params: V1 })
  const active = await api.call(t, 'getGeneration', { expect: 200, params: V1 })
  t.match(active.value, { active: true, preloaded: true, state: 'active', report: Object })
  await api.call(t, 'deleteGeneration', { expect: 409, params: V1 })
  await api.call(t, 'switchGeneration', { expect: 200, params: V2 })
  const service = await api.call(t, 'getService', { expect: 200, params: S })
  t.match(service.value, { activeGeneration: 'v2', generationCount: 2, endpoints: Array })
  const list = await api.call(t, 'listGenerations', { expect: 200, params: S })
  t.match(list.value, [
    { generationId: 'v1', active: false },
    { generationId: 'v2', active: true },
  ])
  await api.call(t, 'deleteGeneration', { expect: 204, params: V1 })
  await api.call(t, 'listGenerations', { expect: 404, params: NO_SERVICE })
  const verbs = ['getGeneration', 'deleteGeneration', 'preloadGeneration', 'switchGeneration']
  for (const operation of verbs) {
    await api.call(t, operation, { expect: 404, params: NO_GENERATION })
    await api.call(t, operation, { expect: 404, params: NO_SERVICE })
  }
}

async function keys(t: Test, api: Contract): Promise<void> {
  const allowedServices = ['s', 'later']
  const body = JSON.stringify({ label: 'app', allowedServices })
  const created = await api.call(t, 'createAuthKey', { expect: 200, body })
  t.match(created.value, { id: String, key: String, label: 'app', allowedServices })
  const { id = '', key = '' } = created.value as { id?: string; key?: string }
  const params = { keyId: id }
  const shown = await api.call(t, 'getAuthKey', { expect: 200, params })
  const list = await api.call(t, 'listAuthKeys', { expect: 200 })
  t.notOk(shown.text.includes(key) || list.text.includes(key), 'a secret is shown once')
  await api.call(t, 'listServices', { expect: 403, key })
  for (const wrong of ['{"label":1}', '{"allowedService":["s"]}', '{']) {
    await api.call(t, 'createAuthKey', { expect: 400, body: wrong })
  }
  await api.call(t, 'deleteAuthKey', { expect: 204, params })
  await api.call(t, 'deleteAuthKey', { expect: 404, params })
  await api.call(t, 'getAuthKey', { expect: 404, params })
}

async function strangers(t: Test, api: Contract): Promise<void> {
  const params = { serviceId: 's', generationId: 'v2', keyId: 'k' }
  for (const operation of api.operations()) {
    if (operation === 'getHealth') continue
    await api.call(t, operation, { expect: 401, params, key: '' })
    await api.call(t, operation, { expect: 401, params, key: 'unknown' })
  }
}

const path = SHARED === null ? '' : join(SHARED, 'openapi-admin.yml')

if (existsSync(path)) {
  t.test('the node answers as the agreed document says', (t) => contract(t, parseDocument()))
} else {
  t.test('contract', { skip: '../shared is not here, and with it no document' }, () => {})
}

function parseDocument(): OpenApi {
  return parse(readFileSync(path, 'utf8'))
}
