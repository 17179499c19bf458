/**
 * Answers every question about a model that its manifest left open: what it predicts, which output
 * is the label, which the probabilities, and what the classes are called. Pure: it reads shapes and
 * names, so a bundle of a model and four lines of JSON works, and a wrong manifest is told in full.
 */

import type { Fault } from '../../core/base/errors.ts'
import { depthFaults, type KnownPrediction } from '../../core/bundle/check-depth.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { PredictionKind, PredictionPlan, TensorSpec } from '../../core/bundle/plan.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { depthPlan } from './depth.ts'
import { type InputsPlan, listText, notTabular, planInputs, shapeText, widthOf } from './inputs.ts'
import { nameOutputs, type Roles } from './outputs.ts'

/** What is known of a model beside the manifest. */
export interface Signature {
  /** File that workers load, relative to the generation's directory. */
  readonly model: string
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
  /** Class labels that the model itself holds; null: none found. */
  readonly labels: readonly string[] | null
}

export type Planned =
  | { readonly kind: 'planned'; readonly plan: PredictionPlan }
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }

/** The plan is not batchable yet: that is for a proof to say. */
export function planPrediction(
  signature: Signature,
  endpoint: StdPredictionEndpoint,
  path: string,
): Planned {
  const faults: Fault[] = []
  const roles = nameOutputs(signature, endpoint, path, faults)
  const odd = notTabular(signature.inputs)
  const kind = endpoint.prediction ?? (odd === null ? inferKind(signature, endpoint, roles) : 'RAW')
  if (kind === 'RAW') return rawPlan(signature, endpoint, { path, odd, faults })
  if (odd !== null) {
    const reason = `${odd}: only RAW can serve this model`
    return { kind: 'faults', faults: [...faults, { path: `${path}.prediction`, reason }] }
  }
  const inputs = planInputs(signature.inputs, endpoint, path)
  faults.push(...inputs.faults)
  const plan = {
    ...rowPlan({ signature, endpoint, path, faults, kind, inputs, roles }),
    ...depthPlan(endpoint),
  }
  faults.push(...depthFaults(endpoint, known(plan), path))
  if (endpoint.percentiles !== undefined && kind !== 'REGRESSION' && plan.probabilities === null) {
    const reason = 'percentiles need probabilities, and the model answers labels only'
    faults.push({ path: `${path}.percentiles`, reason })
  }
  return faults.length > 0 ? { kind: 'faults', faults } : { kind: 'planned', plan }
}

function known({ kind, classes, features }: PredictionPlan): KnownPrediction {
  return { kind, classes: classes.length > 0 ? classes : null, features }
}

interface RawContext {
  readonly path: string
  readonly odd: string | null
  readonly faults: Fault[]
}

const ROW_KEYS = ['features', 'classes', 'threshold', 'percentiles', 'overrides'] as const

function rawPlan(
  signature: Signature,
  endpoint: StdPredictionEndpoint,
  context: RawContext,
): Planned {
  const { path, odd, faults } = context
  const why = odd ?? `its outputs ${listText(signature.outputs.map(({ name }) => name))} tell none`
  for (const key of ROW_KEYS) {
    if (endpoint[key] === undefined || endpoint.prediction === 'RAW') continue
    const reason = `${key} needs a prediction of rows, but the model is served RAW: ${why}`
    faults.push({ path: `${path}.${key}`, reason })
  }
  if (faults.length > 0) return { kind: 'faults', faults }
  const inputs = signature.inputs.map((spec) => ({ ...spec, features: [] }))
  return { kind: 'planned', plan: { ...blankPlan(signature), kind: 'RAW', inputs } }
}

/** A plan that answers all outputs and takes no features: what every other is made from. */
export function blankPlan(signature: Signature): PredictionPlan {
  return {
    kind: 'RAW',
    model: signature.model,
    inputs: [],
    features: [],
    outputs: signature.outputs,
    label: null,
    probabilities: null,
    value: null,
    classes: [],
    threshold: null,
    batchable: false,
    maxRows: 1,
  }
}

/** What a model predicts, from what the manifest hints at and the shapes of its outputs. */
function inferKind(
  { labels, outputs }: Signature,
  endpoint: StdPredictionEndpoint,
  roles: Roles,
): PredictionKind {
  const { classes, threshold } = endpoint
  if (endpoint.outputs?.value !== undefined) return 'REGRESSION'
  if (threshold !== undefined) return 'BINARY_CLASSIFICATION'
  if (classes !== undefined) return kindOfCount(classes.length)
  const named =
    endpoint.outputs?.label !== undefined || endpoint.outputs?.probabilities !== undefined
  const { label, probabilities } = roles
  const known = outputs.length === Number(label !== null) + Number(probabilities !== null)
  const count = countOf(probabilities, labels)
  if (label !== null && probabilities !== null && (known || named)) return kindOfCount(count)
  if (named) return kindOfCount(count)
  if (known && labels !== null && (label !== null || count === labels.length)) {
    return kindOfCount(labels.length)
  }
  return outputs.length === 1 && label === null && roles.value !== null ? 'REGRESSION' : 'RAW'
}

function countOf(probabilities: TensorSpec | null, labels: readonly string[] | null): number {
  const width = probabilities === null ? null : widthOf(probabilities.shape)
  if (typeof width === 'number' && width > 1) return width
  return labels?.length ?? 0
}

function kindOfCount(count: number): PredictionKind {
  if (count === 2) return 'BINARY_CLASSIFICATION'
  return count > 2 ? 'MULTICLASS' : 'RAW'
}

interface RowContext {
  readonly signature: Signature
  readonly endpoint: StdPredictionEndpoint
  readonly path: string
  readonly faults: Fault[]
  readonly kind: PredictionKind
  readonly inputs: InputsPlan
  readonly roles: Roles
}

function rowPlan(context: RowContext): PredictionPlan {
  const { signature, endpoint, kind, inputs } = context
  const common = {
    ...blankPlan(signature),
    kind,
    inputs: inputs.inputs,
    features: inputs.features,
    maxRows: rowsMaxOf(endpoint, inputs.features.length),
  }
  return kind === 'REGRESSION' ? regression(context, common) : classification(context, common)
}

interface Batches {
  readonly maxRows?: number | undefined
}

/** Every thread keeps buffers for a full batch, so wide rows come in smaller ones. */
export function rowsMaxOf(endpoint: Batches, features: number): number {
  const asked = endpoint.maxRows ?? LIMITS.batchRowsMax
  return Math.max(1, Math.min(asked, Math.floor(BATCH_VALUES_MAX / Math.max(1, features))))
}

const BATCH_VALUES_MAX = 4_000_000

function regression(context: RowContext, common: PredictionPlan): PredictionPlan {
  const { signature, endpoint, path, faults, roles } = context
  for (const key of ['classes', 'threshold'] as const) {
    if (endpoint[key] === undefined) continue
    faults.push({ path: `${path}.${key}`, reason: `${key} belongs to classification` })
  }
  const { value } = roles
  if (value === null) {
    const names = listText(signature.outputs.map(describe))
    const reason = `name the output with one number per row; the model has ${names}`
    faults.push({ path: `${path}.outputs.value`, reason })
  } else if (!isNumeric(value) || !isOneColumn(value)) {
    const reason = `output ${describe(value)} does not hold one number per row`
    faults.push({ path: `${path}.outputs.value`, reason })
  }
  return { ...common, value: value?.name ?? null }
}

function classification(context: RowContext, common: PredictionPlan): PredictionPlan {
  const { signature, endpoint, path, faults, roles, kind } = context
  const { label, probabilities } = roles
  if (label === null && probabilities === null) {
    const names = listText(signature.outputs.map(describe))
    const reason = `name label or probabilities; the model has ${names}`
    faults.push({ path: `${path}.outputs`, reason })
  }
  faults.push(...roleFaults(roles, path))
  const { threshold } = endpoint
  if (threshold !== undefined && kind !== 'BINARY_CLASSIFICATION') {
    const reason = `threshold belongs to BINARY_CLASSIFICATION, the model is ${kind}`
    faults.push({ path: `${path}.threshold`, reason })
  } else if (threshold !== undefined && probabilities === null) {
    const reason = 'threshold needs probabilities, and the model answers labels only'
    faults.push({ path: `${path}.threshold`, reason })
  }
  const classes = classesOf(context)
  return {
    ...common,
    label: trustsLabel(context, classes) ? (label?.name ?? null) : null,
    probabilities: probabilities?.name ?? null,
    classes,
    threshold: threshold ?? null,
  }
}

function roleFaults({ label, probabilities }: Roles, path: string): Fault[] {
  const faults: Fault[] = []
  if (label !== null && !isOneColumn(label)) {
    const reason = `output ${describe(label)} does not hold one label per row`
    faults.push({ path: `${path}.outputs.label`, reason })
  }
  if (probabilities !== null) {
    const width = widthOf(probabilities.shape)
    const numeric = isNumeric(probabilities)
    if (!numeric || (width === 'odd' && probabilities.shape.length > 0)) {
      const reason = `output ${describe(probabilities)} does not hold [rows, classes] numbers`
      faults.push({ path: `${path}.outputs.probabilities`, reason })
    }
  }
  return faults
}

/** From the manifest, else from the model, else "0", "1" …; checked against the columns. */
function classesOf(context: RowContext): readonly string[] {
  const { signature, endpoint, path, faults, roles, kind } = context
  const columns = columnsOf(roles.probabilities)
  const binary = kind === 'BINARY_CLASSIFICATION'
  const given = endpoint.classes?.map(String)
  if (given !== undefined) {
    if (columns !== null && !fits(given.length, columns, binary)) {
      const name = roles.probabilities?.name
      const reason = `${given.length} classes are listed, output "${name}" has ${columns} columns`
      faults.push({ path: `${path}.classes`, reason })
    }
    return given
  }
  const classes = ownClasses(signature.labels, columns, binary)
  if (binary && classes.length !== 2) {
    const reason = `BINARY_CLASSIFICATION has 2 classes, the model has ${classes.length}`
    const { threshold, prediction } = endpoint
    const key = prediction === undefined && threshold !== undefined ? 'threshold' : 'prediction'
    faults.push({ path: `${path}.${key}`, reason })
  } else if (classes.length === 0 && roles.probabilities !== null) {
    const reason = 'the model does not say how many classes it has: list them'
    faults.push({ path: `${path}.classes`, reason })
  }
  return classes
}

/** Labels that the model holds, where they fit its columns, else a number for each column. */
function ownClasses(
  labels: readonly string[] | null,
  columns: number | null,
  binary: boolean,
): readonly string[] {
  if (labels !== null && (columns === null || fits(labels.length, columns, binary))) return labels
  const count = columns === null || columns === 1 ? (binary ? 2 : 0) : columns
  return Array.from({ length: count }, (_, i) => String(i))
}

/** A binary model may give the probability of its second class alone. */
function fits(classes: number, columns: number, binary: boolean): boolean {
  return classes === columns || (binary && classes === 2 && columns === 1)
}

function columnsOf(probabilities: TensorSpec | null): number | null {
  const width = probabilities === null ? null : widthOf(probabilities.shape)
  return typeof width === 'number' ? width : null
}

/**
 * The model's label counts when it is one of the classes, or their index. Where the manifest
 * renames labels that are neither, the largest probability tells the class.
 */
function trustsLabel(context: RowContext, classes: readonly string[]): boolean {
  const { signature, endpoint, path, faults, roles } = context
  const own = signature.labels
  if (endpoint.classes === undefined || own === null) return true
  const isIndex = own.every((name, i) => name === String(i)) && !classes.every(isNumberText)
  const same = own.length === classes.length && own.every((name, i) => name === classes[i])
  if (same || isIndex) return true
  if (roles.probabilities === null) {
    const reason = `the model answers labels only, and these are ${listText(own)}`
    faults.push({ path: `${path}.classes`, reason })
  }
  return false
}

function isNumberText(name: string): boolean {
  return String(Number(name)) === name
}

function describe({ name, datatype, shape }: TensorSpec): string {
  return `${name} ${datatype}${shapeText(shape)}`
}

function isNumeric({ datatype }: TensorSpec): boolean {
  return datatype !== 'string' && datatype !== 'bool'
}

/** An unknown shape gets the benefit of the doubt: the test run tells. */
function isOneColumn({ shape }: TensorSpec): boolean {
  const width = widthOf(shape)
  return shape.length === 0 || width === 1 || width === null || isSingle(shape)
}

/** `[1]`: a model that takes one row at a time. */
function isSingle(shape: TensorSpec['shape']): boolean {
  return shape.length === 1 && shape[0] === 1
}
