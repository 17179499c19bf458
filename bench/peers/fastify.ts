/**
 * Peer: Fastify with onnxruntime-node in the handler, as most people would write it: a JSON body
 * without a schema in, an object out. No authentication, no metrics: what it lacks is its
 * advantage.
 *
 * node dist/bench/peers/fastify.js DESCRIPTION
 */

import fastify from 'fastify'
import { openPredict, type PredictMultiRequest, type PredictRequest } from './model.ts'
import { announce, BODY_BYTES_MAX, PREDICT_PATH } from './ready.ts'

const [, , description = ''] = process.argv
const predict = await openPredict(description)

const app = fastify({ bodyLimit: BODY_BYTES_MAX })
app.post<{ Body: PredictRequest }>(PREDICT_PATH, async (request) => predict(request.body))
app.post<{ Body: PredictMultiRequest }>(`${PREDICT_PATH}-multi`, async (request) =>
  predict(request.body),
)
announce(Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port))
process.once('SIGTERM', () => process.exit(0))
