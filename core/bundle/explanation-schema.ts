/** How an endpoint explains its predictions: a part of the manifest. */

import type { Static } from '@sinclair/typebox'
import type { Fault } from '../base/errors.ts'
import { LIMITS } from '../config/limits.ts'
import { type Files, fileFaults } from './check-files.ts'
import { isJson } from './file-names.ts'
import { Type } from './schema-builder.ts'
import { FilePath, strict } from './schema-parts.ts'

export const ExplanationsSchema = Type.Object(
  {
    enabled: Type.Optional(
      Type.Boolean({
        description: 'Every prediction is explained, unless its request says otherwise.',
        default: false,
      }),
    ),
    method: Type.Optional(
      Type.Union([Type.Literal('SHAPLEY'), Type.Literal('ICE')], { default: 'SHAPLEY' }),
    ),
    nExplanations: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100_000,
        default: 3,
        description: 'Features that an answer names: those with the largest influence.',
      }),
    ),
    nMonteCarloSteps: Type.Optional(
      Type.Integer({
        minimum: 25,
        maximum: 1_000,
        default: 100,
        description: 'SHAPLEY: permutations of the features that are sampled for each row.',
      }),
    ),
    background: FilePath,
  },
  {
    ...strict,
    description:
      'Rows that predictions are compared with are in the file `background`: CSV with a header, ' +
      `or a JSON array of feature maps. Of more than ${LIMITS.backgroundRowsMax} rows a random ` +
      'sample is kept. Where `enrich` adds features they belong into the file.',
  },
)

export type ManifestExplanations = Static<typeof ExplanationsSchema>

interface Explained {
  readonly type: string
  readonly prediction?: string | undefined
  readonly classes?: readonly unknown[] | undefined
  readonly features?: readonly unknown[] | undefined
  readonly explanations?: ManifestExplanations | undefined
}

/** What a schema cannot say. `path` is that of the endpoint. */
export function explanationFaults(endpoint: Explained, path: string, files: Files): Fault[] {
  const { explanations, prediction, type } = endpoint
  if (explanations === undefined) return []
  const where = `${path}.explanations`
  if (prediction === 'RAW') {
    const reason = 'explanations belong to predictions of rows; RAW takes whole tensors'
    return [{ path: where, reason }]
  }
  const file = explanations.background
  const faults = fileFaults(file, `${where}.background`, files)
  if (type === 'STD_PREDICTION') return faults
  if (prediction !== 'REGRESSION' && endpoint.classes === undefined) {
    const reason = 'classes is required: explanations are of the probability of one of them'
    faults.push({ path: `${path}.classes`, reason })
  }
  if (endpoint.features === undefined && !isJson(file)) {
    const reason = 'of a CSV file nobody knows the types: declare features, or give a JSON array'
    faults.push({ path: `${where}.background`, reason })
  }
  return faults
}
