/**
 * Goal: the node:http adapter survives what is wrong with HTTP itself, streams what is large, and
 * closes in order.
 * Method: the admin port as its user; raw sockets where the bytes matter.
 */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { SILENT } from '../../../core/base/logger.ts'
import { BodyBudget } from '../../../core/http/body-budget.ts'
import { NodeHttpServer, type StreamingHandler } from '../../../core/http/node-http.ts'
import {
  answerTo,
  failed,
  openAdmin,
  rawExchange,
  request,
  send,
} from '../../tools/admin-client.ts'
import { temporaryDirectory } from '../../tools/control-plane.ts'
import { bundle } from '../../tools/memory-forge.ts'
import { post, RawClient } from '../../tools/raw-http.ts'
import { until } from '../../tools/waiting.ts'

t.test('a large upload is streamed', async (t) => {
  const { call, listener, key, forge } = await openAdmin(t)
  await call('POST', '/admin/api/services', { body: '{"serviceId":"s"}' })
  const found = bundle({ content: 'big' })
  const bytes = 64 * 1024 * 1024
  const before = process.memoryUsage().rss
  const upload = http.request({
    port: listener.port,
    method: 'POST',
    path: '/admin/api/services/s/generations?generationId=big',
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': 'application/zip',
      'content-length': bytes,
    },
  })
  // JSON may be followed by spaces: an archive of any size that the forge of this test can read.
  const chunk = Buffer.alloc(1024 * 1024, ' ')
  upload.write(found)
  let sent = found.length
  while (sent < bytes) {
    const piece = chunk.subarray(0, Math.min(chunk.length, bytes - sent))
    sent += piece.length
    if (!upload.write(piece)) await new Promise((resolve) => upload.once('drain', resolve))
  }
  upload.end()
  const [status, text] = await answerTo(upload)
  t.equal(status, 200, text)
  const grownMib = (process.memoryUsage().rss - before) / 1024 ** 2
  // The test reads the archive whole, and client and server share this process.
  t.ok(grownMib < 220, `grown by ${Math.round(grownMib)} MiB`)
  t.equal(forge.requests.length, 1)
})

t.test('what is wrong with HTTP itself', async (t) => {
  const { listener, key } = await openAdmin(t)
  const { port } = listener
  const auth = `Authorization: Bearer ${key}`
  const post = `POST /admin/api/auth/keys HTTP/1.1\r\nHost: x\r\n${auth}\r\n`
  const refused: [string, string, number][] = [
    ['length beside chunks', `${post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
    ['two lengths', `${post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400],
    ['odd coding', `${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 400],
    ['capital coding', `${post}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n`, 400],
    ['bad chunk', `${post}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['no host', 'GET /admin/api/health HTTP/1.1\r\n\r\n', 400],
    ['10 GB declared', `${post}Content-Length: 10000000000\r\n\r\n`, 413],
    ['headers of 40 KB', `${post}X: ${'x'.repeat(40_000)}\r\n\r\n`, 431],
    ['two keys', `GET /admin/api/services HTTP/1.1\r\nHost: x\r\n${auth}\r\n${auth}\r\n\r\n`, 401],
  ]
  for (const [name, bytes, status] of refused) {
    const answer = await rawExchange(port, bytes)
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), name)
    if (name !== 'no host') t.match(answer, /"code":"ERR_/, `${name}: the answer is JSON`)
    t.equal(answer.split('HTTP/1.1').length, 2, 'one answer')
  }
  const alive = await request({ port, path: '/admin/api/health' })
  t.equal(alive.status, 200, 'others are not touched')
  const continued = `${post}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n`
  t.match(await rawExchange(port, continued), /^HTTP\/1\.1 100 /)
  const stranger = continued.replace(auth, 'X: y')
  t.match(await rawExchange(port, stranger), /^HTTP\/1\.1 401 /, 'nobody asked for the body')
})

const COMMON = {
  host: '127.0.0.1',
  port: 0,
  tlsCert: null,
  tlsKey: null,
  connectionsMax: 10,
  version: '0.0.0',
  logger: SILENT,
}

t.test('U9: behind a request with two readings nothing is looked at', async (t) => {
  const paths: string[] = []
  const handler: StreamingHandler = (exchange) => {
    paths.push(exchange.path)
    exchange.readBody(100, () => exchange.reply({ status: 200, body: '{}' }))
  }
  const server = await NodeHttpServer.listen({ ...COMMON, budget: new BodyBudget(1_000) }, handler)
  t.teardown(() => server.close(100))
  const codings = ['gzip, chunked', 'Chunked', 'xchunked', 'identity', 'chunked, identity']
  for (const coding of codings) {
    const head = `POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n`
    const hidden = 'GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n'
    for (const pieces of [[`${head}${hidden}`], [head, hidden]]) {
      const raw = new RawClient(server.port)
      for (const piece of pieces) {
        raw.send(piece)
        await sleep(5)
      }
      t.ok(await raw.end(), `${coding}: the connection ends`)
      const text = raw.bytes.toString()
      t.match(text, /^HTTP\/1\.1 400 /, coding)
      t.equal(text.split('HTTP/1.1 ').length, 2, `${coding}: one answer`)
    }
  }
  t.same(paths, [], 'no handler was asked')
  const odd = post('{}').replace('Host: x', 'Host: x\r\nExpect: 200-ok')
  t.match(await rawExchange(server.port, odd), /^HTTP\/1\.1 200 /, 'other expectations are none')
})

t.test('alive and closing', async (t) => {
  const { listener, directory, operations, serving, call } = await openAdmin(t)
  const url = `${listener.url}/isAlive/`
  t.equal((await send(url)).status, 200)
  const file = join(directory, 'apinode-not-alive.txt')
  writeFileSync(file, '')
  failed(t, await send(url), 503, 'ERR_STOPPING')
  rmSync(file)
  serving.running = false
  failed(t, await send(url), 503, 'ERR_STARTING')
  serving.running = true

  await operations.createService('s', 'me')
  serving.stalled = true
  serving.applyMs = 150
  const pending = call('POST', '/admin/api/services/s/disable')
  await sleep(30)
  const closing = listener.close()
  const reply = await pending
  failed(t, reply, 503, 'ERR_APPLY_PENDING')
  t.equal(reply.headers.get('connection'), 'close')
  t.equal(reply.headers.get('retry-after'), '1')
  await closing
  await t.rejects(send(url), 'nobody listens any more')
})

t.test('the budget of bodies', async (t) => {
  const budget = new BodyBudget(1_000)
  let letGo = (): void => {}
  const handler: StreamingHandler = (exchange) => {
    exchange.readBody(900, (body) => {
      const answer = (): void => exchange.reply({ status: 200, body: `${body.length}` })
      if (exchange.path === '/wait') letGo = answer
      else answer()
    })
  }
  const server = await NodeHttpServer.listen({ ...COMMON, budget }, handler)
  t.teardown(() => server.close(100))
  const { port } = server
  const post = (path: string, body: string) => request({ port, path, method: 'POST', body })
  const waiting = post('/wait', 'x'.repeat(800))
  while (budget.usedBytes < 800) await sleep(5)
  const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n'
  const full = await rawExchange(port, `${head}${'x'.repeat(300)}`)
  t.match(full, /^HTTP\/1\.1 503 /, 'full means no, at once')
  t.match(full, /\r\nRetry-After: 1\r\n/)
  t.equal((await post('/', 'x'.repeat(100))).text, '100')
  letGo()
  t.equal((await waiting).text, '800')
  t.equal((await post('/', 'x'.repeat(901))).status, 413)
  const chunked = 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
  const over = `${chunked}385\r\n${'x'.repeat(901)}\r\n0\r\n\r\n`
  t.match(await rawExchange(port, over), /^HTTP\/1\.1 413 /, 'chunks are counted')
  t.equal(budget.usedBytes, 0, 'all of it came back')
})

t.test('a handler that throws', async (t) => {
  const said: [unknown, string][] = []
  const note = (fields: object, message: string) => {
    said.push([Reflect.get(fields, 'requestId'), message])
  }
  const logger = { ...SILENT, error: note }
  const handler: StreamingHandler = () => {
    throw new TypeError('a bug with a secret in it')
  }
  const budget = new BodyBudget(1_000)
  const server = await NodeHttpServer.listen({ ...COMMON, budget, logger }, handler)
  t.teardown(() => server.close(100))
  const answer = await request({ port: server.port, path: '/' })
  t.equal(answer.status, 500)
  t.notOk(answer.text.includes('secret'))
  const { requestId } = JSON.parse(answer.text)
  t.same(said, [[requestId, 'the handler of a request threw']], 'the log names the request')
  const taken = NodeHttpServer.listen({ ...COMMON, budget, port: server.port }, handler)
  await t.rejects(taken, { code: 'EADDRINUSE' })
})

t.test('leave: idle connections stay, each answer is the last, the port is free', async (t) => {
  const handler: StreamingHandler = (exchange) => exchange.reply({ status: 200, body: '{}' })
  const budget = new BodyBudget(1_000)
  const shared = { ...COMMON, budget, shared: true }
  const server = await NodeHttpServer.listen(shared, handler)
  const { port } = server
  const [kept, idle] = [new RawClient(port), new RawClient(port)]
  for (const raw of [kept, idle]) t.equal((await raw.send(post('')).answers())[0]?.status, 200)
  server.leave()
  const next = await NodeHttpServer.listen({ ...shared, port }, handler)
  t.teardown(() => next.close(100))
  const fresh = new RawClient(port)
  t.equal((await fresh.send(post('')).answers())[0]?.status, 200)
  t.equal(next.connections, 1)
  t.equal(server.connections, 2)
  const [last] = await kept.send(post('')).answers()
  t.equal(last?.status, 200)
  t.match(Object.fromEntries(last?.headers ?? []), { connection: 'close' })
  t.ok(await kept.end())
  t.equal(server.connections, 1)
  t.notOk(idle.closed)
  await server.close(1_000)
  t.ok(await idle.end(), 'a stop ends what is idle')
  fresh.destroy()
})

t.test('U12: a reader that stops reading is given up, one that is slow is not', async (t) => {
  const large = Buffer.alloc(30_000_000, 'x')
  const handler: StreamingHandler = (exchange) => {
    exchange.reply({ status: 200, body: exchange.path === '/small' ? '{}' : large })
  }
  const options = { ...COMMON, budget: new BodyBudget(1_000), sendIdleMs: 2_000 }
  const server = await NodeHttpServer.listen(options, handler)
  t.teardown(() => server.close(100))
  const [deaf, slow] = [new RawClient(server.port), new RawClient(server.port)]
  deaf.socket.pause()
  for (const raw of [deaf, slow]) raw.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  for (let round = 0; round < 20; round += 1) {
    slow.socket.pause()
    await sleep(30)
    slow.socket.resume()
    await sleep(1)
  }
  const [answer] = await slow.answers()
  t.equal(answer?.body.length, large.length, 'the slow one has all of it')
  await until(() => server.connections <= 1, 20_000)
  const [next] = await slow.send('GET /small HTTP/1.1\r\nHost: x\r\n\r\n').answers()
  t.equal(next?.status, 200, 'and its connection goes on')
  for (const raw of [deaf, slow]) raw.destroy()
})

/** A self-signed certificate; null where there is no openssl to make one. */
function certificate(folder: string): { tlsCert: string; tlsKey: string } | null {
  const tlsCert = join(folder, 'cert.pem')
  const tlsKey = join(folder, 'key.pem')
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const files = ['-keyout', tlsKey, '-out', tlsCert]
  const args = ['req', '-x509', ...key, ...files, '-subj', '/CN=localhost', '-days', '1']
  try {
    execFileSync('openssl', args, { stdio: 'ignore' })
    return { tlsCert, tlsKey }
  } catch {
    return null
  }
}

const tls = certificate(temporaryDirectory(t))
const skip = tls === null ? 'openssl is not installed: there is no certificate' : false

t.test('TLS', { skip }, async (t) => {
  const budget = new BodyBudget(1_000)
  const handler: StreamingHandler = (exchange) => exchange.reply({ status: 200, body: '{}' })
  const server = await NodeHttpServer.listen({ ...COMMON, ...tls, budget }, handler)
  t.teardown(() => server.close(100))
  const agent = new https.Agent({ rejectUnauthorized: false, keepAlive: true })
  t.teardown(() => agent.destroy())
  const sent = https.request({ host: '127.0.0.1', port: server.port, path: '/', agent })
  sent.end()
  t.same(await answerTo(sent), [200, '{}'])
  t.match(await rawExchange(server.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /^$/, 'no HTTP')
  const startedMs = performance.now()
  await server.close(5_000)
  t.ok(performance.now() - startedMs < 4_000, 'an idle connection does not hold it up')

  const again = await NodeHttpServer.listen({ ...COMMON, ...tls, budget }, handler)
  const silent = connect(again.port, '127.0.0.1')
  t.teardown(() => silent.destroy())
  await once(silent, 'connect')
  await sleep(20)
  await again.close(100)
  t.ok(performance.now() - startedMs < 8_000, 'nor one that never finishes its handshake')
})

t.test('a handshake that never comes to its end', { skip }, async (t) => {
  const budget = new BodyBudget(64)
  const options = { ...COMMON, ...tls, budget, handshakeMs: 100 }
  const server = await NodeHttpServer.listen(options, () => {})
  t.teardown(() => server.close(0))
  // Nothing, and the first bytes of one.
  for (const bytes of [[], [22, 3, 1, 2, 0]]) {
    const socket = connect(server.port, '127.0.0.1').on('error', () => {})
    t.teardown(() => socket.destroy())
    socket.write(Buffer.from(bytes))
    socket.resume()
    const closed = once(socket, 'close').then(() => true)
    t.ok(await Promise.race([closed, sleep(60_000, false, { ref: false })]), 'its connection ends')
  }
})
