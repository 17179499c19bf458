/** What the families of odd models are made of, in short. */

import type { NodeSpec, ValueSpec } from '../../bench/workloads/onnx-builder.ts'
import type { Weights } from './odd-models.ts'

export const float = (name: string, shape: ValueSpec['shape']): ValueSpec =>
  shape === undefined ? { name, type: 'float' } : { name, type: 'float', shape }

export const op = (
  name: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({ op: name, inputs, outputs, attributes })

export const scalar = (
  name: string,
  type: 'float' | 'int8' | 'uint8' | 'int64',
  value: number,
): Weights => ({
  name,
  type,
  dims: [],
  data: [value],
})

export const ints = (name: string, data: readonly number[]): Weights => ({
  name,
  type: 'int64',
  dims: [data.length],
  data,
})
