/**
 * Goal: what the load clients of bench/ report is true, since claims of "no failed request" and of
 * tail latency rest on them. Method: real servers on loopback that answer, stall, drop connections
 * or stay silent in ways known beforehand; the reports must say exactly that.
 */

import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { closedLoop } from '../../bench/closed-loop.ts'
import type { LoadAnswer } from '../../bench/load.ts'
import { openLoop } from '../../bench/open-loop.ts'
import { nowMs } from '../../core/base/clock.ts'
import { least } from '../tools/waiting.ts'

async function listen(handler: RequestListener): Promise<string> {
  const server = createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return `http://127.0.0.1:${port}/`
}

/** Answers with the body that it got, in two pieces, so that answers arrive cut. */
const echo: RequestListener = (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks)
    response.writeHead(200, { 'content-length': body.length })
    response.write(body.subarray(0, 1))
    setImmediate(() => response.end(body.subarray(1)))
  })
}

t.test('every answer is attributed to the body that was sent', async (t) => {
  const url = await listen(echo)
  const bodies = ['first', 'second', 'third body']
  const answers: LoadAnswer[] = []
  const load = closedLoop({
    url,
    bodies,
    connections: 7,
    seconds: 0.3,
    onAnswer: (answer) => answers.push(answer),
  })
  const report = await load.done
  t.ok(report.sent > 20, 'it was busy')
  t.match(report, { sent: report.answered, failed: 0, non2xx: 0, reasons: [] })
  t.equal(answers.length, report.answered)
  t.strictSame(report.statuses, { 200: report.answered })
  t.ok(
    answers.every(({ body, bodyIndex }) => body.toString() === bodies[bodyIndex]),
    'each answer is the one to its request',
  )
  t.ok(answers.every(({ sentMs, answeredMs }) => answeredMs >= sentMs))
})

t.test('an open loop charges a stall to all who had to wait, a closed loop to few', async (t) => {
  let startedMs = nowMs()
  const url = await listen((request, response) => {
    const stalls = nowMs() - startedMs > 200 && nowMs() - startedMs < 600
    request.resume()
    setTimeout(() => response.setHeader('content-length', 2).end('{}'), stalls ? 300 : 0)
  })
  const shape = { url, bodies: ['{}'], connections: 4, seconds: 1 }
  let sent = 0
  // Other stalls than ours are seen by both.
  const share = await least(0.5, async () => {
    startedMs = nowMs()
    const [open, closed] = await Promise.all([
      openLoop({ ...shape, ratePerS: 400 }).done,
      closedLoop(shape).done,
    ])
    t.equal(open.sent, open.answered)
    t.equal(open.sent + open.unsent, 401, 'all that were due are accounted for')
    t.ok(open.latencyUs.p90 > 150_000, `the open loop saw it: p90 ${open.latencyUs.p90} µs`)
    sent = Math.max(sent, open.sent)
    return open.sent > 390 ? closed.latencyUs.p90 / open.latencyUs.p90 : 1
  })
  t.ok(sent > 390, `400 were due, ${sent} were sent`)
  t.ok(share < 0.5, `the closed loop has seen little of it: ${share} of p90`)
})

t.test('a client that sleeps sends all that was due and takes less processor time', async (t) => {
  const url = await listen((request, response) => {
    request.resume()
    response.setHeader('content-length', 2).end('{}')
  })
  const shape = { url, bodies: ['{}'], connections: 8, seconds: 1, ratePerS: 100 }
  const cpuMs = async (sleeps: boolean): Promise<number> => {
    const before = process.cpuUsage()
    const report = await openLoop({ ...shape, sleeps }).done
    t.match(report, { sent: 101, answered: 101, failed: 0, unsent: 0 })
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1_000
  }
  // Both share the process with the server, and a busy machine gives the one that spins less.
  const share = await least(0.6, async () => (await cpuMs(true)) / (await cpuMs(false)))
  t.ok(share < 0.6, `it takes ${share} of the processor time of one that spins`)
})

t.test('what is due and cannot be sent is told', async (t) => {
  const url = await listen((request) => request.resume())
  const shape = { url, bodies: ['{}'], connections: 1, seconds: 0.1, settleMs: 50 }
  const report = await openLoop({ ...shape, ratePerS: 100 }).done
  t.match(report, { sent: 1, failed: 1, unsent: 10 })
})

t.test('errors and dropped connections are counted, and the load goes on', async (t) => {
  let seen = 0
  const url = await listen((request, response) => {
    seen += 1
    if (seen % 10 === 0) request.socket.destroy()
    else {
      response.statusCode = seen % 10 === 1 ? 503 : 200
      response.setHeader('content-length', 2).end('{}')
    }
  })
  const load = closedLoop({ url, bodies: ['{}'], connections: 3, seconds: null })
  setTimeout(() => load.stop(), 300)
  const report = await load.done
  t.equal(report.sent, report.answered + report.failed)
  t.equal(report.sent, seen, 'nothing is sent twice')
  t.equal(report.failed, Math.floor(seen / 10))
  t.equal(report.non2xx, Math.ceil(seen / 10))
  t.ok(report.failed > 2, 'it connected again')
})

t.test('paths are asked in turn, each with the body whose turn it is', async (t) => {
  const asked: string[] = []
  const url = await listen((request, response) => {
    asked.push(request.url ?? '')
    echo(request, response)
  })
  const paths = ['/a', '/b', '/c']
  const bodies: string[] = []
  const load = closedLoop({
    ...{ url, paths, bodies: ['first', 'other'], connections: 1, seconds: null },
    onAnswer: ({ body }) => {
      bodies.push(body.toString())
      if (bodies.length === 4) load.stop()
    },
  })
  await load.done
  t.same(asked.slice(0, 4), ['/a', '/b', '/c', '/a'])
  t.same(bodies.slice(0, 4), ['first', 'other', 'first', 'first'])
})

t.test('no answer is a failure too', async (t) => {
  const silent = await listen((request) => request.resume())
  const shape = { url: silent, bodies: ['{}'], connections: 2, seconds: 0.1, settleMs: 100 }
  t.match(await closedLoop(shape).done, { sent: 2, answered: 0, failed: 2 })
  const chunked = await listen((_request, response) => response.end('{}'))
  const report = await closedLoop({ ...shape, url: chunked, connections: 1 }).done
  t.equal(report.failed, 0, 'node:http adds the length of a short answer itself')
  const lengthless = await listen((_request, response) => {
    response.write('{')
    response.end('}')
  })
  const unread = await closedLoop({ ...shape, url: lengthless, connections: 1 }).done
  t.equal(unread.answered, 0)
  t.match(unread.reasons[0], /Content-Length/)
})
