/**
 * Goal: nothing waits for a document, however large its service, and each is what it would be
 * without a thread. Method: a service of a thousand endpoints is described while the event loop is
 * watched: it must turn again and again, where writing in this thread would let it stand.
 */

import t from 'tap'
import { serviceDocument } from '../../../core/openapi/document.ts'
import { swaggerOf } from '../../../core/openapi/swagger.ts'
import { writeDocuments } from '../../../core/openapi/writing.ts'
import { endpoint, feature, generationPlan, summing } from '../../tools/plans.ts'

const FEATURES = 60

function serviceOf(endpoints: number, serviceId = 's') {
  const features = Array.from({ length: FEATURES }, (_, i) => feature(`x${i}`))
  const scoring = { ...summing('m.onnx', 1), features }
  const plan = generationPlan(
    Array.from({ length: endpoints }, (_, i) => endpoint(scoring, { id: `e${i}` })),
  )
  return { serviceId, generationId: 'v1', basePath: `/public/api/v1/${serviceId}`, plan }
}

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

t.test('the same documents as without a thread', async (t) => {
  const service = serviceOf(3)
  const { openapi, swagger } = await writeDocuments(service)
  const document = serviceDocument(service)
  t.equal(textOf(openapi), JSON.stringify(document))
  t.equal(textOf(swagger), JSON.stringify(swaggerOf(document)))
})

t.test('a thousand endpoints: the event loop goes on', async (t) => {
  const service = serviceOf(1_000)
  let turns = 0
  let longestMs = 0
  let isWatched = true
  let lastMs = performance.now()
  const watch = (): void => {
    const now = performance.now()
    longestMs = Math.max(longestMs, now - lastMs)
    lastMs = now
    turns += 1
    if (isWatched) setImmediate(watch)
  }
  watch()
  const { openapi } = await writeDocuments(service)
  isWatched = false
  t.equal(Object.keys(JSON.parse(textOf(openapi)).paths).length, 3_000)
  t.comment(`${turns} turns, the longest of ${longestMs.toFixed(1)} ms`)
  t.ok(turns > 100, `${turns} turns`)
})

t.test('several at once, and one that cannot be copied', async (t) => {
  const ids = ['a', 'b', 'c']
  const wrong = serviceOf(1)
  Object.assign(wrong.plan, { tables: [() => {}] })
  const asked = ids.map((id) => writeDocuments(serviceOf(2, id)))
  await t.rejects(writeDocuments(wrong), /could not be cloned/)
  const titles = (await Promise.all(asked)).map(({ openapi }) => JSON.parse(textOf(openapi)).info)
  t.match(titles, [{ title: 'a' }, { title: 'b' }, { title: 'c' }])
  t.equal(textOf((await writeDocuments(serviceOf(1))).swagger).includes('"2.0"'), true)
})
