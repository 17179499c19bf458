/**
 * Goal: serving processes die and are replaced, and callers notice as little as is possible at all.
 * Method: the process is killed under the load of 64 connections, where only what was inside it may
 * be lost; and it is replaced again and again in an orderly way under kept connections, busy and
 * thinking ones, where nothing may be lost. What new connections notice is a figure, not a promise,
 * where the kernel does not hand them over (`net.ipv4.tcp_migrate_req`).
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ROOT } from '../../bench/paths.ts'
import { nowMs } from '../../core/base/clock.ts'
import { type CallersReport, startCallers } from '../tools/callers.ts'
import { bundleOf, Client, demoBundle } from '../tools/client.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { startNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

const CONNECTIONS = 64
const KILLS = effort(3, 10)
/** A caller that comes back at once may meet the listener of the dying process, and lose again. */
const LOST_MAX = 2 * CONNECTIONS
const HANDOVERS = effort(4, 30)
const NEW_PER_S = 1_000
/** uWebSockets.js ends a kept connection that is silent for ten seconds. */
const THINK_MS = 4_000
/** An old process answers who is connected for this long at most. */
const RETIRE_MS = 20_000

t.setTimeout(600_000)

async function deployed(t: Parameters<typeof startNode>[0], args: string[] = []) {
  const node = await startNode(t, { args })
  const client = new Client(node)
  await client.deploy('cancer', 'v1', demoBundle('cancer-v1.zip'))
  const { body } = JSON.parse(readFileSync(join(ROOT, 'bench/demo/demo.json'), 'utf8'))
  const url = client.queryUrl('cancer/predict/predict')
  return { node, client, load: { url, body: JSON.stringify(body) } }
}

interface ProcessView {
  readonly pid: number
  readonly state: string
}

async function processes(client: Client): Promise<ProcessView[]> {
  const { body } = await client.admin('GET', '/health')
  return body.details.serving.processes
}

async function serving(client: Client): Promise<number[]> {
  const found = await processes(client)
  return found.filter(({ state }) => state === 'serving').map(({ pid }) => pid)
}

function withoutAnswer({ lost, refused, statuses }: CallersReport): object {
  return { lost, refused, statuses }
}

t.test('a killed process loses what was inside it, and the next one serves at once', async (t) => {
  const { client, load } = await deployed(t)
  const callers = startCallers({ ...load, callers: CONNECTIONS })
  const gaps: number[] = []
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(500)
    const before = callers.report()
    const [pid] = await serving(client)
    if (pid === undefined) throw new Error('no process serves')
    const killedMs = nowMs()
    process.kill(pid, 'SIGKILL')
    await until(async () => callers.report().answered > before.answered + 20 * CONNECTIONS)
    gaps.push(Math.round(nowMs() - killedMs))
    const { lost } = callers.report()
    t.ok(lost - before.lost <= LOST_MAX, `${lost - before.lost} requests were inside`)
  }
  const report = await callers.stop()
  sayEffort({ kills: KILLS, answered: report.answered, lost: report.lost })
  t.comment(`killed to full service: ${gaps.join(', ')} ms; longest gap ${report.longestGapMs} ms`)
  t.same(Object.keys(report.statuses), ['200'], 'whoever was answered was answered well')
  t.ok(Math.min(...gaps) < 5_000, `full service came back after ${gaps.join(', ')} ms`)
  const { body } = await client.admin('GET', '/health')
  t.match(body, { status: 'HEALTHY', details: { serving: { replacements: { died: KILLS } } } })
})

t.test('an orderly replacement loses nothing on kept connections', async (t) => {
  const { client, load } = await deployed(t)
  const busy = startCallers({ ...load, callers: CONNECTIONS / 2 })
  const thinking = startCallers({ ...load, callers: CONNECTIONS / 2, thinkMs: THINK_MS })
  const seen = new Set(await serving(client))
  const times: number[] = []
  for (let i = 0; i < HANDOVERS; i++) {
    const { status, body } = await client.admin('POST', '/actions/replace-serving')
    t.match({ status, body }, { status: 200, body: { replaced: 1 } })
    times.push(Math.round(body.ms))
    for (const pid of await serving(client)) seen.add(pid)
    await sleep(300)
  }
  t.equal(seen.size, HANDOVERS + 1, 'each time another process serves')
  await until(async () => (await processes(client)).length === 1, RETIRE_MS)
  const reports = [await busy.stop(), await thinking.stop()]
  const answered = reports.reduce((sum, report) => sum + report.answered, 0)
  sayEffort({ handOvers: HANDOVERS, answered })
  t.comment(`a hand-over took ${Math.min(...times)} to ${Math.max(...times)} ms`)
  for (const report of reports) {
    t.match(withoutAnswer(report), { lost: 0, refused: 0 }, report.reasons.join('; '))
    t.same(Object.keys(report.statuses), ['200'])
  }
  const { body } = await client.admin('GET', '/health')
  t.match(body, { status: 'HEALTHY', details: { serving: { replacements: { asked: HANDOVERS } } } })
})

t.test('switches while processes are replaced lose nothing either', async (t) => {
  const client = new Client(await startNode(t))
  const generations = ['v1', 'v2', 'v3']
  for (const [i, id] of generations.entries()) {
    const bundle = bundleOf(regressor(1, i + 1), { prediction: 'REGRESSION' })
    if (i === 0) await client.deploy('sum', id, bundle)
    else t.equal((await client.upload('sum', id, bundle)).status, 200)
    await client.admin('POST', `/services/sum/generations/${id}/preload`)
  }
  const load = { url: client.queryUrl('sum/p/predict'), body: '{"features":{"f0":1}}' }
  t.equal((await client.query('sum/p/predict', load.body)).status, 200)
  const callers = [
    startCallers({ ...load, callers: 8 }),
    startCallers({ ...load, callers: 8, fresh: true, thinkMs: 20 }),
  ]
  let isOver = false
  const switching = async (): Promise<number> => {
    let switches = 0
    for (; !isOver; switches++) {
      const { status } = await client.switchTo('sum', generations[switches % 3] ?? '')
      if (status !== 200) t.fail(`a switch was answered ${status}`)
    }
    return switches
  }
  const switched = switching()
  for (let i = 0; i < HANDOVERS; i++) {
    t.equal((await client.admin('POST', '/actions/replace-serving')).status, 200)
    await sleep(200)
  }
  isOver = true
  const switches = await switched
  const [kept, fresh] = await Promise.all(callers.map((running) => running.stop()))
  const answered = (kept?.answered ?? 0) + (fresh?.answered ?? 0)
  sayEffort({ handOvers: HANDOVERS, switches, answered, freshLost: fresh?.lost ?? 0 })
  t.same([kept?.lost, kept?.refused], [0, 0], JSON.stringify(kept?.reasons))
  t.same(Object.keys(kept?.statuses ?? {}), ['200'], JSON.stringify(kept?.statuses))
  t.same(Object.keys(fresh?.statuses ?? {}), ['200'], JSON.stringify(fresh?.statuses))
})

t.test('what new connections notice of replacements', async (t) => {
  const { client, load } = await deployed(t)
  const callers = NEW_PER_S / 25
  // Each of them asks every 25 ms on average, on a connection of its own.
  const fresh = startCallers({ ...load, callers, fresh: true, thinkMs: 48 })
  const startMs = nowMs()
  for (let i = 0; i < HANDOVERS; i++) {
    const { status } = await client.admin('POST', '/actions/replace-serving')
    t.equal(status, 200)
    await sleep(300)
  }
  const report = await fresh.stop()
  const perS = Math.round((report.answered * 1_000) / (nowMs() - startMs))
  const migrates = readFileSync('/proc/sys/net/ipv4/tcp_migrate_req', 'utf8').trim()
  const lost = report.lost + report.refused
  sayEffort({ handOvers: HANDOVERS, newConnections: report.answered + lost, perS, lost })
  t.comment(`tcp_migrate_req=${migrates}: ${lost} of ${report.answered + lost} at ${perS}/s`)
  t.same(Object.keys(report.statuses), ['200'])
  // Seen without the setting: one hand-over in twenty resets any.
  t.ok(lost <= (migrates === '1' ? 0 : HANDOVERS), report.reasons.join('; '))
})
