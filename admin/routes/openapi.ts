/**
 * The OpenAPI document of the admin port, made from the route table and the schemas, so that it
 * cannot tell of a route that is not there.
 */

import { isObject } from '../../core/base/json.ts'
import {
  INFO,
  PATH_PARAMETERS,
  REQUEST_EXAMPLES,
  SECURITY_SCHEMES,
  TAG_LIST,
  tagOf,
} from './openapi-parts.ts'
import { DESCRIPTIONS, DOCS, type Doc } from './operation-docs.ts'
import { SCHEMAS, type SchemaName } from './schemas.ts'
import { ROUTES, type Route } from './table.ts'

/** Paths of a document, then methods. */
type Paths = Record<string, Record<string, object>>

export function openApiDocument(version: string): object {
  const paths: Paths = {}
  for (const route of ROUTES) {
    const doc = DOCS[route.operation]
    if (doc === null) continue
    const item = paths[route.path] ?? {}
    item[route.method.toLowerCase()] = operationOf(route, doc)
    paths[route.path] = item
  }
  return {
    openapi: '3.1.0',
    info: { ...INFO, version },
    servers: [{ url: '/' }],
    security: Object.keys(SECURITY_SCHEMES).map((name) => ({ [name]: [] })),
    tags: TAG_LIST.filter(({ name }) => ROUTES.some(({ path }) => tagOf(path) === name)),
    paths,
    components: { securitySchemes: SECURITY_SCHEMES, schemas: usedSchemas(paths) },
  }
}

/** Those that the operations refer to, and what these refer to. */
function usedSchemas(paths: Paths): object {
  const all = new Map(Object.entries(SCHEMAS).map(([name, schema]) => [name, linked(schema)]))
  const used = new Map<string, unknown>()
  const waiting: unknown[] = [paths]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    for (const [, name = ''] of JSON.stringify(next).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (used.has(name)) continue
      used.set(name, all.get(name))
      waiting.push(all.get(name))
    }
  }
  return Object.fromEntries([...used].sort(([a], [b]) => (a < b ? -1 : 1)))
}

const NAMES: ReadonlyMap<unknown, string> = new Map(
  Object.entries(SCHEMAS).map(([name, schema]) => [schema, name]),
)

/** A schema within another becomes a reference where it has a name: generators make one class. */
function linked(value: unknown, isTop = true): unknown {
  const name = isTop ? undefined : NAMES.get(value)
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` }
  if (Array.isArray(value)) return value.map((one) => linked(one, false))
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, linked(one, false)]))
}

function operationOf(route: Route, doc: Doc): object {
  const parameters = [...pathParameters(route.path), ...queryParameters(doc)]
  const requestBody = requestOf(route, doc)
  return {
    tags: [tagOf(route.path)],
    operationId: route.operation,
    summary: doc.summary,
    ...(route.needs === 'nothing' ? { security: [] } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(requestBody === null ? {} : { requestBody }),
    responses: responsesOf(route, doc),
  }
}

function pathParameters(path: string): object[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    ...PATH_PARAMETERS[name],
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
    const example = REQUEST_EXAMPLES[doc.request]
    const shown = example === undefined ? {} : { example }
    const content = { 'application/json': { schema: ref(doc.request), ...shown } }
    return { required: true, content }
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

const TEXT = { type: 'string' }
/** Types of what is no JSON. */
const TEXTS: Readonly<Record<string, string>> = {
  getPrometheus: 'text/plain',
  getDocs: 'text/html',
}

function successOf(route: Route, doc: Doc): [string, object] {
  const text = TEXTS[route.operation]
  if (text !== undefined) {
    return ['200', { description: doc.summary, content: { [text]: { schema: TEXT } } }]
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
