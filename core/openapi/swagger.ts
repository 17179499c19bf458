/**
 * The same document in OpenAPI 2.0 ("Swagger"), for clients that read nothing newer. Made from the
 * 3.1 document, so that the two cannot tell different things; it only knows what ours use of 3.1.
 */

import { isObject } from '../base/json.ts'
import type { Json } from './json.ts'

const JSON_TYPE = 'application/json'

export function swaggerOf(document: Json): Json {
  const components = objectAt(document, 'components')
  const servers = document['servers']
  const [server] = Array.isArray(servers) ? servers : []
  const paths = mapped(objectAt(document, 'paths'), (item) => mapped(item, operationOf))
  const schemes = objectAt(components, 'securitySchemes')
  const examples = requestExamples(objectAt(document, 'paths'))
  const definitions = Object.entries(objectAt(components, 'schemas')).map(([name, schema]) => {
    const example = examples.get(name)
    return [name, { ...schemaOf(schema), ...(example === undefined ? {} : { example }) }]
  })
  return {
    swagger: '2.0',
    info: document['info'],
    basePath: isObject(server) ? server['url'] : '/',
    consumes: [JSON_TYPE],
    produces: [JSON_TYPE],
    security: document['security'],
    tags: document['tags'],
    paths,
    definitions: Object.fromEntries(definitions),
    responses: mapped(objectAt(components, 'responses'), responseOf),
    ...(Object.keys(schemes).length === 0
      ? {}
      : { securityDefinitions: mapped(schemes, schemeOf) }),
  }
}

function objectAt(from: Json, key: string): Json {
  const value = from[key]
  return isObject(value) ? value : {}
}

function mapped(from: unknown, map: (value: unknown) => unknown): Json {
  if (!isObject(from)) return {}
  return Object.fromEntries(Object.entries(from).map(([key, value]) => [key, map(value)]))
}

/** It knows Basic and keys in a header; a bearer token is written as the latter. */
function schemeOf(scheme: unknown): Json {
  if (!isObject(scheme)) return {}
  const { description } = scheme
  if (scheme['scheme'] === 'basic') return { type: 'basic', description }
  const told = `${String(description)} Written as: Bearer KEY`
  return { type: 'apiKey', in: 'header', name: 'Authorization', description: told }
}

function operationOf(operation: unknown): Json {
  if (!isObject(operation)) return {}
  const { requestBody, parameters, responses, ...rest } = operation
  const listed = Array.isArray(parameters) ? parameters.flatMap(parameterOf) : []
  const body = isObject(requestBody) ? [bodyOf(requestBody)] : []
  const all = [...listed, ...body]
  return {
    ...rest,
    ...(all.length === 0 ? {} : { parameters: all }),
    responses: mapped(responses, responseOf),
  }
}

function bodyOf(requestBody: Json): Json {
  const schema = schemaOf(objectAt(objectAt(requestBody, 'content'), JSON_TYPE)['schema'])
  return { name: 'body', in: 'body', required: requestBody['required'], schema }
}

/** What a schema says stands in the parameter itself. */
function parameterOf(parameter: unknown): Json[] {
  if (!isObject(parameter)) return []
  const { schema, example, ...rest } = parameter
  const shown = example === undefined ? {} : { 'x-example': example }
  return [{ ...rest, ...schemaOf(schema), ...shown }]
}

function responseOf(response: unknown): Json {
  if (!isObject(response)) return {}
  if (typeof response['$ref'] === 'string') return { $ref: moved(response['$ref']) }
  const { schema, examples } = objectAt(objectAt(response, 'content'), JSON_TYPE)
  const [first] = isObject(examples) ? Object.values(examples) : []
  const shown = isObject(first) ? { examples: { [JSON_TYPE]: first['value'] } } : {}
  const headers = mapped(response['headers'], headerOf)
  return {
    description: response['description'],
    ...(schema === undefined ? {} : { schema: schemaOf(schema) }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...shown,
  }
}

function headerOf(header: unknown): Json {
  if (!isObject(header)) return {}
  return { description: header['description'], ...schemaOf(header['schema']) }
}

/** By name of the request's schema: its first example, which stands in the schema here. */
function requestExamples(paths: Json): ReadonlyMap<string, unknown> {
  const found = new Map<string, unknown>()
  for (const operation of Object.values(paths).flatMap((item) => Object.values(item ?? {}))) {
    const content = objectAt(objectAt(operation, 'requestBody'), 'content')
    const { schema, examples } = objectAt(content, JSON_TYPE)
    const [first] = isObject(examples) ? Object.values(examples) : []
    if (!isObject(schema) || !isObject(first)) continue
    found.set(String(schema['$ref']).split('/').at(-1) ?? '', first['value'])
  }
  return found
}

/** A reference to components leads to where 2.0 has them. */
function moved(reference: string): string {
  const [, kind, name] = /^#\/components\/(\w+)\/(.+)$/.exec(reference) ?? []
  return kind === 'schemas' ? `#/definitions/${name}` : `#/${kind}/${name}`
}

/** Choices between forms cannot be told in 2.0: what is left is a value of any form. */
function schemaOf(schema: unknown): Json {
  if (!isObject(schema)) return {}
  if (typeof schema['$ref'] === 'string') return { $ref: moved(schema['$ref']) }
  const { type, enum: values, anyOf, items, properties, additionalProperties, ...rest } = schema
  return {
    ...rest,
    ...typeOf(type),
    ...(Array.isArray(values) ? { enum: values.filter((value) => value !== null) } : {}),
    ...(items === undefined ? {} : { items: schemaOf(items) }),
    ...(properties === undefined ? {} : { properties: mapped(properties, schemaOf) }),
    ...(isObject(additionalProperties)
      ? { additionalProperties: schemaOf(additionalProperties) }
      : additionalProperties === undefined
        ? {}
        : { additionalProperties }),
  }
}

function typeOf(type: unknown): Json {
  if (!Array.isArray(type)) return type === undefined ? {} : { type }
  const types = type.filter((one) => one !== 'null')
  const isNullable = types.length < type.length ? { 'x-nullable': true } : {}
  return types.length === 1 ? { type: types[0], ...isNullable } : isNullable
}
