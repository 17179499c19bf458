/**
 * One pass over an ONNX model that collects what the forge must know before ONNX Runtime opens it:
 * versions, the nodes and outputs of its graph, which files it wants to read, and what is hidden in
 * its subgraphs. Weights are stepped over, not read.
 */

import {
  ATTRIBUTE,
  ENTRY,
  FUNCTION,
  GRAPH,
  MODEL,
  NODE,
  OPSET,
  SPARSE,
  TENSOR,
  TENSOR_TYPE,
  TRAINING,
  TYPE,
  VALUE,
} from './onnx-fields.ts'
import { type Field, WireError, type WireFile } from './onnx-wire.ts'
import { nameFaults, showName } from './zip-name.ts'

const DEPTH_MAX = 64
const NODES_MAX = 250_000
/** Everything that is collected in lists: names, labels, outputs, versions, files. */
const ITEMS_MAX = 1_000_000

/** A node of the main graph. `inputs` include what its subgraphs take from outside. */
export interface NodeScan {
  readonly field: Field
  readonly opType: string
  readonly domain: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** The attributes `classlabels_…`, as text, whole numbers first. */
  readonly labels: LabelScan | null
}

export interface LabelScan {
  readonly kind: 'integers' | 'strings'
  readonly labels: readonly string[]
}

export interface ValueScan {
  readonly field: Field
  readonly name: string
  /** Element type of a tensor as onnx.proto numbers it; null for sequences and maps. */
  readonly element: number | null
}

export interface Opset {
  readonly domain: string
  readonly version: number
}

/** A file with weights, relative to the model, and how long it must be. */
export interface ExternalFile {
  readonly path: string
  readonly bytesMin: number
}

export interface ModelScan {
  readonly irVersion: number
  readonly producer: string
  readonly producerVersion: string
  readonly opsets: readonly Opset[]
  readonly externalFiles: readonly ExternalFile[]
  /** All nodes, those of subgraphs and functions included. */
  readonly nodeCount: number
  /** Operators with their domain (`ai.onnx.ml/ZipMap`) inside subgraphs and functions. */
  readonly innerOperators: ReadonlySet<string>
  readonly graph: Field
  readonly nodes: readonly NodeScan[]
  readonly outputs: readonly ValueScan[]
  /** Of the weights of the main graph that are in the model's own file, without small ones. */
  readonly weightBytes: number
}

/** Smaller ones are shapes and scales, which are never shared. */
export const WEIGHT_BYTES_MIN = 1024

/** Name of an operator over all domains; `ai.onnx` is the long form of the empty domain. */
export function operatorName(domain: string, opType: string): string {
  return `${domain}/${opType}`
}

export function scanModel(file: WireFile): ModelScan {
  return new Scanner(file).model()
}

class Scanner {
  readonly #file: WireFile
  readonly #external = new Map<string, number>()
  readonly #inner = new Set<string>()
  #nodeCount = 0
  #itemCount = 0
  #weightBytes = 0

  constructor(file: WireFile) {
    this.#file = file
  }

  model(): ModelScan {
    let irVersion = 0
    let producer = ''
    let producerVersion = ''
    const opsets: Opset[] = []
    let graph: Field | null = null
    for (const field of this.#file.fields({ start: 0, end: this.#file.size })) {
      if (field.number === MODEL.irVersion) irVersion = Number(this.#file.integer(field))
      else if (field.number === MODEL.producerName) producer = this.#file.text(field)
      else if (field.number === MODEL.producerVersion) producerVersion = this.#file.text(field)
      else if (field.number === MODEL.opsetImport) opsets.push(this.#opset(field))
      else if (field.number === MODEL.graph) {
        if (graph !== null) throw new WireError('the file holds two ONNX graphs')
        graph = field
      } else if (field.number === MODEL.functions) this.#function(field)
      else if (field.number === MODEL.trainingInfo) this.#training(field)
    }
    if (graph === null) throw new WireError('the file holds no ONNX graph')
    const { nodes, outputs } = this.#mainGraph(graph)
    const externalFiles = [...this.#external].map(([path, bytesMin]) => ({ path, bytesMin }))
    const rest = { nodeCount: this.#nodeCount, innerOperators: this.#inner, graph, nodes, outputs }
    const weightBytes = this.#weightBytes
    return { irVersion, producer, producerVersion, opsets, externalFiles, weightBytes, ...rest }
  }

  #opset(field: Field): Opset {
    this.#countItems(1)
    let domain = ''
    let version = 0
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === OPSET.domain) domain = this.#file.text(part)
      else if (part.number === OPSET.version) version = Number(this.#file.integer(part))
    }
    return { domain, version }
  }

  #mainGraph(graph: Field): { nodes: NodeScan[]; outputs: ValueScan[] } {
    const nodes: NodeScan[] = []
    const outputs: ValueScan[] = []
    for (const field of this.#file.fields(this.#file.message(graph))) {
      if (field.number === GRAPH.node) nodes.push(this.#node(field, 2))
      else if (field.number === GRAPH.output) outputs.push(this.#value(field))
      else this.#weights(field)
      if (field.number === GRAPH.initializer || isConstant(nodes.at(-1), field)) {
        this.#addWeight(field)
      }
    }
    return { nodes, outputs }
  }

  /** The data of a weight is nearly all of its field. */
  #addWeight({ value, end }: Field): void {
    if (end - value >= WEIGHT_BYTES_MIN) this.#weightBytes += end - value
  }

  /** A graph inside an attribute. Answers every name that its nodes take in. */
  #subgraph(graph: Field, depth: number): string[] {
    const names: string[] = []
    for (const field of this.#file.fields(this.#file.message(graph))) {
      if (field.number === GRAPH.node) append(names, this.#innerNode(field, depth + 1).inputs)
      else if (field.number === GRAPH.output) names.push(this.#value(field).name)
      else this.#weights(field)
    }
    return names
  }

  #innerNode(field: Field, depth: number): NodeScan {
    const node = this.#node(field, depth)
    this.#inner.add(operatorName(node.domain, node.opType))
    return node
  }

  /** Initializers may name files. */
  #weights(field: Field): void {
    if (field.number === GRAPH.initializer) this.#tensor(field)
    else if (field.number === GRAPH.sparseInitializer) this.#sparse(field)
  }

  #node(field: Field, depth: number): NodeScan {
    this.#nodeCount += 1
    if (this.#nodeCount > NODES_MAX) throw new WireError(`the model has over ${NODES_MAX} nodes`)
    if (depth > DEPTH_MAX) throw new WireError('the subgraphs of the model are nested too deep')
    const inputs: string[] = []
    const outputs: string[] = []
    let opType = ''
    let domain = ''
    let labels: LabelScan | null = null
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === NODE.input) inputs.push(this.#file.text(part))
      else if (part.number === NODE.output) outputs.push(this.#file.text(part))
      else if (part.number === NODE.opType) opType = this.#file.text(part)
      else if (part.number === NODE.domain) domain = this.#file.text(part)
      else if (part.number === NODE.attribute) {
        const found = this.#attribute(part, depth + 1, inputs)
        if (found !== null && labels !== null) throw new WireError(TWO_LABELS)
        labels = found ?? labels
      }
    }
    this.#countItems(inputs.length + outputs.length)
    return { field, opType, domain, inputs, outputs, labels }
  }

  #countItems(count: number): void {
    this.#itemCount += count
    if (this.#itemCount > ITEMS_MAX) {
      throw new WireError(`the model has over ${ITEMS_MAX} names and labels`)
    }
  }

  /** Answers class labels; adds to `inputs` what subgraphs take from outside. */
  #attribute(field: Field, depth: number, inputs: string[]): LabelScan | null {
    let name = ''
    for (const part of this.#file.fields(this.#file.message(field))) {
      const { number } = part
      if (number === ATTRIBUTE.name) name = this.#file.text(part)
      else if (number === ATTRIBUTE.graph || number === ATTRIBUTE.graphs) {
        append(inputs, this.#subgraph(part, depth + 1))
      } else if (number === ATTRIBUTE.tensor || number === ATTRIBUTE.tensors) this.#tensor(part)
      else if (number === ATTRIBUTE.sparseTensor || number === ATTRIBUTE.sparseTensors) {
        this.#sparse(part)
      }
    }
    return isLabels(name) ? this.#labels(field) : null
  }

  /** A pass of its own, because the name of an attribute may stand behind its values. */
  #labels(attribute: Field): LabelScan | null {
    const numbers: string[] = []
    const texts: string[] = []
    for (const part of this.#file.fields(this.#file.message(attribute))) {
      if (part.number === ATTRIBUTE.strings) texts.push(this.#file.text(part))
      else if (part.number === ATTRIBUTE.ints) {
        // A packed number has one byte at least, so this bounds the list before it is made.
        this.#countItems(part.end - part.value)
        for (const value of this.#file.integers(part)) numbers.push(String(value))
      }
    }
    this.#countItems(texts.length)
    if (numbers.length > 0 && texts.length > 0) throw new WireError(TWO_LABELS)
    if (texts.length > 0) return { kind: 'strings', labels: texts }
    return numbers.length > 0 ? { kind: 'integers', labels: numbers } : null
  }

  #function(field: Field): void {
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === FUNCTION.node) this.#innerNode(part, 2)
      else if (part.number === FUNCTION.attributeDefaults) this.#attribute(part, 2, [])
    }
  }

  #training(field: Field): void {
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === TRAINING.initialization) this.#subgraph(part, 2)
      else if (part.number === TRAINING.algorithm) this.#subgraph(part, 2)
    }
  }

  #value(field: Field): ValueScan {
    this.#countItems(1)
    let name = ''
    let element: number | null = null
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === VALUE.name) name = this.#file.text(part)
      else if (part.number === VALUE.type) element = this.#element(part)
    }
    return { field, name, element }
  }

  #element(type: Field): number | null {
    for (const part of this.#file.fields(this.#file.message(type))) {
      if (part.number !== TYPE.tensor) continue
      for (const inner of this.#file.fields(this.#file.message(part))) {
        if (inner.number === TENSOR_TYPE.element) return Number(this.#file.integer(inner))
      }
    }
    return null
  }

  #sparse(field: Field): void {
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === SPARSE.values || part.number === SPARSE.indices) this.#tensor(part)
    }
  }

  #tensor(field: Field): void {
    const entries = new Map<string, string>()
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === TENSOR.externalData) this.#entry(part, entries)
    }
    const location = entries.get('location')
    if (location === undefined) return
    const reason = locationFault(location)
    if (reason !== null) throw new WireError(`external data "${showName(location)}": ${reason}`)
    this.#countItems(1)
    const bytesMin = count(entries.get('offset')) + count(entries.get('length'))
    this.#external.set(location, Math.max(bytesMin, this.#external.get(location) ?? 0))
  }

  #entry(field: Field, entries: Map<string, string>): void {
    let key = ''
    let value = ''
    for (const part of this.#file.fields(this.#file.message(field))) {
      if (part.number === ENTRY.key) key = this.#file.text(part)
      else if (part.number === ENTRY.value) value = this.#file.text(part)
    }
    if (entries.has(key)) throw new WireError(`external data names its ${showName(key)} twice`)
    entries.set(key, value)
  }
}

/** Whether this field is the last node, and that a Constant: a weight in other clothes. */
function isConstant(node: NodeScan | undefined, field: Field): boolean {
  return node !== undefined && node.field === field && node.opType === 'Constant'
}

const TWO_LABELS = 'a node of the model names its class labels twice'

function isLabels(name: string): boolean {
  return (
    name === 'classlabels_int64s' || name === 'classlabels_ints' || name === 'classlabels_strings'
  )
}

/** As `push(...more)`, which fails on lists that are longer than the stack is deep. */
function append(list: string[], more: readonly string[]): void {
  for (const text of more) list.push(text)
}

/** Offsets and lengths are decimal texts. */
function count(text: string | undefined): number {
  if (text === undefined || text === '') return 0
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new WireError(`external data has the offset or length "${showName(text)}"`)
  }
  return value
}

/**
 * A model may read files of its own bundle only. ONNX Runtime takes certain names for addresses in
 * its memory, so these are no file names either, whatever lies in the bundle.
 */
function locationFault(location: string): string | null {
  if (location.includes('_MEM_ADDR_')) return 'the name is reserved by ONNX Runtime'
  if (location.endsWith('/')) return 'the name is that of a directory'
  return nameFaults(location)[0] ?? null
}
