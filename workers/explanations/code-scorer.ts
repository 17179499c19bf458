/** Scores mixed rows by the code of a bundle: each is a feature map, as any row is. */

import { AppError } from '../../core/base/errors.ts'
import type { CustomPredictionPlan } from '../../core/bundle/plan.ts'
import type { CallRows } from '../predictions/custom.ts'
import { featureRules } from '../predictions/features.ts'
import type { CustomRow } from '../predictions/results.ts'
import type { FeatureMap } from '../predictions/values.ts'
import { AS_BEFORE, EXPLAINED } from './mixed-rows.ts'
import type { Mixture, Scorer } from './types.ts'

export interface CodeScorerOptions {
  readonly plan: CustomPredictionPlan
  /** What is mixed where the plan declares no features: those of the background. */
  readonly features: readonly string[]
  readonly rowsMax: number
  readonly call: CallRows
}

export function codeScorer(options: CodeScorerOptions): Scorer<readonly FeatureMap[]> {
  const { plan, rowsMax, call } = options
  const check = featureRules(plan.features)
  const features = plan.features?.map(({ name }) => name) ?? options.features
  const outputs = plan.classes.length > 2 ? plan.classes.length : 1
  return {
    features,
    rowsMax,
    outputs,
    hold: (rows) => {
      const held: FeatureMap[] = []
      for (const [row, given] of rows.entries()) {
        const checked = check(given)
        if (checked.kind !== 'row') return { kind: 'refused', row, detail: checked.detail }
        held.push(checked.features)
      }
      return held
    },
    score: async (mixture, endMs) => {
      const answer = await call(mixedRows(features, mixture), endMs)
      if (answer.kind === 'failed') throw new AppError(answer.code, answer.detail)
      const scores = new Float64Array(mixture.rows.count * outputs)
      for (let i = 0; i < mixture.rows.count; i++) {
        const one = answer.rows[i]
        if (one === undefined) throw new AppError('ERR_ANSWER_INVALID', 'a row has no result')
        if (one.kind === 'failed') throw new AppError(one.code, one.detail)
        scores.set(scoresOf(plan, one.row), i * outputs)
      }
      return scores
    },
  }
}

/** What the row has beside the explained features stays as it is. */
function mixedRows(
  features: readonly string[],
  { rows, explained, background }: Mixture<readonly FeatureMap[]>,
): FeatureMap[] {
  const own = explained[0] ?? {}
  const cellsOf = (source: number) => (source === EXPLAINED ? own : background[source - 1])
  const mixed: FeatureMap[] = []
  for (let row = 0, change = 0; row < rows.count; row++) {
    const start = rows.starts[row] ?? EXPLAINED
    const cells = start === AS_BEFORE ? mixed[row - 1] : { ...own, ...cellsOf(start) }
    let made = { ...cells }
    for (const end = rows.ends[row] ?? 0; change < end; change++) {
      const name = features[rows.features[change] ?? 0] ?? ''
      made = { ...made, [name]: cellsOf(rows.sources[change] ?? EXPLAINED)?.[name] }
    }
    mixed.push(made)
  }
  return mixed
}

function scoresOf(plan: CustomPredictionPlan, row: CustomRow): readonly number[] {
  if (plan.kind === 'REGRESSION') {
    return [typeof row.prediction === 'number' ? row.prediction : Number.NaN]
  }
  if (row.probas === null) {
    throw new AppError('ERR_ANSWER_INVALID', 'explanations need probabilities: the code gave none')
  }
  const byName = new Map(row.probas.map((one, i) => nameAndValue(plan, one, i)))
  const scores = plan.classes.map((name) => byName.get(name) ?? 0)
  return plan.classes.length > 2 ? scores : scores.slice(-1)
}

function nameAndValue(
  { classes }: CustomPredictionPlan,
  entry: readonly [string, number] | number,
  index: number,
): readonly [string, number] {
  return typeof entry === 'number' ? [classes[index] ?? '', entry] : entry
}
