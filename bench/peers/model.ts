/**
 * The model of the peers in Node, called the way a server without batching would: one request, one
 * run. The answer has the node's shape, so that all servers encode and send the same amount.
 */

import { InferenceSession, Tensor } from 'onnxruntime-node'

type FeatureValue =
  | number
  | string
  | { readonly shape: readonly number[]; readonly data: readonly number[] }
type Features = Readonly<Record<string, FeatureValue>>

/** What a peer is told of the model, as JSON on its command line. */
export interface Description {
  /** Path of the file. */
  readonly model: string
  readonly threads: number
  readonly inputs: readonly Input[]
  /** Labels in the order of `probas`; null: the answer is the tensor `scores`. */
  readonly classes: readonly string[] | null
}

interface Input {
  readonly name: string
  readonly datatype: 'float32' | 'string'
  /** Features in the order of the columns; null: a whole tensor. */
  readonly columns: readonly string[] | null
}

export interface PredictRequest {
  readonly features: Features
}

export interface PredictMultiRequest {
  readonly items: readonly PredictRequest[]
}

/** A body of either kind. */
type Predict = (request: PredictRequest | PredictMultiRequest) => Promise<object>

export async function openSession({ model, threads }: Description): Promise<InferenceSession> {
  return InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1 })
}

export function feedsOf(
  inputs: readonly Input[],
  rows: readonly Features[],
): InferenceSession.FeedsType {
  return Object.fromEntries(inputs.map((input) => [input.name, tensorOf(input, rows)]))
}

export async function openPredict(text: string): Promise<Predict> {
  const description: Description = JSON.parse(text)
  const { inputs, classes } = description
  const session = await openSession(description)
  const wanted = classes === null ? ['scores'] : ['label', 'probas']
  return async (request) => {
    const startedMs = performance.now()
    const rows =
      'items' in request ? request.items.map((item) => item.features) : [request.features]
    const feeds = feedsOf(inputs, rows)
    const preparedMs = performance.now()
    const outputs = await session.run(feeds, wanted)
    const results = resultsOf(outputs, classes, rows.length)
    const answer = 'items' in request ? { results } : { result: results[0] }
    return {
      ...answer,
      timing: {
        wait: 0,
        preparation: milliseconds(preparedMs - startedMs),
        prediction: milliseconds(performance.now() - preparedMs),
      },
      apiContext: { serviceId: 'bench', endpointId: 'predict', serviceGeneration: 'v1' },
    }
  }
}

function tensorOf({ name, datatype, columns }: Input, rows: readonly Features[]): Tensor {
  if (columns === null) {
    const tensor = rows[0]?.[name]
    if (typeof tensor !== 'object') throw new TypeError(`"${name}" is no tensor`)
    return new Tensor('float32', Float32Array.from(tensor.data), tensor.shape)
  }
  const width = columns.length
  const shape = [rows.length, width]
  if (datatype === 'string') {
    const texts = rows.flatMap((row) => columns.map((column) => String(row[column])))
    return new Tensor('string', texts, shape)
  }
  const data = new Float32Array(rows.length * width)
  for (let row = 0; row < rows.length; row++) {
    for (let i = 0; i < width; i++) {
      data[row * width + i] = Number(rows[row]?.[columns[i] ?? ''] ?? Number.NaN)
    }
  }
  return new Tensor('float32', data, shape)
}

function resultsOf(
  outputs: InferenceSession.OnnxValueMapType,
  classes: readonly string[] | null,
  count: number,
): object[] {
  if (classes === null) {
    const { type: datatype = '', dims: shape = [], data = [] } = outputs['scores'] ?? {}
    const scores = { datatype, shape, data: Array.from(data, Number) }
    return [{ outputs: { scores }, ignored: false }]
  }
  const labels = outputs['label']?.data ?? []
  const probas = outputs['probas']?.data ?? []
  const width = classes.length
  return Array.from({ length: count }, (_, row) => ({
    prediction: String(labels[row]),
    probas: Object.fromEntries(classes.map((name, i) => [name, probas[row * width + i]])),
    ignored: false,
  }))
}

/** Three digits, as the node writes them: longer answers would cost the peers more. */
function milliseconds(value: number): number {
  return Math.round(value * 1_000) / 1_000
}
