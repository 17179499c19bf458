/**
 * Models of odd shapes for the compiler: every family has something that has gone wrong once, in
 * ONNX Runtime's writer or elsewhere, and dimensions that are no multiple of anything. A model is
 * made by its number, always the same.
 */

import { type ModelSpec, onnxModel, type TensorData } from '../../bench/workloads/onnx-builder.ts'
import { randomOf } from '../../workers/explanations/chance.ts'
import * as graphs from './odd-graphs.ts'
import * as layers from './odd-layers.ts'

export interface OddModel {
  readonly name: string
  /** Files by name; the model is the first. */
  readonly files: readonly (readonly [name: string, bytes: Buffer])[]
}

/** What a family draws from. */
export interface Draw {
  /** From 0 to below 1. */
  readonly random: () => number
  /** A whole number from the range. */
  readonly size: (from: number, to: number) => number
  readonly one: <T>(items: readonly T[]) => T
  readonly weights: (name: string, dims: readonly number[], scale?: number) => Weights
  readonly bytes: (name: string, type: 'int8' | 'uint8', dims: readonly number[]) => Weights
}

export type Weights = TensorData & { readonly name: string }

const FAMILIES = [...Object.entries(layers), ...Object.entries(graphs)]

export const FAMILY_COUNT = FAMILIES.length

/** Number of the first model of a family. */
export function familyIndex(family: keyof typeof layers | keyof typeof graphs): number {
  return FAMILIES.findIndex(([name]) => name === family)
}

export function oddModel(index: number): OddModel {
  const [name, make] = FAMILIES[index % FAMILIES.length] ?? ['', layers.matMul]
  const spec = make(drawOf(index + 1))
  const isExternal = index % 7 === 3
  const files = isExternal ? outside(spec) : [['model.onnx', onnxModel(spec)] as const]
  return { name: `${name}${isExternal ? ' (outside)' : ''} ${index}`, files }
}

function drawOf(seed: number): Draw {
  const random = randomOf(seed)
  const size = (from: number, to: number): number => from + Math.floor(random() * (to - from + 1))
  return {
    random,
    size,
    one: (items) => {
      const item = items[Math.floor(random() * items.length)]
      if (item === undefined) throw new Error('there is nothing to choose from')
      return item
    },
    weights: (name, dims, scale = 1) => {
      const values = new Float32Array(countOf(dims)).map(() => (random() * 2 - 1) * scale)
      return { name, type: 'float', dims, data: [], bytes: Buffer.from(values.buffer) }
    },
    bytes: (name, type, dims) => {
      const values = new Uint8Array(countOf(dims)).map(() => Math.floor(random() * 256))
      return { name, type, dims, data: [], bytes: Buffer.from(values.buffer) }
    },
  }
}

function countOf(dims: readonly number[]): number {
  return dims.reduce((product, length) => product * length, 1)
}

/** The same model with the weights of its main graph in a file each. */
function outside(spec: ModelSpec): [string, Buffer][] {
  const files: [string, Buffer][] = []
  const initializers = (spec.initializers ?? []).map((tensor, i) => {
    if (tensor.bytes === undefined || tensor.bytes.length < 64) return tensor
    const externalFile = `weights-${i}.bin`
    files.push([externalFile, tensor.bytes])
    const { bytes: _, ...rest } = tensor
    return { ...rest, externalFile }
  })
  return [['model.onnx', onnxModel({ ...spec, initializers })], ...files]
}
