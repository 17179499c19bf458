/**
 * Field numbers of onnx.proto, as far as the forge needs them, one table per message. They are part
 * of the format and never change.
 */

export const MODEL = {
  irVersion: 1,
  producerName: 2,
  producerVersion: 3,
  graph: 7,
  opsetImport: 8,
  trainingInfo: 20,
  functions: 25,
} as const
export const OPSET = { domain: 1, version: 2 } as const
export const GRAPH = {
  node: 1,
  initializer: 5,
  input: 11,
  output: 12,
  valueInfo: 13,
  sparseInitializer: 15,
} as const
export const NODE = { input: 1, output: 2, opType: 4, attribute: 5, domain: 7 } as const
export const ATTRIBUTE = {
  name: 1,
  tensor: 5,
  graph: 6,
  ints: 8,
  strings: 9,
  tensors: 10,
  graphs: 11,
  sparseTensor: 22,
  sparseTensors: 23,
} as const
export const FUNCTION = { attributeDefaults: 11, node: 7 } as const
export const TRAINING = { initialization: 1, algorithm: 2 } as const
export const TENSOR = { name: 8, externalData: 13 } as const
export const SPARSE = { values: 1, indices: 2 } as const
export const ENTRY = { key: 1, value: 2 } as const
export const VALUE = { name: 1, type: 2 } as const
export const TYPE = { tensor: 1 } as const
export const TENSOR_TYPE = { element: 1, shape: 2 } as const
export const SHAPE = { dimension: 1 } as const
export const DIMENSION = { value: 1 } as const
