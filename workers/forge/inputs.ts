/**
 * Which features a model takes and where each goes: from the model's inputs and, where it says
 * something, the manifest. A model of one `[rows, n]` tensor gets features f0, f1 …; one with an
 * input per column, as scikit-learn's pipelines have, gets its inputs' names.
 */

import type { Fault } from '../../core/base/errors.ts'
import { valueFaults } from '../../core/bundle/check-features.ts'
import type { StdPredictionEndpoint } from '../../core/bundle/endpoint-schemas.ts'
import type { ManifestFeature } from '../../core/bundle/manifest-features.ts'
import type { Datatype, FeaturePlan, InputPlan, TensorSpec } from '../../core/bundle/plan.ts'
import { nearest, oneOf } from '../../core/bundle/sentences.ts'

export interface InputsPlan {
  readonly inputs: readonly InputPlan[]
  readonly features: readonly FeaturePlan[]
  readonly faults: readonly Fault[]
}

/** Why a model cannot be fed row by row with features; null when it can. */
export function notTabular(inputs: readonly TensorSpec[]): string | null {
  if (inputs.length === 0) return 'the model has no inputs'
  const odd = inputs.find(({ shape }) => widthOf(shape) === 'odd')
  if (odd === undefined) return null
  return `input "${odd.name}" has shape ${shapeText(odd.shape)}, not [rows, features]`
}

/** Columns of a tensor whose first dimension counts rows; null: any number; odd: it is none. */
export function widthOf(shape: TensorSpec['shape']): number | null | 'odd' {
  const [rows, columns] = shape
  if (shape.length === 1 && rows === null) return 1
  if (shape.length === 2 && (rows === null || rows === 1)) return columns ?? null
  return 'odd'
}

export function shapeText(shape: TensorSpec['shape']): string {
  return `[${shape.map((size) => size ?? '?').join(', ')}]`
}

/** `specs` must be tabular. With faults the plan is only as good as could be made. */
export function planInputs(
  specs: readonly TensorSpec[],
  endpoint: StdPredictionEndpoint,
  path: string,
): InputsPlan {
  const faults: Fault[] = []
  const asked = endpoint.features?.map((feature, i) => ({
    feature,
    path: `${path}.features[${i}]`,
  }))
  const placed = asked === undefined ? ownNames(specs) : place(asked, specs, faults)
  faults.push(...countFaults(specs, placed, `${path}.features`))
  const features = placed.map(({ feature, spec, path: where }) => {
    const type = feature.type ?? typeOf(spec.datatype)
    faults.push(...typeFaults(feature, type, spec, where))
    return featurePlan(feature, type)
  })
  const inputs = specs.map((spec) => {
    const indexes = placed.flatMap((item, i) => (item.spec === spec ? [i] : []))
    return { ...spec, features: indexes }
  })
  return { inputs, features, faults }
}

interface Asked {
  readonly feature: ManifestFeature
  readonly path: string
}

interface Placed extends Asked {
  readonly spec: TensorSpec
}

/** The manifest is silent: one feature per column. */
function ownNames(specs: readonly TensorSpec[]): Placed[] {
  return specs.flatMap((spec) => {
    const width = widthOf(spec.shape)
    const columns = typeof width === 'number' ? width : specs.length > 1 ? 1 : 0
    const alone = specs.length === 1
    const name = (i: number) => (alone ? `f${i}` : columns === 1 ? spec.name : `${spec.name}_${i}`)
    return Array.from({ length: columns }, (_, i) => ({
      feature: { name: name(i) },
      path: 'features',
      spec,
    }))
  })
}

/** Finds the input of each feature; one without goes no further than its fault. */
function place(asked: readonly Asked[], specs: readonly TensorSpec[], faults: Fault[]): Placed[] {
  const only = specs.length === 1 ? specs[0] : undefined
  const placed: Placed[] = []
  for (const item of asked) {
    const wanted = item.feature.input ?? item.feature.name
    const spec = specs.find(({ name }) => name === wanted)
    const chosen = spec ?? (item.feature.input === undefined ? only : undefined)
    if (chosen !== undefined) placed.push({ ...item, spec: chosen })
    else {
      const reason = unknownInput(wanted, specs)
      const where = item.feature.input === undefined ? 'name' : 'input'
      faults.push({ path: `${item.path}.${where}`, reason })
    }
  }
  return placed
}

function unknownInput(wanted: string, specs: readonly TensorSpec[]): string {
  const names = specs.map(({ name }) => name)
  const near = nearest(wanted, names)
  const hint = near === null ? '' : `; did you mean "${near}"?`
  return `"${wanted}" is no input of the model, which has ${listText(names)}${hint}`
}

/** Names for a message, cut where there are many. */
export function listText(names: readonly string[]): string {
  const some = names.slice(0, 20).map((name) => `"${name}"`)
  return names.length > 20 ? `${some.join(', ')} and ${names.length - 20} more` : oneOf(some)
}

function countFaults(
  specs: readonly TensorSpec[],
  placed: readonly Placed[],
  path: string,
): Fault[] {
  const faults: Fault[] = []
  for (const spec of specs) {
    const width = widthOf(spec.shape)
    const count = placed.filter((item) => item.spec === spec).length
    if (width === null && count === 0) {
      const reason = `input "${spec.name}" takes any number of features: list them, in its order`
      faults.push({ path, reason })
    } else if (typeof width === 'number' && width !== count) {
      const reason = `input "${spec.name}" takes ${width} feature${width === 1 ? '' : 's'}`
      faults.push({ path, reason: `${reason}, ${count} ${count === 1 ? 'is' : 'are'} listed` })
    }
  }
  return faults
}

type FeatureType = FeaturePlan['type']

function typeOf(datatype: Datatype): FeatureType {
  if (datatype === 'string') return 'string'
  if (datatype === 'bool') return 'boolean'
  return datatype.startsWith('float') ? 'number' : 'integer'
}

function typeFaults(
  feature: ManifestFeature,
  type: FeatureType,
  spec: TensorSpec,
  path: string,
): Fault[] {
  const carried = carries(spec.datatype)
  if (!carried.includes(type)) {
    const allowed = oneOf(carried)
    const reason = `input "${spec.name}" is ${spec.datatype}: type must be ${allowed}, not ${type}`
    return [{ path: `${path}.type`, reason }]
  }
  // A type that the manifest names was judged with it.
  if (feature.type !== undefined) return []
  const faults = valueFaults(feature, type, path)
  if (type !== 'string' && feature.categories !== undefined) {
    const reason = `categories belong to string features, "${feature.name}" is ${type}`
    faults.push({ path: `${path}.categories`, reason })
  }
  return faults
}

/** Feature types that an element type holds without loss. */
function carries(datatype: Datatype): readonly FeatureType[] {
  if (datatype === 'string') return ['string', 'number', 'integer']
  if (datatype === 'bool') return ['boolean']
  return datatype.startsWith('float') ? ['number', 'integer', 'boolean'] : ['integer', 'boolean']
}

export function featurePlan(feature: ManifestFeature, type: FeatureType): FeaturePlan {
  return {
    name: feature.name,
    type,
    onMissing: feature.onMissing ?? 'ERROR',
    onInvalid: feature.onInvalid ?? 'ERROR',
    onUnknown: feature.onUnknown ?? 'ERROR',
    categories: feature.categories ?? null,
    value: feature.value ?? null,
  }
}
