/**
 * Goal: nothing that arrives on a socket ends the process, hides a second request in a first, leaks
 * a byte of the budget or mixes two answers; every refusal is told before the connection is closed.
 *
 * Method: the real uWebSockets.js listener and sockets that send what they please.
 */

import t from 'tap'
import { pickPort } from '../../../admin/ports.ts'
import { AppError } from '../../../core/base/errors.ts'
import { inQuietTurn } from '../../../core/http/quiet-turn.ts'
import { healthy, type Listening, listening, rawClients } from '../../tools/listening.ts'
import { CHUNKED, head, post, type RawClient, refused } from '../../tools/raw-http.ts'
import { least, until } from '../../tools/waiting.ts'

const LIMIT = 3_000_000
const server: Listening = await listening({ limitBytes: LIMIT })
const client = rawClients(t, server)

t.test('an answer, and the next one on the same connection', async (t) => {
  const raw = client()
  for (const body of ['one', '', 'drei é']) {
    const [answer] = await raw.send(post(body)).answers()
    t.equal(answer?.body.toString(), body)
    const names = answer?.headers.map(([name]) => name) ?? []
    t.equal(new Set(names).size, names.length, 'no header twice')
    t.match(Object.fromEntries(answer?.headers ?? []), {
      'content-type': 'application/json',
      'dss-api-version': /^\d/,
      'dss-version': '1.2.3',
    })
  }
  await healthy(t, server)
})

t.test('a body over the limit is refused at once, or at its first byte too many', async (t) => {
  const startMs = performance.now()
  const declared = await refused(client(), head('Content-Length: 10000000000'), 'x'.repeat(50_000))
  t.same(declared, { status: 413, code: 'ERR_BODY_TOO_LARGE', closed: true })
  t.ok(performance.now() - startMs < 1_000, 'nobody waited for the body')
  const [most] = await client()
    .send(head(`Content-Length: ${LIMIT}`), Buffer.alloc(LIMIT, 'a'))
    .answers()
  t.equal(most?.status, 200)
  t.equal(most?.body.length, LIMIT)
  const size = LIMIT.toString(16)
  const full = [head(CHUNKED), `${size}\r\n`, Buffer.alloc(LIMIT, 'b'), '\r\n']
  const [chunked] = await client()
    .send(...full, '0\r\n\r\n')
    .answers()
  t.ok(chunked?.body.equals(Buffer.alloc(LIMIT, 'b')))
  t.match(await refused(client(), ...full, '1\r\nx\r\n0\r\n\r\n'), { status: 413, closed: true })
  await healthy(t, server)
})

t.test('U11: a body in any pieces arrives as it was sent', async (t) => {
  const body = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 31) % 251))
  const raw = client().send(head(`Content-Length: ${body.length}`))
  for (let at = 0; at < body.length; at += 1_777) {
    raw.send(body.subarray(at, at + 1_777))
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const [answer] = await raw.answers()
  t.ok(answer?.body.equals(body))
  await healthy(t, server)
})

t.test('500,000 chunks of one byte cost neither time nor memory', async (t) => {
  const before = process.memoryUsage().rss
  const cpuBefore = process.cpuUsage()
  const raw = client().send(head(CHUNKED), '1\r\nx\r\n'.repeat(500_000), '0\r\n\r\n')
  const [answer] = await raw.answers()
  t.equal(answer?.body.length, 500_000)
  const grownMb = (process.memoryUsage().rss - before) / 2 ** 20
  const { user, system } = process.cpuUsage(cpuBefore)
  const tookMs = (user + system) / 1_000
  t.comment(`${tookMs.toFixed(0)} ms of CPU, ${grownMb.toFixed(0)} MB, with the client's own`)
  t.ok(tookMs < 8_000, 'bounded in time')
  t.ok(grownMb < 80, 'bounded in memory')
  await healthy(t, server)
})

t.test(
  'U3: callers that leave: in their headers, in their body, waiting, half closed',
  async (t) => {
    const gone = server.gone()
    const start = head('Content-Length: 100')
    const raws = [
      client().send(start.slice(0, 30)),
      client().send(start, 'only a part'),
      client().send(head('Content-Length: 4', 'X-Hold: 1'), 'held'),
    ]
    await until(() => server.held.length === 1)
    t.ok(server.budget.usedBytes > 0)
    for (const raw of raws) raw.destroy()
    await until(() => server.gone() === gone + 2)
    server.held.splice(0).forEach((exchange) => {
      t.ok(exchange.done)
      exchange.replyJson('too late')
      exchange.replyError(new AppError('ERR_DEADLINE'))
    })
    const half = client().send(head('Content-Length: 4', 'X-Hold: 1'), 'half')
    await until(() => server.held.length === 1)
    half.socket.end()
    await until(() => server.gone() === gone + 3)
    server.held.splice(0)
    await healthy(t, server)
  },
)

t.test('U2: a handler that throws answers 500, before and after the body', async (t) => {
  for (const when of ['now', 'later']) {
    const raw = client().send(head('Content-Length: 2', `X-Throw: ${when}`), 'ab')
    const [answer] = await raw.answers()
    t.equal(answer?.status, 500)
    t.equal(JSON.parse(String(answer?.body)).code, 'ERR_INTERNAL')
    t.notMatch(String(answer?.body), /on purpose/, 'its text is for the log')
  }
  await healthy(t, server)
})

t.test('U13: values that would end a header line are not sent', async (t) => {
  for (const value of ['a\r\nSet-Cookie: evil=1', 'a\nb', 'a\0b', '\u20ac']) {
    const raw = client().send(head('Content-Length: 0', `X-Header: ${encodeURIComponent(value)}`))
    await raw.answers(1, 1_000)
    t.notMatch(raw.bytes.toString('latin1'), /evil/)
    raw.destroy()
  }
  const [fine] = await client().send(head('Content-Length: 0', 'X-Header: fine')).answers()
  t.match(Object.fromEntries(fine?.headers ?? []), { 'x-test': 'fine' })
  await healthy(t, server)
})

t.test('U14: HEAD, OPTIONS and an answer without a body', async (t) => {
  const raw = client().send('HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => raw.bytes.includes('\r\n\r\n'))
  t.match(raw.bytes.toString(), /^HTTP\/1\.1 200 OK\r\n/)
  t.match(raw.bytes.toString().toLowerCase(), /content-length: 5\r\n/)
  t.ok(raw.bytes.toString().endsWith('\r\n\r\n'), 'no body follows')
  const empty = client().send(head('Content-Length: 0', 'X-Status: 204'))
  const [none] = await empty.answers()
  t.equal(none?.status, 204)
  t.notOk(
    none?.headers.some(([name]) => name === 'content-length'),
    'as HTTP wants for 204',
  )
  const [next] = await empty.send(post('next')).answers()
  t.equal(next?.body.toString(), 'next', 'the connection goes on')
  const [options] = await client().send('OPTIONS /x HTTP/1.1\r\nHost: x\r\n\r\n').answers()
  t.equal(options?.status, 200)
  t.same(server.methods.slice(-1), ['OPTIONS'])
  await healthy(t, server)
})

t.test('errors carry what clients read, and when to come back', async (t) => {
  const [answer] = await client()
    .send(head('Content-Length: 0', 'X-Error: ERR_LANE_FULL'))
    .answers()
  t.equal(answer?.status, 429)
  t.match(Object.fromEntries(answer?.headers ?? []), { 'retry-after': '1' })
  t.match(JSON.parse(String(answer?.body)), {
    errorType: 'LaneFull',
    message: /wait/,
    detailedMessage: /wait/,
    code: 'ERR_LANE_FULL',
    requestId: /./,
  })
})

t.test('U12: a large answer reaches a slow reader whole', async (t) => {
  const raw = client()
  raw.socket.pause()
  raw.send(head('Content-Length: 7', 'X-Large: 5000000'), 'pattern')
  await until(() => server.large() > 0)
  t.equal(server.active(), 1, 'it is not over before it is sent')
  for (let i = 0; i < 20; i++) {
    raw.socket.resume()
    await new Promise((resolve) => setTimeout(resolve, 5))
    raw.socket.pause()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  raw.socket.resume()
  const [answer] = await raw.answers()
  t.equal(answer?.body.length, 5_000_000)
  t.ok(answer?.body.equals(Buffer.alloc(5_000_000, '0123456789')))
  const [next] = await raw.send(post('next')).answers()
  t.equal(next?.body.toString(), 'next')
  const leaving = client()
  leaving.socket.pause()
  leaving.send(head('Content-Length: 7', 'X-Large: 5000000'), 'pattern')
  await until(() => server.large() > 1)
  leaving.destroy()
  await healthy(t, server)
})

t.test('pipelined requests: answered in order at once, or the connection is closed', async (t) => {
  const at = await client().send(post('a').repeat(3)).answers(3)
  t.same(
    at.map(({ body }) => body.toString()),
    ['a', 'a', 'a'],
  )
  const held = client().send(head('Content-Length: 1', 'X-Hold: 1'), 'h', post('second'))
  const closed = await held.end()
  t.ok(closed, 'a second request before the first is answered closes the connection')
  t.equal(held.bytes.length, 0)
  for (const exchange of server.held.splice(0)) exchange.replyJson('late')
  await healthy(t, server)
})

t.test('more connections than allowed are closed, the others live', async (t) => {
  const small = await listening({ limitBytes: 100, connectionsMax: 3 })
  const first = Array.from({ length: 3 }, () => client(small.port))
  for (const raw of first) t.equal((await raw.send(post('x')).answers())[0]?.status, 200)
  const extra = client(small.port).send(post('x'))
  t.ok(await extra.end())
  t.equal(extra.bytes.length, 0)
  t.equal((await (first[0] as RawClient).send(post('y')).answers())[0]?.status, 200)
  first[1]?.destroy()
  await until(() => small.connections() === 2)
  t.equal((await client(small.port).send(post('z')).answers())[0]?.status, 200)
  small.close()
})

t.test('a full budget answers 503 and is whole again when all is over', async (t) => {
  const small = await listening({ limitBytes: 1_000, budgetBytes: 2_000 })
  const holders = [1, 2].map(() =>
    client(small.port).send(head('Content-Length: 900', 'X-Hold: 1'), 'h'.repeat(900)),
  )
  await until(() => small.held.length === 2)
  t.equal(small.budget.usedBytes, 1_800)
  const raw = client(small.port).send(head('Content-Length: 300'), 'x'.repeat(300))
  const [full] = await raw.answers()
  t.equal(full?.status, 503)
  t.match(Object.fromEntries(full?.headers ?? []), { 'retry-after': '1' })
  t.equal(JSON.parse(String(full?.body)).code, 'ERR_BUDGET_FULL')
  t.ok(await raw.end())
  const [small1] = await client(small.port).send(post('fits')).answers()
  t.equal(small1?.status, 200)
  for (const exchange of small.held.splice(0)) exchange.replyJson('{}')
  for (const holder of holders) t.equal((await holder.answers())[0]?.status, 200)
  t.equal(small.budget.usedBytes, 0)
  t.equal(small.active(), 0)
  small.close()
})

t.test(
  'the budget counts the room that a body in pieces takes, not what has come of it',
  async (t) => {
    const room = await listening({ limitBytes: 100_000, budgetBytes: 150_000 })
    const slow = client(room.port).send(head('Content-Length: 90000'), 'x'.repeat(50_001))
    await until(() => room.budget.usedBytes > 50_001)
    t.ok(room.budget.usedBytes <= 90_000, 'never more than the body can become')
    slow.send('x'.repeat(39_999))
    t.equal((await slow.answers())[0]?.status, 200)
    t.equal(room.budget.usedBytes, 0)
    room.close()
  },
)

t.test('U16: after stopListening no new connections, answers close theirs', async (t) => {
  const leaving = await listening({ limitBytes: 1_000 })
  const kept = client(leaving.port)
  t.equal((await kept.send(post('x')).answers())[0]?.status, 200)
  const waiting = client(leaving.port).send(head('Content-Length: 1', 'X-Hold: 1'), 'h')
  await until(() => leaving.held.length === 1)
  leaving.close()
  const late = client(leaving.port).send(post('x'))
  t.ok(await late.end())
  t.equal(late.bytes.length, 0)
  for (const exchange of leaving.held.splice(0)) exchange.replyJson('{}')
  for (const raw of [waiting, kept.send(post('last'))]) {
    const [answer] = await raw.answers()
    t.equal(answer?.status, 200)
    t.match(Object.fromEntries(answer?.headers ?? []), { connection: 'close' })
    t.ok(await raw.end())
  }
  t.equal(leaving.connections(), 0)
})

t.test('two listeners share a port that was named, until one leaves', async (t) => {
  const port = await pickPort('127.0.0.1')
  const [old, next] = [
    await listening({ limitBytes: 1_000, port }),
    await listening({ limitBytes: 1_000, port }),
  ]
  const ask = async () => {
    const raw = client(port)
    const [answer] = await raw.send(post('x')).answers()
    t.equal(answer?.status, 200)
    raw.destroy()
  }
  for (let i = 0; i < 40; i++) await ask()
  t.ok(old.bodies.length > 0 && next.bodies.length > 0, 'the system spreads connections')
  const kept = Array.from({ length: 16 }, () => client(port))
  for (const raw of kept) t.equal((await raw.send(post('kept')).answers())[0]?.status, 200)
  const before = old.bodies.length
  await new Promise<void>((resolve) => {
    inQuietTurn(500, () => {
      old.close()
      resolve()
    })
  })
  for (let i = 0; i < 40; i++) await ask()
  t.equal(old.bodies.length, before, 'new connections meet the other one')
  const closed = new Set<RawClient>()
  for (const raw of kept) {
    const [answer] = await raw.send(post('more')).answers()
    t.equal(answer?.status, 200)
    if (answer?.headers.some(([, value]) => value === 'close')) closed.add(raw)
  }
  t.equal(
    closed.size,
    old.bodies.length - before,
    'who is told to come back is told by the old one',
  )
  for (const raw of closed) t.ok(await raw.end())
  await until(() => old.connections() === 0)
  for (const raw of kept) raw.destroy()
  next.close()
})

t.test('a quiet turn: at once when nothing happens, in time when much does', async (t) => {
  const wait = async (limitMs: number) => {
    const startMs = performance.now()
    await new Promise<void>((resolve) => inQuietTurn(limitMs, resolve))
    return performance.now() - startMs
  }
  t.ok((await least(250, () => wait(500))) < 250, 'nothing happens')
  let busy = true
  const burn = () => {
    const endMs = performance.now() + 1
    while (performance.now() < endMs) {}
    if (busy) setImmediate(burn)
  }
  burn()
  const tookMs = await wait(100)
  busy = false
  t.ok(tookMs >= 100 && tookMs < 5_000, `${tookMs.toFixed(0)} ms`)
})
