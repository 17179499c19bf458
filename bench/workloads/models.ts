/**
 * The models of the workloads, made from a formula and not trained: what a run costs depends on
 * the shape of a model and not on what it has learnt. Every run writes the same bytes, so figures
 * of two days are of the same model.
 */

import { type NodeSpec, onnxModel, type TensorData } from './onnx-builder.ts'

/** Numbers in [-1, 1) that look like chance and are the same each time (a 32-bit xorshift). */
export function pseudoRandom(seed: number): () => number {
  let state = seed | 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state / 2 ** 31
  }
}

type Weights = TensorData & { readonly name: string }

/** Scaled by the number of inputs of a neuron, so that deep sums neither vanish nor explode. */
function weights(name: string, dims: readonly number[], seed: number): Weights {
  const size = dims.reduce((product, dimension) => product * dimension, 1)
  const fanIn = dims.length === 4 ? size / (dims[0] ?? 1) : (dims[0] ?? 1)
  const scale = Math.sqrt(3 / fanIn)
  const random = pseudoRandom(seed)
  const data = new Float32Array(size)
  for (let i = 0; i < size; i++) data[i] = random() * scale
  return { name, type: 'float', dims, data }
}

interface TreeShape {
  readonly features: number
  readonly trees: number
  readonly depth: number
  readonly classes: readonly string[]
}

/** Gradient-boosted trees, all of full depth: input[N, features] -> label, probas. */
export function treesModel(shape: TreeShape): Buffer {
  return onnxModel({
    inputs: [{ name: 'input', type: 'float', shape: ['N', shape.features] }],
    outputs: [
      { name: 'label', type: 'string', shape: ['N'] },
      { name: 'probas', type: 'float', shape: ['N', shape.classes.length] },
    ],
    nodes: [
      {
        op: 'TreeEnsembleClassifier',
        domain: 'ai.onnx.ml',
        inputs: ['input'],
        outputs: ['label', 'probas'],
        attributes: {
          ...treeNodes(shape),
          ...treeLeaves(shape),
          classlabels_strings: { strings: shape.classes },
          post_transform: { string: 'SOFTMAX' },
        },
      },
    ],
  })
}

/** Nodes of a tree are numbered as in a heap: the children of k are 2k + 1 and 2k + 2. */
function treeNodes({ features, trees, depth }: TreeShape) {
  const random = pseudoRandom(200)
  const inner = 2 ** depth - 1
  const perTree = 2 ** (depth + 1) - 1
  const all = Array.from({ length: trees * perTree }, (_, i) => i % perTree)
  const isInner = all.map((node) => node < inner)
  const only = (value: (i: number) => number) => ({
    ints: all.map((node, i) => (isInner[i] === true ? value(node) : 0)),
  })
  return {
    nodes_treeids: { ints: all.map((_, i) => Math.floor(i / perTree)) },
    nodes_nodeids: { ints: all },
    nodes_featureids: only(() => Math.floor(((random() + 1) / 2) * features)),
    nodes_values: { floats: isInner.map((is) => (is ? random() : 0)) },
    nodes_modes: { strings: isInner.map((is) => (is ? 'BRANCH_LEQ' : 'LEAF')) },
    nodes_truenodeids: only((node) => 2 * node + 1),
    nodes_falsenodeids: only((node) => 2 * node + 2),
  }
}

/** Tree t votes for class t modulo the number of classes, as boosted multi-class models do. */
function treeLeaves({ trees, depth, classes }: TreeShape) {
  const random = pseudoRandom(300)
  const leaves = 2 ** depth
  const all = Array.from({ length: trees * leaves }, (_, i) => i)
  return {
    class_treeids: { ints: all.map((i) => Math.floor(i / leaves)) },
    class_nodeids: { ints: all.map((i) => leaves - 1 + (i % leaves)) },
    class_ids: { ints: all.map((i) => Math.floor(i / leaves) % classes.length) },
    class_weights: { floats: all.map(() => random() / 10) },
  }
}

interface ColumnsShape {
  readonly numbers: readonly string[]
  /** Columns of text, each with its categories. */
  readonly texts: Readonly<Record<string, readonly string[]>>
}

/** A pipeline with one input a column, as skl2onnx writes it: scaled numbers, encoded texts. */
export function columnsModel({ numbers, texts }: ColumnsShape): Buffer {
  const names = Object.keys(texts)
  const encoded = names.flatMap((name) => encoderNodes(name, texts[name] ?? []))
  const width = numbers.length + Object.values(texts).flat().length
  const parts = [...names.map((name) => `${name}_flat`), 'scaled']
  return onnxModel({
    inputs: [
      ...numbers.map((name) => ({ name, type: 'float', shape: ['N', 1] }) as const),
      ...names.map((name) => ({ name, type: 'string', shape: ['N', 1] }) as const),
    ],
    outputs: [
      { name: 'label', type: 'int64', shape: ['N'] },
      { name: 'probas', type: 'float', shape: ['N', 2] },
    ],
    initializers: [
      { name: 'axis', type: 'int64', dims: [1], data: [1] },
      weights('weights', [width, 2], 400),
    ],
    nodes: [
      concat(numbers, 'numbers'),
      {
        op: 'Scaler',
        domain: 'ai.onnx.ml',
        inputs: ['numbers'],
        outputs: ['scaled'],
        attributes: {
          offset: { floats: numbers.map((_, i) => i) },
          scale: { floats: numbers.map((_, i) => 1 / (1 + i)) },
        },
      },
      ...encoded,
      concat(parts, 'row'),
      { op: 'MatMul', inputs: ['row', 'weights'], outputs: ['scores'] },
      ...classNodes('scores'),
    ],
  })
}

function concat(inputs: readonly string[], output: string): NodeSpec {
  return { op: 'Concat', inputs, outputs: [output], attributes: { axis: { int: 1 } } }
}

function encoderNodes(name: string, categories: readonly string[]): NodeSpec[] {
  return [
    {
      op: 'OneHotEncoder',
      domain: 'ai.onnx.ml',
      inputs: [name],
      outputs: [`${name}_hot`],
      attributes: { cats_strings: { strings: categories }, zeros: { int: 1 } },
    },
    { op: 'Squeeze', inputs: [`${name}_hot`, 'axis'], outputs: [`${name}_flat`] },
  ]
}

function classNodes(scores: string): NodeSpec[] {
  return [
    { op: 'Softmax', inputs: [scores], outputs: ['probas'] },
    {
      op: 'ArgMax',
      inputs: ['probas'],
      outputs: ['label'],
      attributes: { axis: { int: 1 }, keepdims: { int: 0 } },
    },
  ]
}

/** Dense layers with ReLU between them: input[N, first] -> label, probas[N, last]. */
export function denseModel(layers: readonly number[], seed = 500): Buffer {
  const [first = 1] = layers
  const steps = layers.slice(1).map((width, i) => ({ width, i, before: layers[i] ?? 1 }))
  const nodes = steps.flatMap(({ i }) => layerNodes(i, i === steps.length - 1))
  return onnxModel({
    inputs: [{ name: 'input', type: 'float', shape: ['N', first] }],
    outputs: [
      { name: 'label', type: 'int64', shape: ['N'] },
      { name: 'probas', type: 'float', shape: ['N', layers.at(-1) ?? 1] },
    ],
    initializers: steps.map(({ width, i, before }) =>
      weights(`weights${i}`, [before, width], seed + i),
    ),
    nodes: [...nodes, ...classNodes(`layer${steps.length - 1}`)],
  })
}

function layerNodes(i: number, isLast: boolean): NodeSpec[] {
  const input = i === 0 ? 'input' : `layer${i - 1}`
  const product = { op: 'MatMul', inputs: [input, `weights${i}`] }
  if (isLast) return [{ ...product, outputs: [`layer${i}`] }]
  const sum = `sum${i}`
  return [
    { ...product, outputs: [sum] },
    { op: 'Relu', inputs: [sum], outputs: [`layer${i}`] },
  ]
}

interface Convolution {
  readonly channels: number
  readonly stride: number
}

/** 3 x 3 convolutions with ReLU, the mean of each channel, ten scores: image[1, 3, size, size]. */
export function convolutionModel(size: number, steps: readonly Convolution[]): Buffer {
  const channelsBefore = (i: number) => (i === 0 ? 3 : (steps[i - 1]?.channels ?? 3))
  const last = steps.at(-1)?.channels ?? 3
  const nodes = steps.flatMap(({ stride }, i) => convolutionNodes(i, stride))
  return onnxModel({
    inputs: [{ name: 'image', type: 'float', shape: [1, 3, size, size] }],
    outputs: [{ name: 'scores', type: 'float', shape: [1, 10] }],
    initializers: [
      ...steps.map(({ channels }, i) =>
        weights(`kernel${i}`, [channels, channelsBefore(i), 3, 3], 600 + i),
      ),
      weights('head', [last, 10], 700),
    ],
    nodes: [
      ...nodes,
      { op: 'GlobalAveragePool', inputs: [`map${steps.length - 1}`], outputs: ['means'] },
      { op: 'Flatten', inputs: ['means'], outputs: ['flat'] },
      { op: 'MatMul', inputs: ['flat', 'head'], outputs: ['scores'] },
    ],
  })
}

function convolutionNodes(i: number, stride: number): NodeSpec[] {
  return [
    {
      op: 'Conv',
      inputs: [i === 0 ? 'image' : `map${i - 1}`, `kernel${i}`],
      outputs: [`sum${i}`],
      attributes: {
        kernel_shape: { ints: [3, 3] },
        strides: { ints: [stride, stride] },
        pads: { ints: [1, 1, 1, 1] },
      },
    },
    { op: 'Relu', inputs: [`sum${i}`], outputs: [`map${i}`] },
  ]
}
