/**
 * Goal: a lost thread costs the requests that it held a 503, and nobody else anything: the pool has
 * its thread again, loaded, and is given up only when threads are lost again and again.
 *
 * Method: real pools whose threads are ended from outside, while idle or while they parse a long
 * body; never inside a model, since that would end the process.
 */

import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { compiled } from '../../../bench/paths.ts'
import { sleep } from '../../tools/dispatching.ts'
import { jobOf } from '../../tools/plans.ts'
import { NO_RUNTIMES } from '../../tools/runtimes.ts'
import { serving } from '../../tools/serving.ts'
import { until } from '../../tools/waiting.ts'

/** Every thread that is started in this process, newest last. */
const threads: Worker[] = []
const remember = (worker: Worker) => threads.push(worker)
process.on('worker', remember)
t.teardown(() => process.off('worker', remember))

const LONG_ROW = { features: { x0: 1, y: 'z'.repeat(900) } }
const LONG = JSON.stringify({ items: new Array(9_000).fill(LONG_ROW) })

t.test('an idle thread that ends is replaced, and answers when it has loaded', async (t) => {
  const { engine, ask, generation, apply } = serving(t)
  await apply({ hold: [generation('a', { factor: 3 })], map: 'a' })
  t.match(await ask(1), { prediction: 3 })
  const before = threads.length
  await threads.at(-1)?.terminate()
  await until(() => threads.length === before + 1)
  for (let x = 0; x < 20; x++) t.match(await ask(x), { prediction: 3 * x })
  t.equal(await engine.close(), true)
})

t.test('a thread that ends in a batch: 503 for the batch, the other thread goes on', async (t) => {
  const { engine, ask, send, generation, apply, states } = serving(t, { permits: 2 })
  const before = threads.length
  await apply({ hold: [generation('a', { threads: 3 })], map: 'a' })
  t.equal(threads.length, before + 2, 'no more than the node allows, whatever the manifest asks')
  const lost = send(LONG, 'predict-multi')
  await until(() => engine.scheduler.running === 1)
  // Idle threads take the first task in the order of their birth.
  await threads[before]?.terminate()
  t.equal((await lost).code, 'ERR_WORKER_LOST')
  for (let i = 0; i < 50; i++) {
    t.match(await ask(i), { prediction: i })
    await sleep(10)
  }
  const both = await Promise.all([send(LONG, 'predict-multi'), ask(1), ask(2)])
  t.same(
    both.map(({ code }) => code),
    ['', '', ''],
    'both threads serve again',
  )
  t.same(states(), { a: 'active' })
  t.equal(await engine.close(), true)
})

t.test('a pool whose threads are lost again and again is given up, with a reason', async (t) => {
  const { engine, ask, send, generation, apply, states, reasonOf } = serving(t)
  const b = generation('b', {})
  await apply({ hold: [generation('a', {}), b], map: 'a' })
  const ours = threads.at(-2)
  for (let crash = 1; crash <= 3; crash++) {
    const lost = send(LONG, 'predict-multi')
    await until(() => engine.scheduler.running === 1)
    const waiting = ask(7)
    await (crash === 1 ? ours : threads.at(-1))?.terminate()
    t.equal((await lost).code, 'ERR_WORKER_LOST')
    const { code, prediction } = await waiting
    if (crash < 3) t.equal(prediction, 7, 'who waits is served by the next thread')
    else t.equal(code, 'ERR_POOL_DOWN', 'who waits is told')
  }
  t.same(states(), { a: 'failed', b: 'warm' })
  t.match(reasonOf('a'), /its worker threads crash/)
  t.equal((await ask(1)).code, 'ERR_POOL_DOWN')
  await apply({ hold: [b], map: 'b' })
  t.match(await ask(1), { generation: 'b' })
  await until(() => engine.observe().length === 1)
  t.equal(await engine.close(), true)
})

const skip = existsSync('/proc/self/limits') ? false : 'limits are set by prlimit, on Linux'

t.test('without files for a thread a load fails, the next goes through', { skip }, async (t) => {
  t.teardown(limitFiles(200))
  const { engine, ask, generation, apply, states, reasonOf } = serving(t)
  const [a, b] = [generation('a', {}), generation('b', { factor: 2 })]
  await apply({ hold: [a], map: 'a' })
  const taken = takeFiles()
  await apply({ hold: [a, b], map: 'a' })
  t.same(states(), { a: 'active', b: 'failed' })
  t.match(reasonOf('b'), /EMFILE/)
  t.match(await ask(1), { prediction: 1 }, 'what is loaded serves on')
  for (const file of taken) closeSync(file)
  await apply({ hold: [a, b], map: 'b' })
  t.match(await ask(1), { prediction: 2 })
  t.equal(await engine.close(), true)
})

t.test('a thread for tasks: loads once, or says why not; answers; releases', async (t) => {
  const { generation } = serving(t)
  const good = await thread(t, generation('a', { factor: 2 }))
  const job = jobOf(['{"features":{"x0":4}}'])
  t.match(await good({ kind: 'batch', job }), { kind: 'answers', failures: null })
  const first = await good({ kind: 'load' })
  t.match(first, { kind: 'loaded' })
  t.match(await good({ kind: 'batch', job: { ...job, endpoint: 7 } }), { kind: 'failed' })
  t.same(await good({ kind: 'release' }), { kind: 'released' })
  t.same(await good({ kind: 'release' }), { kind: 'released' })
  const bad = await thread(t, generation('b', { secondFile: 'nowhere.onnx' }))
  for (const _ of [1, 2])
    t.match(await bad({ kind: 'load' }), { kind: 'failed', code: 'ERR_LOAD_FAILED' })
  t.match(await bad({ kind: 'batch', job }), { kind: 'failed', code: 'ERR_INTERNAL' })
})

type Ask = (task: object) => Promise<unknown>

/** worker.ts in a thread of its own, one task after the other. */
async function thread(t: { teardown(end: () => unknown): void }, generation: object): Promise<Ask> {
  const code = `
    const { parentPort } = require('node:worker_threads')
    const loaded = import(${JSON.stringify(`file://${compiled('workers/worker.ts')}`)})
    parentPort.on('message', async (task) => {
      parentPort.postMessage(await (await loaded).default(task))
    })`
  const setup = { ...generation, pool: 'cpu', settings: NO_RUNTIMES }
  const worker = new Worker(code, { eval: true, workerData: setup })
  t.teardown(() => worker.terminate())
  return (task) =>
    new Promise((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
      worker.postMessage(task)
    })
}

/** Lowers this process's own limit; gives back what undoes it. */
function limitFiles(limit: number): () => void {
  const limits = readFileSync('/proc/self/limits', 'utf8')
  const before = /^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? ''
  const set = (soft: string) =>
    execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:`])
  set(String(limit))
  return () => set(before)
}

/** All descriptors that are left. */
function takeFiles(): number[] {
  const taken: number[] = []
  for (;;) {
    try {
      taken.push(openSync('/dev/null', 'r'))
    } catch {
      return taken
    }
  }
}
