/**
 * Goal: documents stay valid and of use for services that are unlike the examples. Method: plans
 * with ids that become one name, features beyond all measure, other authorization, several
 * generations of statements; each document by the linter, as 3.1 and as 2.0.
 */

import t, { type Test } from 'tap'
import type { EndpointPlan, GenerationPlan } from '../../../core/bundle/plan.ts'
import { serviceDocument } from '../../../core/openapi/document.ts'
import { swaggerOf } from '../../../core/openapi/swagger.ts'
import { OF_SERVICES, operationsIn, problemsOf } from '../../tools/openapi.ts'
import { endpoint, feature, generationPlan, prediction } from '../../tools/plans.ts'

type Json = ReturnType<typeof JSON.parse>

async function both(t: Test, plan: GenerationPlan): Promise<{ openapi: Json; swagger: Json }> {
  const of = { serviceId: 's', generationId: 'v1', basePath: '/public/api/v1/s', plan }
  const openapi = JSON.parse(JSON.stringify(serviceDocument(of)))
  const swagger = JSON.parse(JSON.stringify(swaggerOf(openapi)))
  t.same(await problemsOf(openapi, OF_SERVICES), [], '3.1')
  t.same(await problemsOf(swagger, OF_SERVICES), [], '2.0')
  return { openapi, swagger }
}

const binary = (features = [feature('a')]) =>
  prediction({
    kind: 'BINARY_CLASSIFICATION',
    model: 'm.onnx',
    features,
    classes: ['no', 'yes'],
    probabilities: 'p',
  })

t.test('ids that are one name in most languages', async (t) => {
  const ids = ['late-std', 'late.std', 'LATE_STD', '2', '_', 'a']
  const plan = generationPlan(ids.map((id) => endpoint(binary(), { id })))
  const { openapi } = await both(t, plan)
  const names = operationsIn(openapi).map(({ operation }) => operation.operationId.toLowerCase())
  t.equal(new Set(names).size, ids.length * 3)
  for (const name of names) t.match(name, /^[a-z][a-z0-9]*$/)
})

t.test('features: what must be sent, what may be null, what is known of the values', async (t) => {
  const features = [
    feature('needed', { type: 'integer' }),
    feature('imputed', { onMissing: 'IMPUTE', value: 1.5 }),
    feature('ignored', { type: 'boolean', onMissing: 'IGNORE' }),
    feature('closed', { type: 'string', categories: ['red', 'blue'] }),
    feature('open', { type: 'string', categories: ['red', 'blue'], onUnknown: 'IGNORE' }),
    feature('alike', { type: 'string', categories: ['a b', 'a-b'] }),
    feature('odd', { type: 'string', categories: ['x'], onMissing: 'IMPUTE', value: 'y' }),
  ]
  const { openapi, swagger } = await both(t, generationPlan([endpoint(binary(features))]))
  const told = openapi.components.schemas.ScoreFeatures
  t.same(told.required, ['needed', 'closed', 'open', 'alike'])
  t.same(told.properties, {
    needed: { type: 'integer', format: 'int64' },
    imputed: { type: ['number', 'null'], default: 1.5 },
    ignored: { type: ['boolean', 'null'] },
    closed: { type: 'string', enum: ['red', 'blue'] },
    open: { type: 'string', description: 'Known categories: red, blue.' },
    alike: { type: 'string', description: 'Known categories: a b, a-b.' },
    odd: { type: ['string', 'null'], enum: ['x', null] },
  })
  t.match(swagger.definitions.ScoreFeatures.properties, {
    imputed: { type: 'number', 'x-nullable': true, default: 1.5 },
    odd: { type: 'string', enum: ['x'] },
  })
  const simple = openapi.paths['/score/predict-simple'].get
  t.match(simple.parameters[1], { name: 'imputed', required: false, schema: { type: 'number' } })
})

t.test('more features than anybody would read', async (t) => {
  const features = Array.from({ length: 50_000 }, (_, i) => feature(`x${i}`))
  const startMs = performance.now()
  const { openapi } = await both(t, generationPlan([endpoint(binary(features))]))
  t.ok(JSON.stringify(openapi).length < 50_000)
  t.ok(performance.now() - startMs < 5_000)
})

t.test('explanations and rules are told of only where there are some', async (t) => {
  const { openapi: plain } = await both(t, generationPlan([endpoint(binary())]))
  t.notMatch(JSON.stringify(plain), /ExplanationOptions|Override/)
  const depth = {
    percentiles: [0, 0.5, 1],
    overrides: [
      {
        name: 'r',
        when: [{ kind: 'missing', feature: 'a', negated: false } as const],
        // biome-ignore lint/suspicious/noThenProperty: the manifest calls it so.
        then: { kind: 'class', value: 'no' } as const,
      },
    ],
  }
  const explanations = {
    enabled: false,
    method: 'SHAPLEY',
    nExplanations: 3,
    nMonteCarloSteps: 100,
    background: 'b.json',
  } as const
  const deep = endpoint({ ...binary(), ...depth }, { explanations })
  const { openapi } = await both(t, generationPlan([deep]))
  const { ScoreRequest, ScoreResult } = openapi.components.schemas
  t.match(ScoreRequest.properties.explanations, { $ref: /ExplanationOptions$/ })
  t.match(ScoreResult.properties, {
    probaPercentile: { type: 'number' },
    override: { $ref: /Override$/ },
    explanations: { type: 'object' },
  })
})

t.test('tokens, and statements without parameters', async (t) => {
  const { prediction: _, ...common } = endpoint(binary())
  const statement = { text: 'DELETE FROM t', parameters: [] }
  const sql = { connection: 'c', statements: [statement], maxRows: 1, commit: true, duckdb: null }
  const plan: EndpointPlan = { ...common, type: 'SQL_QUERY', sql }
  const authorization = {
    method: 'OAUTH2',
    keys: [],
    token: { issuer: 'i', audiences: [], scopes: [] },
  } as const
  const { openapi, swagger } = await both(t, generationPlan([plan], { authorization }))
  t.match(openapi.components.securitySchemes, { bearer: { bearerFormat: 'JWT' } })
  t.equal(openapi.paths['/score/query'].post.requestBody.required, false)
  t.match(swagger.securityDefinitions, { bearer: { in: 'header', name: 'Authorization' } })
})
