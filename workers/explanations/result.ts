/** `explanations` of a result, as JSON text: the features that count most, in this order. */

import type { Estimate } from './estimate.ts'
import type { ExplanationRequest, Predicted } from './types.ts'

export interface Naming {
  readonly names: readonly string[]
  readonly request: ExplanationRequest
}

/**
 * The whole result. `explanationBase` is what contributions of all features have to be added to in
 * order to get the prediction; only Shapley values have it.
 */
export function explainedText(
  { text, insertAt }: Extract<Predicted, { kind: 'predicted' }>,
  estimate: Estimate,
  { names, request }: Naming,
): string {
  const contributions = estimate.contributions()
  const order = Array.from(contributions.keys()).sort(
    (a, b) => Math.abs(contributions[b] ?? 0) - Math.abs(contributions[a] ?? 0) || a - b,
  )
  const members = order
    .slice(0, request.nExplanations)
    .map((i) => `${JSON.stringify(names[i] ?? '')}:${String(contributions[i] ?? 0)}`)
  const base = estimate.base()
  const explained = `,"explanations":{${members.join(',')}}`
  const rest = base === null ? '' : `,"explanationBase":${base}`
  return `${text.slice(0, insertAt)}${explained}${rest}${text.slice(insertAt)}`
}
