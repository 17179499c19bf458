/**
 * Makes scikit-learn's classifiers readable: their converter ends them in a ZipMap node, whose
 * output is a sequence of maps that onnxruntime-node cannot fetch. Each ZipMap becomes an Identity,
 * its output a tensor of probabilities, and the labels of its columns come from its attributes.
 */

import {
  DIMENSION,
  GRAPH,
  MODEL,
  NODE,
  OPSET,
  SHAPE,
  TENSOR_TYPE,
  TYPE,
  VALUE,
} from './onnx-fields.ts'
import {
  type ExternalFile,
  type LabelScan,
  type ModelScan,
  type NodeScan,
  type Opset,
  operatorName,
  scanModel,
} from './onnx-scan.ts'
import {
  bytesField,
  edited,
  type Field,
  integerField,
  type Piece,
  textField,
  WireError,
  WireFile,
  writePieces,
} from './onnx-wire.ts'
import { showName } from './zip-name.ts'

export interface ZipMapOutput {
  readonly name: string
  /** Label of each column. */
  readonly labels: readonly string[]
}

export type ZipMapResult =
  | { readonly kind: 'none'; readonly classLabels: readonly string[] | null }
  | { readonly kind: 'rewritten'; readonly outputs: readonly ZipMapOutput[] }
  | { readonly kind: 'refused'; readonly reason: string }

export type ModelFacts =
  | {
      readonly kind: 'facts'
      readonly irVersion: number
      readonly producer: string
      readonly producerVersion: string
      readonly opsets: readonly Opset[]
      readonly nodeCount: number
      /** Files with weights; their names are clean, whether they exist is for the caller. */
      readonly externalFiles: readonly ExternalFile[]
      /** Of large weights in the file itself. */
      readonly weightBytes: number
    }
  | { readonly kind: 'refused'; readonly reason: string }

const ELEMENT = { float: 1, string: 8 } as const
/** Knows Identity in the form that every supported model may have, and is old enough for all. */
const OPSET_VERSION = 9

/** What a model says of itself, without loading it. */
export async function modelFacts(path: string): Promise<ModelFacts> {
  return readModel(path, async (_file, scan) => {
    const { irVersion, producer, producerVersion, opsets } = scan
    const versions = { irVersion, producer, producerVersion, opsets }
    const { nodeCount, externalFiles, weightBytes } = scan
    return { kind: 'facts', ...versions, nodeCount, externalFiles, weightBytes }
  })
}

/** Writes a model without ZipMap to `outPath`, a new file, when `modelPath` has one. */
export async function rewriteZipMaps(modelPath: string, outPath: string): Promise<ZipMapResult> {
  return readModel(modelPath, async (file, scan) => {
    const zipMaps = scan.nodes.filter(isZipMap)
    const reason = refusal(scan, zipMaps)
    if (reason !== null) return { kind: 'refused', reason }
    if (zipMaps.length === 0) return { kind: 'none', classLabels: classLabels(scan) }
    const outputs = zipMapOutputs(scan, zipMaps)
    await writePieces(file, rewritten(file, scan, zipMaps, outputs), outPath)
    return { kind: 'rewritten', outputs }
  })
}

interface Refused {
  readonly kind: 'refused'
  readonly reason: string
}

/** Opens and scans; a file that is no model is an answer, not an exception. */
async function readModel<T>(
  path: string,
  use: (file: WireFile, scan: ModelScan) => Promise<T>,
): Promise<T | Refused> {
  const file = new WireFile(path)
  try {
    return await use(file, scanModel(file))
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    return { kind: 'refused', reason: error.message }
  } finally {
    file.close()
  }
}

const ZIP_MAP = operatorName('ai.onnx.ml', 'ZipMap')

function isZipMap(node: NodeScan): boolean {
  return operatorName(node.domain, node.opType) === ZIP_MAP
}

/** Why the ZipMaps of this model cannot be replaced, or null. */
function refusal(scan: ModelScan, zipMaps: readonly NodeScan[]): string | null {
  if (scan.innerOperators.has(ZIP_MAP)) {
    return 'a ZipMap inside a subgraph or a function cannot be replaced; export with zipmap=False'
  }
  const used = new Set(scan.nodes.flatMap((node) => node.inputs))
  for (const node of zipMaps) {
    const [output, second] = node.outputs
    if (output === undefined || second !== undefined || node.inputs.length !== 1) {
      return 'a ZipMap must have one input and one output'
    }
    if (used.has(output)) {
      return `the ZipMap output "${showName(output)}" feeds another node; export with zipmap=False`
    }
    if (node.labels === null) return `the ZipMap of "${showName(output)}" names no class labels`
  }
  return null
}

/** In the order of the graph's outputs; a ZipMap whose output nobody asked for is not there. */
function zipMapOutputs(scan: ModelScan, zipMaps: readonly NodeScan[]): ZipMapOutput[] {
  const labels = new Map(zipMaps.map((node) => [node.outputs[0] ?? '', node.labels?.labels ?? []]))
  return scan.outputs.flatMap(({ name }) => {
    const found = labels.get(name)
    return found === undefined ? [] : [{ name, labels: found }]
  })
}

function rewritten(
  file: WireFile,
  scan: ModelScan,
  zipMaps: readonly NodeScan[],
  outputs: readonly ZipMapOutput[],
): Piece[] {
  const nodes = new Set(zipMaps.map((node) => node.field.start))
  const made = new Set(zipMaps.flatMap((node) => node.outputs))
  const columns = new Map(outputs.map(({ name, labels }) => [name, labels.length]))
  const editGraph = (field: Field): Piece[] | null => {
    if (field.number === GRAPH.node && nodes.has(field.start)) return identity(file, field)
    if (field.number !== GRAPH.output && field.number !== GRAPH.valueInfo) return null
    const name = valueName(file, field)
    // Hints about the type of a value in between would now be wrong; they are not needed.
    if (field.number === GRAPH.valueInfo) return made.has(name) ? [] : null
    const count = columns.get(name)
    return count === undefined ? null : probabilities(file, field, count)
  }
  const model = edited(file, { start: 0, end: file.size }, (field) =>
    field.start === scan.graph.start
      ? bytesField(MODEL.graph, edited(file, file.message(field), editGraph))
      : null,
  )
  return importsDefault(scan) ? model : [...model, ...defaultImport()]
}

function valueName(file: WireFile, field: Field): string {
  let name = ''
  for (const part of file.fields(file.message(field))) {
    if (part.number === VALUE.name) name = file.text(part)
  }
  return name
}

/** The node with its name, input and output, but another operator and no attributes. */
function identity(file: WireFile, field: Field): Piece[] {
  const dropped: readonly number[] = [NODE.opType, NODE.attribute, NODE.domain]
  const kept = edited(file, file.message(field), (part) =>
    dropped.includes(part.number) ? [] : null,
  )
  return bytesField(GRAPH.node, [...kept, ...textField(NODE.opType, 'Identity')])
}

/**
 * The output as `tensor(float)[?, columns]`. The shape has to be there: without one,
 * onnxruntime-node reports `[]`, which looks like a single number.
 */
function probabilities(file: WireFile, field: Field, columns: number): Piece[] {
  const kept = edited(file, file.message(field), (part) => (part.number === VALUE.type ? [] : null))
  const rows = bytesField(SHAPE.dimension, [])
  const width = bytesField(SHAPE.dimension, integerField(DIMENSION.value, columns))
  const tensor = [
    ...integerField(TENSOR_TYPE.element, ELEMENT.float),
    ...bytesField(TENSOR_TYPE.shape, [...rows, ...width]),
  ]
  const type = bytesField(VALUE.type, bytesField(TYPE.tensor, tensor))
  return bytesField(GRAPH.output, [...kept, ...type])
}

/** Identity is an operator of the default domain, which a model must import to use it. */
function importsDefault(scan: ModelScan): boolean {
  return scan.opsets.some(({ domain }) => domain === '' || domain === 'ai.onnx')
}

function defaultImport(): Piece[] {
  const opset = [...textField(OPSET.domain, ''), ...integerField(OPSET.version, OPSET_VERSION)]
  return bytesField(MODEL.opsetImport, opset)
}

/** Labels of the one classifier that feeds the outputs; null when there is none, or are several. */
function classLabels(scan: ModelScan): readonly string[] | null {
  const found = feeding(scan).flatMap((node) => (node.labels === null ? [] : [node.labels]))
  const [labels, second] = found
  if (labels === undefined || second !== undefined) return null
  return isAnswered(scan, labels) ? labels.labels : null
}

/** Labels of another type than any output has are turned into others on their way out. */
function isAnswered(scan: ModelScan, { kind }: LabelScan): boolean {
  const hasTexts = scan.outputs.some(({ element }) => element === ELEMENT.string)
  return hasTexts === (kind === 'strings')
}

/** The nodes of the main graph that have a part in its outputs. */
function feeding(scan: ModelScan): NodeScan[] {
  const makers = new Map<string, NodeScan>()
  for (const node of scan.nodes) for (const output of node.outputs) makers.set(output, node)
  // An empty name stands for an input or output that is left out; it joins nothing.
  makers.delete('')
  const seen = new Set<NodeScan>()
  const waiting = scan.outputs.map(({ name }) => name)
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const node = makers.get(name)
    if (node === undefined || seen.has(node)) continue
    seen.add(node)
    waiting.push(...node.inputs)
  }
  return [...seen]
}
