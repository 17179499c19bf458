/**
 * Goal: deadlines, order and ids do not depend on the wall clock. Method: a node whose wall clock
 * is stepped by years back and forth (libfaketime) while callers ask without a pause; after every
 * step a deadline is measured, a generation imported and found the newest, a key made and revoked.
 * The journal tells all of it in the order in which it was done, and a start in the past finds it.
 */

import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import { startCallers } from '../tools/callers.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { bundleNamed } from '../tools/history.ts'
import { ROW, ROW_SUM } from '../tools/life.ts'
import { freshHome, startNode } from '../tools/node.ts'
import { countingLoop, regressor } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

const YEAR_MS = 365 * 24 * 3_600_000
/** In years. */
const STEPS = effort([10, -10, 0], [10, -10, 10, -1, 0])
const DEADLINE_MS = 400
/** What a busy machine may add. */
const LATE_MS = 5_000
/** Takes longer than the deadline, and not for ever. */
const LONG = { features: { turns: { shape: [1], data: [3e6] } } }
const SHORT = { features: { turns: { shape: [1], data: [10] } } }

const KEYS_ONLY = { authorization: 'API_KEYS' }

t.setTimeout(240_000)

/** Of Debian's package faketime. */
function library(): string | null {
  const folders = existsSync('/usr/lib') ? readdirSync('/usr/lib') : []
  const paths = folders.map((folder) => `/usr/lib/${folder}/faketime/libfaketimeMT.so.1`)
  return paths.find((path) => existsSync(path)) ?? null
}

const found = library()
const skip = found === null ? 'libfaketime is not installed: no clock is stepped' : false

/** A node in whose processes the wall clock is what the file says; other clocks go on as ever. */
function stepped(t: Test) {
  const home = freshHome(t)
  const file = `${home}-clock`
  const step = (years: number): void => writeFileSync(file, `${years < 0 ? '' : '+'}${years}y\n`)
  step(0)
  const env = {
    LD_PRELOAD: found ?? '',
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_CACHE_DURATION: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
  }
  return { home, env, step }
}

async function newKey(client: Client): Promise<{ id: string; key: string; createdOn: number }> {
  const { status, body } = await client.admin('POST', '/auth/keys', { label: 'clock' })
  if (status !== 200) throw new Error(JSON.stringify(body))
  const shown = await client.admin('GET', `/auth/keys/${body.id}`)
  return { id: body.id, key: body.key, createdOn: shown.body.createdOn }
}

async function deadline(t: Test, client: Client, ids: Set<string>): Promise<number> {
  const startMs = performance.now()
  const { status, body } = await client.query('slow/p/predict', LONG)
  const tookMs = performance.now() - startMs
  t.equal(status, 504, JSON.stringify(body).slice(0, 300))
  t.ok(tookMs > DEADLINE_MS - 20 && tookMs < DEADLINE_MS + LATE_MS, `after ${tookMs} ms`)
  ids.add(body.requestId)
  await until(async () => (await client.query('slow/p/predict', SHORT)).status === 200, 30_000)
  return Math.round(tookMs - DEADLINE_MS)
}

async function revoked(t: Test, client: Client): Promise<void> {
  const { id, key } = await newKey(client)
  const ask = () => client.query('guard/p/predict', ROW, { authorization: `Bearer ${key}` })
  t.equal((await ask()).status, 200)
  t.equal((await client.admin('DELETE', `/auth/keys/${id}`)).status, 204)
  t.equal((await ask()).status, 401, 'from its acknowledgement on')
}

async function imported(t: Test, client: Client, generation: string): Promise<void> {
  t.equal((await client.upload('s', generation, bundleNamed(generation))).status, 200)
  const newest = await client.admin('POST', '/services/s/actions/switchToNewest')
  t.equal(newest.status, 200, JSON.stringify(newest.body).slice(0, 300))
  const { body } = await client.query('s/p/predict', ROW)
  t.equal(body.result?.prediction, ROW_SUM * Number(generation.slice(1)), 'the last is the newest')
}

t.test('74, 97: the wall clock steps by years', { skip }, async (t) => {
  const { home, env, step } = stepped(t)
  const node = await startNode(t, { home, env })
  const client = new Client(node)
  await client.deploy('s', 'g1', bundleNamed('g1'))
  await client.deploy('guard', 'g1', bundleOf(regressor(2), {}, KEYS_ONLY))
  await client.deploy('slow', 'v1', bundleOf(countingLoop(), slowEndpoint()))
  const url = client.queryUrl('s/p/predict')
  const load = startCallers({ url, body: JSON.stringify(ROW), callers: 2, thinkMs: 5 })
  const ids = new Set<string>()
  const lateMs: number[] = []
  let generation = 1
  for (const years of STEPS) {
    step(years)
    // In every process; that of control is asked.
    await until(async () => yearsOff((await newKey(client)).createdOn) === years, 20_000)
    lateMs.push(await deadline(t, client, ids))
    await revoked(t, client)
    generation += 1
    await imported(t, client, `g${generation}`)
  }
  const { lost, refused, answered, statuses } = await load.stop()
  t.same([lost, refused, Object.keys(statuses)], [0, 0, ['200']], `${answered} predictions`)
  t.equal(ids.size, STEPS.length, 'no id came twice')
  sayEffort({ clockSteps: STEPS.length, answered, lateMs: lateMs.join(' ') })
  step(-10)
  t.equal(await node.stop(), 0)
  await told(t, home, generation)
  const again = await startNode(t, { home, env: { ...env, SWITCHYARD_ADMIN_KEY: node.adminKey } })
  const { body } = await new Client(again).query('s/p/predict', ROW)
  t.equal(body.result?.prediction, ROW_SUM * generation, 'a start in the past finds the newest')
})

function yearsOff(wallMs: number): number {
  return Math.round((wallMs - Date.now()) / YEAR_MS)
}

function slowEndpoint() {
  const testQueries = [{ name: 'few turns', q: SHORT }]
  return { prediction: 'RAW', timeoutMs: DEADLINE_MS, testQueries }
}

/** Numbers go up by one, and each import stands behind the one before. */
async function told(t: Test, root: string, generations: number): Promise<void> {
  const home = await Home.open(root)
  const store = await LmdbStore.open(home.state)
  const journal = (await store.journal(10_000)).reverse()
  await store.close()
  await home.close()
  t.same(
    journal.map(({ seq }) => seq),
    journal.map((_, i) => i + 1),
  )
  const imports = journal
    .filter(({ action }) => action === 'importGeneration')
    .map(({ after }) => JSON.parse(JSON.stringify(after)))
    .filter(({ serviceId }) => serviceId === 's')
  t.same(
    imports.map(({ generationId }) => generationId),
    Array.from({ length: generations }, (_, i) => `g${i + 1}`),
    'in the order in which they were made',
  )
}
