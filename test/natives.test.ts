/**
 * Goal: the libraries with native code work on the Node that runs this, before anything is built
 * upon them; also the first thing that is tried on the other supported Node.
 * Method: each does the one thing that we need of it: LMDB commits and reads back,
 * uWebSockets.js answers a request, ONNX Runtime runs a model.
 */

import {
  App,
  type us_listen_socket,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'lmdb'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import t from 'tap'
import { regressor } from './tools/onnx-models.ts'

t.test('LMDB commits, rolls back and reads back', async (t) => {
  const database = open<string, string>({ path: join(t.testdir(), 'state'), encoding: 'string' })
  t.teardown(() => database.close())
  await database.childTransaction(() => {
    void database.put('a', '1')
  })
  const failed = database.childTransaction(() => {
    void database.put('a', '2')
    throw new Error('rolled back')
  })
  await t.rejects(failed, /rolled back/)
  await database.flushed
  t.equal(database.get('a'), '1')
})

t.test('uWebSockets.js answers a request', async (t) => {
  const app = App().get('/isAlive', (response) => {
    response.end('yes')
  })
  const socket = await new Promise<us_listen_socket | false>((resolve) => {
    app.listen('127.0.0.1', 0, resolve)
  })
  if (socket === false) throw new Error('it cannot listen')
  t.teardown(() => us_listen_socket_close(socket))
  const url = `http://127.0.0.1:${us_socket_local_port(socket)}/isAlive`
  const answer = await fetch(url, { headers: { connection: 'close' } })
  t.equal(await answer.text(), 'yes')
})

t.test('ONNX Runtime runs a model', async (t) => {
  const path = join(t.testdir(), 'model.onnx')
  writeFileSync(path, regressor(2, 3))
  const session = await InferenceSession.create(path, { executionProviders: ['cpu'] })
  t.teardown(() => session.release())
  const rows = new Tensor('float32', Float32Array.of(1, 2, 3, 4), [2, 2])
  const { variable } = await session.run({ X: rows })
  t.same(variable?.dims, [2, 1])
  t.same(variable?.data, Float32Array.of(9, 21))
})
