/**
 * `service.json`, the manifest at the root of a bundle: its JSON Schema and its type, from one
 * source. The schema is also what `npm run schema` prints and README.md explains.
 */

import type { Static, TObject } from '@sinclair/typebox'
import { ID_PATTERN } from '../base/ids.ts'
import { LIMITS } from '../config/limits.ts'
import {
  type CustomPredictionEndpoint,
  CustomPredictionSchema,
  type CustomRPredictionEndpoint,
  CustomRPredictionSchema,
  type DatasetLookupEndpoint,
  DatasetLookupSchema,
  type PythonFunctionEndpoint,
  PythonFunctionSchema,
  type RFunctionEndpoint,
  RFunctionSchema,
  type SqlQueryEndpoint,
  SqlQuerySchema,
  type StdPredictionEndpoint,
  StdPredictionSchema,
} from './endpoint-schemas.ts'
import { RUN_TYPES, type RunType, TYPE_ALIASES } from './endpoint-types.ts'
import { SCOPE_PATTERN, SETTING_PATTERN } from './patterns.ts'
import { Type } from './schema-builder.ts'
import { ENDPOINT_ID, FilePath, strict } from './schema-parts.ts'
import { TableSchema } from './table-schema.ts'

const Id = Type.String({ pattern: ID_PATTERN })

/** The schema that endpoints of a type are judged by. */
export const ENDPOINT_SCHEMAS = {
  STD_PREDICTION: StdPredictionSchema,
  CUSTOM_PREDICTION: CustomPredictionSchema,
  CUSTOM_R_PREDICTION: CustomRPredictionSchema,
  SQL_QUERY: SqlQuerySchema,
  DATASET_LOOKUP: DatasetLookupSchema,
  R_FUNCTION: RFunctionSchema,
  PYTHON_FUNCTION: PythonFunctionSchema,
} as const satisfies Record<RunType, TObject>

/** As above, but each says which names its type has: for editors, and whoever reads the schema. */
function printed(type: RunType): TObject {
  const aliases = Object.keys(TYPE_ALIASES).filter((alias) => TYPE_ALIASES[alias] === type)
  const names = Type.Union([type, ...aliases].map((name) => Type.Literal(name)))
  const schema = ENDPOINT_SCHEMAS[type]
  return Type.Object({ ...schema.properties, type: names }, { ...strict, title: type })
}

/** What `aud` of a token may hold: a name or a URL. */
const Audience = Type.String({ minLength: 1, maxLength: 1024 })

const AuthorizationSchema = Type.Object(
  {
    method: Type.Union([
      Type.Literal('PUBLIC'),
      Type.Literal('API_KEYS'),
      Type.Literal('OAUTH2', { description: 'A token (JWT) of an issuer that the node knows.' }),
    ]),
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
    issuer: Type.Optional(
      Type.String({
        pattern: SETTING_PATTERN,
        description: 'OAUTH2: name of an issuer in the config file of the node.',
      }),
    ),
    audiences: Type.Optional(
      Type.Array(Audience, {
        minItems: 1,
        maxItems: 100,
        description: "OAUTH2: one of these in the token's aud; default: those of the issuer.",
      }),
    ),
    scopes: Type.Optional(
      Type.Array(Type.String({ pattern: SCOPE_PATTERN, maxLength: 256 }), {
        maxItems: 100,
        description: "OAUTH2: all of these in the token's scope or scp.",
      }),
    ),
  },
  strict,
)

/** All but the endpoints. */
const envelope = {
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
  python: Type.Optional(
    Type.Object(
      {
        requirements: FilePath,
        wheels: Type.Optional(
          Type.String({ maxLength: 1024, description: 'Folder of wheels in the bundle.' }),
        ),
      },
      { ...strict, description: 'A virtual environment, made when the bundle is imported.' },
    ),
  ),
  tables: Type.Optional(Type.Array(TableSchema, { maxItems: 1_000 })),
}

const ENDPOINTS = { minItems: 1, maxItems: 1_000 }

/** An endpoint is judged by the schema of its type, so here it is any object. */
export const EnvelopeSchema = Type.Object(
  { ...envelope, endpoints: Type.Array(Type.Object({}), ENDPOINTS) },
  strict,
)

/** What every endpoint has, to judge one of no known type. */
export const AnyEndpointSchema = Type.Object({
  id: ENDPOINT_ID,
  type: Type.String(),
  timeoutMs: StdPredictionSchema.properties.timeoutMs,
})

/** The whole, for people and editors; equal to the parts that a manifest is judged by. */
export const ManifestSchema = Type.Object(
  { ...envelope, endpoints: Type.Array(Type.Union(RUN_TYPES.map(printed)), ENDPOINTS) },
  {
    ...strict,
    $id: 'https://switchyard.invalid/schema/service.json/1',
    title: 'Switchyard bundle manifest (service.json), format 1',
    description: `Bodies up to ${LIMITS.bodyBytesMax} bytes; ids match ${ID_PATTERN}.`,
  },
)

/** The type's own name, whatever alias the file uses. */
type Named<Name extends RunType, Endpoint> = Endpoint & { readonly type: Name }

export type ManifestEndpoint =
  | Named<'STD_PREDICTION', StdPredictionEndpoint>
  | Named<'CUSTOM_PREDICTION', CustomPredictionEndpoint>
  | Named<'CUSTOM_R_PREDICTION', CustomRPredictionEndpoint>
  | Named<'SQL_QUERY', SqlQueryEndpoint>
  | Named<'DATASET_LOOKUP', DatasetLookupEndpoint>
  | Named<'R_FUNCTION', RFunctionEndpoint>
  | Named<'PYTHON_FUNCTION', PythonFunctionEndpoint>

export type ManifestEnvelope = Static<typeof EnvelopeSchema>

export type Manifest = Omit<ManifestEnvelope, 'endpoints'> & {
  readonly endpoints: readonly ManifestEndpoint[]
}
