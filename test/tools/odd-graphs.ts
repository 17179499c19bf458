/** Families of odd-models.ts, one function each: graphs with something unusual in them. */

import type { ModelSpec, NodeSpec } from '../../bench/workloads/onnx-builder.ts'
import type { Draw, Weights } from './odd-models.ts'
import { float, ints, op, scalar } from './odd-parts.ts'

export function attention({ size, weights, one }: Draw): ModelSpec {
  const [heads, each] = [one([1, 3, 4]), size(5, 33)]
  const width = heads * each
  const nodes: NodeSpec[] = []
  const initializers: Weights[] = [
    weights('gain', [width]),
    weights('shift', [width]),
    ints('split', [0, 0, heads, each]),
    ints('join', [0, 0, width]),
    weights('root', [1]),
  ]
  nodes.push(op('LayerNormalization', ['x', 'gain', 'shift'], ['x0'], { axis: { int: -1 } }))
  for (const part of ['q', 'k', 'v']) {
    initializers.push(weights(`w${part}`, [width, width], 0.2), weights(`b${part}`, [width]))
    nodes.push(op('MatMul', ['x0', `w${part}`], [`m${part}`]))
    nodes.push(op('Add', [`m${part}`, `b${part}`], [`a${part}`]))
    nodes.push(op('Reshape', [`a${part}`, 'split'], [`s${part}`]))
    const perm = part === 'k' ? [0, 2, 3, 1] : [0, 2, 1, 3]
    nodes.push(op('Transpose', [`s${part}`], [part], { perm: { ints: perm } }))
  }
  nodes.push(
    op('MatMul', ['q', 'k'], ['qk']),
    op('Mul', ['qk', 'root'], ['scaled']),
    op('Softmax', ['scaled'], ['p'], { axis: { int: -1 } }),
    op('MatMul', ['p', 'v'], ['pv']),
    op('Transpose', ['pv'], ['t'], { perm: { ints: [0, 2, 1, 3] } }),
    op('Reshape', ['t', 'join'], ['joined']),
    op('MatMul', ['joined', 'wq'], ['o']),
    op('Add', ['o', 'x'], ['y']),
  )
  const inputs = [float('x', ['n', size(2, 9), width])]
  return { inputs, outputs: [float('y', undefined)], nodes, initializers }
}

/** Both bodies hold weights of their own, and use one from outside. */
export function branches({ size, weights }: Draw): ModelSpec {
  const [k, n] = [size(17, 120), size(17, 120)]
  const body = (name: string) => ({
    inputs: [],
    outputs: [float(`${name}y`, undefined)],
    nodes: [
      op('MatMul', ['r', `${name}w`], [`${name}m`]),
      op('Add', [`${name}m`, `${name}b`], [`${name}a`]),
      op('MatMul', [`${name}a`, 'shared'], [`${name}y`]),
    ],
    initializers: [weights(`${name}w`, [k, n]), weights(`${name}b`, [n])],
  })
  const both = { then_branch: { graph: body('yes') }, else_branch: { graph: body('no') } }
  const nodes = [
    op('Relu', ['x'], ['r']),
    op('ReduceSum', ['r'], ['sum'], { keepdims: { int: 0 } }),
    op('Greater', ['sum', 'limit'], ['is']),
    op('If', ['is'], ['y'], both),
  ]
  const initializers = [weights('shared', [n, k]), scalar('limit', 'float', k)]
  return { inputs: [float('x', ['n', k])], outputs: [float('y', ['n', k])], nodes, initializers }
}

export function loop({ size, weights }: Draw): ModelSpec {
  const k = size(17, 150)
  const body = {
    inputs: [
      { name: 'i', type: 'int64', shape: [] },
      { name: 'go', type: 'bool', shape: [] },
      float('state', ['n', k]),
    ] as const,
    outputs: [{ name: 'on', type: 'bool', shape: [] } as const, float('next', ['n', k])],
    nodes: [
      op('Identity', ['go'], ['on']),
      op('MatMul', ['state', 'inner'], ['m']),
      op('Add', ['m', 'bias'], ['a']),
      op('Tanh', ['a'], ['next']),
    ],
    initializers: [weights('inner', [k, k], 0.3), weights('bias', [k])],
  }
  const nodes = [
    op('MatMul', ['x', 'outer'], ['start']),
    op('Loop', ['count', '', 'start'], ['y'], { body: { graph: body } }),
  ]
  const initializers = [weights('outer', [k, k], 0.3), scalar('count', 'int64', 3)]
  return { inputs: [float('x', ['n', k])], outputs: [float('y', ['n', k])], nodes, initializers }
}

/** Weights are inputs too, and one of them is folded away. */
export function oldExport({ size, weights }: Draw): ModelSpec {
  const [channels, last, n] = [size(1, 4), size(5, 40), size(17, 90)]
  const features = last * 6 * 6
  const initializers = [
    weights('w', [last, channels, 3, 3]),
    weights('b', [last]),
    ints('shape', [-1, features]),
    weights('flat', [n, features], 0.1),
    ints('square', [features, n]),
    weights('bias', [n]),
  ]
  const nodes = [
    op('Conv', ['x', 'w', 'b'], ['c'], { kernel_shape: { ints: [3, 3] } }),
    op('Relu', ['c'], ['r']),
    op('Reshape', ['r', 'shape'], ['rows']),
    op('Reshape', ['flat', 'square'], ['matrix']),
    op('MatMul', ['rows', 'matrix'], ['m']),
    op('Add', ['m', 'bias'], ['y']),
  ]
  const asInputs = initializers.map(({ name, type, dims }) => ({ name, type, shape: dims }))
  const inputs = [float('x', ['n', channels, 8, 8]), ...asInputs]
  return { inputs, outputs: [float('y', ['n', n])], nodes, initializers, opset: 8, irVersion: 3 }
}

export function texts({ size, weights }: Draw): ModelSpec {
  const [words, width] = [size(30, 400), size(17, 60)]
  const keys = Array.from({ length: words }, (_, i) => String(i))
  const encoder: NodeSpec = {
    op: 'LabelEncoder',
    domain: 'ai.onnx.ml',
    inputs: ['word'],
    outputs: ['index'],
    attributes: {
      keys_strings: { strings: keys },
      values_int64s: { ints: keys.map((_, i) => i) },
      default_int64: { int: 0 },
    },
  }
  const nodes = [
    encoder,
    op('Gather', ['table', 'index'], ['vector']),
    op('MatMul', ['vector', 'w'], ['y']),
    op('Gather', ['names', 'index'], ['said']),
  ]
  const initializers = [
    weights('table', [words, width]),
    weights('w', [width, size(17, 90)]),
    {
      name: 'names',
      type: 'string',
      dims: [words],
      data: keys.map((key) => `word ${key}`),
    } as const,
  ]
  const said = { name: 'said', type: 'string', shape: ['n'] } as const
  const inputs = [{ name: 'word', type: 'string', shape: ['n'] } as const]
  return { inputs, outputs: [float('y', undefined), said], nodes, initializers }
}

export function forest({ size, random }: Draw): ModelSpec {
  const [trees, features] = [size(3, 60), size(3, 20)]
  const each = Array.from({ length: trees * 3 }, (_, i) => ({
    tree: Math.floor(i / 3),
    node: i % 3,
  }))
  const of = (pick: (node: number) => number): number[] => each.map(({ node }) => pick(node))
  const leaves = each.filter(({ node }) => node > 0)
  const regressor: NodeSpec = {
    op: 'TreeEnsembleRegressor',
    domain: 'ai.onnx.ml',
    inputs: ['scaled'],
    outputs: ['y'],
    attributes: {
      nodes_treeids: { ints: each.map(({ tree }) => tree) },
      nodes_nodeids: { ints: of((node) => node) },
      nodes_featureids: { ints: of(() => Math.floor(random() * features)) },
      nodes_modes: { strings: each.map(({ node }) => (node === 0 ? 'BRANCH_LEQ' : 'LEAF')) },
      nodes_values: { floats: of(() => random() * 2 - 1) },
      nodes_truenodeids: { ints: of((node) => (node === 0 ? 1 : 0)) },
      nodes_falsenodeids: { ints: of((node) => (node === 0 ? 2 : 0)) },
      nodes_missing_value_tracks_true: { ints: of(() => 0) },
      target_treeids: { ints: leaves.map(({ tree }) => tree) },
      target_nodeids: { ints: leaves.map(({ node }) => node) },
      target_ids: { ints: leaves.map(() => 0) },
      target_weights: { floats: leaves.map(() => random()) },
      n_targets: { int: 1 },
    },
  }
  const nodes = [op('Mul', ['x', 'gain'], ['scaled']), regressor]
  const initializers = [scalar('gain', 'float', 1.25)]
  const inputs = [float('x', ['n', features])]
  return { inputs, outputs: [float('y', ['n', 1])], nodes, initializers }
}

/** Weights as Constant nodes, and one of doubles. */
export function constants({ size, weights, random }: Draw): ModelSpec {
  const [k, n] = [size(17, 200), size(17, 200)]
  const doubles = new Float64Array(n * 3).map(() => random() * 2 - 1)
  const wide = {
    type: 'double',
    dims: [n, 3],
    data: [],
    bytes: Buffer.from(doubles.buffer),
  } as const
  const nodes = [
    op('Constant', [], ['w'], { value: { tensor: weights('w', [k, n]) } }),
    op('Constant', [], ['wide'], { value: { tensor: wide } }),
    op('MatMul', ['x', 'w'], ['m']),
    op('Cast', ['m'], ['d'], { to: { int: 11 } }),
    op('MatMul', ['d', 'wide'], ['y']),
  ]
  const outputs = [{ name: 'y', type: 'double', shape: ['n', 3] } as const]
  return { inputs: [float('x', ['n', k])], outputs, nodes, initializers: [] }
}

/** One weight for several nodes, which pack it in their own ways. */
export function shared({ size, weights }: Draw): ModelSpec {
  const k = size(17, 250)
  const nodes = [
    op('MatMul', ['x', 'w'], ['a']),
    op('Gemm', ['a', 'w', 'b'], ['c'], { transB: { int: 1 } }),
    op('Gemm', ['c', 'w', 'b'], ['d']),
    op('Add', ['d', 'b'], ['e']),
    op('MatMul', ['e', 'w'], ['y']),
  ]
  const initializers = [weights('w', [k, k], 0.1), weights('b', [k])]
  return { inputs: [float('x', ['n', k])], outputs: [float('y', ['n', k])], nodes, initializers }
}

/** Few and tiny weights: hardly anything is left for the data file, or nothing. */
export function tiny({ size, weights }: Draw): ModelSpec {
  const k = size(1, 19)
  const nodes = [op('Add', ['x', 'w'], ['a']), op('Sigmoid', ['a'], ['y'])]
  return {
    inputs: [float('x', ['n', k])],
    outputs: [float('y', ['n', k])],
    nodes,
    initializers: [weights('w', [k])],
  }
}

/** The runtime's own operators. */
export function microsoft({ size, weights }: Draw): ModelSpec {
  const [k, n] = [size(17, 200), size(17, 200)]
  const own = (name: string, inputs: string[], outputs: string[]): NodeSpec => ({
    ...op(name, inputs, outputs),
    domain: 'com.microsoft',
  })
  const nodes = [
    own('FusedMatMul', ['x', 'w'], ['m']),
    own('BiasGelu', ['m', 'b'], ['g']),
    op('MatMul', ['g', 'v'], ['y']),
  ]
  const initializers = [weights('w', [k, n], 0.2), weights('b', [n]), weights('v', [n, 3])]
  return { inputs: [float('x', ['n', k])], outputs: [float('y', ['n', 3])], nodes, initializers }
}
