/**
 * Repairs what ONNX Runtime writes as its optimized model. As of version 1.30 such a pair of files
 * must not be loaded as it is:
 *
 * - Blobs of packed weights begin anywhere in the data file, but are read with instructions that
 *   need an aligned address: the first run of many models with odd dimensions ends the process.
 * - Weights of subgraphs are listed twice, which no load accepts.
 * - In old models, whose weights are inputs too, folded weights leave inputs that nobody feeds.
 *
 * So every range of the data file is copied to an aligned place, and of the graph only what points
 * to it, the doubled weights and those inputs are changed. The runtime wrote the file, but out of a
 * stranger's bundle, so nothing in it is believed.
 */

import { ATTRIBUTE, ENTRY, GRAPH, MODEL, NODE, TENSOR, VALUE } from '../forge/onnx-fields.ts'
import {
  bytesField,
  edited,
  type Field,
  type Piece,
  type Range,
  textField,
  WireError,
  type WireFile,
} from '../forge/onnx-wire.ts'
import { type Layout, numberOf } from './layout.ts'

const DEPTH_MAX = 64

export interface RepairOptions {
  /** The only name that weights may give as their file. */
  readonly dataFile: string
  /** Inputs that the source model asks for. */
  readonly inputs: readonly string[]
  /** Where each range of the data file is to be. */
  readonly layout: Layout
}

/** The content of the repaired model file; `layout` then knows what to copy. */
export function repairedModel(file: WireFile, options: RepairOptions): Piece[] {
  const repair = new Repair(file, options)
  return edited(file, { start: 0, end: file.size }, (field) =>
    field.number === MODEL.graph ? bytesField(MODEL.graph, repair.mainGraph(field)) : null,
  )
}

class Repair {
  readonly #file: WireFile
  readonly #dataFile: string
  readonly #inputs: ReadonlySet<string>
  readonly #layout: Layout

  constructor(file: WireFile, { dataFile, inputs, layout }: RepairOptions) {
    this.#file = file
    this.#dataFile = dataFile
    this.#inputs = new Set(inputs)
    this.#layout = layout
  }

  mainGraph(graph: Field): Piece[] {
    return this.#graph(graph, 1, (input) => this.#inputs.has(this.#nameOf(input, VALUE.name)))
  }

  #graph(graph: Field, depth: number, keepsInput: (field: Field) => boolean): Piece[] {
    if (depth > DEPTH_MAX) throw new WireError('the subgraphs of the model are nested too deep')
    const names = new Set<string>()
    return edited(this.#file, this.#file.message(graph), (field) => {
      if (field.number === GRAPH.input) return keepsInput(field) ? null : []
      if (field.number === GRAPH.node) return this.#node(field, depth + 1)
      if (field.number !== GRAPH.initializer) return null
      const name = this.#nameOf(field, TENSOR.name)
      if (names.has(name)) return []
      names.add(name)
      return this.#tensor(field)
    })
  }

  /** Null: it stays as it is, like most nodes. */
  #node(node: Field, depth: number): Piece[] | null {
    let isChanged = false
    const pieces = edited(this.#file, this.#file.message(node), (field) => {
      if (field.number !== NODE.attribute) return null
      const attribute = this.#attribute(field, depth + 1)
      isChanged ||= attribute !== null
      return attribute
    })
    return isChanged ? bytesField(GRAPH.node, pieces) : null
  }

  #attribute(attribute: Field, depth: number): Piece[] | null {
    let isChanged = false
    const pieces = edited(this.#file, this.#file.message(attribute), (field) => {
      const { number } = field
      if (number !== ATTRIBUTE.graph && number !== ATTRIBUTE.graphs) return null
      isChanged = true
      // Inputs of a body are fed by its node, every one of them.
      return bytesField(
        number,
        this.#graph(field, depth + 1, () => true),
      )
    })
    return isChanged ? bytesField(NODE.attribute, pieces) : null
  }

  #nameOf(message: Field, number: number): string {
    let name = ''
    for (const part of this.#file.fields(this.#file.message(message))) {
      if (part.number === number) name = this.#file.text(part)
    }
    return name
  }

  /** Null: its data is in the model file itself. */
  #tensor(tensor: Field): Piece[] | null {
    const message = this.#file.message(tensor)
    const entries = this.#entries(message)
    if (entries.size === 0) return null
    if (entries.get('location') !== this.#dataFile) {
      throw new WireError('a weight of the compiled model is in a file of another name')
    }
    const offset = numberOf(entries.get('offset') ?? '0')
    const length = numberOf(entries.get('length'))
    entries.set('offset', String(this.#layout.place(offset, length)))
    for (const [key, value] of entries) {
      if (key.startsWith('prepacked')) entries.set(key, this.#layout.packed(value))
    }
    const kept = edited(this.#file, message, ({ number }) =>
      number === TENSOR.externalData ? [] : null,
    )
    const placed = [...entries].flatMap(([key, value]) =>
      bytesField(TENSOR.externalData, [
        ...textField(ENTRY.key, key),
        ...textField(ENTRY.value, value),
      ]),
    )
    return bytesField(GRAPH.initializer, [...kept, ...placed])
  }

  #entries(tensor: Range): Map<string, string> {
    const entries = new Map<string, string>()
    for (const field of this.#file.fields(tensor)) {
      if (field.number !== TENSOR.externalData) continue
      const key = this.#nameOf(field, ENTRY.key)
      if (entries.has(key)) throw new WireError('a weight of the compiled model has two places')
      entries.set(key, this.#nameOf(field, ENTRY.value))
    }
    return entries
  }
}
