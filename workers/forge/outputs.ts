/**
 * Which output plays which part. What the manifest names is taken as named; for the rest an integer
 * or text output of one column is a label, a float output of several columns is probabilities, and
 * a float output of one column is a value.
 */

import type { Fault } from '../../core/base/errors.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { TensorSpec } from '../../core/bundle/plan.ts'
import { nearest } from '../../core/bundle/sentences.ts'
import { listText, widthOf } from './inputs.ts'

/** Null where no output, or more than one, could play the part. */
export interface Roles {
  readonly label: TensorSpec | null
  readonly probabilities: TensorSpec | null
  readonly value: TensorSpec | null
}

interface Named {
  readonly outputs: readonly TensorSpec[]
}

export function nameOutputs(
  { outputs }: Named,
  endpoint: StdPredictionEndpoint,
  path: string,
  faults: Fault[],
): Roles {
  const named = (role: keyof Roles) => {
    const name = endpoint.outputs?.[role]
    if (name === undefined) return null
    const found = outputs.find((output) => output.name === name) ?? null
    if (found === null) {
      faults.push({ path: `${path}.outputs.${role}`, reason: unknown(name, outputs) })
    }
    return found
  }
  const given = {
    label: named('label'),
    probabilities: named('probabilities'),
    value: named('value'),
  }
  const taken = [given.label, given.probabilities, given.value]
  const free = outputs.filter((output) => !taken.includes(output))
  const columns = free.filter(isColumn)
  return {
    label: given.label ?? only(free.filter(isLabel)),
    probabilities: given.probabilities ?? only(free.filter(isScores)) ?? oneColumn(free, endpoint),
    value: given.value ?? only(columns.filter(isFloat)) ?? only(columns.filter(isInteger)),
  }
}

/** A binary model may give one probability per row, which looks like a regression's value. */
function oneColumn(
  free: readonly TensorSpec[],
  endpoint: StdPredictionEndpoint,
): TensorSpec | null {
  const binary =
    endpoint.prediction === 'BINARY_CLASSIFICATION' ||
    endpoint.threshold !== undefined ||
    endpoint.classes?.length === 2
  const hasLabel = endpoint.outputs?.label !== undefined || free.some(isLabel)
  return binary || hasLabel ? only(free.filter((spec) => isFloat(spec) && isColumn(spec))) : null
}

function unknown(name: string, outputs: readonly TensorSpec[]): string {
  const names = outputs.map((output) => output.name)
  const near = nearest(name, names)
  const hint = near === null ? '' : `; did you mean "${near}"?`
  return `"${name}" is no output of the model, which has ${listText(names)}${hint}`
}

function only(specs: readonly TensorSpec[]): TensorSpec | null {
  return specs.length === 1 ? (specs[0] ?? null) : null
}

function isFloat({ datatype }: TensorSpec): boolean {
  return datatype === 'float32' || datatype === 'float64'
}

function isInteger({ datatype }: TensorSpec): boolean {
  return /^u?int/.test(datatype)
}

/** One value per row; `[1]` and the unknown shape count as such. */
function isColumn({ shape }: TensorSpec): boolean {
  if (shape.length === 0) return true
  return widthOf(shape) === 1 || (shape.length === 1 && shape[0] === 1)
}

function isLabel(spec: TensorSpec): boolean {
  return isColumn(spec) && (isInteger(spec) || spec.datatype === 'string' || isBool(spec))
}

function isBool({ datatype }: TensorSpec): boolean {
  return datatype === 'bool'
}

function isScores(spec: TensorSpec): boolean {
  const width = widthOf(spec.shape)
  return isFloat(spec) && (width === null || (typeof width === 'number' && width > 1))
}
