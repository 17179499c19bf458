/**
 * RAW endpoints: whole tensors in and out. A request gives each input as a nested array or as
 * `{shape, data}`; sizes are checked before anything is allocated, values before they are stored.
 */

import type { Datatype, TensorSpec } from '../../core/bundle/plan.ts'
import { isPassable } from '../predictions/values.ts'
import { NUMBER_ARRAYS, rangeOf } from './columns.ts'
import { type Feeds, type Fetched, Tensor } from './session.ts'

/** A tensor that does not fit; the message names the input and the reason. */
export class TensorRefused extends Error {}

const RANK_MAX = 16

export function decodeTensors(
  features: Readonly<Record<string, unknown>>,
  inputs: readonly TensorSpec[],
): Feeds {
  const known = new Set(inputs.map((input) => input.name))
  for (const name of Object.keys(features)) {
    if (!known.has(name)) {
      const names = [...known].join('", "')
      throw new TensorRefused(`"${name}" is no input of the model; it has "${names}"`)
    }
  }
  const feeds: Feeds = {}
  for (const input of inputs) {
    const given = Object.hasOwn(features, input.name) ? features[input.name] : undefined
    if (given === undefined || given === null) {
      throw new TensorRefused(`input "${input.name}" is missing`)
    }
    feeds[input.name] = decodeTensor(given, input)
  }
  return feeds
}

function decodeTensor(given: unknown, spec: TensorSpec): Tensor {
  const { shape, values } = Array.isArray(given) ? fromNested(given, spec) : fromShaped(given, spec)
  checkShape(shape, spec)
  return new Tensor(spec.datatype, convert(values, spec), shape)
}

interface Flat {
  readonly shape: number[]
  readonly values: readonly unknown[]
}

/** The shape is that of the first branch; every other branch must have the same. */
function fromNested(given: readonly unknown[], spec: TensorSpec): Flat {
  const shape: number[] = []
  for (let level: unknown = given; Array.isArray(level); level = level[0]) {
    shape.push(level.length)
    if (shape.length > RANK_MAX) throw new TensorRefused(`input "${spec.name}" is nested too deep`)
  }
  if (!hasShape(given, shape)) throw ragged(spec)
  return { shape, values: given.flat(shape.length - 1) }
}

/** Every branch has the sizes of the first one, and none goes deeper. */
function hasShape(level: readonly unknown[], shape: readonly number[], depth = 0): boolean {
  if (level.length !== shape[depth]) return false
  const isLeaf = depth === shape.length - 1
  return level.every((item) =>
    Array.isArray(item) ? !isLeaf && hasShape(item, shape, depth + 1) : isLeaf,
  )
}

function ragged(spec: TensorSpec): TensorRefused {
  return new TensorRefused(`input "${spec.name}" is ragged: its rows differ in length or depth`)
}

function fromShaped(given: unknown, spec: TensorSpec): Flat {
  const form = `input "${spec.name}" must be a nested array or {"shape": […], "data": […]}`
  if (typeof given !== 'object' || given === null) throw new TensorRefused(form)
  const shape: unknown = Reflect.get(given, 'shape')
  const values: unknown = Reflect.get(given, 'data')
  if (!Array.isArray(shape) || !Array.isArray(values)) throw new TensorRefused(form)
  if (shape.length > RANK_MAX || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new TensorRefused(`the shape of input "${spec.name}" must hold sizes from 0 up`)
  }
  const size = shape.reduce((product: number, dimension: number) => product * dimension, 1)
  if (size !== values.length) {
    throw new TensorRefused(
      `input "${spec.name}" has ${values.length} values for shape [${shape.join(', ')}]`,
    )
  }
  return { shape, values }
}

function checkShape(shape: readonly number[], spec: TensorSpec): void {
  const same = shape.length === spec.shape.length
  const fits = same && spec.shape.every((size, i) => size === null || size === shape[i])
  if (fits) return
  const wanted = spec.shape.map((size) => size ?? 'N').join(', ')
  throw new TensorRefused(
    `input "${spec.name}" must have shape [${wanted}], got [${shape.join(', ')}]`,
  )
}

function convert(values: readonly unknown[], spec: TensorSpec): Tensor['data'] {
  switch (spec.datatype) {
    case 'string':
      return values.map((value) => {
        if (typeof value === 'string' && isPassable(value)) return value
        throw wrong(spec, value, 'a string without NUL and lone surrogates')
      })
    case 'bool':
      return Uint8Array.from(values, (value) => {
        if (typeof value === 'boolean') return value ? 1 : 0
        throw wrong(spec, value, 'true or false')
      })
    case 'int64':
      return BigInt64Array.from(values, (value) => toBig(value, spec))
    case 'uint64':
      return BigUint64Array.from(values, (value) => toBig(value, spec))
    default:
      return toNumbers(values, spec, spec.datatype)
  }
}

type NumericType = Exclude<Datatype, 'string' | 'bool' | 'int64' | 'uint64'>

function toNumbers(values: readonly unknown[], spec: TensorSpec, datatype: NumericType) {
  const [lowest, highest] = rangeOf(datatype)
  const integral = !datatype.startsWith('float')
  const data = new NUMBER_ARRAYS[datatype](values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    const fits = typeof value === 'number' && value >= lowest && value <= highest
    if (!fits || (integral && !Number.isInteger(value))) throw wrong(spec, value, datatype)
    data[i] = value
  }
  return data
}

/** Integers of 64 bits come as safe numbers, or as texts when they are beyond 2^53. */
function toBig(value: unknown, spec: TensorSpec): bigint {
  const safe = typeof value === 'number' && Number.isSafeInteger(value)
  if (!safe && !(typeof value === 'string' && /^-?\d{1,20}$/.test(value))) {
    throw wrong(spec, value, `${spec.datatype} (beyond 2^53 as a string)`)
  }
  const big = BigInt(value)
  const wrapped = spec.datatype === 'int64' ? BigInt.asIntN(64, big) : BigInt.asUintN(64, big)
  if (wrapped !== big) throw wrong(spec, value, spec.datatype)
  return big
}

function wrong(spec: TensorSpec, value: unknown, wanted: string): TensorRefused {
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value)
  const got = text.length > 60 ? `${text.slice(0, 57)}...` : text
  return new TensorRefused(`input "${spec.name}" holds ${got}, which is not ${wanted}`)
}

/** `{"outputs": {name: {datatype, shape, data}}}`: floats that are not finite become null. */
export function encodeTensors(outputs: Fetched, specs: readonly TensorSpec[]): string {
  const parts = specs.map(({ name, datatype }) => {
    const tensor = outputs[name]
    if (tensor === undefined) throw new TensorRefused(`the model gave no output "${name}"`)
    const shape = `"datatype":"${datatype}","shape":[${tensor.dims.join(',')}]`
    return `${JSON.stringify(name)}:{${shape},"data":[${encodeData(tensor.data, datatype)}]}`
  })
  return `{"outputs":{${parts.join(',')}},"ignored":false}`
}

function encodeData(data: Tensor['data'], datatype: Datatype): string {
  const texts = new Array<string>(data.length)
  for (let i = 0; i < data.length; i++) texts[i] = encodeValue(data[i], datatype)
  return texts.join(',')
}

function encodeValue(value: string | number | bigint | undefined, datatype: Datatype): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (datatype === 'bool') return Number(value) === 0 ? 'false' : 'true'
  if (typeof value === 'bigint') {
    return Number.isSafeInteger(Number(value)) ? String(value) : `"${value}"`
  }
  return Number.isFinite(value) ? String(value) : 'null'
}
