/**
 * The OpenAPI 3.1 document of a service, made from the plan of one of its generations: so it tells
 * the features, classes and columns that the service really has.
 */

import type { AuthorizationPlan, EndpointPlan, GenerationPlan } from '../bundle/plan.ts'
import { failuresOf, RESPONSES } from './failures.ts'
import { functionPart } from './functions.ts'
import type { EndpointPart, Example, Json, Operation } from './json.ts'
import { Names } from './names.ts'
import { predictionPart } from './predictions.ts'
import { SHARED_SCHEMAS } from './shared-schemas.ts'
import { lookupPart, queryPart } from './tables.ts'

/** What a document is made of. */
export interface DescribedService {
  readonly serviceId: string
  readonly generationId: string
  /** Path of the service; those of its endpoints follow. */
  readonly basePath: string
  readonly plan: GenerationPlan
}

/** Paths of a document, then methods. */
type Paths = Record<string, Record<string, Json>>

const BEARER = { type: 'http', scheme: 'bearer' }

/** By method of authorization: what a request may carry. */
const SCHEMES: Readonly<Record<AuthorizationPlan['method'], Readonly<Record<string, Json>>>> = {
  PUBLIC: {},
  API_KEYS: {
    bearer: { ...BEARER, description: 'A key of the service.' },
    basic: {
      type: 'http',
      scheme: 'basic',
      description: 'A key of the service as user name, without a password.',
    },
  },
  OAUTH2: { bearer: { ...BEARER, bearerFormat: 'JWT', description: 'A token of the issuer.' } },
}

export function serviceDocument(service: DescribedService): Json {
  const { serviceId, generationId, basePath, plan } = service
  const names = new Names()
  const paths: Paths = {}
  const schemas: Record<string, Json> = { ...SHARED_SCHEMAS }
  for (const endpoint of plan.endpoints) {
    const part = partOf(endpoint, plan, names.take(endpoint.id))
    Object.assign(schemas, part.schemas)
    for (const operation of part.operations) addOperation(paths, operation, { endpoint, plan })
  }
  const securitySchemes = SCHEMES[plan.authorization.method]
  const subject = `${serviceId}, in its generation ${generationId}`
  const description = `What the endpoints of ${subject} take and answer.`
  const responses = reached('responses', paths, RESPONSES)
  return {
    openapi: '3.1.0',
    info: { title: serviceId, version: generationId, description },
    servers: [{ url: basePath }],
    security: Object.keys(securitySchemes).map((name) => ({ [name]: [] })),
    tags: plan.endpoints.map(({ id, type }) => ({ name: id, description: type })),
    paths,
    components: {
      schemas: reached('schemas', [paths, responses], schemas),
      responses,
      ...(Object.keys(securitySchemes).length === 0 ? {} : { securitySchemes }),
    },
  }
}

function partOf(endpoint: EndpointPlan, plan: GenerationPlan, name: string): EndpointPart {
  const { tables = [] } = plan
  if (endpoint.type === 'SQL_QUERY') return queryPart(endpoint, name)
  if (endpoint.type === 'DATASET_LOOKUP') return lookupPart(endpoint, tables, name)
  const predicted = predictionPart({ plan: endpoint, tables, name })
  return predicted ?? functionPart(endpoint, name) ?? { schemas: {}, operations: [] }
}

interface Place {
  readonly endpoint: EndpointPlan
  readonly plan: GenerationPlan
}

function addOperation(paths: Paths, operation: Operation, { endpoint, plan }: Place): void {
  const path = `/${endpoint.id}/${operation.verb}`
  const { operationId, summary, description, parameters = [], body } = operation
  const failures = failuresOf({
    isPublic: plan.authorization.method === 'PUBLIC',
    hasBody: body !== undefined,
    looksUp: endpoint.type === 'DATASET_LOOKUP' || endpoint.enrich !== undefined,
  })
  const item = paths[path] ?? {}
  item[operation.method] = {
    tags: [endpoint.id],
    operationId,
    summary,
    ...(description === undefined ? {} : { description }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: requestBody(body, operation.examples) }),
    responses: { 200: answered(operation), ...failures },
  }
  paths[path] = item
}

function requestBody(body: NonNullable<Operation['body']>, examples: readonly Example[]): Json {
  const shown = keyed(examples, ({ value }) => value)
  const content = { 'application/json': { schema: body.schema, ...shown } }
  return { required: body.required, content }
}

function answered({ answer, examples }: Operation): Json {
  const told = examples.filter((example) => example.answer !== undefined)
  const shown = keyed(told, (example) => example.answer)
  const content = { 'application/json': { schema: answer, ...shown } }
  return { description: 'The answer.', content }
}

/** Names of examples are people's words; keys of a document are not. */
function keyed(examples: readonly Example[], told: (example: Example) => unknown): Json {
  if (examples.length === 0) return {}
  const entries = examples.map((example, i) => {
    return [`example${i + 1}`, { summary: example.name, value: told(example) }] as const
  })
  return { examples: Object.fromEntries(entries) }
}

/** Those of the components that something refers to, one after the other. */
function reached(
  kind: 'schemas' | 'responses',
  from: unknown,
  all: Readonly<Record<string, Json>>,
): Json {
  const found = new Map<string, Json>()
  const waiting = [from]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const references = JSON.stringify(next).matchAll(/"#\/components\/(\w+)\/([\w.-]+)"/g)
    for (const [, of, name = ''] of references) {
      const schema = all[name]
      if (of !== kind || schema === undefined || found.has(name)) continue
      found.set(name, schema)
      waiting.push(schema)
    }
  }
  return Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1)))
}
