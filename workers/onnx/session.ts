/**
 * The one importer of onnxruntime-node. A model is opened with one thread, without arena and
 * memory pattern: threads are the pool's business, and the arena keeps its high-water mark for ever
 * (a 133-byte model held 3.6 GB; 78 MB without it).
 */

import { env, InferenceSession, Tensor } from 'onnxruntime-node'
import type { Datatype, TensorSpec } from '../../core/bundle/plan.ts'
import { atOnce } from './at-once.ts'

export { Tensor }

/** Which runtime reports are about. */
export const RUNTIME = `onnxruntime-node ${env.versions.node ?? env.versions.common}`

export type Feeds = Record<string, Tensor>
export type Fetched = Readonly<Record<string, Tensor>>

/** One loaded model. Runs on the calling thread; run() and release() must never overlap. */
export interface Model {
  readonly inputs: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
  /** Fetches the named outputs, or all. Throws what ONNX Runtime says. */
  run(feeds: Feeds, outputs?: readonly string[]): Promise<Fetched>
  release(): Promise<void>
}

const OPTIONS = {
  executionProviders: ['cpu'],
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  enableCpuMemArena: false,
  enableMemPattern: false,
  logSeverityLevel: 3,
} as const satisfies InferenceSession.SessionOptions

/** Always by path: external data of a model read from bytes would be looked for in the cwd. */
export function openModel(path: string): Promise<Model> {
  return open(path, { graphOptimizationLevel: 'all' })
}

/** Of a compiled form, whose graph is optimized already. */
export function openCompiled(path: string): Promise<Model> {
  return open(path, { graphOptimizationLevel: 'disabled' })
}

/**
 * Writes the optimized model, and beside it a file with its weights, packed as the nodes of this
 * machine want them. What is written needs workers/compile/repair.ts before it may be loaded.
 */
export async function writeCompiled(
  path: string,
  target: { readonly model: string; readonly dataName: string; readonly bytesMin: number },
): Promise<void> {
  const session = {
    optimized_model_external_initializers_file_name: target.dataName,
    optimized_model_external_initializers_min_size_in_bytes: String(target.bytesMin),
    save_external_prepacked_constant_initializers: '1',
  }
  const model = await open(path, {
    graphOptimizationLevel: 'all',
    optimizedModelFilePath: target.model,
    extra: { session },
  })
  await model.release()
}

async function open(path: string, options: InferenceSession.SessionOptions): Promise<Model> {
  const session = await InferenceSession.create(path, { ...OPTIONS, ...options })
  return {
    inputs: session.inputMetadata.map(specOf),
    outputs: session.outputMetadata.map(specOf),
    run: (feeds, outputs) =>
      atOnce(() => (outputs === undefined ? session.run(feeds) : session.run(feeds, [...outputs]))),
    release: () => session.release(),
  }
}

/** What onnxruntime-node says of one input or output; a name or -1 is a free dimension. */
function specOf(metadata: InferenceSession.ValueMetadata): TensorSpec {
  if (!metadata.isTensor) {
    throw new Error(`"${metadata.name}" is a sequence or a map, not a tensor`)
  }
  const shape = metadata.shape.map((size) => (typeof size === 'number' && size >= 0 ? size : null))
  return { name: metadata.name, datatype: datatypeOf(metadata.type, metadata.name), shape }
}

const DATATYPES: Readonly<Record<string, Datatype>> = {
  float32: 'float32',
  float64: 'float64',
  int8: 'int8',
  uint8: 'uint8',
  int16: 'int16',
  uint16: 'uint16',
  int32: 'int32',
  uint32: 'uint32',
  int64: 'int64',
  uint64: 'uint64',
  bool: 'bool',
  string: 'string',
}

function datatypeOf(type: string, name: string): Datatype {
  const datatype = DATATYPES[type]
  if (datatype === undefined)
    throw new Error(`"${name}" has the element type ${type}, which cannot be served`)
  return datatype
}
