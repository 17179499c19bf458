/**
 * Models of plain layers, as large as wanted: nearly all of them is weights, as of models that are
 * worth a compiled form. The same seed is the same model.
 */

import type { NodeSpec } from '../../bench/workloads/onnx-builder.ts'
import { onnxModel } from '../../bench/workloads/onnx-builder.ts'
import { zip } from '../../bench/workloads/zip-writer.ts'
import { randomOf } from '../../workers/explanations/chance.ts'

export interface DenseOptions {
  /** Of every layer; with an odd one the rows of its weights are nowhere aligned. */
  readonly width: number
  readonly layers: number
  readonly seed: number
}

/** Takes 10 features and gives 3 numbers. */
export function denseModel({ width, layers, seed }: DenseOptions): Buffer {
  const random = randomOf(seed)
  const widths = [10, ...new Array<number>(layers).fill(width), 3]
  const nodes: NodeSpec[] = []
  const initializers = []
  for (let i = 1; i < widths.length; i++) {
    const [rows = 1, columns = 1] = [widths[i - 1], widths[i]]
    const scale = 2 / Math.sqrt(rows)
    const values = new Float32Array(rows * columns)
    for (let k = 0; k < values.length; k++) values[k] = (random() * 2 - 1) * scale
    const bytes = Buffer.from(values.buffer)
    initializers.push({
      name: `w${i}`,
      type: 'float',
      dims: [rows, columns],
      data: [],
      bytes,
    } as const)
    nodes.push({ op: 'MatMul', inputs: [`x${i - 1}`, `w${i}`], outputs: [`m${i}`] })
    nodes.push({ op: 'Tanh', inputs: [`m${i}`], outputs: [`x${i}`] })
  }
  return onnxModel({
    inputs: [{ name: 'x0', type: 'float', shape: ['n', 10] }],
    outputs: [{ name: `x${widths.length - 1}`, type: 'float', shape: ['n', 3] }],
    nodes,
    initializers,
  })
}

/** A PUBLIC service whose endpoint `p` takes the tensor as it is; not packed, which takes long. */
export function denseBundle(model: Buffer, endpoint: object = {}, pool: object = {}): Buffer {
  const manifest = {
    formatVersion: 1,
    authorization: 'PUBLIC',
    pool,
    endpoints: [
      { id: 'p', type: 'STD_PREDICTION', prediction: 'RAW', model: 'model.onnx', ...endpoint },
    ],
  }
  return zip([
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'model.onnx', data: model, method: 0 },
  ])
}

export const DENSE_ROW = { features: { x0: [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] } }
