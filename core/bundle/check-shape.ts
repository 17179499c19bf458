/**
 * The shape of a manifest: the envelope by one schema, each endpoint by that of its own type, so
 * that nobody reads of keys that belong to another.
 */

import type { TSchema } from '@sinclair/typebox'
import { Ajv, type ErrorObject } from 'ajv'
import type { Fault } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { endpointType, RUN_TYPES, type RunType } from './endpoint-types.ts'
import {
  AnyEndpointSchema,
  ENDPOINT_SCHEMAS,
  EnvelopeSchema,
  type ManifestEndpoint,
  type ManifestEnvelope,
} from './manifest.ts'
import { faultsOf, nearest, oneOf, shown } from './sentences.ts'

/** Judging an error costs time that grows with their number, and a hostile file has many. */
const SCHEMA_ERRORS_MAX = 1_000

/** No check of the schema itself: it compiles another, most of the time of the first. */
const OPTIONS = {
  allErrors: true,
  verbose: true,
  strict: false,
  meta: false,
  validateSchema: false,
} as const

interface Verdict<T> {
  /** Null: it is not of this shape. */
  readonly value: T | null
  readonly errors: readonly ErrorObject[]
}

const compiled = new Map<TSchema, (value: unknown) => Verdict<unknown>>()

/** Compiled at the first use: most processes that load this file never check a manifest. */
function judge<T>(schema: TSchema, value: unknown): Verdict<T> {
  let validate = compiled.get(schema)
  if (validate === undefined) {
    const check = new Ajv(OPTIONS).compile(schema)
    validate = (given) => {
      const fits = check(given)
      return {
        value: fits ? given : null,
        errors: (check.errors ?? []).slice(0, SCHEMA_ERRORS_MAX),
      }
    }
    compiled.set(schema, validate)
  }
  return validate(value) as Verdict<T>
}

export interface Shaped {
  readonly faults: readonly Fault[]
  /** Null where its shape is wrong. */
  readonly envelope: ManifestEnvelope | null
  /** By index; null where the shape of one is wrong. */
  readonly endpoints: readonly (ManifestEndpoint | null)[]
}

export function shapeOf(raw: unknown): Shaped {
  const envelope = judge<ManifestEnvelope>(EnvelopeSchema, raw)
  const given = isObject(raw) && Array.isArray(raw['endpoints']) ? raw['endpoints'] : []
  const endpoints = given.map((one: unknown, i) => endpointOf(one, `endpoints[${i}]`))
  return {
    faults: [...faultsOf(envelope.errors), ...endpoints.flatMap(({ faults }) => faults)],
    envelope: envelope.value,
    endpoints: endpoints.map(({ endpoint }) => endpoint),
  }
}

interface ShapedEndpoint {
  readonly endpoint: ManifestEndpoint | null
  readonly faults: readonly Fault[]
}

function endpointOf(raw: unknown, base: string): ShapedEndpoint {
  // The envelope tells of what is no object.
  if (!isObject(raw)) return { endpoint: null, faults: [] }
  const name = raw['type']
  const type = typeof name === 'string' ? endpointType(name) : null
  if (type === null) {
    const faults = faultsOf(judge(AnyEndpointSchema, raw).errors, base, { base })
    if (typeof name === 'string') faults.push({ path: `${base}.type`, reason: unknownType(name) })
    return { endpoint: null, faults }
  }
  const { value, errors } = judge<ManifestEndpoint>(ENDPOINT_SCHEMAS[type], raw)
  const elsewhere = (key: string): string | null => ownersOf(key, type)
  const faults = faultsOf(errors, base, { base, owner: type, elsewhere })
  return { endpoint: value === null ? null : named(value, type), faults }
}

/** With the type's own name in place of an alias. */
function named(endpoint: ManifestEndpoint, type: RunType): ManifestEndpoint {
  return endpoint.type === type ? endpoint : ({ ...endpoint, type } as ManifestEndpoint)
}

/** A key that is right elsewhere is no misspelling. */
function ownersOf(key: string, type: RunType): string | null {
  const owners = RUN_TYPES.filter((one) => Object.hasOwn(ENDPOINT_SCHEMAS[one].properties, key))
  if (owners.length === 0) {
    const isOfBundle = Object.hasOwn(EnvelopeSchema.properties, key)
    return isOfBundle ? `${shown(key)} belongs beside "endpoints", not into one of them` : null
  }
  return `${shown(key)} belongs to ${listed(owners)}, not to ${type}`
}

function listed(names: readonly string[]): string {
  return names.length < 3
    ? names.join(' and ')
    : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`
}

function unknownType(type: string): string {
  const near = nearest(type, RUN_TYPES)
  const hint = near === null ? `it must be ${oneOf(RUN_TYPES)}` : `did you mean "${near}"?`
  return `${shown(type)} is no endpoint type; ${hint}`
}
