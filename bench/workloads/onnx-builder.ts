/**
 * Writes ONNX models for benchmarks and tests, so that none needs Python or a file that nobody can
 * read: `onnxModel({inputs, outputs, nodes, initializers})` gives the bytes of a ModelProto. Field
 * numbers are those of onnx.proto. Nothing is checked: tests want hostile and wrong models too.
 */

/** Element types of TensorProto by their ONNX names. */
const ELEMENT_TYPES = {
  float: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  double: 11,
  uint32: 12,
  uint64: 13,
  uint4: 21,
  int4: 22,
} as const
export type ElementType = keyof typeof ELEMENT_TYPES

/** A graph input or output; a text or null in `shape` is free, no shape at all: unknown rank. */
export interface ValueSpec {
  readonly name: string
  readonly type: ElementType
  readonly shape?: readonly (number | string | null)[]
  /** `sequence(map(…, float))` instead of a tensor, as scikit-learn's ZipMap gives. */
  readonly mapKey?: 'int64' | 'string'
}

/** Values are written as raw little-endian bytes (float, double, integers, bool) or as texts. */
export interface TensorData {
  readonly name?: string
  readonly type: ElementType
  readonly dims: readonly number[]
  readonly data: readonly (number | string)[] | Float32Array
  /** Instead of `data`: name of a file beside the model that holds the bytes. */
  readonly externalFile?: string
  /** Instead of `data`: its bytes as they are, for large ones. */
  readonly bytes?: Buffer
}

export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | { readonly string: string }
  | { readonly strings: readonly string[] }
  | { readonly tensor: TensorData }
  | { readonly graph: GraphSpec }

export interface NodeSpec {
  readonly op: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** `ai.onnx.ml` for the operators of classical machine learning. */
  readonly domain?: string
  readonly attributes?: Readonly<Record<string, Attribute>>
}

export interface GraphSpec {
  readonly inputs: readonly ValueSpec[]
  readonly outputs: readonly ValueSpec[]
  readonly nodes: readonly NodeSpec[]
  readonly initializers?: readonly (TensorData & { readonly name: string })[]
}

export interface ModelSpec extends GraphSpec {
  /** Version of the standard operators; default 21 (the first with 4-bit integers). */
  readonly opset?: number
  /** Version of the file format; default 10. */
  readonly irVersion?: number
}

/** The runtime's own operators. */
const MICROSOFT = 'com.microsoft'

export function onnxModel(spec: ModelSpec): Buffer {
  return Buffer.concat([
    integer(1, spec.irVersion ?? 10),
    text(2, 'switchyard-test'),
    bytes(7, graph(spec)),
    bytes(8, Buffer.concat([text(1, ''), integer(2, spec.opset ?? 21)])),
    bytes(8, Buffer.concat([text(1, 'ai.onnx.ml'), integer(2, 3)])),
    ...(spec.nodes.some(({ domain }) => domain === MICROSOFT)
      ? [bytes(8, Buffer.concat([text(1, MICROSOFT), integer(2, 1)]))]
      : []),
  ])
}

function graph(spec: GraphSpec): Buffer {
  return Buffer.concat([
    ...spec.nodes.map((node) => bytes(1, nodeProto(node))),
    text(2, 'graph'),
    ...(spec.initializers ?? []).map((tensor) => bytes(5, tensorProto(tensor))),
    ...spec.inputs.map((value) => bytes(11, valueInfo(value))),
    ...spec.outputs.map((value) => bytes(12, valueInfo(value))),
  ])
}

function nodeProto(node: NodeSpec): Buffer {
  const attributes = Object.entries(node.attributes ?? {})
  return Buffer.concat([
    ...node.inputs.map((name) => text(1, name)),
    ...node.outputs.map((name) => text(2, name)),
    text(4, node.op),
    ...attributes.map(([name, value]) => bytes(5, attributeProto(name, value))),
    ...(node.domain === undefined ? [] : [text(7, node.domain)]),
  ])
}

function attributeProto(name: string, value: Attribute): Buffer {
  return Buffer.concat([text(1, name), ...attributeValue(value)])
}

/** Value and field 20, the kind of attribute, which ONNX Runtime insists on. */
function attributeValue(value: Attribute): Buffer[] {
  if ('float' in value) return [float(2, value.float), integer(20, 1)]
  if ('int' in value) return [integer(3, value.int), integer(20, 2)]
  if ('string' in value) return [text(4, value.string), integer(20, 3)]
  if ('tensor' in value) return [bytes(5, tensorProto(value.tensor)), integer(20, 4)]
  if ('graph' in value) return [bytes(6, graph(value.graph)), integer(20, 5)]
  if ('floats' in value) return [...value.floats.map((item) => float(7, item)), integer(20, 6)]
  if ('ints' in value) return [...value.ints.map((item) => integer(8, item)), integer(20, 7)]
  return [...value.strings.map((item) => text(9, item)), integer(20, 8)]
}

function tensorProto(tensor: TensorData): Buffer {
  return Buffer.concat([
    ...tensor.dims.map((size) => integer(1, size)),
    integer(2, ELEMENT_TYPES[tensor.type]),
    ...(tensor.name === undefined ? [] : [text(8, tensor.name)]),
    ...tensorBytes(tensor),
  ])
}

function tensorBytes(tensor: TensorData): Buffer[] {
  if (tensor.externalFile !== undefined) {
    const entry = Buffer.concat([text(1, 'location'), text(2, tensor.externalFile)])
    return [bytes(13, entry), integer(14, 1)]
  }
  if (tensor.bytes !== undefined) return [bytes(9, tensor.bytes)]
  const { data } = tensor
  // Large weights come as they lie in memory: an array of numbers would take four times as much.
  if (data instanceof Float32Array) {
    return [bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength))]
  }
  if (tensor.type === 'string') return data.map((item) => text(6, String(item)))
  return [bytes(9, rawData(tensor.type, data.map(Number)))]
}

/** The bytes of a tensor's values. */
function rawData(type: ElementType, values: readonly number[]): Buffer {
  switch (type) {
    case 'float':
      return Buffer.from(new Float32Array(values).buffer)
    case 'double':
      return Buffer.from(new Float64Array(values).buffer)
    case 'int64':
    case 'uint64':
      return Buffer.from(new BigInt64Array(values.map(BigInt)).buffer)
    case 'int32':
    case 'uint32':
      return Buffer.from(new Int32Array(values).buffer)
    case 'int16':
    case 'uint16':
      return Buffer.from(new Int16Array(values).buffer)
    default:
      return Buffer.from(new Int8Array(values).buffer)
  }
}

function valueInfo(value: ValueSpec): Buffer {
  const tensor = tensorType(value)
  const type = value.mapKey === undefined ? bytes(1, tensor) : sequenceOfMaps(value.mapKey)
  return Buffer.concat([text(1, value.name), bytes(2, type)])
}

function tensorType(value: ValueSpec): Buffer {
  const parts = [integer(1, ELEMENT_TYPES[value.type])]
  if (value.shape !== undefined) parts.push(bytes(2, shapeProto(value.shape)))
  return Buffer.concat(parts)
}

function shapeProto(shape: readonly (number | string | null)[]): Buffer {
  return Buffer.concat(shape.map((size) => bytes(1, dimension(size))))
}

function dimension(size: number | string | null): Buffer {
  if (size === null) return Buffer.alloc(0)
  return typeof size === 'number' ? integer(1, size) : text(2, size)
}

function sequenceOfMaps(key: 'int64' | 'string'): Buffer {
  const floats = bytes(1, integer(1, ELEMENT_TYPES.float))
  const map = Buffer.concat([integer(1, ELEMENT_TYPES[key]), bytes(2, floats)])
  return bytes(4, bytes(1, bytes(5, map)))
}

// The wire format: a tag (field number and kind), then the value.

function integer(field: number, value: number): Buffer {
  return Buffer.concat([varint(BigInt(field << 3)), varint(BigInt.asUintN(64, BigInt(value)))])
}

function float(field: number, value: number): Buffer {
  return Buffer.concat([varint(BigInt((field << 3) | 5)), rawData('float', [value])])
}

function text(field: number, value: string): Buffer {
  return bytes(field, Buffer.from(value, 'utf8'))
}

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([varint(BigInt((field << 3) | 2)), varint(BigInt(value.length)), value])
}

function varint(value: bigint): Buffer {
  const out: number[] = []
  let rest = value
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  out.push(Number(rest))
  return Buffer.from(out)
}
