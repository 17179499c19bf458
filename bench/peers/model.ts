/**
 * The model of the peers, called the way a server without batching would: one row, one run. The
 * answer has the node's shape, so that all servers encode and send the same amount.
 */

import { InferenceSession, Tensor } from 'onnxruntime-node'

export interface PredictRequest {
  readonly features: Readonly<Record<string, number>>
}

type Predict = (request: PredictRequest) => Promise<object>

const FEATURES = 10

/** One thread, as the node runs it: the model is too small for more to help. */
export async function openPredict(path: string): Promise<Predict> {
  const session = await InferenceSession.create(path, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  })
  return async (request) => {
    const startedMs = performance.now()
    const row = new Float32Array(FEATURES)
    for (let i = 0; i < FEATURES; i++) row[i] = request.features[`f${i}`] ?? Number.NaN
    const preparedMs = performance.now()
    const outputs = await session.run({ input: new Tensor('float32', row, [1, FEATURES]) })
    const [zero, one] = outputs['probas']?.data ?? []
    return {
      result: {
        prediction: String(outputs['label']?.data[0]),
        probas: { 0: zero, 1: one },
        ignored: false,
      },
      timing: {
        wait: 0,
        preparation: milliseconds(preparedMs - startedMs),
        prediction: milliseconds(performance.now() - preparedMs),
      },
      apiContext: { serviceId: 'bench', endpointId: 'predict', serviceGeneration: 'v1' },
    }
  }
}

/** Three digits, as the node writes them: longer answers would cost the peers more. */
function milliseconds(value: number): number {
  return Math.round(value * 1_000) / 1_000
}
