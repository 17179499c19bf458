/**
 * Goal: no bytes that a stranger sends stop the node, leave anything behind in it, or get an answer
 * that is not documented; none hide a second request, or put a line into the head of an answer.
 *
 * Method: requests made of a grammar and of changed bytes, with a seed, sent to both ports of a
 * started node by callers who cut them in pieces, close their half or leave. SEED=… repeats a run,
 * EFFORT=10 sends 1,000,000.
 */

import t, { type Test } from 'tap'
import { bundleOf } from '../tools/client.ts'
import { effortShare, sayEffort } from '../tools/effort.ts'
import { shown } from '../tools/fuzz/bytes.ts'
import { authorizationOf, type FuzzRequest, requestOf } from '../tools/fuzz/requests.ts'
import { answersIn, faultOf, manneredVisit, type Visit, visit } from '../tools/fuzz/visit.ts'
import { LOOKS, noDrift, type Watched, watchedNode } from '../tools/fuzz/watched.ts'
import { regressor } from '../tools/onnx-models.ts'
import { type Random, randomOf } from '../tools/random.ts'

const REQUESTS = effortShare(12_000, 1_000_000)
const KEYS = effortShare(1_500, 10_000)
const REFUSALS = effortShare(10_000, 60_000)
/** Of the requests, those to the admin port. */
const ADMIN_SHARE = 0.15
const CALLERS = 128
/** Most of what is broken is never answered; nobody waits for the ten seconds of the parser. */
const WAIT_MS = 150
const END_MS = 5_000
const BODY = '{"features":{"f0":1,"f1":2}}'

t.setTimeout(1_200_000)

interface World extends Watched {
  readonly key: string
}

async function open(t: Test): Promise<World> {
  const watched = await watchedNode(t)
  const { client } = watched
  await client.deploy('open', 'v1', bundleOf(regressor(2)))
  await client.deploy('keys', 'v1', bundleOf(regressor(2), {}, { authorization: 'API_KEYS' }))
  const settings = { cors: { origins: ['https://page.example'] } }
  await client.admin('PATCH', '/services/open/settings', settings)
  const { body } = await client.admin('POST', '/auth/keys', { label: 'fuzz' })
  return { ...watched, key: body.key }
}

/** What a grammar starts from. */
function targetsOf(port: 'query' | 'admin') {
  if (port === 'admin') {
    const paths = ['health', 'services', 'services/open', 'auth/keys', 'metrics', 'nothing']
    return paths.map((path) => ({ path: `/admin/api/${path}`, body: '{"serviceId":"x"}' }))
  }
  const paths = ['open/p/predict', 'keys/p/predict', 'open/p/predict-multi', 'none/p/predict']
  const queries = paths.map((path) => ({ path: `/public/api/v1/${path}`, body: BODY }))
  return [...queries, { path: '/isAlive/', body: '' }, { path: '/', body: BODY }]
}

interface Tally {
  readonly statuses: Record<string, number>
  readonly faults: string[]
  smuggled: number
  ambiguous: number
  unanswered: number
}

type TwoReadings = FuzzRequest & { readonly kind: 'smuggled' | 'ambiguous' }

function hasTwoReadings(request: FuzzRequest): request is TwoReadings {
  return request.kind === 'smuggled' || request.kind === 'ambiguous'
}

/** Judges what came back; a fault comes with all that is needed to send it again. */
function judge(tally: Tally, request: FuzzRequest, got: { received: Buffer; closed: boolean }) {
  const text = request.bytes.toString('latin1')
  const answers = answersIn(got.received, text.includes('HEAD'))
  const faults = answers.flatMap((answer, at) => {
    const isWhole = at < answers.length - 1
    return faultOf(answer, isWhole || answer.body.endsWith('}')) ?? []
  })
  if (hasTwoReadings(request)) {
    tally[request.kind] += 1
    const told = answers.map(({ status }) => status)
    const isRefused = told.length === 1 && told[0] === 400
    // What follows in the same bytes, the parser may refuse first, or end the connection for.
    const isEnded = request.kind === 'smuggled' && (told.length === 0 || `${told}` === '505')
    if (!isRefused && !isEnded) faults.push(`with two readings: [${told}]`)
    if (!got.closed) faults.push('with two readings: its connection stays')
  }
  if (answers.length === 0) tally.unanswered += 1
  for (const { status } of answers) {
    tally.statuses[status] = (tally.statuses[status] ?? 0) + 1
  }
  return faults
}

function visitOf(random: Random, request: FuzzRequest): Visit {
  const asked = manneredVisit(random, request.bytes, WAIT_MS)
  if (!hasTwoReadings(request)) return asked
  // In one piece: what the parser has in its hands it would go on with.
  return { ...asked, manner: 'whole', cuts: [], waitMs: END_MS, untilEnd: true }
}

async function attack(world: World, random: Random): Promise<Tally> {
  const tally: Tally = { statuses: {}, faults: [], smuggled: 0, ambiguous: 0, unanswered: 0 }
  let sent = 0
  const around = { query: targetsOf('query'), admin: targetsOf('admin') }
  const caller = async (): Promise<void> => {
    while (sent < REQUESTS && tally.faults.length < 10) {
      sent += 1
      const number = sent
      const port = random.next() < ADMIN_SHARE ? 'admin' : 'query'
      const keys = port === 'admin' ? [] : [world.key]
      const request = requestOf(random, { targets: around[port], keys })
      const asked = visitOf(random, request)
      const got = await visit(port === 'admin' ? world.adminPort : world.queryPort, asked)
      for (const fault of judge(tally, request, got)) {
        const what = `${port} ${request.kind} ${asked.manner} ${shown(request.bytes)}`
        const seen = shown(got.received)
        tally.faults.push(`SEED=${random.seed} no. ${number}: ${fault}\n${what}\n-> ${seen}`)
      }
      if (number % Math.round(REQUESTS / LOOKS) === 0) await world.look()
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  return tally
}

async function stillWell(t: Test, { client }: World): Promise<void> {
  const { status, body } = await client.query('open/p/predict', BODY)
  t.match({ status, prediction: body.result?.prediction }, { status: 200, prediction: 3 })
}

t.test('bytes on both ports', async (t) => {
  const world = await open(t)
  const random = randomOf()
  const startMs = performance.now()
  const tally = await attack(world, random)
  for (const fault of tally.faults) t.fail(fault)
  await stillWell(t, world)
  await world.check(t)
  const memory = world.memory()
  noDrift(t, memory)
  const { statuses, smuggled, ambiguous, unanswered } = tally
  const seconds = Math.round((performance.now() - startMs) / 1000)
  sayEffort({
    ...{ httpRequests: REQUESTS, smuggled, ambiguous, unanswered, seed: random.seed, seconds },
    ...{ ...memory, statuses: JSON.stringify(statuses) },
  })
  t.ok(statuses['200'] && statuses['400'] && statuses['404'], 'good and bad ones')
})

/** Not even the parser has an answer for a line with these; it waits for a better one. */
const UNPRINTABLE = /[^\x20-\x7e]/

t.test('keys that are nearly right open nothing', async (t) => {
  const world = await open(t)
  const random = randomOf()
  const basic = `Basic ${Buffer.from(`${world.key}:`).toString('base64')}`
  const twice = `Bearer ${world.key}\r\nAuthorization: Bearer other`
  const right = new Set([`Bearer ${world.key}`, basic, twice])
  const counts = { tried: 0, opened: 0 }
  const caller = async (): Promise<void> => {
    while (counts.tried < KEYS) {
      counts.tried += 1
      const value = authorizationOf(random, [world.key])
      const lines = [`Content-Length: ${BODY.length}`, `Authorization: ${value}`]
      const head = `POST /public/api/v1/keys/p/predict HTTP/1.1\r\nHost: x\r\n${lines.join('\r\n')}`
      const bytes = Buffer.from(`${head}\r\n\r\n${BODY}`, 'latin1')
      const isOdd = UNPRINTABLE.test(value) && value !== twice
      const waitMs = isOdd ? WAIT_MS : END_MS
      const asked: Visit = { bytes, manner: 'whole', cuts: [], waitMs, untilEnd: false }
      const [answer] = answersIn((await visit(world.queryPort, asked)).received, false)
      const status = answer?.status ?? 0
      if (status === 200) counts.opened += 1
      // What follows a blank line is another request, which can be refused before this one.
      const others = [...(isOdd ? [0] : []), ...(value.includes('\r\n\r\n') ? [505] : [])]
      const fine = right.has(value) ? [200] : [400, 401, 429, 431, ...others]
      if (!fine.includes(status)) t.fail(`SEED=${random.seed}: ${status} for ${shown(bytes)}`)
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  t.ok(counts.opened > 0, `${counts.opened} of them were right`)
  sayEffort({ keys: KEYS, opened: counts.opened, seed: random.seed })
  await world.check(t)
})

t.test('what is refused for its two readings leaves nothing in memory', async (t) => {
  const { queryPort, nativeBytes, check } = await open(t)
  const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx'
  const bytes = Buffer.from(head)
  const asked: Visit = { bytes, manner: 'whole', cuts: [], waitMs: END_MS, untilEnd: true }
  const ask = async (times: number): Promise<void> => {
    let left = times
    const caller = async (): Promise<void> => {
      for (; left > 0; left -= 1) {
        const [answer, ...more] = answersIn((await visit(queryPort, asked)).received, false)
        if (answer?.status !== 400 || more.length > 0) t.fail(`${answer?.status}`)
      }
    }
    await Promise.all(Array.from({ length: CALLERS }, caller))
  }
  await ask(REFUSALS / 2)
  const before = await nativeBytes()
  await ask(REFUSALS)
  const grownBytes = (await nativeBytes()) - before
  sayEffort({ refusals: REFUSALS, grownBytes })
  t.ok(grownBytes < REFUSALS * 50, `${grownBytes} bytes after ${REFUSALS} more`)
  await check(t)
})
