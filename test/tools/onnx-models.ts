/**
 * The models that tests need, by what they do: well-behaved ones to serve, and the hostile ones
 * that import must refuse without harm.
 */

import { onnxModel, type ValueSpec } from '../../bench/workloads/onnx-builder.ts'

/** X[N,F] -> label int64[N] and probabilities[N,C]: softmax(X·W + b), as a linear classifier. */
export function classifier(features: number, classes: number): Buffer {
  const weights = Array.from({ length: features * classes }, (_, i) => ((i * 7) % 11) / 5 - 1)
  const bias = Array.from({ length: classes }, (_, i) => i / 10)
  return onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N', features] }],
    outputs: [
      { name: 'label', type: 'int64', shape: ['N'] },
      { name: 'probabilities', type: 'float', shape: ['N', classes] },
    ],
    initializers: [
      { name: 'W', type: 'float', dims: [features, classes], data: weights },
      { name: 'b', type: 'float', dims: [classes], data: bias },
    ],
    nodes: [
      { op: 'MatMul', inputs: ['X', 'W'], outputs: ['xw'] },
      { op: 'Add', inputs: ['xw', 'b'], outputs: ['scores'] },
      { op: 'Softmax', inputs: ['scores'], outputs: ['probabilities'] },
      {
        op: 'ArgMax',
        inputs: ['probabilities'],
        outputs: ['label'],
        attributes: { axis: { int: 1 }, keepdims: { int: 0 } },
      },
    ],
  })
}

/** X[N,F] -> value[N,1]: the sum of a row times `factor`, so that generations can be told apart. */
export function regressor(features: number, factor = 1): Buffer {
  return onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N', features] }],
    outputs: [{ name: 'variable', type: 'float', shape: ['N', 1] }],
    initializers: [
      { name: 'W', type: 'float', dims: [features, 1], data: new Array(features).fill(factor) },
    ],
    nodes: [{ op: 'MatMul', inputs: ['X', 'W'], outputs: ['variable'] }],
  })
}

/** A text column beside a number: colour is one of red, green, blue; others end the run. */
export function mixedPipeline(): Buffer {
  return onnxModel({
    inputs: [
      { name: 'colour', type: 'string', shape: ['N', 1] },
      { name: 'size', type: 'float', shape: ['N', 1] },
    ],
    outputs: [{ name: 'variable', type: 'float', shape: ['N', 1] }],
    initializers: [
      { name: 'W', type: 'float', dims: [4, 1], data: [1, 2, 3, 10] },
      { name: 'axis', type: 'int64', dims: [1], data: [1] },
    ],
    nodes: [
      {
        op: 'OneHotEncoder',
        domain: 'ai.onnx.ml',
        inputs: ['colour'],
        outputs: ['hot3'],
        attributes: { cats_strings: { strings: ['red', 'green', 'blue'] }, zeros: { int: 0 } },
      },
      { op: 'Squeeze', inputs: ['hot3', 'axis'], outputs: ['hot'] },
      {
        op: 'Concat',
        inputs: ['hot', 'size'],
        outputs: ['row'],
        attributes: { axis: { int: 1 } },
      },
      { op: 'MatMul', inputs: ['row', 'W'], outputs: ['variable'] },
    ],
  })
}

/** Each row less the mean of all rows of the batch: a stranger's row changes everybody's answer. */
export function rowDependent(features: number): Buffer {
  return onnxModel({
    opset: 13,
    inputs: [{ name: 'X', type: 'float', shape: ['N', features] }],
    outputs: [{ name: 'Y', type: 'float', shape: ['N', features] }],
    nodes: [
      {
        op: 'ReduceMean',
        inputs: ['X'],
        outputs: ['mean'],
        attributes: { axes: { ints: [0] }, keepdims: { int: 1 } },
      },
      { op: 'Sub', inputs: ['X', 'mean'], outputs: ['Y'] },
    ],
  })
}

/** Y = X in any type and shape. */
export function identity(value: Omit<ValueSpec, 'name'>): Buffer {
  return onnxModel({
    inputs: [{ ...value, name: 'X' }],
    outputs: [{ ...value, name: 'Y' }],
    nodes: [{ op: 'Identity', inputs: ['X'], outputs: ['Y'] }],
  })
}

/** A loop of that many turns around one small multiplication; 1e12 never ends. */
export function endlessLoop(turns = 1e12): Buffer {
  const scalar = { type: 'float', shape: [1, 4] } as const
  return onnxModel({
    opset: 13,
    inputs: [{ name: 'X', ...scalar }],
    outputs: [{ name: 'Y', ...scalar }],
    initializers: [
      { name: 'turns', type: 'int64', dims: [], data: [turns] },
      { name: 'go', type: 'bool', dims: [], data: [1] },
    ],
    nodes: [
      {
        op: 'Loop',
        inputs: ['turns', 'go', 'X'],
        outputs: ['Y'],
        attributes: { body: { graph: loopBody() } },
      },
    ],
  })
}

/** As long a run as the request asks for: that many turns of the same loop. */
export function countingLoop(): Buffer {
  return onnxModel({
    opset: 13,
    inputs: [{ name: 'turns', type: 'int64', shape: [1] }],
    outputs: [{ name: 'Y', type: 'float', shape: [1, 4] }],
    initializers: [
      { name: 'go', type: 'bool', dims: [], data: [1] },
      { name: 'X', type: 'float', dims: [1, 4], data: [1, 2, 3, 4] },
    ],
    nodes: [
      {
        op: 'Loop',
        inputs: ['turns', 'go', 'X'],
        outputs: ['Y'],
        attributes: { body: { graph: loopBody() } },
      },
    ],
  })
}

function loopBody() {
  return {
    inputs: [
      { name: 'turn', type: 'int64', shape: [] },
      { name: 'goIn', type: 'bool', shape: [] },
      { name: 'x', type: 'float', shape: [1, 4] },
    ],
    outputs: [
      { name: 'goOut', type: 'bool', shape: [] },
      { name: 'y', type: 'float', shape: [1, 4] },
    ],
    nodes: [
      { op: 'Identity', inputs: ['goIn'], outputs: ['goOut'] },
      { op: 'Sin', inputs: ['x'], outputs: ['y'] },
    ],
  } as const
}

/** Allocates `count` floats in its first run (and a few times that, as they are squared). */
export function allocates(count: number): Buffer {
  return onnxModel({
    opset: 13,
    inputs: [{ name: 'X', type: 'int64', shape: [1] }],
    outputs: [{ name: 'Y', type: 'float', shape: [] }],
    initializers: [{ name: 'count', type: 'int64', dims: [1], data: [count] }],
    nodes: [
      { op: 'Add', inputs: ['X', 'count'], outputs: ['shape'] },
      {
        op: 'ConstantOfShape',
        inputs: ['shape'],
        outputs: ['big'],
        attributes: { value: { tensor: { type: 'float', dims: [1], data: [1.5] } } },
      },
      { op: 'Sqrt', inputs: ['big'], outputs: ['rooted'] },
      { op: 'ReduceMax', inputs: ['rooted'], outputs: ['Y'], attributes: { keepdims: { int: 0 } } },
    ],
  })
}

/** An output of 4-bit integers: onnxruntime-node ends its process when it meets one. */
export function int4Output(): Buffer {
  return onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N', 2] }],
    outputs: [{ name: 'Y', type: 'int4', shape: ['N', 2] }],
    nodes: [
      {
        op: 'Cast',
        inputs: ['X'],
        outputs: ['Y'],
        attributes: { to: { int: 22 } },
      },
    ],
  })
}

/** Refused at load: no such operator exists. */
export function unknownOperator(): Buffer {
  return onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N', 1] }],
    outputs: [{ name: 'Y', type: 'float', shape: ['N', 1] }],
    nodes: [{ op: 'NoSuchOperator', inputs: ['X'], outputs: ['Y'] }],
  })
}

/** What an exporter makes of a table with columns of both widths. */
export function mixedFloats(): Buffer {
  return onnxModel({
    inputs: [
      { name: 'X', type: 'float', shape: ['N', 1] },
      { name: 'D', type: 'double', shape: ['N', 1] },
    ],
    outputs: [{ name: 'Y', type: 'float', shape: ['N', 1] }],
    nodes: [{ op: 'Add', inputs: ['X', 'D'], outputs: ['Y'] }],
  })
}

/** Its weights are in a file that no bundle has. */
export function lostWeights(): Buffer {
  return onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N', 1] }],
    outputs: [{ name: 'Y', type: 'float', shape: ['N', 1] }],
    initializers: [
      { name: 'W', type: 'float', dims: [1, 1], data: [], externalFile: 'weights.bin' },
    ],
    nodes: [{ op: 'MatMul', inputs: ['X', 'W'], outputs: ['Y'] }],
  })
}

/** Loads, but no run succeeds: three numbers never fit a shape of seven by seven. */
export function alwaysFails(): Buffer {
  return onnxModel({
    inputs: [
      { name: 'X', type: 'float', shape: ['N', 3] },
      { name: 'size', type: 'int64', shape: ['N', 1] },
    ],
    outputs: [{ name: 'Y', type: 'float', shape: ['M', 'K'] }],
    initializers: [{ name: 'seven', type: 'int64', dims: [2], data: [7, 7] }],
    nodes: [
      { op: 'Squeeze', inputs: ['size'], outputs: ['ignored'] },
      { op: 'Reshape', inputs: ['X', 'seven'], outputs: ['Y'] },
    ],
  })
}

/** Labels -1 and 0 beside two probabilities, as outlier detectors answer. */
export function shiftedLabels(): Buffer {
  return onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N', 2] }],
    outputs: [
      { name: 'label', type: 'int64', shape: ['N'] },
      { name: 'probabilities', type: 'float', shape: ['N', 2] },
    ],
    initializers: [{ name: 'one', type: 'int64', dims: [1], data: [1] }],
    nodes: [
      { op: 'Softmax', inputs: ['X'], outputs: ['probabilities'] },
      {
        op: 'ArgMax',
        inputs: ['X'],
        outputs: ['index'],
        attributes: { axis: { int: 1 }, keepdims: { int: 0 } },
      },
      { op: 'Sub', inputs: ['index', 'one'], outputs: ['label'] },
    ],
  })
}
