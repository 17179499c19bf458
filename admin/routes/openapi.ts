/**
 * The OpenAPI document of the admin port, made from the route table and the schemas, so that it
 * cannot tell of a route that is not there.
 */

import { SCHEMAS, type SchemaName } from './schemas.ts'
import { type OperationId, ROUTES, type Route } from './table.ts'

interface Doc {
  readonly summary: string
  /** Of the 200 answer; null: 204 without a body. */
  readonly answer: SchemaName | null
  readonly list?: true
  readonly request?: SchemaName
  /** Statuses beside those that every operation with a key can answer. */
  readonly errors?: readonly number[]
}

const DOCS: Readonly<Record<OperationId, Doc>> = {
  listServices: { summary: 'Deployed services', answer: 'ServiceSummary', list: true },
  createService: {
    summary: 'Create a service',
    answer: 'Done',
    request: 'CreateServiceRequest',
    errors: [400, 409, 503, 507],
  },
  getService: { summary: 'Service details', answer: 'Service', errors: [404] },
  deleteService: {
    summary: 'Drain and remove the service and all its generations',
    answer: null,
    errors: [404, 409],
  },
  enableService: {
    summary: 'Load what is mapped, then answer requests',
    answer: 'Done',
    errors: [404, 422, 503],
  },
  disableService: { summary: 'Answer 503 to requests', answer: 'Done', errors: [404, 503] },
  listGenerations: {
    summary: 'Imported generations, oldest first',
    answer: 'GenerationSummary',
    list: true,
    errors: [404],
  },
  importGeneration: {
    summary: 'Import a bundle; the same content again answers 200 again',
    answer: 'GenerationSummary',
    errors: [400, 404, 408, 409, 413, 415, 422, 507],
  },
  getGeneration: {
    summary: 'Generation details, also while it is imported',
    answer: 'Generation',
    errors: [404],
  },
  deleteGeneration: {
    summary: 'Remove a generation that is not active',
    answer: null,
    errors: [404, 409],
  },
  preloadGeneration: { summary: 'Load into memory', answer: 'Done', errors: [404, 409, 422] },
  unloadGeneration: { summary: 'Remove from memory', answer: 'Done', errors: [404, 409, 503] },
  switchGeneration: {
    summary: 'Load, then make it the active generation',
    answer: 'Done',
    errors: [404, 409, 422, 503, 507],
  },
  listAuthKeys: {
    summary: 'Keys that call services, without their secrets',
    answer: 'AuthKey',
    list: true,
  },
  createAuthKey: {
    summary: 'Create a key; the only answer that shows it',
    answer: 'AuthKey',
    request: 'CreateAuthKeyRequest',
    errors: [400, 507],
  },
  getAuthKey: { summary: 'One key, without its secret', answer: 'AuthKey', errors: [404] },
  deleteAuthKey: {
    summary: 'Delete a key; answered when no process accepts it',
    answer: null,
    errors: [404, 503],
  },
  reloadCertificates: {
    summary: 'Take new certificate files now; answered when both ports use them',
    answer: 'ReloadedCertificates',
    errors: [409, 422, 507],
  },
  replaceServing: {
    summary: 'New serving processes in the place of all that serve, without a failed request',
    answer: 'Replaced',
    errors: [503],
  },
  getMetrics: { summary: 'Request counts, latencies and error rates', answer: 'Metrics' },
  getHealth: { summary: 'Health of the node and its causes', answer: 'HealthStatus' },
  getPrometheus: { summary: 'Metrics for Prometheus', answer: null },
  getOpenApi: { summary: 'This document', answer: null },
  isAlive: { summary: '200 while queries are served', answer: 'Alive', errors: [503] },
}

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'Invalid request',
  401: 'Unauthorized',
  403: 'The key may not do this, or the request comes from another web origin',
  404: 'Not found',
  408: 'The body stopped coming',
  409: 'In conflict with what is there',
  413: 'Over the limit of size',
  415: 'Of a kind that cannot be read',
  422: 'The bundle is well formed but cannot be loaded or failed its test queries',
  503: 'Not applied, or not ready; try again',
  507: 'No space left, or the disk cannot be written to',
}

export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const route of ROUTES) {
    const item = paths[route.path] ?? {}
    item[route.method.toLowerCase()] = operationOf(route)
    paths[route.path] = item
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Switchyard administration', version },
    security: [{ apiKeyAuth: [] }, { basicAuth: [] }],
    paths,
    components: {
      securitySchemes: {
        apiKeyAuth: { type: 'http', scheme: 'bearer', description: 'Admin key' },
        basicAuth: { type: 'http', scheme: 'basic', description: 'Admin key as user name' },
      },
      schemas: SCHEMAS,
    },
  }
}

function operationOf(route: Route): object {
  const doc = DOCS[route.operation]
  const parameters = [...pathParameters(route.path), ...queryParameters(route.operation)]
  const requestBody = requestOf(route, doc)
  return {
    operationId: route.operation,
    summary: doc.summary,
    ...(route.needs === 'nothing' ? { security: [] } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(requestBody === null ? {} : { requestBody }),
    responses: responsesOf(route, doc),
  }
}

function pathParameters(path: string): object[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

function queryParameters(operation: OperationId): object[] {
  if (operation !== 'importGeneration') return []
  const description = 'Id of the generation, when the manifest does not say it.'
  return [{ name: 'generationId', in: 'query', description, schema: { type: 'string' } }]
}

function requestOf(route: Route, doc: Doc): object | null {
  if (doc.request !== undefined) {
    return { required: true, content: { 'application/json': { schema: ref(doc.request) } } }
  }
  if (route.body !== 'upload') return null
  const file = { type: 'string', format: 'binary', description: 'ZIP archive with the bundle' }
  const form = { type: 'object', required: ['file'], properties: { file } }
  const content = {
    'multipart/form-data': { schema: form },
    'application/zip': { schema: { type: 'string', format: 'binary' } },
  }
  return { required: true, content }
}

function responsesOf(route: Route, doc: Doc): Record<string, object> {
  const keyed = route.needs === 'nothing' ? [] : [401, 403]
  const failures = [...keyed, ...(doc.errors ?? [])].map((status) => [
    String(status),
    { description: DESCRIPTIONS[status] ?? 'Failed', ...jsonContent(ref('Error')) },
  ])
  return Object.fromEntries([successOf(route, doc), ...failures])
}

function successOf(route: Route, doc: Doc): [string, object] {
  if (route.operation === 'getPrometheus') {
    const content = { 'text/plain': { schema: { type: 'string' } } }
    return ['200', { description: doc.summary, content }]
  }
  if (route.operation === 'getOpenApi') {
    return ['200', { description: doc.summary, ...jsonContent({ type: 'object' }) }]
  }
  if (doc.answer === null) return ['204', { description: 'Deleted' }]
  const schema = doc.list === true ? { type: 'array', items: ref(doc.answer) } : ref(doc.answer)
  return ['200', { description: doc.summary, ...jsonContent(schema) }]
}

function jsonContent(schema: object): object {
  return { content: { 'application/json': { schema } } }
}

function ref(name: SchemaName): object {
  return { $ref: `#/components/schemas/${name}` }
}
