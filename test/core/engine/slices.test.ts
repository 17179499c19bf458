/**
 * Goal: while predictions are explained for seconds, a cheap one waits for at most one slice, be
 * it of the same endpoint, of another service, or of Python; nobody's answer is lost, and the
 * explanation is whole in the end.
 * Method: an engine with one permit and one real thread or process per endpoint; a long request of
 * explanations, and cheap ones beside it, each of which counts the slices that end while it waits.
 * No time is judged.
 */

import t, { type Test } from 'tap'
import type { AppError } from '../../../core/base/errors.ts'
import { Pending } from '../../../core/dispatch/pending.ts'
import type { Engine } from '../../../core/engine/engine.ts'
import { QUERY_BASE, targetOf } from '../../../core/engine/routing.ts'
import { forestBundle, forgeBundle, type Json } from '../../tools/explained-endpoints.ts'
import { whyNoPython } from '../../tools/python-endpoints.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { newGeneration, serving } from '../../tools/serving.ts'

t.setTimeout(240_000)

interface Sent {
  readonly pending: Pending
  readonly done: Promise<Json>
}

/** As the query handler does it. */
function send(engine: Engine, path: string, body: object): Sent {
  const [serviceId = ''] = path.split('/')
  const route = engine.routing.routeOf(`${QUERY_BASE}/${path}`, serviceId)
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

interface Beside {
  /** Where the long request goes to, without its verb, and what it holds. */
  readonly long: string
  readonly items: readonly object[]
  readonly explanations: object
  readonly cheap: string
  readonly body: object
}

/** Asks for cheap predictions, one after the other, until the long request is done. */
async function beside(t: Test, engine: Engine, { long, items, explanations, cheap, body }: Beside) {
  const asked = send(engine, `${long}/predict-multi`, { items, explanations })
  let isDone = false
  const results = asked.done.finally(() => {
    isDone = true
  })
  let count = 0
  let longest = 0
  while (!isDone && count < 2_000) {
    const before = slicesOf(asked.pending)
    const answer = await send(engine, `${cheap}/predict`, body).done
    longest = Math.max(longest, slicesOf(asked.pending) - before)
    if ('explanations' in answer['result']) t.fail('nobody has asked for explanations')
    count += 1
  }
  const answer = await results
  t.comment(`${count} cheap predictions beside ${slicesOf(asked.pending)} slices`)
  t.ok(slicesOf(asked.pending) >= 5, 'it took many slices')
  t.ok(count >= 5, 'others got in between')
  t.ok(longest <= 1, `nobody waited for more than one slice, at most ${longest}`)
  t.equal(answer['results'].length, items.length)
  for (const one of answer['results']) t.ok(Object.keys(one.explanations).length > 0)
}

t.test('cheap predictions beside a long explanation', async (t) => {
  const { directory, plan, rows } = await forestBundle(t)
  const { engine, folder } = serving(t)
  const forest = { serviceId: 'svc', generationId: 'g1', directory, plan }
  const sums = { ...newGeneration(folder, 'g1', {}), serviceId: 'sums' }
  const services = [forest, sums].map(({ serviceId, generationId }) => {
    return { serviceId, enabled: true, mapping: [{ generationId, proba: 1 }] }
  })
  await engine.apply({ revision: 1, services, generations: [forest, sums], keys: [] }, [])
  const explanations = { enabled: true, nMonteCarloSteps: 1_000, nExplanations: 13 }
  const items = Array.from({ length: 60 }, (_, i) => ({ features: rows[i % rows.length] }))
  const long = { long: 'svc/predict', items, explanations }
  await t.test('of the same endpoint', (t) =>
    beside(t, engine, { ...long, cheap: 'svc/predict', body: { features: rows[0] } }),
  )
  await t.test('of another service', (t) =>
    beside(t, engine, { ...long, cheap: 'sums/score', body: { features: { x0: 1 } } }),
  )
})

const PYTHON = `
class Price:
    def predict(self, rows):
        return [row["a"] * row["b"] + row["c"] for row in rows]
`

t.test('cheap predictions beside an explanation of Python', { skip: whyNoPython() }, async (t) => {
  const price = {
    id: 'price',
    type: 'CUSTOM_PREDICTION',
    file: 'p.py',
    class: 'Price',
    prediction: 'REGRESSION',
    input: 'records',
    children: 1,
    explanations: { background: 'rows.json' },
    testQueries: [1, 2, 3].map((a) => ({ q: { features: { a, b: 2, c: 1 } } })),
  }
  const background = Array.from({ length: 50 }, (_, i) => ({ a: i / 7, b: i % 5, c: -i }))
  const files = { 'p.py': PYTHON, 'rows.json': JSON.stringify(background) }
  const { directory, plan } = await forgeBundle(t, [price], files)
  const { engine, apply } = serving(t, { runtimes: runtimes(t) })
  const generation = { serviceId: 'svc', generationId: 'g1', directory, plan }
  await apply({ hold: [generation], map: 'g1' })
  const items = Array.from({ length: 40 }, (_, i) => ({ features: { a: i, b: 3, c: 4 } }))
  const explanations = { enabled: true, nMonteCarloSteps: 1_000 }
  const body = { features: { a: 1, b: 2, c: 3 } }
  await beside(t, engine, { long: 'svc/price', items, explanations, cheap: 'svc/price', body })
})

t.test('a lane of explanations that is full', async (t) => {
  const { directory, plan, rows } = await forestBundle(t)
  const { engine, apply } = serving(t)
  const endpoints = plan.endpoints.map((one) => {
    return { ...one, timeoutMs: 60_000, queue: { maxRequests: 2, maxBytes: 1_000_000 } }
  })
  const generation = {
    serviceId: 'svc',
    generationId: 'g1',
    directory,
    plan: { ...plan, endpoints },
  }
  await apply({ hold: [generation], map: 'g1' })
  const explanations = { enabled: true, nMonteCarloSteps: 1_000 }
  // Long ones: the first must not be done before the last has come.
  const items = Array.from({ length: 60 }, (_, i) => ({ features: rows[i % rows.length] }))
  const told: string[] = []
  const all: Promise<unknown>[] = []
  for (let i = 0; i < 8; i++) {
    const { done, pending } = send(engine, 'svc/predict/predict-multi', { items, explanations })
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
