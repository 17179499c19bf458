/**
 * From feature values to the input tensors of a model: checks, conversions and what the manifest
 * says of missing, invalid and unknown values. The buffers are made once and used for every batch.
 */

import type { Datatype, FeaturePlan, InputPlan, PredictionPlan } from '../../core/bundle/plan.ts'
import {
  type FeatureMap,
  isMissing,
  isPassable,
  isRounded,
  kindOf,
  numeric,
  ownValue,
  quoted,
  ROUNDED,
  type RowProblem,
  truth,
} from '../predictions/values.ts'
import { type Feeds, Tensor } from './session.ts'

type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
type BigArray = BigInt64Array | BigUint64Array

/** The buffer of one input, `[rowsMax, width]`, row-major. */
type Buffer2d =
  | { readonly kind: 'number'; readonly data: NumberArray }
  | { readonly kind: 'bigint'; readonly data: BigArray }
  | { readonly kind: 'string'; readonly data: string[] }

interface Input {
  readonly plan: InputPlan
  readonly buffer: Buffer2d
  readonly width: number
}

/** Where one feature goes. All fields at birth and of one shape: this is the inner loop. */
interface Slot {
  readonly feature: FeaturePlan
  readonly name: string
  /** `toString` and its like exist on every object: those names are read as own keys only. */
  readonly inherited: boolean
  readonly numbers: NumberArray | null
  readonly input: Input
  readonly column: number
  readonly lowest: number
  readonly highest: number
  readonly integral: boolean
  readonly categories: ReadonlySet<string> | null
}

/** Tensors that an endpoint keeps for the sizes of its next batches, some 400 bytes each. */
const KEPT_MAX = 256

export class Columns {
  readonly #inputs: readonly Input[]
  readonly #slots: readonly Slot[]
  /** By number of rows; they are views of the buffers, which texts are not. */
  readonly #kept: Feeds[] = []
  readonly #keptRowsMax: number

  constructor(plan: PredictionPlan, rowsMax: number) {
    this.#inputs = plan.inputs.map((input) => {
      const width = input.features.length
      return { plan: input, width, buffer: newBuffer(input.datatype, rowsMax * width) }
    })
    this.#slots = this.#inputs.flatMap((input) => slotsOf(input, plan.features))
    const areViews = this.#inputs.every(({ buffer }) => buffer.kind !== 'string')
    this.#keptRowsMax = areViews ? KEPT_MAX / this.#inputs.length : 0
  }

  /** Puts one row in; null when it can be scored. */
  fill(features: FeatureMap, row: number): RowProblem | null {
    const slots = this.#slots
    for (let i = 0; i < slots.length; i++) {
      const slot = slots[i] as Slot
      const value = slot.inherited ? ownValue(features, slot.name) : features[slot.name]
      // A NaN fails both comparisons, so what remains is finite and in range.
      const fits = typeof value === 'number' && value >= slot.lowest && value <= slot.highest
      if (fits && slot.numbers !== null && (!slot.integral || Number.isInteger(value))) {
        slot.numbers[row * slot.input.width + slot.column] = value
        continue
      }
      const problem = fillSlowly(slot, value, row)
      if (problem !== null) return problem
    }
    return null
  }

  /** Names of the features in the order in which fillNumbers() takes them; null: not all are. */
  get numbers(): readonly string[] | null {
    const areNumbers = this.#slots.every(({ numbers }) => numbers !== null)
    return areNumbers ? this.#slots.map(({ name }) => name) : null
  }

  /** Puts one row of numbers in; false when fill() is to tell what is to become of one of them. */
  fillNumbers(values: Float64Array, at: number, row: number): boolean {
    let next = at
    for (const { numbers, lowest, highest, integral, input, column } of this.#slots) {
      const value = values[next] ?? Number.NaN
      next += 1
      const fits = value >= lowest && value <= highest && (!integral || Number.isInteger(value))
      if (!fits || numbers === null) return false
      numbers[row * input.width + column] = value
    }
    return true
  }

  /** The tensors of the first `rows` rows; they share the buffers, so run before the next fill. */
  feeds(rows: number): Feeds {
    if (rows > this.#keptRowsMax) return this.#newFeeds(rows)
    const kept = this.#kept[rows] ?? this.#newFeeds(rows)
    this.#kept[rows] = kept
    return kept
  }

  #newFeeds(rows: number): Feeds {
    const feeds: Feeds = {}
    for (const { plan, buffer, width } of this.#inputs) {
      const size = rows * width
      const shape = plan.shape.length === 1 ? [rows] : [rows, width]
      const data =
        buffer.kind === 'string' ? buffer.data.slice(0, size) : buffer.data.subarray(0, size)
      feeds[plan.name] = new Tensor(plan.datatype, data, shape)
    }
    return feeds
  }
}

function slotsOf(input: Input, features: readonly FeaturePlan[]): Slot[] {
  const numbers = input.buffer.kind === 'number' ? input.buffer.data : null
  const [lowest, highest] = rangeOf(input.plan.datatype)
  const slots: Slot[] = []
  for (const [column, index] of input.plan.features.entries()) {
    const feature = features[index]
    if (feature === undefined) throw new Error(`input ${input.plan.name} has no feature ${index}`)
    const integral = feature.type === 'integer' || !input.plan.datatype.startsWith('float')
    slots.push({
      feature,
      name: feature.name,
      inherited: feature.name in Object.prototype,
      // Texts and truth values as numbers take the slow path, which knows what they mean.
      numbers: feature.type === 'number' || feature.type === 'integer' ? numbers : null,
      input,
      column,
      lowest,
      highest,
      integral,
      categories: feature.categories === null ? null : new Set(feature.categories),
    })
  }
  return slots
}

function fillSlowly(slot: Slot, value: unknown, row: number): RowProblem | null {
  const { feature } = slot
  if (isMissing(value, feature)) return settle(slot, row, feature.onMissing, 'is missing')
  const stored = store(slot, value, row)
  if (stored === null) return null
  return settle(slot, row, stored.unknown ? feature.onUnknown : feature.onInvalid, stored.reason)
}

function settle(slot: Slot, row: number, rule: FeaturePlan['onMissing'], why: string) {
  const detail = `feature "${slot.name}" ${why}`
  if (rule === 'IGNORE') return { kind: 'ignore', detail } as const
  if (rule === 'ERROR') return { kind: 'error', detail } as const
  const failed = store(slot, slot.feature.value, row)
  return failed === null ? null : ({ kind: 'error', detail } as const)
}

interface Refusal {
  readonly unknown: boolean
  readonly reason: string
}

/** Converts and writes one value; null when it fits. */
function store(slot: Slot, value: unknown, row: number): Refusal | null {
  const at = row * slot.input.width + slot.column
  const { buffer } = slot.input
  if (slot.feature.type === 'string') return storeText(slot, buffer, value, at)
  const number = slot.feature.type === 'boolean' ? truth(value) : numeric(value)
  if (number === null) return refusal(`must be a ${slot.feature.type}, got ${kindOf(value)}`)
  if (slot.integral && !isInteger(number)) return refusal(`must be an integer, got ${number}`)
  if (number < slot.lowest || number > slot.highest) {
    return refusal(`is out of the range of ${slot.input.plan.datatype}`)
  }
  if (buffer.kind === 'number') buffer.data[at] = Number(number)
  else if (buffer.kind === 'bigint')
    return storeBig(buffer.data, number, at, slot.input.plan.datatype)
  else buffer.data[at] = String(number)
  return null
}

/** Doubles cannot tell 2^63 - 1 from 2^63, so 64-bit integers are checked as such. */
function storeBig(data: BigArray, value: number | bigint, at: number, datatype: Datatype) {
  const big = BigInt(value)
  data[at] = big
  return data[at] === big ? null : refusal(`is out of the range of ${datatype}`)
}

function storeText(slot: Slot, buffer: Buffer2d, value: unknown, at: number): Refusal | null {
  if (typeof value === 'number' && isRounded(value)) return refusal(ROUNDED)
  const text = typeof value === 'number' && Number.isFinite(value) ? String(value) : value
  if (typeof text !== 'string') return refusal(`must be a string, got ${kindOf(value)}`)
  if (!isPassable(text)) return refusal('holds a NUL or half of a surrogate pair')
  if (slot.categories !== null && !slot.categories.has(text)) {
    return { unknown: true, reason: `has the unknown category ${quoted(text)}` }
  }
  if (buffer.kind !== 'string') return refusal('is a text, but the model takes a number')
  buffer.data[at] = text
  return null
}

function refusal(reason: string): Refusal {
  return { unknown: false, reason }
}

/** A double beyond 2^53 that stands for an integer has lost digits already. */
function isInteger(value: number | bigint): boolean {
  return typeof value === 'bigint' || Number.isSafeInteger(value)
}

const FLOAT32_MAX = 3.4028234663852886e38

/** Lowest and highest value of a numeric element type, as doubles. */
export function rangeOf(datatype: Datatype): readonly [number, number] {
  switch (datatype) {
    case 'float32':
      return [-FLOAT32_MAX, FLOAT32_MAX]
    case 'float64':
      return [-Number.MAX_VALUE, Number.MAX_VALUE]
    case 'int64':
      return [-(2 ** 63), 2 ** 63]
    case 'uint64':
      return [0, 2 ** 64]
    case 'bool':
      return [0, 1]
    case 'string':
      return [-Number.MAX_VALUE, Number.MAX_VALUE]
    default: {
      const bits = Number(datatype.replace(/\D/g, ''))
      return datatype.startsWith('u')
        ? [0, 2 ** bits - 1]
        : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
    }
  }
}

function newBuffer(datatype: Datatype, size: number): Buffer2d {
  if (datatype === 'string') return { kind: 'string', data: new Array<string>(size).fill('') }
  if (datatype === 'int64') return { kind: 'bigint', data: new BigInt64Array(size) }
  if (datatype === 'uint64') return { kind: 'bigint', data: new BigUint64Array(size) }
  const NumberArrayType = NUMBER_ARRAYS[datatype]
  return { kind: 'number', data: new NumberArrayType(size) }
}

/** What holds the values of an element type; truth values are bytes. */
export const NUMBER_ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  bool: Uint8Array,
} as const
