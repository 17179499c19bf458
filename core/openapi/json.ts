/** The few forms that the documents of a service are put together from; types and helpers only. */

/** A JSON object that is made here and only written out. */
export type Json = Readonly<Record<string, unknown>>

/** A request that worked, and what was answered where that is known. */
export interface Example {
  readonly name: string
  readonly value: unknown
  readonly answer?: unknown
}

export interface Operation {
  /** Last segment of the path. */
  readonly verb: string
  readonly method: 'get' | 'post'
  readonly operationId: string
  readonly summary: string
  readonly description?: string
  readonly parameters?: readonly Json[]
  readonly body?: { readonly schema: Json; readonly required: boolean }
  readonly answer: Json
  readonly examples: readonly Example[]
}

/** What one endpoint adds to a document. */
export interface EndpointPart {
  readonly schemas: Readonly<Record<string, Json>>
  readonly operations: readonly Operation[]
}

export function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

/** JSON Schema writes a type that may be null as a list of both. */
export function nullable(schema: Json): Json {
  const { type, enum: values } = schema
  if (typeof type !== 'string') return schema
  const all = Array.isArray(values) ? { enum: [...values, null] } : {}
  return { ...schema, type: [type, 'null'], ...all }
}

export function object(
  properties: Readonly<Record<string, Json>>,
  required: readonly string[] = [],
): Json {
  const needs = required.length > 0 ? { required } : {}
  return { type: 'object', properties, ...needs }
}
