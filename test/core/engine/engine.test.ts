/**
 * Goal: a serving process follows the desired state. Loads, switches, failures, drains and ends
 * happen under traffic and no request is lost or answered by a generation that was not active.
 *
 * Method: the real engine, pools, threads and models on disk; requests enter the lanes as the query
 * handler puts them there, in this process.
 */

import { rmSync } from 'node:fs'
import t from 'tap'
import { ERROR_TABLE } from '../../../core/base/errors.ts'
import { coresForModels } from '../../../core/engine/cores.ts'
import { sleep } from '../../tools/dispatching.ts'
import { type Reply, serving } from '../../tools/serving.ts'
import { until } from '../../tools/waiting.ts'

t.test('load, warm, active, and an answer', async (t) => {
  const { engine, ask, generation, apply, states, changes } = serving(t)
  const a = generation('a', { factor: 1 })
  await apply({ hold: [a], map: null })
  t.same(states(), { a: 'warm' })
  t.equal((await ask(1)).code, 'ERR_NO_GENERATION')
  await apply({ hold: [a], map: 'a' })
  t.same(states(), { a: 'active' })
  t.match(await ask(2), { generation: 'a', prediction: 2 })
  t.ok(changes() > 0)
  const [seen] = engine.observe()
  t.match(seen, { threads: 1, threadsLost: 0, queued: 0, running: 0, reason: null })
  t.ok((seen?.loadMs ?? 0) > 0)
  await apply({ hold: [a], map: 'a', enabled: false })
  t.equal((await ask(1)).code, 'ERR_SERVICE_DISABLED')
  await apply({ hold: [], map: null })
  await until(() => Object.keys(states()).length === 0)
  t.equal(await engine.close(), true)
})

t.test(
  '100 switches under traffic: nothing lost, every answer of an active generation',
  async (t) => {
    const { engine, ask, generation, apply } = serving(t)
    const both = [generation('a', { factor: 1 }), generation('b', { factor: 1_000 })]
    await apply({ hold: both, map: 'a' })
    /** When which generation was mapped; an answer must be of one that was during its request. */
    const history: { at: number; id: string }[] = [{ at: performance.now(), id: 'a' }]
    const activeIn = (fromMs: number, toMs: number) =>
      history.flatMap(({ at, id }, i) => {
        const endMs = history[i + 1]?.at ?? Number.POSITIVE_INFINITY
        return at <= toMs && endMs >= fromMs ? [id] : []
      })
    let stop = false
    const bad: string[] = []
    const counts = { a: 0, b: 0 }
    const client = async (x: number) => {
      while (!stop) {
        const fromMs = performance.now()
        const reply = await ask(x)
        const id = reply.generation === 'a' ? 'a' : 'b'
        const right = reply.prediction === (id === 'a' ? x : x * 1_000)
        if (!right || !activeIn(fromMs, performance.now()).includes(id))
          bad.push(JSON.stringify(reply))
        counts[id] += 1
      }
    }
    const clients = Array.from({ length: 16 }, (_, i) => client(i + 1))
    for (let i = 0; i < 100; i++) {
      const id = i % 2 === 0 ? 'b' : 'a'
      const applied = apply({ hold: both, map: id })
      history.push({ at: performance.now(), id })
      await applied
      await sleep(4)
    }
    stop = true
    await Promise.all(clients)
    t.same(bad, [])
    t.ok(counts.a > 100 && counts.b > 100, JSON.stringify(counts))
    t.equal(await engine.close(), true)
  },
)

t.test('switches to generations that are loaded and closed each time', async (t) => {
  const { engine, ask, generation, apply, states } = serving(t)
  const make = (i: number) => generation(`g${i}`, { factor: i + 1 })
  let current = make(0)
  await apply({ hold: [current], map: 'g0' })
  let stop = false
  const bad: Reply[] = []
  const clients = Array.from({ length: 4 }, async () => {
    while (!stop) {
      const reply = await ask(1)
      if (reply.prediction !== Number(reply.generation.slice(1)) + 1) bad.push(reply)
    }
  })
  for (let i = 1; i <= 8; i++) {
    const next = make(i)
    await apply({ hold: [current, next], map: `g${i - 1}` })
    await apply({ hold: [next], map: `g${i}` })
    current = next
  }
  stop = true
  await Promise.all(clients)
  t.same(bad, [])
  await until(() => Object.keys(states()).length === 1)
  t.same(states(), { g8: 'active' })
  t.equal(await engine.close(), true)
})

t.test('damaged files are not loaded, and what is loaded serves on', async (t) => {
  const { ask, generation, apply, states, reasonOf } = serving(t)
  const [held, fresh] = [generation('held', {}), generation('fresh', {})]
  const damaged = 'model.onnx is damaged'
  await apply({ hold: [held], map: 'held' })
  const both = [held, fresh].map((one) => ({ ...one, damaged }))
  await apply({ hold: both, map: 'held' })
  t.same(states(), { held: 'active', fresh: 'failed' })
  t.match(reasonOf('fresh'), damaged)
  t.match(await ask(2), { generation: 'held', prediction: 2 })
  await apply({ hold: [held, fresh], map: 'held' })
  t.same(states(), { held: 'active', fresh: 'warm' }, 'repaired')
})

t.test('a generation that cannot load says why and disturbs nobody', async (t) => {
  const { engine, folder, ask, generation, apply, states, reasonOf } = serving(t)
  const good = generation('good', {})
  const broken = [
    generation('absent', { file: 'nowhere.onnx' }),
    generation('no-model', { bytes: Buffer.from('not a model') }),
    generation('truncated', { truncate: 40 }),
    generation('bad-warm-up', { warmUp: '{"features":{}}' }),
    generation('second-endpoint', { secondFile: 'nowhere.onnx' }),
  ]
  await apply({ hold: [good, ...broken], map: 'good' })
  for (const { generationId } of broken) {
    t.equal(states()[generationId], 'failed')
    t.ok(reasonOf(generationId), `${generationId}: ${reasonOf(generationId)}`)
    t.notMatch(reasonOf(generationId), folder, 'callers learn no path of this machine')
  }
  t.match(reasonOf('bad-warm-up'), /endpoint score failed its warm-up: feature "x0" is missing/)
  t.match(await ask(3), { generation: 'good', prediction: 3 })
  await apply({ hold: [good, ...broken], map: 'absent' })
  t.equal((await ask(1)).code, 'ERR_POOL_DOWN')
  await apply({ hold: [good], map: 'good' })
  await until(() => Object.keys(states()).length === 1)
  t.match(await ask(3), { generation: 'good' })
  t.equal(await engine.close(), true)
})

t.test('dropped while it loads, and wanted again', async (t) => {
  const { engine, ask, generation, apply, states } = serving(t)
  const [a, b, c] = ['a', 'b', 'c'].map((id) => generation(id, {}))
  if (a === undefined || b === undefined || c === undefined) return
  const loading = apply({ hold: [a, b, c], map: 'a' })
  t.equal((await ask(1)).code, 'ERR_STARTING')
  const dropped = apply({ hold: [a], map: 'a' })
  t.same(states(), { a: 'loading', b: 'draining', c: 'draining' })
  await Promise.all([loading, dropped])
  await until(() => Object.keys(states()).length === 1)
  t.match(await ask(1), { generation: 'a' })
  const again = apply({ hold: [a, b], map: 'a' })
  void apply({ hold: [a], map: 'a' })
  const back = apply({ hold: [a, b], map: 'a' })
  await Promise.all([again, back])
  await apply({ hold: [b], map: 'b' })
  t.match(await ask(1), { generation: 'b' })
  t.equal(await engine.close(), true)
})

t.test('rolled back while it drains: requests under way end, new ones are answered', async (t) => {
  const { engine, ask, slow, generation, apply, states } = serving(t)
  const a = generation('a', { slow: true })
  const b = generation('b', {})
  await apply({ hold: [a, b], map: 'a' })
  const running = slow(300)
  await until(() => engine.scheduler.running === 1)
  await apply({ hold: [b], map: 'b' })
  t.same(states(), { b: 'active', a: 'draining' })
  t.match(await ask(1), { generation: 'b' })
  await apply({ hold: [a, b], map: 'a' })
  t.match(await slow(1), { generation: 'a' }, 'the new instance of the same generation')
  t.match(await running, { generation: 'a' })
  await until(() => engine.observe().length === 2)
  t.same(states(), { a: 'active', b: 'warm' })
  t.equal(await engine.close(), true)
})

t.test('two threads serve at once', async (t) => {
  const { engine, slow, generation, apply } = serving(t, { permits: 2 })
  await apply({ hold: [generation('a', { slow: true, threads: 2 })], map: 'a' })
  t.equal(engine.observe()[0]?.threads, 2)
  const both = [slow(150), slow(150)]
  await until(() => engine.scheduler.running === 2)
  for (const reply of await Promise.all(both)) t.match(reply, { generation: 'a' })
  const many = await Promise.all(Array.from({ length: 200 }, () => slow(0)))
  t.ok(many.every(({ generation }) => generation === 'a'))
  t.equal(await engine.close(), true)
})

t.test('models whose file is gone after the load serve on', async (t) => {
  const { engine, ask, generation, apply } = serving(t)
  const a = generation('a', {})
  await apply({ hold: [a], map: 'a' })
  rmSync(a.directory, { recursive: true })
  t.match(await ask(4), { prediction: 4 })
  t.equal(await engine.close(), true)
})

t.test('close waits for nothing that runs, and for what loads', async (t) => {
  const { engine, slow, generation, apply, states } = serving(t)
  const a = generation('a', { slow: true })
  await apply({ hold: [a], map: 'a' })
  const running = slow(200)
  await until(() => engine.scheduler.running === 1)
  t.equal(await engine.close(), false, 'a run is under way')
  t.match(await running, { generation: 'a' })
  const b = generation('b', {})
  void apply({ hold: [a, b], map: 'a' })
  void apply({ hold: [a], map: 'a' })
  t.equal(states()['b'], 'draining')
  t.equal(await engine.close(), true)
  t.same(states(), {}, 'what was dropped while it loaded is closed too')
})

t.test('an answer past its deadline does not end the thread', async (t) => {
  const { engine, slow, ask, generation, apply } = serving(t, { hangMs: 60 })
  const a = generation('a', { slow: true, timeoutMs: 30 })
  await apply({ hold: [a], map: 'a' })
  const late = slow(300)
  t.equal((await late).code, 'ERR_DEADLINE')
  await until(() => engine.observe()[0]?.threadsLost === 1)
  t.equal((await ask(1)).code, 'ERR_DEADLINE', 'its one thread is busy')
  await until(() => engine.observe()[0]?.threadsLost === 0)
  t.match(await slow(0), { generation: 'a' })
  for (let hangs = 2; hangs <= 3; hangs++) {
    await slow(200)
    await until(() => engine.scheduler.running === 0)
    t.same(engine.observe()[0]?.hangs, { score: hangs })
  }
  t.same(engine.observe()[0]?.stoppedEndpoints, [], 'control decides what that means')
  t.match(await slow(0), { generation: 'a' })
  await apply({ hold: [], map: null })
  await apply({ hold: [a], map: 'a' })
  await until(() => engine.observe().length === 1)
  t.same(engine.observe()[0]?.hangs, { score: 3 }, 'loaded again it is still known')
  t.equal(await engine.close(), true)
})

t.test('endpoints that control stops are refused at once, and run again after', async (t) => {
  const { engine, ask, slow, generation, apply } = serving(t)
  const a = generation('a', { slow: true })
  const stop = (cause: 'hangs' | 'crashes', endpointId = 'score') => ({
    ...{ serviceId: 'svc', generationId: 'a' },
    endpointId,
    cause,
  })
  await apply({ hold: [a], map: 'a', stopped: [stop('crashes')] })
  t.same(engine.observe()[0]?.stoppedEndpoints, ['score'], 'known before it was loaded')
  t.equal((await slow(0)).code, 'ERR_ENDPOINT_CRASHES')
  t.equal(ERROR_TABLE.ERR_ENDPOINT_CRASHES.status, 503)
  await apply({ hold: [a], map: 'a', stopped: [stop('hangs', 'other')] })
  t.same(engine.observe()[0]?.stoppedEndpoints, [])
  t.match(await slow(0), { generation: 'a' }, 'not in the list any more')
  const running = slow(200)
  await until(() => engine.scheduler.running === 1)
  const waiting = slow(0)
  void apply({ hold: [a], map: 'a', stopped: [stop('hangs')] })
  t.equal((await waiting).code, 'ERR_ENDPOINT_HANGS', 'who waits is told')
  t.equal(engine.scheduler.running, 1, 'before the run has ended')
  t.match(await running, { generation: 'a' }, 'what ran is answered')
  const b = generation('b', {})
  await apply({ hold: [a, b], map: 'b', stopped: [stop('hangs')] })
  t.match(await ask(1), { generation: 'b' }, 'the same endpoint of another generation is run')
  await apply({ hold: [a, b], map: 'a', stopped: [] })
  t.match(await slow(0), { generation: 'a' })
  t.equal(await engine.close(), true)
})

t.test('a change of what is stopped alone asks for no other try of what failed', async (t) => {
  const { engine, generation, apply } = serving(t)
  const broken = generation('broken', { file: 'nowhere.onnx' })
  await apply({ hold: [broken], map: 'broken' })
  const revision = 1_000
  const services = [
    { serviceId: 'svc', enabled: true, mapping: [{ generationId: 'broken', proba: 1 }] },
  ]
  const state = { revision, services, generations: [broken], keys: [] }
  await engine.apply(state, [])
  const failed = engine.find('svc', 'broken')
  await engine.apply(state, [])
  t.equal(engine.find('svc', 'broken'), failed)
  await engine.apply({ ...state, revision: revision + 1 }, [])
  t.not(engine.find('svc', 'broken'), failed, 'a new state does')
  t.equal(await engine.close(), true)
})

t.test('each process has its share of the cores', async (t) => {
  const shares = (processes: number, wished: number | null = null) =>
    [1, 2, 4, 8, 64].map((cores) => coresForModels(cores, processes, wished))
  t.same(shares(1), [1, 1, 3, 7, 63])
  t.same(shares(2), [1, 1, 1, 3, 31])
  t.same(shares(4), [1, 1, 1, 1, 15])
  t.same(shares(1, 4), [1, 2, 4, 4, 4], 'as many as an operator wishes, where they are there')
})
