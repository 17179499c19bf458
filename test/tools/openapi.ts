/** Judges OpenAPI documents by the linter that people use, and walks through what they describe. */

import { type Config, createConfig, lintFromString } from '@redocly/openapi-core'

/** Parsed JSON of any form. */
type Json = ReturnType<typeof JSON.parse>

/**
 * Whose licence a service has is for its owner to say, and no manifest says it: so this one of the
 * recommended rules is off for documents of services.
 */
export const OF_SERVICES = { 'info-license': 'off' } as const

/** By rules, because making one takes longer than judging a document by it. */
const configs = new Map<string, Promise<Config>>()

function configOf(rules: Readonly<Record<string, 'off'>>): Promise<Config> {
  const key = JSON.stringify(rules)
  const config = configs.get(key) ?? createConfig({ extends: ['recommended'], rules })
  configs.set(key, config)
  return config
}

/** One line each; the recommended rules, but for those that are switched off. */
export async function problemsOf(
  document: object,
  rules: Readonly<Record<string, 'off'>> = {},
): Promise<string[]> {
  const problems = await lintFromString({
    source: JSON.stringify(document),
    absoluteRef: '/openapi.json',
    config: await configOf(rules),
  })
  return problems.map(
    ({ ruleId, message, location }) => `${ruleId}: ${message} at ${location[0]?.pointer}`,
  )
}

export interface DescribedCall {
  readonly operationId: string
  readonly method: string
  /** With the server's or the base path, and with its query. */
  readonly path: string
  readonly body?: string
}

/** Every example of a 3.1 document as the request that it describes. */
export function examplesIn(document: Json): DescribedCall[] {
  const base = document.servers[0].url
  return operationsIn(document).flatMap(({ path, method, operation }): DescribedCall[] => {
    const { operationId, parameters = [], requestBody } = operation
    const call = { operationId, method: method.toUpperCase(), path: `${base}${path}` }
    if (requestBody === undefined) {
      const given = parameters.filter((one: Json) => one.example !== undefined)
      const needed = parameters.filter((one: Json) => one.required && one.example === undefined)
      if (given.length === 0 || needed.length > 0) return []
      const pairs = given.map((one: Json) => [one.name, String(one.example)])
      return [{ ...call, path: `${call.path}?${new URLSearchParams(pairs)}` }]
    }
    const { examples = {} } = requestBody.content['application/json']
    return Object.values<Json>(examples).map(({ value }) => {
      return { ...call, body: JSON.stringify(value) }
    })
  })
}

export function operationsIn(document: Json) {
  return Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.entries<Json>(item).map(([method, operation]) => ({ path, method, operation })),
  )
}

/** The body of the one POST operation of a 2.0 document that has this id, by its example. */
export function swaggerExample(document: Json, operationId: string): Json {
  const found = operationsIn(document).find(
    ({ operation }) => operation.operationId === operationId,
  )
  const body = found?.operation.parameters.find((one: Json) => one.in === 'body')
  return document.definitions[body.schema.$ref.split('/').at(-1)]?.example
}
