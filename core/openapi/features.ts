/** The features of a prediction as a caller sends them: names, types, and which may be left out. */

import type { ColumnType, FeaturePlan, LookupStep, TablePlan, TensorSpec } from '../bundle/plan.ts'
import { type Json, nullable, object } from './json.ts'
import { areDistinct } from './names.ts'

/** A document with more would be read by nobody, and take long to make. */
const FEATURES_MAX = 2_000
const CATEGORIES_MAX = 200

/** A feature that a caller sends. */
export interface Sent {
  readonly name: string
  readonly schema: Json
  readonly required: boolean
}

const COLUMN_SCHEMAS: Readonly<Record<ColumnType, Json>> = {
  string: { type: 'string' },
  integer: { type: 'integer', format: 'int64' },
  number: { type: 'number' },
  boolean: { type: 'boolean' },
  date: { type: 'string', format: 'date' },
  timestamp: { type: 'string', format: 'date-time' },
}

export function columnSchema(type: ColumnType): Json {
  return COLUMN_SCHEMAS[type]
}

/** Of the column of a table; a text where the table is not known. */
export function columnOf(tables: readonly TablePlan[], table: string, column: string): Json {
  const columns = tables.find(({ name }) => name === table)?.columns ?? []
  return columnSchema(columns.find(({ name }) => name === column)?.type ?? 'string')
}

export interface Asked {
  /** Null: whatever is sent is passed on. */
  readonly features: readonly FeaturePlan[] | null
  /** Look-ups that add features. */
  readonly steps: readonly LookupStep[]
  readonly tables: readonly TablePlan[]
}

/** What a table gives need not be sent; what it is asked by must be. */
export function sentFeatures({ features, steps, tables }: Asked): readonly Sent[] {
  const given = new Set(steps.flatMap(({ columns }) => columns.map(({ as }) => as)))
  const keys = steps.flatMap(({ table, key, onMissing }) =>
    key.map(({ column, field }): Sent => {
      const required = onMissing === 'ERROR'
      const schema = columnOf(tables, table, column)
      const description = `Key of the table ${table}.`
      const described = { ...schema, description }
      return { name: field, required, schema: required ? described : nullable(described) }
    }),
  )
  const own = (features ?? [])
    .filter(({ name }) => !given.has(name))
    .map((feature): Sent => ({ name: feature.name, ...featureSchema(feature) }))
  const byName = new Map([...keys, ...own].map((sent) => [sent.name, sent]))
  return [...byName.values()]
}

function featureSchema(feature: FeaturePlan): { schema: Json; required: boolean } {
  const { type, categories, onMissing, onUnknown, value } = feature
  const format = type === 'integer' ? { format: 'int64' } : {}
  const known = type === 'string' && categories !== null ? categories : null
  const isClosed = onUnknown === 'ERROR' && known !== null && known.length <= CATEGORIES_MAX
  const isEnum = isClosed && areDistinct(known)
  const told = known === null ? {} : { description: categoriesText(known) }
  const schema = { type, ...format, ...(isEnum ? { enum: known } : told) }
  if (onMissing === 'ERROR') return { schema, required: true }
  const isDefault = onMissing === 'IMPUTE' && value !== null && fits(value, schema)
  const filled = isDefault ? { default: value } : {}
  return { schema: { ...nullable(schema), ...filled }, required: false }
}

function categoriesText(categories: readonly string[]): string {
  const [some, rest] = [categories.slice(0, 20), categories.length - 20]
  return `Known categories: ${some.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}.`
}

function fits(value: unknown, { type, enum: values }: Json): boolean {
  if (Array.isArray(values) && !values.includes(value)) return false
  if (type === 'integer') return Number.isInteger(value)
  return typeof value === type
}

/** The `features` object of a row. */
export function featuresObject(sent: readonly Sent[], isOpen: boolean): Json {
  if (sent.length > FEATURES_MAX) {
    const description = `${sent.length} features, too many to list them here.`
    return { type: 'object', description, additionalProperties: true }
  }
  const properties = Object.fromEntries(sent.map(({ name, schema }) => [name, schema]))
  const required = sent.filter((one) => one.required).map(({ name }) => name)
  const schema = object(properties, required)
  return isOpen ? { ...schema, additionalProperties: true } : schema
}

/** Parameters of a GET that has features in its query; none where they are too many for a URL. */
export function featureParameters(sent: readonly Sent[], values: Json): readonly Json[] {
  if (sent.length > FEATURES_MAX / 10) return []
  return sent.map(({ name, schema, required }) => {
    // A query holds no null: what is missing is left out.
    const { type, enum: all, ...rest } = schema
    const single = Array.isArray(type) ? type[0] : type
    const some = Array.isArray(all) ? { enum: all.filter((one) => one !== null) } : {}
    const example = Object.hasOwn(values, name) ? { example: values[name] } : {}
    return { name, in: 'query', required, schema: { type: single, ...rest, ...some }, ...example }
  })
}

/** The tensors of a model that takes them whole. */
export function tensorsObject(inputs: readonly TensorSpec[]): Json {
  const properties = inputs.map(({ name, datatype, shape }) => {
    const sizes = shape.map((size) => size ?? 'any').join(', ')
    const description = `${datatype} of shape [${sizes}]: nested arrays, or shape and data.`
    const shaped = object({ shape: INTEGERS, data: ANY_ARRAY }, ['shape', 'data'])
    return [name, { anyOf: [ANY_ARRAY, shaped], description }] as const
  })
  return object(
    Object.fromEntries(properties),
    inputs.map(({ name }) => name),
  )
}

const ANY_ARRAY: Json = { type: 'array', items: {} }
const INTEGERS: Json = { type: 'array', items: { type: 'integer', minimum: 0 } }

export function tensorAnswer(outputs: readonly TensorSpec[]): Json {
  const tensor = object({ datatype: { type: 'string' }, shape: INTEGERS, data: ANY_ARRAY }, [
    'datatype',
    'shape',
    'data',
  ])
  return object(Object.fromEntries(outputs.map(({ name }) => [name, tensor])))
}
