/**
 * Goal: paths are made anew when, and only when, something of their service has changed. Method: a
 * real engine's generations under changing mappings; what was kept is the same object.
 */

import t from 'tap'
import { QUERY_BASE } from '../../../core/engine/routing.ts'
import { serving } from '../../tools/serving.ts'

const PATH = `${QUERY_BASE}/svc/score/predict`

t.test('a path stays while its service does, and follows each change', async (t) => {
  const { engine, generation, apply, ask } = serving(t)
  const route = () => engine.routing.routeOf(PATH, 'svc')
  const [a, b] = [generation('a', { factor: 1 }), generation('b', { factor: 2 })]
  await apply({ hold: [a, b], map: 'a' })
  const first = route()
  t.ok(first)
  await apply({ hold: [a, b], map: 'a' })
  t.equal(route(), first, 'nothing is new')
  await apply({ hold: [a, b], map: 'b' })
  t.not(route(), first)
  t.match(await ask(1), { generation: 'b', prediction: 2 })
  await apply({ hold: [b], map: 'b' })
  const without = route()
  t.match(await ask(1), { generation: 'b' })
  await apply({ hold: [b], map: 'b', enabled: false })
  t.equal(route(), undefined)
  await apply({ hold: [b], map: 'b' })
  t.not(route(), without, 'forgotten meanwhile')
  await apply({ hold: [b], map: 'b', cors: { origins: ['*'] } })
  t.match(route()?.cors, { origins: ['*'] })
  t.equal(await engine.close(), true)
})
