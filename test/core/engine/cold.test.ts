/**
 * Goal: what may be cold is loaded when somebody asks for it and goes when its memory is needed; no
 * request is refused or lost for that, deadlines hold, and what cannot be loaded says why.
 *
 * Method: the real engine, pools, threads and models on disk, with room for few generations.
 */

import t from 'tap'
import type { DesiredGeneration } from '../../../core/channel/messages.ts'
import type { EngineOptions } from '../../../core/engine/engine.ts'
import { askService, newGeneration, serving } from '../../tools/serving.ts'
import { until } from '../../tools/waiting.ts'

type Hold = DesiredGeneration['hold'] | 'needed'
type Model = Parameters<typeof newGeneration>[2]

/** As many services as are named, each with one generation of its name. */
function many(
  t: Parameters<typeof serving>[0],
  capacity: NonNullable<EngineOptions['capacity']>,
  models: Readonly<Record<string, Model>>,
) {
  const { engine, folder } = serving(t, { capacity })
  const made = Object.entries(models).map(([serviceId, model]) => {
    return { ...newGeneration(folder, 'g', model), serviceId, bytes: 10 }
  })
  let revision = 0
  /** All that is named is mapped; the others are not known. */
  const apply = (holds: Readonly<Record<string, Hold>>): Promise<void> => {
    revision += 1
    const names = Object.keys(holds)
    const services = names.map((serviceId) => {
      return { serviceId, enabled: true, mapping: [{ generationId: 'g', proba: 1 }] }
    })
    const generations = names.flatMap((name): DesiredGeneration[] => {
      const one = made.find(({ serviceId }) => serviceId === name)
      const hold = holds[name]
      if (one === undefined) return []
      return [hold === 'needed' || hold === undefined ? one : { ...one, hold }]
    })
    return engine.apply({ revision, services, generations, keys: [] }, [])
  }
  return {
    engine,
    apply,
    ask: (name: string, x = 1) => askService(engine, name, x),
    state: (name: string) => engine.find(name, 'g')?.state,
    /** What control is told. */
    told: () => engine.observe().map(({ serviceId, state }) => `${serviceId} ${state}`),
  }
}

const roomFor = (generationsMax: number) => ({ generationsMax, bytesMax: null })
const FIVE = { a: {}, b: {}, c: {}, d: {}, e: {} }
const FREE = { a: 'free', b: 'free', c: 'free', d: 'free', e: 'free' } as const

t.test('the first ones are loaded, the others when they are asked for', async (t) => {
  const { engine, apply, ask, state, told } = many(t, roomFor(2), FIVE)
  await apply(FREE)
  t.same(told(), ['a active', 'b active'], 'what is cold is not told')
  const { routing } = engine
  t.match(await ask('c', 3), { generation: 'g', prediction: 3 })
  t.equal(state('c'), 'active')
  t.equal(engine.routing, routing, 'paths lead where they led')
  t.equal(told().length, 2, 'one had to go')
  t.match(await ask('a'), { prediction: 1 })
  t.equal(await engine.close(), true)
})

t.test('five under load in room for two: everybody is answered, in turn', async (t) => {
  const { engine, apply, ask, told } = many(t, roomFor(2), FIVE)
  await apply(FREE)
  const endMs = performance.now() + 3_000
  const bad: unknown[] = []
  const counts: Record<string, number> = {}
  const clients = Object.keys(FIVE).flatMap((name) =>
    [1, 2].map(async (x) => {
      while (performance.now() < endMs) {
        const reply = await ask(name, x)
        if (reply.prediction !== x) bad.push(reply)
        counts[name] = (counts[name] ?? 0) + 1
        if (told().length > 2) bad.push(told())
      }
    }),
  )
  await Promise.all(clients)
  t.same(bad, [])
  t.same(Object.keys(counts).sort(), ['a', 'b', 'c', 'd', 'e'], JSON.stringify(counts))
  t.equal(await engine.close(), true)
})

t.test('the deadline holds while a load waits, and a lane has its bounds', async (t) => {
  const queue = { maxRequests: 2, maxBytes: 1_000 }
  const models = { slow: { slow: true }, b: { timeoutMs: 40, queue } }
  const { engine, apply, ask, state } = many(t, roomFor(1), models)
  await apply({ slow: 'needed', b: 'free' })
  t.equal(state('b'), 'cold')
  t.match(await ask('b'), { code: 'ERR_POOL_DOWN' }, 'what is there must stay: it says why')
  t.match(engine.find('b', 'g')?.reason, /no room: 1 are in use of the 1/)
  t.equal(await engine.close(), true)
  const later = many(t, roomFor(1), models)
  await later.apply({ slow: 'free', b: 'free' })
  // In use, and there for less than the second that it may stay.
  later.engine.find('slow', 'g')?.takeLease()
  const replies = await Promise.all([1, 2, 3].map(() => later.ask('b')))
  const codes = replies.map(({ code }) => code).sort()
  t.same(codes, ['ERR_DEADLINE', 'ERR_DEADLINE', 'ERR_LANE_FULL'], 'one second for the other one')
  later.engine.find('slow', 'g')?.endLease()
  t.equal(await later.engine.close(), true)
})

t.test('what cannot be loaded is not loaded for each request', async (t) => {
  const broken = { bytes: Buffer.from('not a model') }
  const { engine, apply, ask, state, told } = many(t, roomFor(1), { a: {}, broken })
  await apply({ a: 'free', broken: 'free' })
  t.equal((await ask('broken')).code, 'ERR_POOL_DOWN')
  t.equal(state('broken'), 'failed')
  const first = engine.find('broken', 'g')
  for (let i = 0; i < 20; i++) t.equal((await ask('broken')).code, 'ERR_POOL_DOWN')
  await apply({ a: 'free', broken: 'free' })
  t.equal(engine.find('broken', 'g'), first, 'no other change asks for it')
  t.same(told(), ['broken failed'], 'a had to go, and comes back')
  t.match(await ask('a'), { prediction: 1 })
  await apply({ a: 'free', broken: 'needed' })
  t.not(engine.find('broken', 'g'), first, 'an operator does')
  t.equal(await engine.close(), true)
})

t.test('an operator gets no memory that is in use, and all that rests', async (t) => {
  const { engine, apply, ask, state } = many(t, { generationsMax: null, bytesMax: 25 }, FIVE)
  await apply({ a: 'free', b: 'free' })
  await ask('a')
  await ask('b')
  await apply({ a: 'free', b: 'free', c: 'needed' })
  t.equal(state('c'), 'failed')
  t.match(engine.find('c', 'g')?.reason, /no memory: .* needs .* are in use.*memoryBudgetBytes/)
  await apply({ a: 'free', b: 'previous' })
  await apply({ a: 'free', b: 'previous', c: 'needed' })
  t.equal(state('c'), 'active')
  t.equal(state('b'), 'cold', 'kept for a rollback only while there is room')
  t.match(await ask('b'), { prediction: 1 })
  t.equal(await engine.close(), true)
})

t.test('dropped while it is cold and somebody waits: he is answered', async (t) => {
  const { engine, apply, ask, state } = many(t, roomFor(1), { a: {}, b: {} })
  await apply({ a: 'free', b: 'free' })
  const waiting = ask('b', 4)
  t.equal(state('b'), 'cold')
  await apply({ a: 'free' })
  t.match(await waiting, { prediction: 4 })
  await until(() => engine.observe().every(({ serviceId }) => serviceId === 'a'))
  t.equal(await engine.close(), true)
})

t.test('needed and cold: it is loaded, and stays', async (t) => {
  const { engine, apply, ask, state } = many(t, roomFor(2), FIVE)
  await apply(FREE)
  t.equal(state('e'), 'cold')
  await apply({ ...FREE, a: 'previous', e: 'needed' })
  t.equal(state('e'), 'active')
  for (const name of ['a', 'b', 'c', 'd']) t.match(await ask(name), { prediction: 1 })
  t.equal(state('e'), 'active', 'through all of them')
  t.equal(await engine.close(), true)
})
