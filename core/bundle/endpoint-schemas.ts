/**
 * What an endpoint of each type looks like in `service.json`. An endpoint is judged by the schema
 * of its own type, so that its author reads of no key that belongs to another.
 */

import type { Static } from '@sinclair/typebox'
import { depth } from './depth-schema.ts'
import { ExplanationsSchema } from './explanation-schema.ts'
import { FeatureSchema } from './manifest-features.ts'
import { FUNCTION_PATTERN, NAME_PATTERN } from './patterns.ts'
import { Type } from './schema-builder.ts'
import { ENDPOINT_ID, FilePath, strict } from './schema-parts.ts'
import { OnLookupProblem } from './table-schema.ts'

const TestQuerySchema = Type.Object(
  {
    name: Type.Optional(Type.String({ maxLength: 256 })),
    q: Type.Record(Type.String(), Type.Unknown(), {
      description: 'A body as the endpoint takes it, for example {"features": {…}}.',
    }),
    expect: Type.Optional(
      Type.Unknown({
        description:
          'What must come back, or a part of it: of `result` of a prediction, `response` of a ' +
          'function, the answer of a query, `data` of a lookup. Numbers within 1e-4.',
      }),
    ),
  },
  strict,
)

const common = {
  id: ENDPOINT_ID,
  type: Type.String(),
  modelRef: Type.Optional(Type.String({ maxLength: 1024 })),
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
}

export const LookupSchema = Type.Object(
  {
    table: Type.String({ description: 'Name of one of `tables`.' }),
    key: Type.Optional(
      Type.Record(Type.String(), Type.String(), {
        description:
          "Column of the table's key to the field that holds it; default: fields of that name.",
      }),
    ),
    columns: Type.Optional(
      Type.Union(
        [Type.Array(Type.String(), { minItems: 1 }), Type.Record(Type.String(), Type.String())],
        { description: 'Columns to take, or column to new name; default: all that are no key.' },
      ),
    ),
    onMissing: Type.Optional(OnLookupProblem),
    onMultiple: Type.Optional(OnLookupProblem),
  },
  strict,
)

const predictionCommon = {
  classes: Type.Optional(
    Type.Array(Type.Union([Type.String(), Type.Number(), Type.Boolean()]), { minItems: 2 }),
  ),
  threshold: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
  ...depth,
  features: Type.Optional(Type.Array(FeatureSchema, { minItems: 1, maxItems: 100_000 })),
  batch: Type.Optional(
    Type.Literal(false, {
      description: 'Run rows one by one; true is for the node to find out.',
    }),
  ),
  maxRows: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096 })),
  explanations: Type.Optional(ExplanationsSchema),
  enrich: Type.Optional(
    Type.Object(
      {
        lookups: Type.Array(LookupSchema, { minItems: 1, maxItems: 100 }),
        dump: Type.Optional(
          Type.Boolean({
            description: 'The features after enrichment are part of the answer.',
            default: false,
          }),
        ),
      },
      strict,
    ),
  ),
}

const OutputsSchema = Type.Object(
  {
    label: Type.Optional(Type.String({ description: 'Output that holds the class label.' })),
    probabilities: Type.Optional(Type.String({ description: 'Output of shape [rows, classes].' })),
    value: Type.Optional(Type.String({ description: 'Output that holds the regression value.' })),
  },
  strict,
)

const CustomKind = Type.Union([
  Type.Literal('BINARY_CLASSIFICATION'),
  Type.Literal('MULTICLASS'),
  Type.Literal('REGRESSION'),
])

export const StdPredictionSchema = Type.Object(
  {
    ...common,
    ...predictionCommon,
    model: FilePath,
    prediction: Type.Optional(Type.Union([...CustomKind.anyOf, Type.Literal('RAW')])),
    outputs: Type.Optional(OutputsSchema),
  },
  strict,
)

/** What functions and custom predictions have in common. */
const code = {
  file: FilePath,
  children: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 64,
      description: 'Processes that answer at the same time; default: the threads of a pool.',
    }),
  ),
  variables: Type.Optional(
    Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }), Type.String(), {
      description: 'Environment variables of the processes.',
    }),
  ),
}

const functionCommon = {
  ...common,
  ...code,
  function: Type.String({ pattern: NAME_PATTERN, description: 'Name of the function in `file`.' }),
  get: Type.Optional(
    Type.Boolean({ description: '`GET …/run?argument=value` is answered too.', default: false }),
  ),
}

const requestMetadata = Type.Optional(
  Type.Boolean({
    description: 'The code may ask for headers, path and query of the request.',
    default: false,
  }),
)

export const PythonFunctionSchema = Type.Object(
  {
    ...functionCommon,
    rawResponse: Type.Optional(
      Type.Boolean({
        description: 'The function may answer with its own status, headers and bytes.',
        default: false,
      }),
    ),
    requestMetadata,
  },
  strict,
)

export const RFunctionSchema = Type.Object(functionCommon, strict)

export const CustomPredictionSchema = Type.Object(
  {
    ...common,
    ...predictionCommon,
    ...code,
    class: Type.Optional(
      Type.String({
        pattern: NAME_PATTERN,
        description: 'Class with predict(features); default: the only one in `file`.',
      }),
    ),
    prediction: CustomKind,
    input: Type.Optional(
      Type.Union([Type.Literal('pandas'), Type.Literal('numpy'), Type.Literal('records')], {
        description: 'What predict() is given: DataFrame, array of numbers, list of dicts.',
        default: 'pandas',
      }),
    ),
    dataFolder: Type.Optional(
      Type.String({
        maxLength: 1024,
        description: 'Folder of the bundle that the constructor is given; default: its root.',
      }),
    ),
    requestMetadata,
  },
  strict,
)

export const CustomRPredictionSchema = Type.Object(
  {
    ...common,
    ...predictionCommon,
    ...code,
    function: Type.String({
      pattern: FUNCTION_PATTERN,
      description: 'Name of the function in `file`; features are its named arguments.',
    }),
    prediction: CustomKind,
  },
  strict,
)

export const SqlQuerySchema = Type.Object(
  {
    ...common,
    connection: Type.Optional(
      Type.String({
        description: 'Named connection of the node; default: the embedded database over `tables`.',
      }),
    ),
    query: Type.String({
      minLength: 1,
      maxLength: 1_000_000,
      description: 'One or more statements, `;` between them; `?` stands for a parameter.',
    }),
    parameters: Type.Optional(
      Type.Array(
        Type.Union([
          Type.String({ minLength: 1, maxLength: 256 }),
          Type.Object(
            {
              name: Type.String({ minLength: 1, maxLength: 256 }),
              type: Type.Optional(
                Type.Union([
                  Type.Literal('string'),
                  Type.Literal('integer'),
                  Type.Literal('number'),
                  Type.Literal('boolean'),
                  Type.Literal('date'),
                  Type.Literal('timestamp'),
                ]),
              ),
            },
            strict,
          ),
        ]),
        { maxItems: 1_000, description: 'One for each `?`, in order; a name may come twice.' },
      ),
    ),
    maxRows: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000_000,
        default: 10_000,
        description: 'A query that finds more is refused.',
      }),
    ),
    commit: Type.Optional(
      Type.Boolean({
        description: 'All statements in one transaction, committed at the end.',
        default: false,
      }),
    ),
  },
  strict,
)

export const DatasetLookupSchema = Type.Object(
  { ...common, lookups: Type.Array(LookupSchema, { minItems: 1, maxItems: 100 }) },
  strict,
)

export type ManifestLookup = Static<typeof LookupSchema>
export type StdPredictionEndpoint = Static<typeof StdPredictionSchema>
export type PythonFunctionEndpoint = Static<typeof PythonFunctionSchema>
export type RFunctionEndpoint = Static<typeof RFunctionSchema>
export type CustomPredictionEndpoint = Static<typeof CustomPredictionSchema>
export type CustomRPredictionEndpoint = Static<typeof CustomRPredictionSchema>
export type SqlQueryEndpoint = Static<typeof SqlQuerySchema>
export type DatasetLookupEndpoint = Static<typeof DatasetLookupSchema>
