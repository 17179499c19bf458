/** Families of odd-models.ts, one function each: layers that pack their weights. */

import type { ModelSpec, NodeSpec } from '../../bench/workloads/onnx-builder.ts'
import type { Draw, Weights } from './odd-models.ts'
import { float, ints, op, scalar } from './odd-parts.ts'

export function matMul({ size, weights }: Draw): ModelSpec {
  const widths = Array.from({ length: size(2, 4) }, () => size(17, 300))
  const nodes: NodeSpec[] = []
  const initializers: Weights[] = []
  for (let i = 1; i < widths.length; i++) {
    initializers.push(weights(`w${i}`, [widths[i - 1] ?? 1, widths[i] ?? 1], 0.2))
    initializers.push(weights(`b${i}`, [widths[i] ?? 1]))
    nodes.push(op('MatMul', [`x${i - 1}`, `w${i}`], [`m${i}`]))
    nodes.push(op('Add', [`m${i}`, `b${i}`], [`a${i}`]))
    nodes.push(op('Relu', [`a${i}`], [`x${i}`]))
  }
  const outputs = [float(`x${widths.length - 1}`, ['n', widths.at(-1) ?? 1])]
  return { inputs: [float('x0', ['n', widths[0] ?? 1])], outputs, nodes, initializers }
}

export function gemm({ size, weights, one }: Draw): ModelSpec {
  const [k, n] = [size(17, 300), size(17, 300)]
  const transB = one([0, 1])
  const attributes = { transB: { int: transB }, alpha: { float: one([1, 0.5]) } }
  const nodes = [op('Gemm', ['x', 'w', 'c'], ['g'], attributes), op('Tanh', ['g'], ['y'])]
  const initializers = [
    weights('w', transB === 1 ? [n, k] : [k, n], 0.3),
    weights('c', one([[n], [1, n], [1]])),
  ]
  return { inputs: [float('x', ['n', k])], outputs: [float('y', ['n', n])], nodes, initializers }
}

export function conv({ size, weights, one }: Draw): ModelSpec {
  const [channels, middle, last] = [one([1, 3, 5, 16]), size(5, 70), size(3, 40)]
  const side = size(9, 19)
  const kernel = one([1, 3, 5])
  const same = { auto_pad: { string: 'SAME_UPPER' }, kernel_shape: { ints: [kernel, kernel] } }
  const nodes = [
    op('Conv', ['x', 'w1', 'b1'], ['c1'], same),
    op('BatchNormalization', ['c1', 'scale', 'shift', 'mean', 'variance'], ['n1']),
    op('Relu', ['n1'], ['r1']),
    op('Conv', ['r1', 'w2'], ['c2'], { kernel_shape: { ints: [3, 3] } }),
    op('MaxPool', ['c2'], ['p2'], { kernel_shape: { ints: [2, 2] } }),
    op('GlobalAveragePool', ['p2'], ['y']),
  ]
  const initializers = [
    weights('w1', [middle, channels, kernel, kernel], 0.3),
    weights('b1', [middle]),
    weights('scale', [middle]),
    weights('shift', [middle]),
    weights('mean', [middle]),
    {
      ...ints('variance', []),
      type: 'float',
      dims: [middle],
      data: new Array(middle).fill(1.5),
    } as const,
    weights('w2', [last, middle, 3, 3], 0.3),
  ]
  const outputs = [float('y', ['n', last, 1, 1])]
  return { inputs: [float('x', ['n', channels, side, side])], outputs, nodes, initializers }
}

export function depthwise({ size, weights, one }: Draw): ModelSpec {
  const channels = size(3, 50)
  const nodes = [
    op('Conv', ['x', 'w1'], ['c1'], { group: { int: channels }, kernel_shape: { ints: [3, 3] } }),
    op('Clip', ['c1', 'low', 'high'], ['k1']),
    op('ConvTranspose', ['k1', 'w2'], ['y'], { strides: { ints: [one([1, 2]), 1] } }),
  ]
  const initializers = [
    weights('w1', [channels, 1, 3, 3]),
    scalar('low', 'float', 0),
    scalar('high', 'float', 6),
    weights('w2', [channels, size(2, 20), 2, 3]),
  ]
  return {
    inputs: [float('x', ['n', channels, 8, 11])],
    outputs: [float('y', undefined)],
    nodes,
    initializers,
  }
}

export function lstm(draw: Draw): ModelSpec {
  return recurrent(draw, 'LSTM', 4)
}

export function gru(draw: Draw): ModelSpec {
  return recurrent(draw, 'GRU', 3)
}

function recurrent({ size, weights, one }: Draw, kind: string, gates: number): ModelSpec {
  const [width, hidden] = [size(3, 90), size(5, 90)]
  const both = one([true, false])
  const directions = both ? 2 : 1
  const attributes = {
    hidden_size: { int: hidden },
    direction: { string: both ? 'bidirectional' : 'forward' },
  }
  const nodes = [op(kind, ['x', 'w', 'r', 'b'], ['y', 'last'], attributes)]
  const initializers = [
    weights('w', [directions, gates * hidden, width], 0.3),
    weights('r', [directions, gates * hidden, hidden], 0.3),
    weights('b', [directions, 2 * gates * hidden]),
  ]
  const outputs = [float('y', undefined), float('last', undefined)]
  return { inputs: [float('x', [size(1, 9), 'n', width])], outputs, nodes, initializers }
}

export function matMulInteger({ size, bytes, one, weights }: Draw): ModelSpec {
  const [k, n] = [size(17, 300), size(17, 300)]
  const type = one(['int8', 'uint8'] as const)
  const nodes = [
    op('DynamicQuantizeLinear', ['x'], ['q', 'scale', 'zero']),
    op('MatMulInteger', ['q', 'w', 'zero', 'wzero'], ['i']),
    op('Cast', ['i'], ['f'], { to: { int: 1 } }),
    op('Mul', ['f', 'scale'], ['s']),
    op('Add', ['s', 'bias'], ['y']),
  ]
  const initializers = [bytes('w', type, [k, n]), scalar('wzero', type, 3), weights('bias', [n])]
  return { inputs: [float('x', ['n', k])], outputs: [float('y', ['n', n])], nodes, initializers }
}

export function quantized({ size, bytes, weights, one }: Draw): ModelSpec {
  const [k, n] = [size(17, 260), size(17, 260)]
  const nodes = [
    op('QuantizeLinear', ['x', 'xs', 'xz'], ['xq']),
    op('DequantizeLinear', ['xq', 'xs', 'xz'], ['xd']),
    op('DequantizeLinear', ['w', 'ws', 'wz'], ['wd']),
    op(one(['MatMul', 'Gemm']), ['xd', 'wd'], ['m']),
    op('Add', ['m', 'b'], ['s']),
    op('QuantizeLinear', ['s', 'ys', 'xz'], ['yq']),
    op('DequantizeLinear', ['yq', 'ys', 'xz'], ['y']),
  ]
  const initializers = [
    scalar('xs', 'float', 0.03),
    scalar('xz', 'uint8', 128),
    bytes('w', 'int8', [k, n]),
    scalar('ws', 'float', 0.01),
    scalar('wz', 'int8', 0),
    weights('b', [n]),
    scalar('ys', 'float', 0.1),
  ]
  return { inputs: [float('x', ['n', k])], outputs: [float('y', ['n', n])], nodes, initializers }
}

export function quantizedConv({ size, bytes, weights }: Draw): ModelSpec {
  const [channels, last] = [size(2, 20), size(3, 60)]
  const nodes = [
    op('QuantizeLinear', ['x', 's', 'z'], ['xq']),
    op('DequantizeLinear', ['xq', 's', 'z'], ['xd']),
    op('DequantizeLinear', ['w', 'ws', 'wz'], ['wd'], { axis: { int: 0 } }),
    op('Conv', ['xd', 'wd'], ['c'], { kernel_shape: { ints: [3, 3] } }),
    op('QuantizeLinear', ['c', 's', 'z'], ['cq']),
    op('DequantizeLinear', ['cq', 's', 'z'], ['y']),
  ]
  const initializers = [
    scalar('s', 'float', 0.05),
    scalar('z', 'uint8', 120),
    bytes('w', 'int8', [last, channels, 3, 3]),
    weights('ws', [last], 0.02),
    { name: 'wz', type: 'int8', dims: [last], data: new Array(last).fill(0) } as const,
  ]
  return {
    inputs: [float('x', ['n', channels, 9, 7])],
    outputs: [float('y', undefined)],
    nodes,
    initializers,
  }
}
