/**
 * Goal: a big bundle is imported without the node noticing in its memory or its predictions, and
 * whoever asks sees how far it is. Method: a bundle of models with large weights, sent once as raw
 * bytes and once as a form by a process of its own, while another service is asked at a steady
 * rate; memory of all processes is looked at every 50 ms, the state of the import every 100 ms.
 */

import { execFile } from 'node:child_process'
import { readdirSync, statfsSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { findProgram } from '../../admin/bundle/child-limits.ts'
import { compiled } from '../../bench/paths.ts'
import { onnxModel } from '../../bench/workloads/onnx-builder.ts'
import { Client, demoBundle } from '../tools/client.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { growthMib, inMib, MemoryWatch } from '../tools/memory-watch.ts'
import { freshHome, readyLine, startNode, startProcess, type TestNode } from '../tools/node.ts'
import { pacedLoad } from '../tools/paced-load.ts'
import { noise, type StreamedEntry, writeZip } from '../tools/zip-stream.ts'

const MIB = 1024 * 1024
const ENDPOINTS = effort(3, 4)
const WEIGHTS_BYTES = effort(48, 512) * MIB
/** Less than the bundle, so that one copy of it would show; 100 MB is the promise at any size. */
const GROWTH_MIB_MAX = 95
const RATE_PER_S = 500
const ROW = {
  'sepal length (cm)': 5.1,
  'sepal width (cm)': 3.5,
  'petal length (cm)': 1.4,
  'petal width (cm)': 0.2,
}

/** Answers one byte of its weights: cheap to run, and only right when all of them are there. */
function lookup(weightsFile: string): Buffer {
  return onnxModel({
    inputs: [{ name: 'at', type: 'int64', shape: [1] }],
    outputs: [{ name: 'byte', type: 'uint8', shape: [1] }],
    initializers: [
      { name: 'W', type: 'uint8', dims: [WEIGHTS_BYTES], data: [], externalFile: weightsFile },
    ],
    nodes: [{ op: 'Gather', inputs: ['W', 'at'], outputs: ['byte'] }],
  })
}

/** One of the weights is deflated, as zip programs do with what they cannot make smaller. */
function* bundle(): Generator<StreamedEntry> {
  const names = Array.from({ length: ENDPOINTS }, (_, i) => `p${i}`)
  const endpoints = names.map((id) => ({
    id,
    type: 'STD_PREDICTION',
    prediction: 'RAW',
    model: `${id}.onnx`,
    testQueries: [{ name: 'the last byte', q: { features: { at: [WEIGHTS_BYTES - 1] } } }],
  }))
  const manifest = { formatVersion: 1, authorization: 'PUBLIC', endpoints }
  yield { name: 'service.json', chunks: [Buffer.from(JSON.stringify(manifest))] }
  for (const [i, id] of names.entries()) {
    yield { name: `${id}.onnx`, chunks: [lookup(`${id}.bin`)] }
    yield { name: `${id}.bin`, chunks: noise(WEIGHTS_BYTES, i), deflate: i === 0 }
  }
}

interface Seen {
  readonly phase: string
  readonly doneBytes: number
  readonly totalBytes: number
}

/** Every distinct state of the import, as a person who asks again and again would see it. */
function watchImport(client: Client, path: string) {
  const seen: Seen[] = []
  let ended = false
  const watch = async (): Promise<Seen[]> => {
    while (!ended) {
      const { body } = await client.admin('GET', path)
      const { state, phase, doneBytes, totalBytes } = body
      if (state === 'importing') seen.push({ phase, doneBytes, totalBytes })
      await sleep(effort(25, 100))
    }
    return seen
  }
  const watching = watch()
  return {
    stop: (): Promise<Seen[]> => {
      ended = true
      return watching
    },
  }
}

/** What the log says at the end of an import: how long each phase took. */
function lastPhases(node: TestNode): string {
  const said = node.log().match(/"phasesMs":\{[^}]*\}/g)
  return said?.at(-1) ?? 'no import is logged'
}

async function send(node: TestNode, archive: string, kind: string, generationId: string) {
  const url = `${node.adminUrl}/admin/api/services/big/generations?generationId=${generationId}`
  const args = [compiled('test/tools/upload-child.ts'), url, node.adminKey, archive, kind]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return JSON.parse(stdout)
}

function growing(t: Test, seen: readonly Seen[], phase: string): void {
  const steps = seen.filter((one) => one.phase === phase)
  const bytes = steps.map(({ doneBytes }) => doneBytes)
  const inOrder = bytes.every((value, i) => value >= (bytes[i - 1] ?? 0))
  t.ok(inOrder, `${phase}: ${new Set(bytes).size} different sizes, none smaller than before`)
  t.ok(new Set(bytes).size >= 2, `${phase} is seen to go on: ${bytes.slice(0, 5).join(', ')}`)
  const within = steps.every(({ doneBytes, totalBytes }) => doneBytes <= totalBytes)
  t.ok(within, `${phase} says how much there is`)
}

t.setTimeout(effort(240_000, 1_800_000))

/** The archive, its upload, what it unpacks to, and some room. */
function tooSmallDisk(): string | false {
  const neededBytes = 3 * ENDPOINTS * WEIGHTS_BYTES + 256 * MIB
  const { bavail, bsize } = statfsSync(tmpdir())
  if (bavail * bsize >= neededBytes) return false
  return `needs ${neededBytes / MIB} MiB of disk in ${tmpdir()}`
}

t.test('a big bundle beside predictions', { skip: tooSmallDisk() }, async (t) => {
  const home = freshHome(t)
  const archive = join(dirname(home), 'big.zip')
  const archiveBytes = await writeZip(archive, bundle())
  sayEffort({ archiveMib: Math.round(archiveBytes / MIB), models: ENDPOINTS })
  const node = await startNode(t, { home })
  const client = new Client(node)
  await client.deploy('iris', 'v1', demoBundle('iris-v1.zip'))
  await client.admin('POST', '/services', { serviceId: 'big' })
  const { body: key } = await client.admin('POST', '/auth/keys', { label: 'load' })
  await sleep(1_000)

  for (const kind of ['raw', 'form'] as const) {
    const memory = new MemoryWatch(node.pid)
    const progress = watchImport(client, `/services/big/generations/${kind}`)
    const load = pacedLoad({
      url: client.queryUrl('iris/predict/predict'),
      headers: { authorization: `Bearer ${key.key}` },
      bodies: [JSON.stringify({ features: ROW })],
      connections: 8,
      ratePerS: RATE_PER_S,
      seconds: null,
    })
    const answer = await send(node, archive, kind, kind)
    load.stop()
    const { sent, failed, non2xx, latencyUs, lagUs, reasons } = await load.done
    const seen = await progress.stop()
    const peaks = memory.stop()
    const { sentMs, answeredMs } = answer
    const figures = { kind, sentMs, answeredMs, sent, p99Us: latencyUs.p99, maxUs: latencyUs.max }
    t.comment(JSON.stringify({ ...figures, lagP99Us: lagUs.p99, memoryMib: inMib(peaks) }))
    t.comment(lastPhases(node))

    t.equal(answer.status, 200, JSON.stringify(answer.body))
    t.equal(failed, 0, reasons.join('; '))
    t.equal(non2xx, 0)
    t.ok(sent > 100, `${sent} predictions meanwhile`)
    for (const role of ['control', 'serve'] as const) {
      const grownMib = growthMib(peaks.get(role))
      t.ok(grownMib < GROWTH_MIB_MAX, `${role} grew by ${grownMib} MiB`)
    }
    growing(t, seen, 'receiving')
    growing(t, seen, 'unpacking')
    const { body } = await client.admin('DELETE', `/services/big/generations/${kind}`)
    t.equal(body, null, 'its files are gone again')
  }
})

const FILE_BYTES_MAX = 64 * MIB

/** Unpacks to more than a file may have, from an archive that has less. */
function* loose(bytes: number): Generator<Buffer> {
  for (const block of noise(bytes, 9)) yield block.fill(0, block.length / 16)
}

const prlimit = findProgram('prlimit', process.env['PATH'] ?? '')

t.test('a disk that takes no more', { skip: prlimit === null }, async (t) => {
  const home = freshHome(t)
  // The system fails every write beyond: as sudden as a full disk, and nobody else's is filled.
  const limited = [prlimit ?? '', `--fsize=${FILE_BYTES_MAX}`, '--']
  const program = [process.execPath, compiled('core/main.ts')]
  const started = startProcess(t, { home }, [...limited, ...program])
  const { adminKey, log } = started
  const node = { ...(await readyLine(started)), adminKey, home, log, stop: () => started.ended }
  const client = new Client(node)
  await client.deploy('iris', 'v1', demoBundle('iris-v1.zip'))
  await client.admin('POST', '/services', { serviceId: 'big' })
  const { body: key } = await client.admin('POST', '/auth/keys', { label: 'load' })
  const load = pacedLoad({
    url: client.queryUrl('iris/predict/predict'),
    headers: { authorization: `Bearer ${key.key}` },
    bodies: [JSON.stringify({ features: ROW })],
    connections: 4,
    ratePerS: 100,
    seconds: null,
  })
  const archives = { received: join(dirname(home), 'received'), unpacked: join(dirname(home), 'u') }
  const manifestOf = (model: string) => {
    const endpoints = [{ id: 'p', type: 'STD_PREDICTION', prediction: 'RAW', model }]
    const text = JSON.stringify({ formatVersion: 1, endpoints })
    return { name: 'service.json', chunks: [Buffer.from(text)] }
  }
  const big = { name: 'big.bin', chunks: noise(FILE_BYTES_MAX + MIB, 1) }
  await writeZip(archives.received, [manifestOf(big.name), big])
  const wide = { name: 'wide.bin', chunks: loose(FILE_BYTES_MAX + MIB), deflate: true }
  await writeZip(archives.unpacked, [manifestOf(wide.name), wide])
  const staged = () => readdirSync(join(home, 'staging'))
  for (let round = 0; round < effort(2, 10); round++) {
    for (const [step, archive] of Object.entries(archives)) {
      const kind = round % 2 === 0 ? 'raw' : 'form'
      const { status, body } = await send(node, archive, kind, 'v1')
      t.match(
        { status, body },
        { status: 507, body: { code: 'ERR_DISK_FULL' } },
        `${step}, ${kind}`,
      )
      t.same(staged(), [], body.detailedMessage)
    }
    const small = await client.upload('iris', 'v2', demoBundle('iris-v2.zip'))
    t.equal(small.status, 200, 'what fits is imported all the same')
  }
  load.stop()
  const { sent, failed, non2xx } = await load.done
  t.same({ failed, non2xx }, { failed: 0, non2xx: 0 }, `${sent} predictions meanwhile`)
})

t.test('a node that stops amid imports leaves nothing of them', async (t) => {
  const node = await startNode(t, { args: ['--drain-ms=500'] })
  const client = new Client(node)
  await client.admin('POST', '/services', { serviceId: 'big' })
  const archive = join(dirname(node.home), 'stopped.zip')
  const big = { name: 'big.bin', chunks: noise(effort(200, 1_000) * MIB, 1) }
  await writeZip(archive, [big])
  const unpacking = send(node, archive, 'raw', 'unpacking').catch(() => {})
  const imports = async () => (await client.admin('GET', '/services/big')).body.imports
  while ((await imports())[0]?.phase !== 'unpacking') await sleep(5)
  const silent = http.request(`${node.adminUrl}/admin/api/services/big/generations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${node.adminKey}`, 'content-type': 'application/zip' },
  })
  silent.on('error', () => {})
  silent.write(Buffer.alloc(MIB))
  const staged = () => readdirSync(join(node.home, 'staging'))
  while ((await imports()).length < 2 || staged().length < 3) await sleep(5)
  t.equal(await node.stop(), 0)
  t.same(staged(), [])
  await unpacking
})
