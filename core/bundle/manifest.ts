/**
 * `service.json`, the manifest at the root of a bundle: its JSON Schema and its type, from one
 * source. The schema is also what `npm run schema` prints and README.md explains.
 */

import { type Static, Type } from '@sinclair/typebox'
import { ID_PATTERN } from '../base/ids.ts'
import { LIMITS } from '../config/limits.ts'

const Id = Type.String({ pattern: ID_PATTERN })
const strict = { additionalProperties: false }

/** Path inside the bundle: forward slashes, no leading slash; checked again when unpacking. */
const FilePath = Type.String({ minLength: 1, maxLength: 1024 })

export const ENDPOINT_TYPES = [
  'STD_PREDICTION',
  'CUSTOM_PREDICTION',
  'R_PREDICTION',
  'CUSTOM_R_PREDICTION',
  'SQL_QUERY',
  'DATASET_LOOKUP',
  'R_FUNCTION',
  'PYTHON_FUNCTION',
] as const
export type EndpointType = (typeof ENDPOINT_TYPES)[number]

/** Names that other products use for the same types; read as ours, never written. */
const TYPE_ALIASES: Readonly<Record<string, EndpointType>> = {
  PY_FUNCTION: 'PYTHON_FUNCTION',
  DATASETS_LOOKUP: 'DATASET_LOOKUP',
  R_PREDICTION: 'CUSTOM_R_PREDICTION',
}

/** The name that the admin API emits, or null for a type that nobody knows. */
export function endpointType(name: string): EndpointType | null {
  return TYPE_ALIASES[name] ?? ENDPOINT_TYPES.find((type) => type === name) ?? null
}

const OnProblem = Type.Union([
  Type.Literal('ERROR'),
  Type.Literal('IGNORE'),
  Type.Literal('IMPUTE'),
])

export const FeatureSchema = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 256 }),
    type: Type.Optional(
      Type.Union(
        [
          Type.Literal('number'),
          Type.Literal('integer'),
          Type.Literal('string'),
          Type.Literal('boolean'),
        ],
        { description: 'What a caller sends; read from the model when absent.' },
      ),
    ),
    onMissing: Type.Optional(
      Type.Union([...OnProblem.anyOf], {
        description:
          'Absent, null or NaN: 400, a row answered as ignored, or `value` in its place.',
        default: 'ERROR',
      }),
    ),
    onInvalid: Type.Optional(
      Type.Union([...OnProblem.anyOf], {
        description: 'Wrong type or not finite.',
        default: 'ERROR',
      }),
    ),
    categories: Type.Optional(
      Type.Array(Type.String({ maxLength: 1024 }), {
        minItems: 1,
        maxItems: 100_000,
        description: 'The known categories of a string feature; absent: every text is passed on.',
      }),
    ),
    onUnknown: Type.Optional(
      Type.Union([...OnProblem.anyOf], {
        description: 'A text that is not among `categories`.',
        default: 'ERROR',
      }),
    ),
    value: Type.Optional(
      Type.Union([Type.Number(), Type.String(), Type.Boolean()], {
        description: 'What IMPUTE puts in.',
      }),
    ),
    input: Type.Optional(
      Type.String({
        description: 'Model input of this feature; default: the only one, or `name`.',
      }),
    ),
  },
  strict,
)

const TestQuerySchema = Type.Object(
  {
    name: Type.Optional(Type.String({ maxLength: 256 })),
    q: Type.Record(Type.String(), Type.Unknown(), {
      description: 'A body as `predict` takes it, for example {"features": {…}}.',
    }),
    expect: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        description: 'Part of `result` that must come back; numbers within 1e-4.',
      }),
    ),
  },
  strict,
)

const OutputsSchema = Type.Object(
  {
    label: Type.Optional(Type.String({ description: 'Output that holds the class label.' })),
    probabilities: Type.Optional(Type.String({ description: 'Output of shape [rows, classes].' })),
    value: Type.Optional(Type.String({ description: 'Output that holds the regression value.' })),
  },
  strict,
)

export const EndpointSchema = Type.Object(
  {
    id: Id,
    type: Type.String(),
    modelRef: Type.Optional(Type.String({ maxLength: 1024 })),
    model: Type.Optional(FilePath),
    prediction: Type.Optional(
      Type.Union([
        Type.Literal('BINARY_CLASSIFICATION'),
        Type.Literal('MULTICLASS'),
        Type.Literal('REGRESSION'),
        Type.Literal('RAW'),
      ]),
    ),
    classes: Type.Optional(
      Type.Array(Type.Union([Type.String(), Type.Number(), Type.Boolean()]), { minItems: 2 }),
    ),
    threshold: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
    features: Type.Optional(Type.Array(FeatureSchema, { minItems: 1, maxItems: 100_000 })),
    outputs: Type.Optional(OutputsSchema),
    batch: Type.Optional(
      Type.Literal(false, {
        description: 'Run rows one by one; true is for the node to find out.',
      }),
    ),
    maxRows: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
    testQueries: Type.Optional(Type.Array(TestQuerySchema, { maxItems: 1_000 })),
    queue: Type.Optional(
      Type.Object(
        {
          maxRequests: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
          maxBytes: Type.Optional(Type.Integer({ minimum: 1 })),
        },
        strict,
      ),
    ),
    timeoutMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 3_600_000 })),
  },
  strict,
)

const AuthorizationSchema = Type.Object(
  {
    method: Type.Union([Type.Literal('PUBLIC'), Type.Literal('API_KEYS')]),
    keys: Type.Optional(
      Type.Array(
        Type.Object(
          {
            id: Type.Optional(Type.String({ maxLength: 256 })),
            sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
          },
          strict,
        ),
        { description: 'Keys that open this service: SHA-256 of the key, lower-case hex.' },
      ),
    ),
  },
  strict,
)

export const ManifestSchema = Type.Object(
  {
    formatVersion: Type.Literal(1),
    serviceId: Type.Optional(Id),
    generationId: Type.Optional(Id),
    description: Type.Optional(Type.String({ maxLength: 10_000 })),
    authorization: Type.Optional(
      Type.Union([Type.Literal('PUBLIC'), Type.Literal('API_KEYS'), AuthorizationSchema], {
        default: 'API_KEYS',
      }),
    ),
    pool: Type.Optional(
      Type.Object({ threads: Type.Optional(Type.Integer({ minimum: 1, maximum: 256 })) }, strict),
    ),
    endpoints: Type.Array(EndpointSchema, { minItems: 1, maxItems: 1_000 }),
  },
  {
    ...strict,
    $id: 'https://switchyard.invalid/schema/service.json/1',
    title: 'Switchyard bundle manifest (service.json), format 1',
    description: `Bodies up to ${LIMITS.bodyBytesMax} bytes; ids match ${ID_PATTERN}.`,
  },
)

export type Manifest = Static<typeof ManifestSchema>
export type ManifestEndpoint = Static<typeof EndpointSchema>
export type ManifestFeature = Static<typeof FeatureSchema>
