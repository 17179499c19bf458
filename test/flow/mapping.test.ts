/**
 * Goal: several generations answer at once by their shares; a dispatch key keeps its generation
 * over a restart, and when shares change only the keys move that must; and no transition of the
 * mapping costs a request, whatever it names.
 *
 * Method: a whole node; each generation multiplies by a factor of its own, so that the prediction
 * itself says who has answered. Expected places of keys come from the documented hash.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { closedLoop } from '../../bench/closed-loop.ts'
import type { LoadAnswer, LoadOptions } from '../../bench/load.ts'
import { stickyChoice } from '../../core/engine/sticky.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { startNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { pacedLoad } from '../tools/paced-load.ts'

const REQUESTS = 100_000
const PATH = 'svc/p/predict'
const FACTORS: Readonly<Record<string, number>> = { v1: 1, v2: 2, v3: 3 }
type Shares = Readonly<Record<string, number>>

async function deployed(client: Client): Promise<void> {
  for (const [id, factor] of Object.entries(FACTORS)) {
    await client.deploy('svc', id, bundleOf(regressor(1, factor)))
  }
}

async function map(client: Client, shares: Shares): Promise<void> {
  const entries = Object.entries(shares).map(([generation, proba]) => ({ generation, proba }))
  const { status, body } = await client.admin('POST', '/services/svc/actions/setMapping', {
    entries,
  })
  if (status !== 200) throw new Error(JSON.stringify(body))
}

const entriesOf = (shares: Shares) =>
  Object.entries(shares).map(([generationId, proba]) => ({ generationId, proba }))

function bodyOf(features: object, dispatch?: object): string {
  return JSON.stringify({ features, ...(dispatch === undefined ? {} : { dispatch }) })
}

/** By the answer's context and by its number; '' when these differ or it is none. */
function generationOf({ status, body }: Pick<LoadAnswer, 'status' | 'body'>): string {
  if (status !== 200) return ''
  const { result, apiContext } = JSON.parse(body.toString())
  const id = apiContext.serviceGeneration
  return FACTORS[id] === result.prediction ? id : ''
}

async function keysOf(client: Client, keys: readonly string[]): Promise<string[]> {
  const places: string[] = []
  for (const dispatchKey of keys) {
    const { status, body } = await client.query(PATH, bodyOf({ f0: 1 }, { dispatchKey }))
    places.push(generationOf({ status, body: Buffer.from(JSON.stringify(body)) }))
  }
  return places
}

t.test('shares, and keys that stay', async (t) => {
  const first = await startNode(t)
  let client = new Client(first)
  await deployed(client)
  await map(client, { v1: 0.9, v2: 0.1 })
  const counts = new Map<string, number>()
  let left = REQUESTS
  const load = closedLoop({
    url: client.queryUrl(PATH),
    bodies: [bodyOf({ f0: 1 })],
    connections: 64,
    seconds: null,
    onAnswer: (answer) => {
      if (left <= 0) return
      const id = generationOf(answer)
      counts.set(id, (counts.get(id) ?? 0) + 1)
      left -= 1
      if (left === 0) load.stop()
    },
  })
  const report = await load.done
  t.same([report.failed, report.non2xx], [0, 0], report.reasons.join('; '))
  t.same([...counts.keys()].sort(), ['v1', 'v2'])
  const slack = 5 * Math.sqrt(REQUESTS * 0.9 * 0.1)
  t.ok(
    Math.abs((counts.get('v2') ?? 0) - REQUESTS * 0.1) < slack,
    `${counts.get('v2')} of ${REQUESTS} at 0.1, within ${Math.round(slack)}`,
  )

  const keys = Array.from({ length: 200 }, (_, i) => `customer ${i} ü`)
  const expected = (shares: Shares) => keys.map((key) => stickyChoice(key, entriesOf(shares)))
  t.same(await keysOf(client, keys), expected({ v1: 0.9, v2: 0.1 }))
  t.equal(await first.stop(), 0)
  client = new Client(await startNode(t, { home: first.home }))
  const before = await keysOf(client, keys)
  t.same(before, expected({ v1: 0.9, v2: 0.1 }), 'after a restart')
  await map(client, { v1: 0.8, v2: 0.2 })
  const after = await keysOf(client, keys)
  t.same(after, expected({ v1: 0.8, v2: 0.2 }))
  const moved = keys.filter((_, i) => before[i] !== after[i]).length
  t.ok(moved > 0 && moved < 45, `${moved} of 200 keys moved`)

  const forced = { forcedGeneration: 'v2', dispatchKey: 'both' }
  const { body } = await client.query(PATH, bodyOf({ f0: 1 }, forced))
  t.equal(body.apiContext.serviceGeneration, 'v2', 'forced wins')
  const unknown = await client.query(PATH, bodyOf({ f0: 1 }, { forcedGeneration: 'v9' }))
  t.match(unknown, { status: 404, body: { code: 'ERR_GENERATION_UNKNOWN' } })
  t.match(unknown.body.detailedMessage, /"v9".*"v1"/)
  const items = [{ features: { f0: 1 } }, { features: { f0: 2 } }]
  const multi = await client.query('svc/p/predict-multi', {
    items,
    dispatch: { forcedGeneration: 'v2' },
  })
  t.match(multi.body, { results: [{ prediction: 2 }, { prediction: 4 }] })
})

t.test('no transition costs a request', async (t) => {
  const client = new Client(await startNode(t))
  await deployed(client)
  await map(client, { v1: 1 })
  // What is forced must be loaded: of all generations only v3 is so throughout.
  const preloaded = await client.admin('POST', '/services/svc/generations/v3/preload')
  t.equal(preloaded.status, 200)
  const seen = new Map<string, number>()
  const asked = [
    bodyOf({ f0: 1 }),
    ...Array.from({ length: 20 }, (_, i) => bodyOf({ f0: 1 }, { dispatchKey: `k${i}` })),
    bodyOf({ f0: 1 }, { forcedGeneration: 'v3' }),
  ]
  const wrong: string[] = []
  const options: LoadOptions = {
    url: client.queryUrl(PATH),
    bodies: asked,
    connections: 32,
    seconds: null,
    onAnswer: (answer) => {
      const id = generationOf(answer)
      seen.set(id, (seen.get(id) ?? 0) + 1)
      const isForced = answer.bodyIndex === asked.length - 1
      if (id === '' || (isForced && id !== 'v3')) wrong.push(answer.body.toString())
    },
  }
  const load = pacedLoad({ ...options, ratePerS: 3_000 })
  for (let round = 0; round < 4; round++) {
    for (const shares of [
      { v1: 0.5, v2: 0.5 },
      { v2: 0.2, v3: 0.8 },
      { v3: 1 },
      { v1: 0.9, v3: 0.1 },
      { v1: 1 },
    ] as const) {
      await map(client, shares)
      await sleep(60)
    }
    // It left the mapping, and a generation that nobody asked to keep may be unloaded then.
    await client.admin('POST', '/services/svc/generations/v3/preload')
  }
  load.stop()
  const report = await load.done
  t.comment(JSON.stringify({ sent: report.sent, seen: [...seen], p99: report.latencyUs }))
  t.same([report.failed, report.non2xx], [0, 0], report.reasons.join('; '))
  t.same(wrong.slice(0, 3), [])
  t.same([...seen.keys()].sort(), ['v1', 'v2', 'v3'])
})
