/** Features of a prediction in the manifest. */

import type { Static } from '@sinclair/typebox'
import { Type } from './schema-builder.ts'
import { strict } from './schema-parts.ts'

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

export type ManifestFeature = Static<typeof FeatureSchema>
