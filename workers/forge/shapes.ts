/**
 * Shapes as they turn out to be: what a model declares may be incomplete or, where ONNX Runtime
 * says `[]`, absent. A run of one row and a run of two show which dimension counts the rows.
 */

import type { TensorSpec } from '../../core/bundle/plan.ts'
import type { Fetched } from '../onnx/session.ts'

/** `two` is null when the model takes one row at a time. */
export function completeShapes(
  outputs: readonly TensorSpec[],
  one: Fetched,
  two: Fetched | null,
): TensorSpec[] {
  return outputs.map((spec) => {
    const single = one[spec.name]?.dims
    if (single === undefined) return spec
    const double = two?.[spec.name]?.dims ?? null
    return { ...spec, shape: shapeOf(spec.shape, single, double) }
  })
}

function shapeOf(
  declared: TensorSpec['shape'],
  one: readonly number[],
  two: readonly number[] | null,
): (number | null)[] {
  const known = declared.length === one.length
  return one.map((size, i) => {
    const said = known ? (declared[i] ?? null) : null
    if (said !== null) return said
    // A row count that was declared free, or that followed the rows.
    if (i === 0 && known) return null
    return two === null || two[i] === size ? size : null
  })
}
