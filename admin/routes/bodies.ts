/** JSON bodies of the admin API: what may be sent, and every fault of what was sent. */

import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Ajv, type ValidateFunction } from 'ajv'
import { AppError } from '../../core/base/errors.ts'
import { ID_PATTERN } from '../../core/base/ids.ts'
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

/** A hostile body of 10,000 wrong ids is answered with these. */
const ERRORS_MAX = 32

export class BodyReader<Schema extends TSchema> {
  readonly #validate: ValidateFunction

  constructor(schema: Schema) {
    this.#validate = new Ajv({ allErrors: true, verbose: true }).compile(schema)
  }

  /** The parsed body; an empty one is {}. Throws 400 with every fault. */
  read(bytes: Uint8Array): Static<Schema> {
    const value = parse(bytes)
    if (this.#validate(value)) return value as Static<Schema>
    const faults = faultsOf((this.#validate.errors ?? []).slice(0, ERRORS_MAX), 'the body')
    const detail = faults.map(({ reason }) => reason).join('; ')
    throw new AppError('ERR_PARAMETER_INVALID', detail.slice(0, 1_000), faults)
  }
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
