/**
 * Goal: a serving process leaves without a lost request: it shares its port with the one that takes
 * over, retires under load, obeys to the last, and ends by itself, whatever its threads do.
 *
 * Method: real serving processes over their real channel, with the test in the place of control.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { pickPort } from '../../admin/ports.ts'
import { digestOf } from '../../core/auth/credentials.ts'
import { emptyWitness, readWitness, recordOf } from '../../core/channel/witness.ts'
import { startCallers } from '../tools/callers.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { RawClient } from '../tools/raw-http.ts'
import { desired, follow, type ServeChild, serveChild } from '../tools/serve-child.ts'
import { newGeneration } from '../tools/serving.ts'
import { until } from '../tools/waiting.ts'
import { withoutUws } from '../tools/without-uws.ts'

t.setTimeout(240_000)

const PATH = '/public/api/v1/svc/score/predict'
const ROW = '{"features":{"x0":1}}'
const HAND_OVERS = effort(3, 30)
/** Node passes SO_REUSEPORT on from these versions, on Linux. */
const NODE_SHARES = nodeShares()

function nodeShares(): boolean {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isNew = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12)
  return isNew && process.platform === 'linux'
}

function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-serve-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function listening(child: ServeChild): Promise<number> {
  child.send({ kind: 'listen' })
  return (await child.heard('listening')).port
}

/** One connection that the process at hand alone can have accepted. */
function connected(t: Test, port: number): RawClient {
  const raw = new RawClient(port)
  t.teardown(() => raw.destroy())
  return raw
}

async function ask(raw: RawClient, body = ROW, key = '') {
  const authorization = key === '' ? '' : `Authorization: Bearer ${key}\r\n`
  const length = `Content-Length: ${Buffer.byteLength(body)}\r\n`
  raw.send(`POST ${PATH} HTTP/1.1\r\nHost: x\r\n${authorization}${length}\r\n${body}`)
  const [answer] = await raw.answers()
  const connection = answer?.headers.find(([name]) => name === 'connection')?.[1] ?? ''
  return { status: answer?.status ?? 0, connection }
}

function counted(children: readonly ServeChild[]): number {
  const deltas = children.flatMap(({ said }) =>
    said.flatMap((message) => (message.kind === 'drained' ? [message.delta] : [])),
  )
  const statuses = deltas.flatMap(({ endpoints }) => endpoints.map(({ statuses }) => statuses))
  const counts = statuses.flatMap((pairs) => [...pairs].filter((_, index) => index % 2 === 1))
  return counts.reduce((sum, count) => sum + count, 0)
}

t.test(
  'hand-overs under kept connections: nothing fails, and every answer is counted',
  async (t) => {
    const port = await pickPort('127.0.0.1')
    const state = desired(1, newGeneration(temporary(t), 'a', {}))
    const start = async () => {
      const child = serveChild(t, { port })
      await follow(child, state)
      t.equal(await listening(child), port)
      return child
    }
    const children = [await start()]
    const url = `http://127.0.0.1:${port}${PATH}`
    const busy = startCallers({ url, body: ROW, callers: 16 })
    const thinking = startCallers({ url, body: ROW, callers: 16, thinkMs: 400 })
    for (let i = 0; i < HAND_OVERS; i++) {
      const old = children.at(-1)
      children.push(await start())
      await sleep(100)
      old?.send({ kind: 'retire' })
      const retired = await old?.heard('retired')
      t.ok((retired?.connections ?? 0) > 0, 'its connections go on')
      t.equal(await old?.ended, '0')
    }
    const reports = [await busy.stop(), await thinking.stop()]
    const answered = reports.reduce((sum, report) => sum + report.answered, 0)
    sayEffort({ handOvers: HAND_OVERS, answered })
    for (const report of reports) {
      t.match(report, { lost: 0, refused: 0 }, report.reasons.join('; '))
      t.same(Object.keys(report.statuses), ['200'])
    }
    children.at(-1)?.send({ kind: 'stop' })
    t.equal(await children.at(-1)?.ended, '0')
    t.equal(counted(children), answered)
  },
)

t.test('a retiring process obeys: a revoked key, and a stop', async (t) => {
  const port = await pickPort('127.0.0.1')
  const key = { id: 'k', sha256: digestOf('secret'), allowedServices: [] }
  const a = newGeneration(temporary(t), 'a', { keys: [] })
  const child = serveChild(t, { port })
  await follow(child, desired(1, a, [key]))
  await listening(child)
  const [one, idle] = [connected(t, port), connected(t, port)]
  t.same(await ask(one, ROW, 'secret'), { status: 200, connection: '' })
  t.equal((await ask(idle, ROW, 'secret')).status, 200)
  child.send({ kind: 'retire' })
  t.equal((await child.heard('retired')).connections, 2)
  const late = connected(t, port)
  t.ok(await late.end(), 'nobody listens any more')
  await follow(child, desired(2, a))
  t.same(await ask(one, ROW, 'secret'), { status: 401, connection: 'close' })
  t.ok(await one.end())
  await sleep(effort(400, 8_000))
  t.notOk(idle.closed, 'who is idle is not sent away')
  const startMs = performance.now()
  child.send({ kind: 'stop' })
  t.equal(await child.ended, '0')
  t.ok(performance.now() - startMs < 8_000, 'a stop does not wait for idle connections')
})

t.test('an idle connection ends by itself, and the process with it', async (t) => {
  if (effort(true, false)) return t.comment('takes ten seconds: only with EFFORT=10')
  const port = await pickPort('127.0.0.1')
  const child = serveChild(t, { port })
  await follow(child, desired(1, newGeneration(temporary(t), 'a', {})))
  await listening(child)
  const idle = connected(t, port)
  t.equal((await ask(idle)).status, 200)
  child.send({ kind: 'retire' })
  t.equal(await child.ended, '0')
  t.ok(await idle.end())
})

t.test('a retiring process ends when control is gone, and when it never listened', async (t) => {
  const port = await pickPort('127.0.0.1')
  const state = desired(1, newGeneration(temporary(t), 'a', {}))
  const child = serveChild(t, { port })
  await follow(child, state)
  await listening(child)
  t.equal((await ask(connected(t, port))).status, 200)
  child.send({ kind: 'retire' })
  await child.heard('retired')
  child.disconnect()
  t.equal(await child.ended, '0')
  const spare = serveChild(t, { port })
  await follow(spare, state)
  spare.send({ kind: 'retire' })
  t.equal((await spare.heard('retired')).connections, 0)
  t.equal(await spare.ended, '0')
})

t.test('a hung thread holds up neither the callers nor the end', async (t) => {
  const port = await pickPort('127.0.0.1')
  const slow = newGeneration(temporary(t), 'a', { slow: true, timeoutMs: 200 })
  const child = serveChild(t, { port, hangMs: 250 })
  await follow(child, desired(1, slow))
  await listening(child)
  const [raw, kept] = [connected(t, port), connected(t, port)]
  t.equal((await ask(kept, '{"features":{"turns":[1]}}')).status, 200)
  const startMs = performance.now()
  const answer = await ask(raw, '{"features":{"turns":[1000000000000]}}')
  const tookMs = performance.now() - startMs
  t.same(answer, { status: 504, connection: 'close' }, 'the next process may do better')
  t.ok(tookMs < 10_000, `on time: ${tookMs.toFixed(0)} ms`)
  const hangs = () => {
    const last = child.said.findLast((message) => message.kind === 'observed')
    return last?.kind === 'observed' ? last.state.generations[0] : undefined
  }
  await until(() => hangs()?.threadsLost === 1)
  t.same(hangs()?.hangs, { score: 1 }, 'reported at once')
  child.send({ kind: 'retire' })
  await child.heard('retired')
  t.same(await ask(kept), { status: 504, connection: 'close' }, 'its one thread is lost')
  t.equal(await child.ended, 'SIGKILL', 'an ordinary end would wait for the thread for ever')
  t.equal(counted([child]), 3)
})

t.test('listen again after the port was taken', async (t) => {
  const port = await pickPort('127.0.0.1')
  const stranger = createServer().listen(port, '127.0.0.1')
  t.teardown(() => void stranger.close())
  const child = serveChild(t, { port })
  await follow(child, desired(1, newGeneration(temporary(t), 'a', {})))
  child.send({ kind: 'listen' })
  t.match(await child.heard('listenFailed'), { reason: `127.0.0.1:${port}: the port is taken` })
  await new Promise((resolve) => stranger.close(resolve))
  t.equal(await listening(child), port)
  t.equal((await ask(connected(t, port))).status, 200)
})

t.test(
  'without uWebSockets.js: the port is shared or handed on, nobody is sent away',
  async (t) => {
    const port = await pickPort('127.0.0.1')
    const folder = temporary(t)
    const program = withoutUws(folder)
    const state = desired(1, newGeneration(temporary(t), 'a', {}))
    const old = serveChild(t, { port }, program)
    await follow(old, state)
    await listening(old)
    t.match(await old.heard('listening'), { server: 'node' })
    const [kept, idle] = [connected(t, port), connected(t, port)]
    t.same(await ask(kept), { status: 200, connection: 'keep-alive' })
    t.equal((await ask(idle)).status, 200)
    const next = serveChild(t, { port }, program)
    await follow(next, state)
    next.send({ kind: 'listen' })
    if (NODE_SHARES) await next.heard('listening')
    else t.match(await next.heard('listenFailed'), { reason: /EADDRINUSE/ })
    old.send({ kind: 'retire' })
    t.equal((await old.heard('retired')).connections, 2)
    if (!NODE_SHARES) t.equal(await listening(next), port)
    t.equal((await ask(connected(t, port))).status, 200, 'new connections meet the next process')
    await sleep(300)
    t.same(await ask(kept), { status: 200, connection: 'close' }, 'kept ones are answered')
    t.ok(await kept.end())
    t.notOk(idle.closed, 'who is idle is not sent away')
    idle.destroy()
    t.equal(await old.ended, '0')
    next.send({ kind: 'stop' })
    t.equal(await next.ended, '0')
  },
)

t.test('the witness says who was running when the process died', async (t) => {
  const port = await pickPort('127.0.0.1')
  const folder = temporary(t)
  const witnessFile = join(folder, 'witness')
  const seen = () => readWitness(readFileSync(witnessFile))
  const child = serveChild(t, { port, witnessFile })
  await follow(child, desired(1, newGeneration(folder, 'a', { slow: true })))
  await listening(child)
  t.same(seen(), [], 'nothing has run')
  t.equal((await ask(connected(t, port), '{"features":{"turns":[1]}}')).status, 200)
  t.same(seen(), [], 'what ran has ended')
  void ask(connected(t, port), '{"features":{"turns":[1000000000000]}}')
  const running = { serviceId: 'svc', generationId: 'a', endpointId: 'score', runs: 1 }
  await until(() => seen().length === 1)
  child.kill()
  await child.ended
  t.same(seen(), [running])
  t.equal(readFileSync(witnessFile).length, emptyWitness().length, 'the file has its size')
})

t.test('a witness that is damaged says what it can', async (t) => {
  const long = 'x'.repeat(128)
  const subjects = [`${long}/${long}/${long}`, 'a/b/c', 'a/b/c', 'a/b', 'a/b/c/d', '../b/c', '']
  const bytes = Buffer.concat(subjects.map(recordOf))
  t.same(readWitness(bytes), [
    { serviceId: long, generationId: long, endpointId: long, runs: 1 },
    { serviceId: 'a', generationId: 'b', endpointId: 'c', runs: 2 },
  ])
  t.equal(readWitness(bytes.subarray(0, 700)).length, 1, 'cut off')
  for (const odd of [Buffer.alloc(0), Buffer.alloc(5_000), Buffer.alloc(5_000, 0xff)]) {
    t.same(readWitness(odd), [])
  }
})
