/**
 * What predictions tell beyond the model's own answer: percentiles, overrides, explanations. Parts
 * of the plan, see plan.ts.
 */

/** What a prediction tells beyond the model's own answer; absent in plans of older versions. */
export interface DepthPlan {
  /**
   * BINARY_CLASSIFICATION: quantiles of the probability of classes[1] over a sample, ascending, at
   * least 2; entry i of n is the quantile i / (n - 1). What `probaPercentile` is read from.
   */
  readonly percentiles?: readonly number[]
  /** The first rule whose conditions all hold changes the prediction. */
  readonly overrides?: readonly OverridePlan[]
}

export interface OverridePlan {
  readonly name: string
  /** All must hold; at least one. */
  readonly when: readonly ConditionPlan[]
  readonly then: OverrideEffect
}

/**
 * Of a feature as it was sent or looked up, converted to its type, and not of what stands in for a
 * missing one: of that, and of what is of no such type, only `missing` holds.
 */
export type ConditionPlan =
  | { readonly kind: 'missing'; readonly feature: string; readonly negated: boolean }
  | {
      readonly kind: 'in'
      readonly feature: string
      readonly values: readonly (string | number | boolean)[]
      readonly negated: boolean
    }
  /** min <= value <= max; null: no bound. */
  | {
      readonly kind: 'range'
      readonly feature: string
      readonly min: number | null
      readonly max: number | null
    }

export type OverrideEffect =
  /** Classification: this class is predicted, with probability 1. */
  | { readonly kind: 'class'; readonly value: string }
  /** REGRESSION: the value is moved into [min, max]; null: no bound. */
  | { readonly kind: 'clip'; readonly min: number | null; readonly max: number | null }
  /** REGRESSION: this value is predicted. */
  | { readonly kind: 'value'; readonly value: number }

export type ExplanationMethod = 'SHAPLEY' | 'ICE'

/** How predictions of an endpoint are explained; what a request leaves open is taken from here. */
export interface ExplanationPlan {
  /** Every prediction is explained, unless its request says otherwise. */
  readonly enabled: boolean
  readonly method: ExplanationMethod
  /** Features with the largest influence that an answer names. */
  readonly nExplanations: number
  /** SHAPLEY: permutations per row, 25 to 1000. */
  readonly nMonteCarloSteps: number
  /**
   * Background sample, relative: rows and their scores, made by the forge of a file of the bundle
   * and proven to be scored by the model.
   */
  readonly background: string
  /** Of runs that are larger than those of predictions; absent: they are not. */
  readonly run?: ExplanationRun
}

export interface ExplanationRun {
  readonly rowsMax: number
  /** What a full run takes, measured by the forge. */
  readonly ms: number
}
