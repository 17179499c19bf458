/**
 * Goal: several generations answer at once by their shares; a dispatch key keeps its generation
 * over a restart, and when shares change only the keys move that must; and no transition of the
 * mapping costs a request, whatever it names.
 *
 * Method: a whole node; each generation multiplies by a factor of its own, so that the prediction
 * itself says who has answered. Expected places of keys come from the documented hash.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { closedLoop } from '../../bench/closed-loop.ts'
import type { LoadAnswer } from '../../bench/load.ts'
import { nowMs } from '../../core/base/clock.ts'
import { stickyChoice } from '../../core/engine/sticky.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { freshHome, startNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { pacedLoad } from '../tools/paced-load.ts'

t.setTimeout(240_000)

const REQUESTS = 100_000
const KEYS = 2_000
const ROUNDS = 3
const PATH = 'svc/p/predict'
const FACTORS: Readonly<Record<string, number>> = { v1: 1, v2: 2, v3: 3, v4: 4 }
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

/** Where a key has its place, by the documented hash. */
function placeOf(key: string, shares: Shares): string | null {
  const entries = Object.entries(shares).map(([generationId, proba]) => ({ generationId, proba }))
  return stickyChoice(key, entries)
}

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

/** Asks so many times in all, each body in its turn; what has failed fails the test. */
async function askAll(
  t: Test,
  client: Client,
  ask: {
    readonly bodies: readonly string[]
    readonly times: number
    readonly onGeneration: (generation: string, bodyIndex: number) => void
  },
): Promise<void> {
  let left = ask.times
  const load = closedLoop({
    url: client.queryUrl(PATH),
    bodies: ask.bodies,
    connections: 64,
    seconds: null,
    onAnswer: (answer) => {
      if (left <= 0) return
      ask.onGeneration(generationOf(answer), answer.bodyIndex)
      left -= 1
      if (left === 0) load.stop()
    },
  })
  const report = await load.done
  t.same([report.failed, report.non2xx], [0, 0], report.reasons.join('; '))
}

async function shares(t: Test, client: Client): Promise<void> {
  await map(client, { v1: 0.9, v2: 0.1 })
  const counts = new Map<string, number>()
  const count = (id: string) => counts.set(id, (counts.get(id) ?? 0) + 1)
  await askAll(t, client, { bodies: [bodyOf({ f0: 1 })], times: REQUESTS, onGeneration: count })
  t.same([...counts.keys()].sort(), ['v1', 'v2'])
  const slack = 5 * Math.sqrt(REQUESTS * 0.9 * 0.1)
  t.ok(
    Math.abs((counts.get('v2') ?? 0) - REQUESTS * 0.1) < slack,
    `${counts.get('v2')} of ${REQUESTS} at 0.1, within ${Math.round(slack)}`,
  )
}

const keys = Array.from({ length: KEYS }, (_, i) => `customer ${i} ü`)

/** Every key twice, by many connections: the same generation both times, and the expected one. */
async function checkKeys(t: Test, client: Client, shares: Shares): Promise<readonly string[]> {
  const places = keys.map(() => new Set<string>())
  await askAll(t, client, {
    bodies: keys.map((dispatchKey) => bodyOf({ f0: 1 }, { dispatchKey })),
    times: 2 * KEYS,
    onGeneration: (generation, at) => places[at]?.add(generation),
  })
  const found = places.map((place) => [...place].join(' and '))
  t.same(
    found,
    keys.map((key) => placeOf(key, shares)),
    JSON.stringify(shares),
  )
  return found
}

/** Of ten keys one moves, from the one whose share has shrunk, and none the other way. */
function checkMoves(t: Test, before: readonly string[], after: readonly string[]): void {
  const moves = before.flatMap((from, i) => (from === after[i] ? [] : [`${from} to ${after[i]}`]))
  t.same([...new Set(moves)], ['v1 to v2'])
  const slack = 5 * Math.sqrt(KEYS * 0.9 * 0.1)
  t.ok(
    Math.abs(moves.length - KEYS * 0.1) < slack,
    `${moves.length} of ${KEYS} keys have moved, for a share of 0.1`,
  )
}

async function forced(t: Test, client: Client): Promise<void> {
  const both = { forcedGeneration: 'v2', dispatchKey: 'both' }
  const { body } = await client.query(PATH, bodyOf({ f0: 1 }, both))
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
  const context = { text: 'x'.repeat(300_000) }
  for (const [forcedGeneration, prediction] of [
    ['v2', 2],
    ['v1', 1],
  ] as const) {
    const large = { features: { f0: 1 }, context, dispatch: { forcedGeneration } }
    const answer = await client.query(PATH, large)
    t.match(answer.body, {
      result: { prediction },
      apiContext: { serviceGeneration: forcedGeneration },
    })
  }
}

const TRANSITIONS: readonly Shares[] = [
  { v1: 0.5, v2: 0.5 },
  { v3: 0.8, v4: 0.2 },
  { v4: 1 },
  { v4: 0.1, v2: 0.9 },
  { v2: 0.3, v3: 0.3, v1: 0.4 },
  { v1: 1 },
]

/** A request under load: whom it may be answered by; null: while the mapping changes. */
interface Asked {
  readonly body: string
  readonly mayCome: (from: string, shares: Shares | null) => boolean
}

/** One without a wish, some with keys, and one for each generation: all stay loaded meanwhile. */
function everyKind(): Asked[] {
  const dispatchKeys = Array.from({ length: 20 }, (_, i) => `k${i}`)
  return [
    { body: bodyOf({ f0: 1 }), mayCome: (from, shares) => shares === null || from in shares },
    ...dispatchKeys.map((dispatchKey) => ({
      body: bodyOf({ f0: 1 }, { dispatchKey }),
      mayCome: (from: string, shares: Shares | null) =>
        shares === null || from === placeOf(dispatchKey, shares),
    })),
    ...Object.keys(FACTORS).map((id) => ({
      body: bodyOf({ f0: 1 }, { forcedGeneration: id }),
      mayCome: (from: string) => from === id,
    })),
  ]
}

async function transitions(t: Test, client: Client): Promise<void> {
  for (const id of ['v3', 'v4']) {
    const { status } = await client.admin('POST', `/services/svc/generations/${id}/preload`)
    t.equal(status, 200, 'what is forced must be loaded')
  }
  await map(client, { v1: 1 })
  const asked = everyKind()
  const seen = new Map<string, number>()
  const wrong: string[] = []
  /** Acknowledged at that time, and nobody has asked for another since. */
  let standing: { readonly shares: Shares; readonly sinceMs: number } | null = null
  let judged = 0
  const load = pacedLoad({
    url: client.queryUrl(PATH),
    bodies: asked.map(({ body }) => body),
    connections: 32,
    seconds: null,
    ratePerS: 3_000,
    onAnswer: (answer) => {
      const id = generationOf(answer)
      seen.set(id, (seen.get(id) ?? 0) + 1)
      const isSettled = standing !== null && answer.sentMs >= standing.sinceMs
      if (isSettled) judged += 1
      const shares = isSettled && standing !== null ? standing.shares : null
      const isRight = id !== '' && asked[answer.bodyIndex]?.mayCome(id, shares) === true
      if (!isRight) wrong.push(answer.body.toString())
    },
  })
  for (let round = 0; round < ROUNDS; round++) {
    for (const next of TRANSITIONS) {
      standing = null
      await map(client, next)
      standing = { shares: next, sinceMs: nowMs() }
      await sleep(60)
    }
  }
  standing = null
  load.stop()
  const report = await load.done
  t.comment(JSON.stringify({ sent: report.sent, judged, seen: [...seen], p99: report.latencyUs }))
  t.same([report.failed, report.non2xx], [0, 0], report.reasons.join('; '))
  t.same(wrong.slice(0, 3), [])
  t.same([...seen.keys()].sort(), Object.keys(FACTORS))
  t.ok(judged > 100, `${judged} answers while a mapping stood`)
}

t.test('mappings', async (t) => {
  // Imported once: what the second node finds is what the first has left.
  const home = freshHome(t)
  const first = await startNode(t, { home })
  let client = new Client(first)
  await deployed(client)
  await t.test('shares', (t) => shares(t, client))
  await t.test('keys stay', (t) => checkKeys(t, client, { v1: 0.9, v2: 0.1 }))
  t.equal(await first.stop(), 0)
  client = new Client(await startNode(t, { home }))
  await t.test('keys stay over a restart, and move with the shares', async (t) => {
    const before = await checkKeys(t, client, { v1: 0.9, v2: 0.1 })
    await map(client, { v1: 0.8, v2: 0.2 })
    checkMoves(t, before, await checkKeys(t, client, { v1: 0.8, v2: 0.2 }))
  })
  await t.test('forced generations', (t) => forced(t, client))
  await t.test('no transition costs a request', (t) => transitions(t, client))
})
