/**
 * Peer: Fastify with onnxruntime-node in a pool of threads, one task for each request, which is
 * what people do when the model blocks the event loop. The pool is as Piscina makes it by default.
 *
 * node dist/bench/peers/fastify-piscina.js DESCRIPTION
 */

import fastify from 'fastify'
import { Piscina } from 'piscina'
import { compiled } from '../paths.ts'
import type { PredictMultiRequest, PredictRequest } from './model.ts'
import { announce, BODY_BYTES_MAX, PREDICT_PATH } from './ready.ts'

const [, , description = ''] = process.argv
const pool = new Piscina({
  filename: compiled('bench/peers/piscina-task.ts'),
  workerData: description,
})

const app = fastify({ bodyLimit: BODY_BYTES_MAX })
app.post<{ Body: PredictRequest }>(PREDICT_PATH, async (request) => pool.run(request.body))
app.post<{ Body: PredictMultiRequest }>(`${PREDICT_PATH}-multi`, async (request) =>
  pool.run(request.body),
)
announce(Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port))
process.once('SIGTERM', () => process.exit(0))
