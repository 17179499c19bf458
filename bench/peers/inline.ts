/**
 * Peer: uWebSockets.js with onnxruntime-node on its main thread. The shortest way from a request to
 * a prediction, so the node's time beyond it at one connection is the price of its hop to a thread.
 *
 *   node dist/bench/peers/inline.js DESCRIPTION
 */

import {
  App,
  type HttpResponse,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js'
import { openPredict } from './model.ts'
import { announce, PREDICT_PATH } from './ready.ts'

const [, , description = ''] = process.argv
const predict = await openPredict(description)

async function answer(response: HttpResponse, body: string, isGone: () => boolean): Promise<void> {
  const text = JSON.stringify(await predict(JSON.parse(body)))
  if (isGone()) return
  response.cork(() => {
    response.writeHeader('content-type', 'application/json')
    response.end(text)
  })
}

App()
  .post(PREDICT_PATH, (response) => {
    let gone = false
    const chunks: Buffer[] = []
    response.onAborted(() => {
      gone = true
    })
    response.onData((chunk, isLast) => {
      chunks.push(Buffer.from(new Uint8Array(chunk)))
      if (isLast) void answer(response, Buffer.concat(chunks).toString(), () => gone)
    })
  })
  .listen('127.0.0.1', 0, (socket) => {
    if (!socket) throw new Error('the port cannot be opened')
    announce(us_socket_local_port(socket))
    process.once('SIGTERM', () => {
      us_listen_socket_close(socket)
      process.exit(0)
    })
  })
