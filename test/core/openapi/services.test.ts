/**
 * Goal: the documents of a service are valid, tell what the service really has, and what they show
 * as an example is answered. Method: a whole node that serves every example bundle, the models of
 * others and the demo bundles; documents by the linter that people use, their examples sent as they
 * stand, answers held against the schemas; the page by every address that it loads.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import t, { type Test } from 'tap'
import { ROOT } from '../../../bench/paths.ts'
import { PATH_VERBS } from '../../../core/bundle/kinds.ts'
import { allTypesBundle } from '../../tools/bundles.ts'
import { bundleOf, Client, demoBundle } from '../../tools/client.ts'
import { startNode, type TestNode } from '../../tools/node.ts'
import { regressor } from '../../tools/onnx-models.ts'
import {
  examplesIn,
  OF_SERVICES,
  operationsIn,
  problemsOf,
  swaggerExample,
} from '../../tools/openapi.ts'
import { SHARED } from '../../tools/paths.ts'

t.setTimeout(240_000)

type Json = ReturnType<typeof JSON.parse>

class Documents {
  readonly #node: TestNode
  readonly #headers: Readonly<Record<string, string>>
  readonly #ajv = ajvFormats.default(new Ajv2020({ strict: false }))

  /** The key opens every service that asks for one. */
  constructor(node: TestNode, key: string) {
    this.#node = node
    this.#headers = { authorization: `Bearer ${key}` }
  }

  async read(service: string, name = 'openapi.json'): Promise<Json> {
    const url = `${this.#node.url}/public/api/v1/${service}/${name}`
    const response = await fetch(url, { headers: this.#headers })
    const text = await response.text()
    if (response.status !== 200) throw new Error(`${service}/${name}: ${text}`)
    return JSON.parse(text)
  }

  /** Both documents are valid; every example is answered as it is described. */
  async judge(t: Test, service: string): Promise<Json> {
    const document = await this.read(service)
    t.same(await problemsOf(document, OF_SERVICES), [], `${service}: 3.1`)
    const swagger = await this.read(service, 'swagger')
    t.equal(swagger.swagger, '2.0')
    t.same(await problemsOf(swagger, OF_SERVICES), [], `${service}: 2.0`)
    const ids = operationsIn(document).map(({ operation }) => operation.operationId)
    const ids2 = operationsIn(swagger).map(({ operation }) => operation.operationId)
    t.same(ids2, ids, 'both describe the same operations')
    for (const call of examplesIn(document)) await this.#ask(t, document, call)
    return document
  }

  async #ask(t: Test, document: Json, call: ReturnType<typeof examplesIn>[number]): Promise<void> {
    const { method, path, body, operationId } = call
    const response = await fetch(`${this.#node.url}${path}`, {
      method,
      headers: this.#headers,
      ...(body === undefined ? {} : { body }),
    })
    const answer = await response.json()
    t.equal(response.status, 200, `${method} ${path} ${body} ${JSON.stringify(answer)}`)
    const told = operationsIn(document).find((one) => one.operation.operationId === operationId)
    const content = told?.operation.responses[200].content['application/json']
    const { components } = document
    const validate = this.#ajv.compile({ ...content.schema, components })
    t.ok(validate(answer), `${path}: ${this.#ajv.errorsText(validate.errors)}`)
  }
}

async function everyType(t: Test, client: Client, documents: Documents): Promise<void> {
  const { archive, endpoints } = allTypesBundle('v1')
  await client.deploy('all', 'v1', archive)
  const document = await documents.judge(t, 'all')
  const { paths, components } = document
  for (const { id, type } of endpoints) {
    for (const [name] of PATH_VERBS[type as keyof typeof PATH_VERBS]) {
      t.ok(paths[`/${id}/${name}`], `${type}: ${name} is described`)
    }
  }
  t.ok(examplesIn(document).length >= 20, `${examplesIn(document).length} examples were sent`)
  const { schemas } = components
  t.match(schemas.LateStdPredictionFeatures, {
    properties: { kg: { type: 'number' }, express: { type: ['boolean', 'null'], default: false } },
    required: ['kg', 'km'],
  })
  t.match(schemas.HoursFeatures.properties.carrier, { enum: ['north', 'south'] })
  t.same(schemas.LateEnrichedPredictionFeatures.required, ['kg'], 'km comes from a table')
  t.ok(schemas.LateEnrichedPredictionFeatures.properties.destination, 'which is asked by this')
  t.notOk('km' in schemas.LateEnrichedPredictionFeatures.properties)
  t.match(schemas.OrdersParameters.properties.since, { format: 'date' })
  t.same(Object.keys(schemas.QuoteArguments.properties), ['kg', 'km', 'express'])
  t.same(schemas.QuoteArguments.required, ['kg', 'km'], 'as the function is written')
  t.match(schemas.CustomerColumns.properties, { parcels: { type: ['integer', 'null'] } })
  const swagger = await documents.read('all', 'swagger')
  t.match(swaggerExample(swagger, 'lookupCustomer'), { data: { id: 'ada' } })
  const [named] = Object.values<Json>(
    paths['/quote/run'].post.requestBody.content['application/json'].examples,
  )
  t.equal(named.summary, 'a small parcel', 'examples are the test queries')
}

async function othersModels(t: Test, client: Client, documents: Documents): Promise<void> {
  const models = {
    mnist: 'mnist_8/model.onnx',
    shuffle: 'shufflenet/light_shufflenet.onnx',
    simple: 'triton_simple/simple.onnx',
    texts: 'triton_simple/simple_string.onnx',
    forest: 'sklearn_randomforest/sklearn_randomforest.onnx',
  }
  for (const [name, path] of Object.entries(models)) {
    await client.deploy(name, 'v1', bundleOf(readFileSync(join(SHARED ?? '', 'models', path))))
    const { components, paths } = await documents.judge(t, name)
    if (name === 'forest') t.same(components.schemas.PResult.properties.prediction.enum, FOREST)
    else t.notOk(paths['/p/predict-simple'], `${name}: no tensor stands in a query`)
  }
}

const FOREST = ['0', '1', '2']

/** A service that asks for keys: its documents do too, its page does not. */
async function closed(t: Test, client: Client, node: TestNode): Promise<void> {
  const model = regressor(2)
  await client.deploy('shut', 'v1', bundleOf(model, {}, { authorization: 'API_KEYS' }))
  const base = client.queryUrl('shut')
  for (const name of ['openapi.json', 'swagger', 'swagger/']) {
    const refused = await fetch(`${base}/${name}`)
    t.match(await refused.json(), { code: 'ERR_AUTH_MISSING' }, name)
    t.equal(refused.status, 401)
  }
  const made = await client.admin('POST', '/auth/keys', { allowedServices: ['shut'] })
  const headers = { authorization: `Bearer ${made.body.key}` }
  const document: Json = await (await fetch(`${base}/openapi.json`, { headers })).json()
  t.same(await problemsOf(document, OF_SERVICES), [])
  t.same(document.security, [{ bearer: [] }, { basic: [] }])
  t.ok(document.paths['/p/predict'].post.responses[401])
  const swagger: Json = await (await fetch(`${base}/swagger`, { headers })).json()
  t.same(await problemsOf(swagger, OF_SERVICES), [])
  t.match(swagger.securityDefinitions, { basic: { type: 'basic' }, bearer: { in: 'header' } })
  t.equal((await fetch(`${base}/docs`)).status, 200)
  const foreign = await client.admin('POST', '/auth/keys', { allowedServices: ['all'] })
  const wrong = { authorization: `Bearer ${foreign.body.key}` }
  t.equal((await fetch(`${base}/openapi.json`, { headers: wrong })).status, 403)
  t.equal((await fetch(`${base}/openapi.json`, { method: 'POST' })).status, 405)
  const unknown = await fetch(`${node.url}/public/api/v1/nobody/docs`)
  t.match(await unknown.json(), { code: 'ERR_SERVICE_UNKNOWN' })
  const root = await fetch(`${node.url}/openapi.json`)
  t.equal(root.status, 404)
  t.match(await root.json(), { detailedMessage: /\/public\/api\/v1\/\{service\}\/openapi\.json/ })
  await client.admin('POST', '/services/shut/disable')
  const disabled = await fetch(`${base}/openapi.json`, { headers })
  t.match(await disabled.json(), { code: 'ERR_SERVICE_DISABLED' })
}

/** Of the generation that answers most, and of the next one after a switch. */
async function switched(t: Test, client: Client, documents: Documents): Promise<void> {
  await client.deploy('turns', 'v1', bundleOf(regressor(2)))
  t.equal((await documents.read('turns')).info.version, 'v1')
  await client.deploy('turns', 'v2', bundleOf(regressor(3)))
  const next = await documents.read('turns')
  t.equal(next.info.version, 'v2')
  t.equal(next.components.schemas.PFeatures.required.length, 3)
  const entries = [
    { generation: 'v1', proba: 0.7 },
    { generation: 'v2', proba: 0.3 },
  ]
  const mapped = await client.admin('POST', '/services/turns/actions/setMapping', { entries })
  t.equal(mapped.status, 200, JSON.stringify(mapped.body))
  t.equal((await documents.read('turns')).info.version, 'v1', 'the one with the larger share')
}

t.test('documents of services', async (t) => {
  const node = await startNode(t, { env: { SWITCHYARD_PYTHON: '/usr/bin/python3' } })
  const client = new Client(node)
  const made = await client.admin('POST', '/auth/keys', {})
  const documents = new Documents(node, made.body.key)
  await t.test('one endpoint of every type', (t) => everyType(t, client, documents))
  await t.test('the demo bundles', async (t) => {
    for (const name of ['cancer', 'wine', 'cellar', 'diabetes', 'iris']) {
      await client.deploy(name, 'v1', demoBundle(`${name}-v1.zip`))
      await documents.judge(t, name)
    }
  })
  const skip = SHARED === null ? '../shared is not here, and with it no models' : false
  await t.test('models of others', { skip }, (t) => othersModels(t, client, documents))
  await t.test('a service with keys, and paths that lead nowhere', (t) => closed(t, client, node))
  await t.test('switches', (t) => switched(t, client, documents))
})

t.test('the scripts that are not compiled lie where they are looked for', async (t) => {
  for (const name of ['page.js', 'page.css']) {
    t.ok(readFileSync(join(ROOT, 'core/openapi/page', name)).length > 0)
  }
})
