/**
 * Goal: kill -9 at any moment costs at most the last second of lines and never corrupts a file; a
 * disk that is full or does not answer costs lines, which are counted, and no prediction.
 * Method: processes that log with all their might, and whole nodes under load, get SIGKILL at
 * random moments; files are read before anybody has mended them, and after the next start. Who
 * asked remembers what was answered when. Disks are filled, and writes made slow by strace.
 *
 * SEED=… repeats the choices of a run.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { compiled } from '../../bench/paths.ts'
import { nowMs, wallMs } from '../../core/base/clock.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { type Line, linesOf, linesSoFar, logFiles, loggedLines } from '../tools/logged.ts'
import { startNode, type TestNode } from '../tools/node.ts'
import { numberedCallers } from '../tools/numbered-callers.ts'
import { regressor } from '../tools/onnx-models.ts'
import { randomOf } from '../tools/random.ts'
import { smallDisk, whyNoSmallDisk } from '../tools/small-disk.ts'
import { slowThread, whyNoTrace } from '../tools/syscalls.ts'
import { until } from '../tools/waiting.ts'

const MIB = 1024 * 1024
const KILLS = effort(10, 400)
const NODE_KILLS = effort(2, 25)
const LOST_MS = 1_000

t.setTimeout(600_000)

/** Whole lines are JSON; behind the last line end there may be a part of one. */
function wholeLines(bytes: Buffer): Line[] {
  return linesOf(bytes.toString('utf8', 0, bytes.lastIndexOf(10) + 1))
}

t.test('kill -9 of a process that logs with all its might', async (t) => {
  const random = randomOf()
  const folders = [1, 2].map(() => mkdtempSync(join(tmpdir(), 'switchyard-query-log-')))
  t.teardown(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  })
  const counts = { kills: 0, lines: 0, torn: 0, lost: 0 }
  await Promise.all(
    folders.map(async (home) => {
      let next = 0
      for (let kill = 0; kill < KILLS / folders.length; kill++) {
        const round = await killedWhileLogging(home, next, random.below(1_700))
        const files = logFiles(home, 'svc')
        const isTorn = (bytes: Buffer) => bytes.length > 0 && bytes.at(-1) !== 10
        counts.torn += files.filter(({ bytes }) => isTorn(bytes)).length
        // Numbers go on from one process to the next, but for those that are lost in between.
        const found = files.flatMap(({ bytes }) => wholeLines(bytes)).map(numberOf)
        const ours = found.filter((n) => n >= next)
        if (ours.some((n, i) => n !== next + i)) t.fail(`lines are missing between ${ours}`)
        const end = next + ours.length
        if (end < round.safe) t.fail(`${end} lines are there, ${round.safe} were safe`)
        counts.kills += 1
        counts.lines += ours.length
        counts.lost = Math.max(counts.lost, round.recorded - end)
        next = round.recorded
        // The newest stays as it is, for the next process to mend.
        for (const { name } of files.slice(0, -1)) rmSync(join(home, 'query-log', 'svc', name))
      }
      await killedWhileLogging(home, next, 500)
      t.ok(loggedAll(home).length > 0, 'after a start, files hold whole lines only')
    }),
  )
  sayEffort({ ...counts, seed: random.seed })
})

const numberOf = (line: Line): number => line.request?.n ?? JSON.parse(line.requestText).n

/** Strict, but for the newest file, which the last kill may have torn. */
function loggedAll(home: string): Line[] {
  const files = logFiles(home, 'svc')
  return files.flatMap(({ bytes }, i) =>
    i === files.length - 1 ? wholeLines(bytes) : linesOf(bytes.toString()),
  )
}

/** Numbers below `safe` were recorded a second before the kill. */
async function killedWhileLogging(home: string, first: number, afterMs: number) {
  const program = compiled('test/tools/logging-child.ts')
  const args = [program, join(home, 'query-log'), String(first)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  await until(() => said !== '')
  await sleep(afterMs)
  const killedMs = wallMs()
  child.kill('SIGKILL')
  await once(child, 'close')
  const told = said
    .split('\n')
    .slice(0, -1)
    .map((line) => line.split(' ').map(Number))
  const safe = told.filter(([, ms = 0]) => ms <= killedMs - LOST_MS).at(-1)?.[0] ?? first
  return { safe, recorded: told.at(-1)?.[0] ?? first }
}

const bodyOf = (n: number): string =>
  JSON.stringify({ features: { f0: 1, f1: 2 }, context: { n, text: 'x'.repeat(n % 300) } })

async function loggingNode(t: Test, home?: string) {
  const node = await startNode(t, home === undefined ? {} : { home })
  const client = new Client(node)
  await client.deploy('s', 'v1', bundleOf(regressor(2)))
  const set = await client.admin('PATCH', '/services/s/settings', { queryLog: 'all' })
  t.equal(set.status, 200)
  return { node, client }
}

async function serveId(client: Client): Promise<number> {
  const { body } = await client.admin('GET', '/health')
  const serving = body.details.serving.processes.find((one: Line) => one.state === 'serving')
  return serving?.pid ?? 0
}

const lastSecond = (ms: number): number => ms - LOST_MS

/** And its parent has taken note. */
function hasEnded(pid: number): boolean {
  try {
    return !process.kill(pid, 0)
  } catch {
    return true
  }
}

t.test('kill -9 of the serving process under load', async (t) => {
  const random = randomOf()
  const { node, client } = await loggingNode(t)
  const url = client.queryUrl('s/p/predict')
  const callers = numberedCallers({ t, url, callers: 16, pauseMs: 4, bodyOf })
  const counts = { kills: 0, answered: 0, lost: 0 }
  let sinceMs = 0
  for (let kill = 0; kill < NODE_KILLS; kill++) {
    const pid = await serveId(client)
    await sleep(1_200 + random.below(600))
    const killedMs = nowMs()
    process.kill(pid, 'SIGKILL')
    for (const { bytes } of logFiles(node.home, 's')) wholeLines(bytes)
    await until(() => hasEnded(pid))
    // What it said in its last moment is read by then, and no fault of the next one.
    await sleep(1)
    const endedMs = nowMs()
    await until(async () => ![0, pid].includes(await serveId(client)))
    // The new one has mended what the old one has left before it listens.
    const files = logFiles(node.home, 's').filter(({ name }) => name.includes(`-${pid}-`))
    const lines = files.flatMap(({ bytes }) => linesOf(bytes.toString()))
    t.ok(lines.length > 0, `${lines.length} lines of process ${pid}`)
    const found = new Set(linesSoFar(node.home, 's').map((line) => line.request?.context.n))
    // What the kills before have cost is told already.
    const answered = [...callers.answered].filter(([, ms]) => ms > sinceMs && ms <= killedMs)
    sinceMs = endedMs
    const missing = answered.filter(([n]) => !found.has(n))
    const early = missing.filter(([, ms]) => ms <= lastSecond(killedMs))
    t.same(early, [], 'of what was answered a second before, all is there')
    counts.kills += 1
    counts.answered += answered.length
    counts.lost = Math.max(counts.lost, missing.length)
  }
  await callers.stop()
  sayEffort({ ...counts, seed: random.seed })
  t.same(callers.others, [], 'no answer but 200')
  t.equal(await node.stop(), 0)
  for (const { bytes } of logFiles(node.home, 's')) linesOf(bytes.toString())
})

t.test('a full disk', { skip: whyNoSmallDisk() ?? false }, async (t) => {
  const disk = smallDisk(t, 96 * MIB)
  const { node, client } = await loggingNode(t, join(disk.path, 'data'))
  const url = client.queryUrl('s/p/predict')
  const callers = numberedCallers({ t, url, callers: 8, pauseMs: 4, bodyOf })
  await until(() => callers.answered.size > 200)
  disk.keepFull()
  const health = async () => (await client.admin('GET', '/health')).body
  await until(async () => /cannot be written: ENOSPC/.test(String(await causesOf(client))))
  t.match(await health(), {
    status: 'DEGRADED',
    details: { services: { s: { causes: [/ENOSPC/] } } },
  })
  t.match(await logCounts(client), { dropped: /[1-9]/ })
  const before = callers.answered.size
  await until(() => callers.answered.size > before + 200)
  disk.release()
  await until(async () => !/cannot be written/.test(String(await causesOf(client))))
  await callers.stop()
  t.same(callers.others, [], 'predictions went on')
  await allSettled(t, client, node)
})

async function causesOf(client: Client): Promise<string[]> {
  // Counts are asked for first, so that health knows them.
  await client.admin('GET', '/metrics')
  return (await client.admin('GET', '/health')).body.details.causes
}

async function logCounts(client: Client): Promise<{ written: number; dropped: number }> {
  const { body } = await client.admin('GET', '/metrics')
  // Absent where serve was too busy to tell in time: control does not wait for it.
  return body.serviceMetrics.s?.queryLog ?? { written: 0, dropped: 0 }
}

/** Stops the node; each query was written or dropped, and the file tells of those. */
async function allSettled(t: Test, client: Client, node: TestNode): Promise<void> {
  const asked = async () =>
    (await client.admin('GET', '/metrics')).body.serviceMetrics.s?.requestCount
  await until(async () => {
    const { written, dropped } = await logCounts(client)
    return written + dropped === (await asked())
  })
  const { written, dropped } = await logCounts(client)
  t.equal(await node.stop(), 0)
  const lines = loggedLines(node.home, 's')
  const told = lines.reduce((sum, line) => sum + (line.dropped ?? 0), 0)
  t.same(
    { lines: lines.filter((line) => 'status' in line).length, told },
    { lines: written, told: dropped },
  )
  t.ok(dropped > 0, `${written} written, ${dropped} dropped`)
}

t.test('a disk that takes seconds for a write', { skip: whyNoTrace() ?? false }, async (t) => {
  const { node, client } = await loggingNode(t)
  const url = client.queryUrl('s/p/predict')
  const large = (n: number): string =>
    JSON.stringify({ features: { f0: 1, f1: 2 }, context: { n, text: 'x'.repeat(40_000) } })
  const callers = numberedCallers({ t, url, callers: 16, pauseMs: 0, bodyOf: large })
  const pid = await serveId(client)
  await until(() => callers.answered.size > 1_000)
  const thread = writerThread(pid)
  const startBytes = residentBytes(pid)
  const slow = await slowThread(t, thread, 500_000)
  await until(async () => (await logCounts(client)).dropped > 300)
  const grown = residentBytes(pid) - startBytes
  t.ok(grown < 150 * MIB, `memory grew by ${Math.round(grown / MIB)} MiB`)
  t.match(await causesOf(client), [/lines of its query log were dropped/])
  await slow.end()
  await callers.stop()
  t.same(callers.others, [], 'predictions went on')
  await allSettled(t, client, node)
})

/** That which has written the most. */
function writerThread(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`).map((tid) => {
    const io = readFileSync(`/proc/${pid}/task/${tid}/io`, 'latin1')
    return { tid: Number(tid), bytes: Number(/^wchar: (\d+)$/m.exec(io)?.[1]) }
  })
  return tasks.sort((one, other) => other.bytes - one.bytes)[0]?.tid ?? 0
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
}
