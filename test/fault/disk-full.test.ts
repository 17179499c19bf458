/**
 * Goal: a full disk costs writes and nothing else, and is over when there is room again. Method: a
 * data directory on a small file system that is filled at random moments, also while a bundle is
 * uploaded, unpacked and committed. Predictions go on beside it all the time and none may fail;
 * writes are refused with 507 and leave nothing behind; what frees space still works; and once
 * there is room, everything does, without a restart.
 *
 * SEED=… repeats the moments of a run.
 */

import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { bundleEntries, zip } from '../../bench/workloads/zip-writer.ts'
import { startCallers } from '../tools/callers.ts'
import { Client, type Reply } from '../tools/client.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { bundleNamed, generationsOf, generationsOnDisk, stateOf } from '../tools/history.ts'
import { readyLine, remaining, startNode, startProcess, type TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { randomOf } from '../tools/random.ts'
import { type SmallDisk, smallDisk, whyNoSmallDisk } from '../tools/small-disk.ts'
import { until } from '../tools/waiting.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 160 * MIB
/** Of a bundle: large enough to be met while it is written. */
const PADDING_BYTES = 12 * MIB
const ROUNDS = effort(3, 20)
const CALLERS = 4
const ROW = { features: { f0: 1, f1: 2 } }
const skip = whyNoSmallDisk() ?? false

t.setTimeout(600_000)

function largeBundle(generation: string): Buffer {
  const model = regressor(2, Number(generation.slice(1)))
  const padding = { name: 'padding.bin', data: randomBytes(PADDING_BYTES), method: 0 }
  return zip([...bundleEntries(model, { id: 'p' }, { authorization: 'PUBLIC' }), padding])
}

function isFull(t: Test, what: string, { status, body }: Reply): void {
  t.equal(status, 507, `${what}: ${JSON.stringify(body)}`)
  t.equal(body.code, 'ERR_DISK_FULL')
  t.match(body.detailedMessage ?? body.message, /\w+ \w+/)
}

async function isTidy(t: Test, node: TestNode, client: Client): Promise<void> {
  const staging = join(node.home, 'staging')
  await until(() => readdirSync(staging).length === 0)
  t.same(generationsOnDisk(node.home), generationsOf(await stateOf(client)))
}

async function served(t: Test, disk: SmallDisk) {
  const node = await startNode(t, { home: join(disk.path, 'data') })
  const client = new Client(node)
  await client.deploy('steady', 'g2', bundleNamed('g2'))
  await client.deploy('s', 'g1', bundleNamed('g1'))
  const url = client.queryUrl('steady/p/predict')
  const callers = startCallers({ url, body: JSON.stringify(ROW), callers: CALLERS, thinkMs: 20 })
  return { node, client, callers }
}

t.test('rounds of a disk that fills while a bundle comes in', { skip }, async (t) => {
  const random = randomOf()
  const disk = smallDisk(t, DISK_BYTES)
  const { node, client, callers } = await served(t, disk)
  const startMs = performance.now()
  const first = await client.upload('s', 'g2', largeBundle('g2'))
  t.equal(first.status, 200, JSON.stringify(first.body))
  // The shortest so far: longer ones were held up by something else.
  let tookMs = performance.now() - startMs
  const statuses: number[] = []
  for (let round = 3; round < ROUNDS + 3; round += 1) {
    const generation = `g${round}`
    const afterMs = random.next() * tookMs
    const bundle = largeBundle(generation)
    const upload = client.upload('s', generation, bundle)
    await sleep(afterMs)
    disk.keepFull()
    const reply = await upload
    statuses.push(reply.status)
    if (reply.status !== 200) isFull(t, `an import, full after ${afterMs} ms`, reply)
    await isTidy(t, node, client)
    disk.release()
    const againMs = performance.now()
    const again = await client.upload('s', generation, bundle)
    if (reply.status !== 200) tookMs = Math.min(tookMs, performance.now() - againMs)
    t.equal(again.status, 200, `with room again: ${JSON.stringify(again.body)}`)
    t.equal((await client.switchTo('s', generation)).status, 200)
    const removed = `/services/s/generations/g${round - 1}`
    t.equal((await client.admin('DELETE', removed)).status, 204)
    await isTidy(t, node, client)
    t.equal((await client.query('s/p/predict', ROW)).body.result.prediction, 3 * round)
  }
  const report = await callers.stop()
  const refused = statuses.filter((one) => one === 507).length
  sayEffort({ rounds: ROUNDS, refused, seed: random.seed })
  t.comment(`answers to the imports: ${statuses.join(', ')}; ${report.answered} predictions`)
  t.same(Object.keys(report.statuses), ['200'], 'every prediction was answered well')
  t.same([report.lost, report.refused], [0, 0])
  t.equal((await client.admin('GET', '/health')).body.status, 'HEALTHY')
  t.equal(await node.stop(), 0)
})

t.test('a full disk refuses what adds, takes what removes', { skip }, async (t) => {
  const disk = smallDisk(t, DISK_BYTES)
  const { node, client, callers } = await served(t, disk)
  const key = await client.admin('POST', '/auth/keys', { label: 'k' })
  await client.upload('s', 'g4', largeBundle('g4'))
  disk.fill()
  isFull(t, 'an import', await client.upload('s', 'g5', bundleNamed('g5')))
  isFull(t, 'a key', await client.admin('POST', '/auth/keys', { label: 'l' }))
  isFull(t, 'a service', await client.admin('POST', '/services', { serviceId: 'u' }))
  const switched = await client.switchTo('s', 'g4')
  isFull(t, 'a switch', switched)
  t.equal((await client.query('s/p/predict', ROW)).body.result.prediction, 3, 'as it was')
  const dropped = await client.admin('DELETE', `/auth/keys/${key.body.id}`)
  t.equal(dropped.status, 204, JSON.stringify(dropped.body))
  const deleted = await client.admin('DELETE', '/services/s/generations/g4')
  t.equal(deleted.status, 204, JSON.stringify(deleted.body))
  await isTidy(t, node, client)
  const gone = await client.admin('DELETE', '/services/s')
  t.equal(gone.status, 204, JSON.stringify(gone.body))
  await isTidy(t, node, client)

  // Nobody restarted anything.
  disk.release()
  await client.deploy('s', 'g6', largeBundle('g6'))
  t.equal((await client.query('s/p/predict', ROW)).body.result.prediction, 18)
  t.equal((await client.admin('POST', '/auth/keys', { label: 'l' })).status, 200)
  const report = await callers.stop()
  t.same(Object.keys(report.statuses), ['200'], 'every prediction was answered well')
  t.same([report.lost, report.refused], [0, 0])
  t.equal(await node.stop(), 0)
})

t.test('a start on a full disk', { skip }, async (t) => {
  const disk = smallDisk(t, DISK_BYTES)
  const { node, callers } = await served(t, disk)
  await callers.stop()
  t.equal(await node.stop(), 0)
  const env = { SWITCHYARD_ADMIN_KEY: node.adminKey }
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    disk.fill()
    const before = startProcessOn(t, node)
    const ready = await before.ready
    const client = new Client({ ...node, ...ready })
    const { status, body } = await client.query('steady/p/predict', ROW)
    t.equal(status, 200, 'it serves')
    t.equal(body.result.prediction, 6)
    isFull(t, 'a key', await client.admin('POST', '/auth/keys', { label: 'l' }))
    process.kill(ready.pid, signal)
    await before.started.ended
    t.same(await remaining(before.started), [])
    disk.release()
  }
  disk.fill()
  const fresh = startProcess(t, { home: join(disk.path, 'new'), env })
  t.equal(await fresh.ended, 1, 'a new data directory needs room')
  const lines = fresh.log().trim().split('\n')
  t.equal(lines.length, 1, 'one line says so')
  t.match(lines[0], /^switchyard: .*(no room|space)/)
})

function startProcessOn(t: Test, node: TestNode) {
  const env = { SWITCHYARD_ADMIN_KEY: node.adminKey }
  const started = startProcess(t, { home: node.home, env })
  return { started, ready: readyLine(started) }
}
