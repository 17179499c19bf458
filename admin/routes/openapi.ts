/**
 * The OpenAPI document of the admin port, made from the route table and the schemas, so that it
 * cannot tell of a route that is not there.
 */

import { DESCRIPTIONS, DOCS, type Doc } from './operation-docs.ts'
import { SCHEMAS, type SchemaName } from './schemas.ts'
import { ROUTES, type Route } from './table.ts'

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
  const parameters = [...pathParameters(route.path), ...queryParameters(doc)]
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

function queryParameters({ query = {} }: Doc): object[] {
  return Object.entries(query).map(([name, { description, required = false, choices }]) => {
    const schema = { type: 'string', ...(choices === undefined ? {} : { enum: choices }) }
    return { name, in: 'query', required, description, schema }
  })
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
  return ['200', { description: doc.summary, ...jsonContent(answerSchema(doc, doc.answer)) }]
}

function answerSchema(doc: Doc, name: SchemaName): object {
  const list = { type: 'array', items: ref(name) }
  if (doc.wrapped !== undefined) {
    const wrapped = { type: 'object', properties: { [doc.wrapped]: list } }
    return { anyOf: [list, { ...wrapped, required: [doc.wrapped] }] }
  }
  return doc.list === true ? list : ref(name)
}

function jsonContent(schema: object): object {
  return { content: { 'application/json': { schema } } }
}

function ref(name: SchemaName): object {
  return { $ref: `#/components/schemas/${name}` }
}
