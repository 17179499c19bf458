/**
 * Peer: uWebSockets.js answering the node's own headers and body bytes to whatever is sent.
 * The most that any server on this HTTP library can reach; what the node takes beyond it is its own
 * doing. It reads the whole request body, as the node must.
 *
 *   node dist/bench/peers/constant.js <file of {"headers": {…}, "body": "…"}>
 */

import { App, us_listen_socket_close, us_socket_local_port } from 'uWebSockets.js'
import { readFileSync } from 'node:fs'
import { announce, PREDICT_PATH } from './ready.ts'

const [, , file = ''] = process.argv
const answer: { headers: Record<string, string>; body: string } = JSON.parse(
  readFileSync(file, 'utf8'),
)
const headers = Object.entries(answer.headers)

App()
  .post(PREDICT_PATH, (response) => {
    let gone = false
    response.onAborted(() => {
      gone = true
    })
    response.onData((_chunk, isLast) => {
      if (!isLast || gone) return
      response.cork(() => {
        for (const [name, value] of headers) response.writeHeader(name, value)
        response.end(answer.body)
      })
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
