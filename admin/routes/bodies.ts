/** JSON bodies of the admin API: what may be sent, and every fault of what was sent. */

import type { Static, TSchema } from '@sinclair/typebox'
import { Ajv, type ValidateFunction } from 'ajv'
import { AppError, type Fault } from '../../core/base/errors.ts'
import { ID_PATTERN } from '../../core/base/ids.ts'
import { Type } from '../../core/bundle/schema-builder.ts'
import { faultsOf } from '../../core/bundle/sentences.ts'

// A misspelt field is refused: `allowedService` would otherwise make a key for everything.
const strict = { additionalProperties: false }

export const CreateServiceSchema = Type.Object(
  { serviceId: Type.String({ pattern: ID_PATTERN }) },
  strict,
)

const QuotaSchema = Type.Union(
  [
    Type.Object(
      {
        requestsPerSecond: Type.Optional(
          Type.Union([Type.Number({ exclusiveMinimum: 0, maximum: 1e9 }), Type.Null()]),
        ),
        concurrentRequests: Type.Optional(
          Type.Union([Type.Integer({ minimum: 1, maximum: 1e9 }), Type.Null()]),
        ),
      },
      strict,
    ),
    Type.Null(),
  ],
  { description: 'Limits of the key over the whole node; null: none.' },
)

export const CreateAuthKeySchema = Type.Object(
  {
    label: Type.Optional(Type.String({ maxLength: 256 })),
    allowedServices: Type.Optional(
      Type.Array(Type.String({ pattern: ID_PATTERN }), {
        maxItems: 10_000,
        description: 'Services this key can access; empty means all.',
      }),
    ),
    quota: Type.Optional(QuotaSchema),
  },
  strict,
)

export const UpdateAuthKeySchema = Type.Object({ quota: QuotaSchema }, strict)

const textOrNull = (maxLength: number) =>
  Type.Optional(Type.Union([Type.String({ maxLength }), Type.Null()]))

export const CreateAdminKeySchema = Type.Object(
  {
    label: textOrNull(256),
    description: textOrNull(1_024),
    createdBy: textOrNull(256),
    expiry: Type.Optional(
      Type.Union([Type.Number(), Type.String({ maxLength: 64 }), Type.Null()], {
        description: 'Milliseconds since the epoch, an ISO 8601 text, or null: never.',
      }),
    ),
  },
  strict,
)

export const ServiceSettingsSchema = Type.Object(
  {
    queryLog: Type.Optional(
      Type.String({
        maxLength: 32,
        description: 'off, failures, all, or a share of all such as sample:0.01.',
      }),
    ),
    cors: Type.Optional(
      Type.Union(
        [
          Type.Object({ origins: Type.Array(Type.String(), { maxItems: 256 }) }, strict),
          Type.Null(),
        ],
        { description: 'Web pages that may read the answers; null: none of another origin.' },
      ),
    ),
  },
  strict,
)

/** Each mapped generation has a pool of threads and memory of its own. */
const MAPPED_MAX = 64

export const MappingSchema = Type.Object(
  {
    entries: Type.Array(
      Type.Object(
        {
          generation: Type.Optional(Type.String()),
          generations: Type.Optional(Type.String({ description: 'The same, as some write it.' })),
          proba: Type.Number({ description: 'Share of the traffic, over 0; they sum to 1.' }),
        },
        strict,
      ),
      { minItems: 1, maxItems: MAPPED_MAX },
    ),
  },
  strict,
)

/** No check of the schema itself: it compiles another, most of the time of the first. */
const OPTIONS = { allErrors: true, verbose: true, meta: false, validateSchema: false } as const

/** A hostile body of 10,000 wrong ids is answered with these. */
const ERRORS_MAX = 32

export class BodyReader<Schema extends TSchema> {
  readonly #schema: Schema
  /** Compiled at the first body: a start of the node waits for none of them. */
  #compiled: ValidateFunction | undefined

  constructor(schema: Schema) {
    this.#schema = schema
  }

  /** The parsed body; an empty one is {}. Throws 400 with every fault. */
  read(bytes: Uint8Array): Static<Schema> {
    const value = parse(bytes)
    this.#compiled ??= new Ajv(OPTIONS).compile(this.#schema)
    const validate = this.#compiled
    if (validate(value)) return value as Static<Schema>
    const faults = faultsOf((validate.errors ?? []).slice(0, ERRORS_MAX), 'the body')
    const detail = faults.map(sentenceOf).join('; ')
    throw new AppError('ERR_PARAMETER_INVALID', detail.slice(0, 1_000), faults)
  }
}

/** Reasons name a field by its last name alone; of a list, it is also told in which entry. */
function sentenceOf({ path, reason }: Fault): string {
  const end = path.lastIndexOf('.')
  return end < 0 ? reason : `${path.slice(0, end)}: ${reason}`
}

function parse(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return {}
  let text = ''
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return JSON.parse(text)
  } catch {
    throw new AppError('ERR_BODY_INVALID', whyNotJson(text))
  }
}

/** What Python writes for numbers that JSON lacks is told by its name. */
function whyNotJson(text: string): string {
  const outsideTexts = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
  const [token] = /-?\b(?:NaN|Infinity)\b/.exec(outsideTexts) ?? []
  if (token === undefined) return 'it is not JSON in UTF-8'
  return `${token} is no value of JSON; send a number or null`
}
