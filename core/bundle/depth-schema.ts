/** What a prediction tells beyond the model's own answer, as `service.json` says it. */

import type { Static } from '@sinclair/typebox'
import { Type } from './schema-builder.ts'
import { strict } from './schema-parts.ts'

const Scalar = Type.Union([Type.String({ maxLength: 1024 }), Type.Number(), Type.Boolean()])
const Scalars = Type.Array(Scalar, { minItems: 1, maxItems: 10_000 })

const ConditionSchema = Type.Object(
  {
    feature: Type.String({ minLength: 1, maxLength: 256 }),
    equals: Type.Optional(Scalar),
    in: Type.Optional(Scalars),
    notIn: Type.Optional(Scalars),
    min: Type.Optional(Type.Number()),
    max: Type.Optional(Type.Number()),
    missing: Type.Optional(Type.Boolean({ description: 'Absent, null, NaN, or of a wrong type.' })),
  },
  { ...strict, description: 'One test of a feature; `min` and `max` are one together.' },
)

const then = Type.Object(
  {
    class: Type.Optional(Scalar),
    value: Type.Optional(Type.Number()),
    min: Type.Optional(Type.Number()),
    max: Type.Optional(Type.Number()),
  },
  {
    ...strict,
    description:
      'Of a classification `class`, predicted with probability 1; of a regression `value`, or ' +
      '`min` and `max`, between which the prediction is moved.',
  },
)

export const OverrideSchema = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 256 }),
    when: Type.Array(ConditionSchema, { minItems: 1, maxItems: 100 }),
    then,
  },
  strict,
)

export const depth = {
  percentiles: Type.Optional(
    Type.Array(Type.Number({ minimum: 0, maximum: 1 }), {
      minItems: 2,
      maxItems: 1_001,
      description:
        'BINARY_CLASSIFICATION: quantiles of the probability of the second class over a sample, ' +
        'evenly spaced from the least to the largest; what probaPercentile is read from.',
    }),
  ),
  overrides: Type.Optional(
    Type.Array(OverrideSchema, {
      minItems: 1,
      maxItems: 1_000,
      description: 'Rules; the first whose conditions all hold changes the prediction.',
    }),
  ),
}

export type ManifestOverride = Static<typeof OverrideSchema>
export type ManifestCondition = Static<typeof ConditionSchema>
export type ManifestEffect = Static<typeof then>
