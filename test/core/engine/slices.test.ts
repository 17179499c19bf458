/**
 * Goal: while predictions are explained for seconds, a cheap prediction of the same endpoint waits
 * for at most one slice; nobody's answer is lost, and the explanation is whole in the end.
 * Method: an engine with one real thread and the demo forest; a long request of explanations, and
 * cheap ones beside it, each of which counts the slices that end while it waits. No time is judged.
 */

import t from 'tap'
import type { AppError } from '../../../core/base/errors.ts'
import { Pending } from '../../../core/dispatch/lane.ts'
import type { Engine } from '../../../core/engine/engine.ts'
import { QUERY_BASE, targetOf } from '../../../core/engine/routing.ts'
import { forestBundle, type Json } from '../../tools/explained-endpoints.ts'
import { serving } from '../../tools/serving.ts'

t.setTimeout(60_000)

interface Sent {
  readonly pending: Pending
  readonly done: Promise<Json>
}

/** As the query handler does it. */
function send(engine: Engine, verb: string, body: object): Sent {
  const route = engine.routing.routes.get(`${QUERY_BASE}/svc/predict/${verb}`)
  const target = route === undefined ? null : targetOf(route.targets, Math.random)
  if (target === null) throw new Error('there is no such endpoint')
  target.generation.takeLease()
  let entered: Pending | AppError | null = null
  const done = new Promise<Json>((resolve, reject) => {
    const replyJson = (json: string | Uint8Array) => resolve(JSON.parse(String(Buffer.from(json))))
    const caller = { done: false, replyJson, replyRaw: () => reject(), replyError: reject }
    entered = target.lane.enter(caller, Uint8Array.from(Buffer.from(JSON.stringify(body))))
  })
  const pending: unknown = entered
  if (!(pending instanceof Pending)) throw new Error(`refused: ${String(pending)}`)
  engine.scheduler.wake(target.lane)
  return { pending, done }
}

function slicesOf(pending: Pending): number {
  return pending.moved === null ? pending.slices : slicesOf(pending.moved.pending)
}

t.test('cheap predictions beside a long explanation', async (t) => {
  const { directory, plan, rows } = await forestBundle(t)
  const { engine, apply } = serving(t)
  const generation = { serviceId: 'svc', generationId: 'g1', directory, plan }
  await apply({ hold: [generation], map: 'g1' })
  const [features] = rows
  const explanations = { enabled: true, nMonteCarloSteps: 1_000, nExplanations: 13 }
  const items = Array.from({ length: 60 }, (_, i) => ({ features: rows[i % rows.length] }))
  const long = send(engine, 'predict-multi', { items, explanations })
  let isDone = false
  const results = long.done.finally(() => {
    isDone = true
  })
  let asked = 0
  let longest = 0
  while (!isDone && asked < 2_000) {
    const before = slicesOf(long.pending)
    const answer = await send(engine, 'predict', { features }).done
    longest = Math.max(longest, slicesOf(long.pending) - before)
    if ('explanations' in answer['result']) t.fail('nobody has asked for explanations')
    asked += 1
  }
  const answer = await results
  t.comment(`${asked} cheap predictions beside ${slicesOf(long.pending)} slices`)
  t.ok(slicesOf(long.pending) >= 10, 'it took many slices')
  t.ok(asked >= 10, 'others got in between')
  t.ok(longest <= 1, `nobody waited for more than one slice, at most ${longest}`)
  t.equal(answer['results'].length, items.length)
  for (const one of answer['results']) t.equal(Object.keys(one.explanations).length, 13)
})

t.test('a lane of explanations that is full', async (t) => {
  const { directory, plan, rows } = await forestBundle(t)
  const { engine, apply } = serving(t)
  const endpoints = plan.endpoints.map((one) => {
    return { ...one, queue: { maxRequests: 2, maxBytes: 1_000_000 } }
  })
  const generation = {
    serviceId: 'svc',
    generationId: 'g1',
    directory,
    plan: { ...plan, endpoints },
  }
  await apply({ hold: [generation], map: 'g1' })
  const explanations = { enabled: true, nMonteCarloSteps: 1_000 }
  const [features] = rows
  const told: string[] = []
  const all: Promise<unknown>[] = []
  for (let i = 0; i < 8; i++) {
    const { done, pending } = send(engine, 'predict', { features, explanations })
    all.push(
      done.then(
        () => told.push('answer'),
        ({ code }: AppError) => told.push(code),
      ),
    )
    // Until it is sent on, so that the first lane is not what is full.
    while (pending.open) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(all)
  t.ok(told.includes('ERR_LANE_FULL'), 'who finds it full is told so')
  t.ok(told.filter((one) => one === 'answer').length >= 3, 'and the others get their answers')
  t.same([...new Set(told)].sort(), ['ERR_LANE_FULL', 'answer'])
})
