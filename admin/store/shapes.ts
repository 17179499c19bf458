/**
 * Whether a record has the shape of records.ts. A checksum proves that bytes are those that were
 * written, not by what: a store of another program, or of a later version, must not be guessed at.
 * Plain checks, because a child runs them at every start and a schema compiler costs more.
 */

import { isGenerationId, isServiceId } from '../../core/base/ids.ts'
import { isObject } from '../../core/base/json.ts'
import { journalKey, keyOf, recordOf } from './entries.ts'

/** null: fine. Else the path of the first value that is not. */
type Check = (value: unknown, path: string) => string | null

const text = only('a text', (value) => typeof value === 'string')
const flag = only('true or false', (value) => typeof value === 'boolean')
const number = only('a number', (value) => typeof value === 'number' && Number.isFinite(value))
const count = only('a count', (value) => Number.isSafeInteger(value) && Number(value) >= 0)
const digest = only('a digest', (value) => /^[0-9a-f]{64}$/.test(String(value)))
const serviceId = only('an id', (value) => typeof value === 'string' && isServiceId(value))
const generationId = only('an id', (value) => typeof value === 'string' && isGenerationId(value))
const keyId = only('an id', (value) => typeof value === 'string' && /^[^/]{1,256}$/.test(value))
const present = only('a value', (value) => value !== undefined)
const object = only('an object', isObject)
const limit = nullable(number)

const then = shape({ kind: text })
const depth = {
  percentiles: optional(list(number)),
  overrides: optional(list(shape({ name: text, when: list(shape({ kind: text })), then }))),
}

const code = shape({
  file: text,
  name: text,
  variables: object,
  get: flag,
  prediction: nullable(shape({ kind: text, ...depth })),
})
const steps = list(shape({ table: text, key: list(shape({ column: text, field: text })) }))
const statement = shape({ text, parameters: list(shape({ name: text })) })

/** What plans of a type have beside the common part. */
const OF_TYPE: Readonly<Record<string, Check>> = {
  STD_PREDICTION: shape({
    prediction: shape({
      kind: text,
      model: text,
      inputs: list(shape({ name: text })),
      ...depth,
    }),
  }),
  PYTHON_FUNCTION: shape({ python: code }),
  CUSTOM_PREDICTION: shape({ python: code }),
  R_FUNCTION: shape({ r: code }),
  CUSTOM_R_PREDICTION: shape({ r: code }),
  SQL_QUERY: shape({ sql: shape({ statements: list(statement), maxRows: number }) }),
  DATASET_LOOKUP: shape({ lookup: shape({ steps }) }),
}

const commonPlan = shape({
  id: text,
  type: text,
  modelRef: text,
  timeoutMs: number,
  queue: shape({ maxRequests: number, maxBytes: number }),
  worstBatchMs: number,
  cost: optional(shape({ fixedUs: number, perRowUs: number })),
  warmUp: list(text),
  enrich: optional(shape({ steps, dump: flag })),
  explanations: optional(
    shape({
      enabled: flag,
      method: text,
      nExplanations: number,
      nMonteCarloSteps: number,
      background: text,
    }),
  ),
})

const endpointPlan: Check = (value, path) => {
  const fault = commonPlan(value, path)
  if (fault !== null || !isObject(value)) return fault
  const type = String(value['type'])
  const check = Object.hasOwn(OF_TYPE, type) ? OF_TYPE[type] : undefined
  return check === undefined ? `${path}.type is none that this node knows` : check(value, path)
}

const table = shape({
  name: text,
  file: nullable(text),
  lmdb: nullable(text),
  database: nullable(shape({ connection: text, from: text })),
  key: list(text),
  columns: list(shape({ name: text, type: text })),
  rows: nullable(number),
})

/** Tables and made files came later: plans of an older version lack them. */
const plan = shape({
  planVersion: only('1', (value) => value === 1),
  authorization: shape({
    method: text,
    keys: list(shape({ id: text, sha256: digest })),
    token: optional(shape({ issuer: text, audiences: list(text), scopes: list(text) })),
  }),
  threads: nullable(number),
  endpoints: list(endpointPlan),
  tables: optional(list(table)),
  made: optional(list(text)),
})

const CHECKS: Readonly<Record<string, Check>> = {
  service: shape({
    id: serviceId,
    enabled: flag,
    mapping: list(shape({ generationId, proba: number })),
    createdOn: number,
    lastUse: optional(number),
    queryLog: optional(shape({ mode: text, share: number })),
    cors: optional(shape({ origins: list(text) })),
  }),
  generation: shape({
    serviceId,
    id: generationId,
    sha256: digest,
    createdOn: number,
    endpoints: list(shape({ id: text, type: text, modelRef: text })),
    plan,
    report: shape({ endpoints: list(shape({ endpointId: text, zipMap: text })) }),
    bytes: count,
    sequence: count,
  }),
  key: shape({
    id: keyId,
    label: text,
    sha256: digest,
    allowedServices: list(text),
    createdOn: number,
    lastUse: nullable(number),
    quota: optional(shape({ requestsPerSecond: limit, concurrentRequests: limit })),
  }),
  adminKey: shape({
    id: keyId,
    label: text,
    sha256: digest,
    createdOn: number,
    description: optional(text),
    createdBy: optional(text),
    expiry: optional(number),
  }),
}

const journalEntry = shape({
  seq: count,
  time: number,
  actor: text,
  action: text,
  before: present,
  after: present,
})

/** null: a record of the kind that its key says, under its own key. */
export function recordFault(key: string, value: unknown): string | null {
  const check = CHECKS[key.slice(0, key.indexOf('/'))]
  if (check === undefined) return `${key}: no kind of record that this node knows`
  const fault = check(value, '')
  if (fault !== null) return `${key}: ${fault}`
  return keyOf(recordOf(key, value)) === key ? null : `${key}: holds the record of another key`
}

export function journalFault(key: string, value: unknown): string | null {
  const fault = journalEntry(value, '')
  if (fault !== null) return `${key}: ${fault}`
  const seq = isObject(value) ? Number(value['seq']) : 0
  return journalKey(seq) === key ? null : `${key}: holds the entry of another key`
}

/** Every generation belongs to a service; `keys` are those of all records. */
export function orphanFault(keys: Iterable<string>): string | null {
  const services = new Set<string>()
  const owners = new Map<string, string>()
  for (const key of keys) {
    const [kind, first = ''] = key.split('/')
    if (kind === 'service') services.add(first)
    if (kind === 'generation') owners.set(first, key)
  }
  for (const [owner, key] of owners) {
    if (!services.has(owner)) return `${key}: its service has no record`
  }
  return null
}

function only(what: string, isRight: (value: unknown) => boolean): Check {
  return (value, path) => (isRight(value) ? null : `${path === '' ? 'it' : path} is not ${what}`)
}

function nullable(check: Check): Check {
  return (value, path) => (value === null ? null : check(value, path))
}

function optional(check: Check): Check {
  return (value, path) => (value === undefined ? null : check(value, path))
}

function list(check: Check): Check {
  return (value, path) => {
    if (!Array.isArray(value)) return `${path} is not a list`
    return first(value, (item, i) => check(item, `${path}[${i}]`))
  }
}

/** Fields beyond these are allowed: a later version may add what this one need not know. */
function shape(fields: Readonly<Record<string, Check>>): Check {
  return (value, path) => {
    if (!isObject(value)) return `${path === '' ? 'it' : path} is not an object`
    const prefix = path === '' ? '' : `${path}.`
    return first(Object.entries(fields), ([name, check]) => check(value[name], `${prefix}${name}`))
  }
}

function first<T>(items: readonly T[], judge: (item: T, i: number) => string | null) {
  for (const [i, item] of items.entries()) {
    const fault = judge(item, i)
    if (fault !== null) return fault
  }
  return null
}
