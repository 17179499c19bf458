/**
 * Goal: endpoints that wait for processes hold up no model, and whatever ends the thread that
 * speaks to them, none of those processes is left behind.
 *
 * Method: the real engine with a model and a Python function in one generation. Every process with
 * the test's own folder in its environment is one of its children; /proc tells.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { pickPort } from '../../../admin/ports.ts'
import type { PythonEndpointPlan, SqlEndpointPlan } from '../../../core/bundle/plan.ts'
import { readWitness } from '../../../core/channel/witness.ts'
import { laneShape } from '../../../core/engine/lane-shape.ts'
import { slotsOf } from '../../../core/engine/slots.ts'
import { endpoint, generationPlan, summing } from '../../tools/plans.ts'
import { functionPlan, predictionPlan, whyNoPython } from '../../tools/python-endpoints.ts'
import { NO_RUNTIMES, runtimes } from '../../tools/runtimes.ts'
import { desired, follow, serveChild } from '../../tools/serve-child.ts'
import { newGeneration, serving } from '../../tools/serving.ts'
import { until } from '../../tools/waiting.ts'

t.setTimeout(240_000)

const skip = whyNoPython()

const CODE = `
import os, subprocess, time

def wait(seconds, mark=None):
    if mark is not None:
        open(mark, "w").close()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return os.getpid()

def stubborn(seconds):
    subprocess.Popen(["sleep", "60"], start_new_session=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            pass
    return os.getpid()
`

/** Every thread that is started in this process, newest last. */
const threads: Worker[] = []
const remember = (worker: Worker) => threads.push(worker)
process.on('worker', remember)
t.teardown(() => process.off('worker', remember))

/** Processes that have the folder in their environment; those that have ended are none. */
function childrenOf(folder: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
    try {
      return readFileSync(`/proc/${name}/environ`, 'utf8').includes(folder) ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

/** A generation with the model of the other tests and functions beside it. */
function withFunctions(
  base: ReturnType<typeof newGeneration>,
  functions: readonly PythonEndpointPlan[],
  code = CODE,
): ReturnType<typeof newGeneration> {
  writeFileSync(join(base.directory, 'code.py'), code)
  return { ...base, plan: { ...base.plan, endpoints: [...base.plan.endpoints, ...functions] } }
}

function waiting(children: number, other: Partial<PythonEndpointPlan> = {}): PythonEndpointPlan {
  return functionPlan({ name: 'wait', children }, { id: 'wait', ...other })
}

function query(connection: string | null): SqlEndpointPlan {
  const { prediction: _, ...base } = endpoint(summing('m.onnx', 1))
  const sql = { connection, statements: [], maxRows: 1, commit: false, duckdb: null }
  return { ...base, type: 'SQL_QUERY', sql }
}

function place(t: Test) {
  const settings = runtimes(t)
  const node = serving(t, { runtimes: settings })
  const pids = () => childrenOf(settings.runDirectory)
  return { ...node, settings, pids, wait: (seconds: number) => node.call('wait/run', { seconds }) }
}

t.test('functions wait side by side and hold up no model', { skip }, async (t) => {
  const { engine, generation, apply, ask, wait, pids } = place(t)
  const a = withFunctions(generation('a', {}), [waiting(2)])
  await apply({ hold: [a], map: 'a' })
  // Told over a port of its own, which may be read after the load has been answered.
  await until(() => engine.observe()[0]?.runtimes.length === 1)
  const [seen] = engine.observe()
  t.match(seen, { state: 'active', threads: 2, threadsLost: 0 })
  t.match(seen?.runtimes, [{ subject: 'endpoint wait', up: true, detail: /^Python 3/, size: 2 }])
  const three = [wait(1.5), wait(1.5), wait(1.5)]
  await until(() => engine.scheduler.running === 2)
  t.match(await ask(3), { prediction: 3 }, 'with one permit, and two runs that wait')
  t.equal(engine.scheduler.running, 2, 'still; the third waits for a child')
  const used = (await Promise.all(three)).map((one) =>
    typeof one === 'string' ? one : one.response,
  )
  t.equal(new Set(used).size, 2, `two children have answered: ${used}`)
  t.equal(pids().length, 3, 'and a third is ready to take the place of one')
  t.equal(await engine.close(), true)
  t.same(pids(), [])
})

t.test('an end of the io thread is one crash, and ends its children', { skip }, async (t) => {
  const { engine, generation, apply, ask, wait, pids, states } = place(t)
  const a = withFunctions(generation('a', {}), [waiting(3)])
  await apply({ hold: [a], map: 'a' })
  const io = threads.at(-1)
  await until(() => pids().length === 4)
  const before = pids()
  const lost = [wait(30), wait(30), wait(30)]
  await until(() => engine.scheduler.running === 3)
  const queued = wait(0)
  await io?.terminate()
  for (const one of lost) t.equal(await one, 'ERR_WORKER_LOST')
  t.match(await ask(2), { prediction: 2 }, 'the model serves on')
  const answer = await queued
  t.type(answer, 'object', 'who waits is served by the next thread')
  t.same(states(), { a: 'active' }, 'three runs at once were one crash')
  await until(() => pids().every((pid) => !before.includes(pid)))
  t.match(engine.observe()[0]?.runtimes, [{ subject: 'endpoint wait', up: true }])
  // Idle, nobody is told; whoever asks next finds another thread that has loaded.
  await threads.at(-1)?.terminate()
  t.type(await wait(0), 'object')
  t.equal(await engine.close(), true)
  t.same(pids(), [])
})

t.test('an io thread that ends again and again is given up, with a reason', { skip }, async (t) => {
  const { engine, generation, apply, wait, pids, states, reasonOf } = place(t)
  const a = withFunctions(generation('a', {}), [waiting(1)])
  await apply({ hold: [a], map: 'a' })
  for (let crash = 1; crash <= 3; crash++) {
    const lost = wait(30)
    await until(() => engine.scheduler.running === 1)
    await threads.at(-1)?.terminate()
    t.equal(await lost, 'ERR_WORKER_LOST')
  }
  await until(() => states()['a'] === 'failed')
  t.match(reasonOf('a'), /io thread crashes/)
  t.equal(await wait(0), 'ERR_POOL_DOWN')
  await until(() => pids().length === 0)
  t.equal(await engine.close(), true)
})

t.test('drained: no process is left, nor what it has started', { skip }, async (t) => {
  const { engine, settings, generation, apply, ask, call, pids } = place(t)
  const stubborn = functionPlan(
    { name: 'stubborn', children: 1 },
    { id: 'stubborn', timeoutMs: 300 },
  )
  const a = withFunctions(generation('a', {}), [waiting(1), stubborn])
  const b = generation('b', {})
  await apply({ hold: [a, b], map: 'a' })
  // Longer than anybody waits for the processes to go.
  const late = call('stubborn/run', { seconds: 300 })
  await until(() => pids().length >= 5)
  t.equal(await late, 'ERR_DEADLINE')
  await apply({ hold: [b], map: 'b' })
  await until(() => pids().length === 0 && engine.observe().length === 1)
  t.match(await ask(1), { generation: 'b' })
  await until(() => readdirSync(settings.runDirectory).length === 0)
  t.equal(await engine.close(), true)
})

t.test(
  'code that does not load fails its generation alone, and leaves nothing',
  { skip },
  async (t) => {
    const { engine, generation, apply, ask, pids, states, reasonOf, folder } = place(t)
    const good = withFunctions(generation('good', {}), [waiting(1)])
    const broken = withFunctions(
      generation('broken', {}),
      [waiting(1)],
      'import nowhere_to_be_found',
    )
    const other = waiting(1, { id: 'other', warmUp: ['{"minutes":1}'] })
    const refused = withFunctions(generation('refused', {}), [waiting(1), other])
    await apply({ hold: [good, broken, refused], map: 'good' })
    t.same(states(), { good: 'active', broken: 'failed', refused: 'failed' })
    t.match(reasonOf('broken'), /endpoint wait: .*nowhere_to_be_found/)
    t.match(reasonOf('refused'), /endpoint other failed its warm-up: .*minutes/)
    t.notMatch(reasonOf('broken'), folder)
    t.match(await ask(1), { generation: 'good' })
    await until(() => pids().length === 2)
    t.equal(await engine.close(), true)
    t.same(pids(), [])
  },
)

t.test('a node without the interpreter serves what needs none', async (t) => {
  const { engine, ask, generation, apply, states, reasonOf } = serving(t, {
    runtimes: runtimes(t, { python: null }),
  })
  const a = generation('a', {})
  const needs = withFunctions(generation('needs', {}), [waiting(1)])
  await apply({ hold: [a, needs], map: 'a' })
  t.same(states(), { a: 'active', needs: 'failed' })
  t.match(reasonOf('needs'), /install/)
  t.match(await ask(1), { generation: 'a' })
  t.equal(await engine.close(), true)
})

t.test('a serving process that ends, in order or not, takes all with it', { skip }, async (t) => {
  const settings = runtimes(t)
  const pids = () => childrenOf(settings.runDirectory)
  for (const ending of ['stop', 'hung', 'killed'] as const) {
    const base = newGeneration(settings.environments.replace(/environments$/, ''), ending, {})
    const long = functionPlan({ name: 'stubborn', children: 1 }, { id: 'long', timeoutMs: 60_000 })
    const generation = withFunctions(base, [long])
    const port = await pickPort('127.0.0.1')
    const child = serveChild(t, { port, drainMs: 300, runtimes: settings })
    await follow(child, desired(1, generation))
    child.send({ kind: 'listen' })
    await child.heard('listening')
    await until(() => pids().length === 2)
    if (ending === 'hung') {
      const url = `http://127.0.0.1:${port}/public/api/v1/svc/long/run`
      void fetch(url, { method: 'POST', body: '{"seconds":60}' }).catch(() => null)
      await until(() => pids().length === 3)
    }
    if (ending === 'killed') child.kill()
    else child.send({ kind: 'stop' })
    const how = await child.ended
    t.equal(how, ending === 'stop' ? '0' : 'SIGKILL', ending)
    if (ending !== 'killed') t.same(pids(), [], `${ending}: gone before the process was`)
    await until(() => pids().length === 0)
  }
})

t.test('what waits is no witness of a crash', { skip }, async (t) => {
  const settings = runtimes(t)
  const base = newGeneration(settings.environments.replace(/environments$/, ''), 'a', {
    slow: true,
  })
  const generation = withFunctions(base, [waiting(1)])
  const port = await pickPort('127.0.0.1')
  const witnessFile = join(settings.runDirectory, '../witness')
  const child = serveChild(t, { port, witnessFile, runtimes: settings })
  await follow(child, desired(1, generation))
  child.send({ kind: 'listen' })
  await child.heard('listening')
  const ask = (path: string, body: string) =>
    fetch(`http://127.0.0.1:${port}/public/api/v1/svc/${path}`, { method: 'POST', body })
  const mark = join(settings.runDirectory, '../waits')
  void ask('wait/run', JSON.stringify({ seconds: 60, mark })).catch(() => {})
  await until(() => existsSync(mark))
  t.same(readWitness(readFileSync(witnessFile)), [], 'a function runs, and is not noted')
  void ask('score/predict', '{"features":{"turns":[1000000000000]}}').catch(() => {})
  await until(() => readWitness(readFileSync(witnessFile)).length > 0)
  child.kill()
  await child.ended
  t.match(readWitness(readFileSync(witnessFile)), [{ endpointId: 'score', runs: 1 }])
})

t.test('lanes and slots follow from the type', async (t) => {
  const settings = { ...NO_RUNTIMES, children: 3 }
  const custom = (batchable: boolean) => predictionPlan({ batchable, maxRows: 20 })
  const model = endpoint(summing('m.onnx', 1))
  const plan = generationPlan([])
  t.match(laneShape(model, 'single', 'cpu'), { serial: false, batchMax: 8, permit: true })
  t.match(laneShape(model, 'multi', 'cpu'), { serial: true, permit: true, legalMs: 10_000 })
  t.match(laneShape(waiting(1), 'single', 'io'), { serial: false, batchMax: 1, permit: false })
  t.match(laneShape(custom(true), 'single', 'io'), { serial: false, batchMax: 20 })
  t.match(laneShape(custom(false), 'single', 'io'), { serial: true })
  t.match(laneShape(model, 'single', 'io'), { permit: false, witnessed: true }, 'native code')
  t.match(laneShape(model, 'single', 'cpu'), { witnessed: true })
  t.match(laneShape(waiting(1), 'single', 'io'), { witnessed: false })
  const shapeOf = (connection: string | null) => laneShape(query(connection), 'single', 'io')
  t.match([shapeOf(null), shapeOf('db')], [{ witnessed: true }, { witnessed: false }])
  t.ok(laneShape(waiting(1), 'single', 'io').legalMs >= 15_000, 'runs end themselves long before')
  t.equal(slotsOf(waiting(2), plan, settings), 2)
  t.equal(slotsOf(functionPlan({ children: null }), plan, settings), 3)
  t.equal(slotsOf(model, plan, settings), 1)
})
