/**
 * `service.json`, the manifest at the root of a bundle: its JSON Schema and its type, from one
 * source. The schema is also what `npm run schema` prints and README.md explains.
 */

import { type Static, type TObject, Type } from '@sinclair/typebox'
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
import { FilePath, strict } from './schema-parts.ts'
import { TableSchema } from './table-schema.ts'

const Id = Type.String({ pattern: ID_PATTERN })

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

/** The schema that endpoints of a type are judged by. */
export const ENDPOINT_SCHEMAS = {
  STD_PREDICTION: StdPredictionSchema,
  CUSTOM_PREDICTION: CustomPredictionSchema,
  CUSTOM_R_PREDICTION: CustomRPredictionSchema,
  SQL_QUERY: SqlQuerySchema,
  DATASET_LOOKUP: DatasetLookupSchema,
  R_FUNCTION: RFunctionSchema,
  PYTHON_FUNCTION: PythonFunctionSchema,
} as const satisfies Record<Exclude<EndpointType, 'R_PREDICTION'>, TObject>

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
    endpoints: Type.Array(Type.Union(Object.values(ENDPOINT_SCHEMAS)), {
      minItems: 1,
      maxItems: 1_000,
    }),
  },
  {
    ...strict,
    $id: 'https://switchyard.invalid/schema/service.json/1',
    title: 'Switchyard bundle manifest (service.json), format 1',
    description: `Bodies up to ${LIMITS.bodyBytesMax} bytes; ids match ${ID_PATTERN}.`,
  },
)

/** `type` may be an alias; see endpointType(). */
export type ManifestEndpoint =
  | StdPredictionEndpoint
  | CustomPredictionEndpoint
  | CustomRPredictionEndpoint
  | SqlQueryEndpoint
  | DatasetLookupEndpoint
  | RFunctionEndpoint
  | PythonFunctionEndpoint

export type Manifest = Omit<Static<typeof ManifestSchema>, 'endpoints'> & {
  readonly endpoints: readonly ManifestEndpoint[]
}
