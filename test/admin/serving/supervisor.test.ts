/**
 * Goal: whatever becomes of a serving process, control knows, replaces it, and who waits gets an
 * answer. Method: real child processes that speak the channel and die, hang or fail at the moment
 * that a test names; the real serving process, which does none of this on demand, is in test/flow/.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { isSettled } from '../../../admin/serving/readiness.ts'
import { forkServe } from '../../../admin/serving/serve-process.ts'
import { Supervisor } from '../../../admin/serving/supervisor.ts'
import { SILENT } from '../../../core/base/logger.ts'
import type {
  DesiredState,
  GenerationState,
  ObservedState,
  ServeConfig,
} from '../../../core/channel/messages.ts'
import type { MetricsDelta } from '../../../core/metrics/delta.ts'

const folder = mkdtempSync(join(tmpdir(), 'switchyard-supervisor-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** Generations that are named after what shall happen when they are loaded. */
const PROGRAM = `
let config
const delta = { endpoints: [], services: [], usedKeys: [], activeRequests: 0, connections: 0 }
const handlers = {
  configure: (message) => { config = message.config },
  desired({ state }) {
    const generations = state.generations.map(({ serviceId, generationId }) => ({
      serviceId, generationId, reason: generationId === 'failed' ? 'no good' : null,
      state: generationId === 'failed' ? 'failed' : generationId === 'ok' ? 'warm' : 'loading',
    }))
    const send = () => process.send({ kind: 'observed',
      state: { revision: state.revision, connections: 0, generations } })
    send()
    if (generations.some(({ generationId }) => generationId === 'killer')) {
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20)
    }
    if (generations.some(({ generationId }) => generationId === 'hang')) {
      setTimeout(() => { for (;;); }, 50)
    }
  },
  listen: () => process.send({ kind: 'listening', port: config.port, server: 'uws' }),
  collect: ({ id }) => process.send({ kind: 'metrics', id, delta }),
  stop: () => process.send({ kind: 'drained', delta }, () => process.exit(0)),
}
process.on('message', (message) => handlers[message.kind](message))
process.on('disconnect', () => process.exit(0))
`

const CONFIG: ServeConfig = {
  host: '127.0.0.1',
  port: 12_345,
  tlsCert: null,
  tlsKey: null,
  threads: 1,
  strictHeaders: true,
  bodyBytesMax: 1024,
  bodyBytesTotalMax: 1024,
  connectionsMax: 1,
  hangMs: 1_000,
  drainMs: 100,
  notAliveFile: '/none',
  version: '0',
  logLevel: 'silent',
}

let programs = 0

function supervise(t: Test, program = PROGRAM, collectEveryMs = 10_000) {
  programs += 1
  const entry = join(folder, `${programs}.mjs`)
  writeFileSync(entry, program)
  const deltas: MetricsDelta[] = []
  const supervisor = new Supervisor({
    launch: forkServe({ entry, execArgv: [] }),
    config: CONFIG,
    metrics: { add: (delta) => void deltas.push(delta), disconnected() {} },
    collectEveryMs,
    logger: SILENT,
  })
  t.teardown(() => supervisor.stop())
  return { supervisor, deltas }
}

/** One service whose mapping is its first generation. */
function desired(revision: number, generationIds: readonly string[]): DesiredState {
  const plan = {
    planVersion: 1,
    authorization: { method: 'PUBLIC', keys: [] },
    threads: null,
    endpoints: [],
  } as const
  const mapping = generationIds.slice(0, 1).map((generationId) => ({ generationId, proba: 1 }))
  return {
    revision,
    services: [{ serviceId: 's', enabled: true, mapping }],
    generations: generationIds.map((generationId) => ({
      serviceId: 's',
      generationId,
      directory: '/none',
      plan,
    })),
    keys: [],
  }
}

async function listeningPid(supervisor: Supervisor, other: number | null): Promise<number | null> {
  for (let tries = 0; tries < 1_000; tries++) {
    const { listening, pid } = supervisor.status()
    if (listening && pid !== other) return pid
    await sleep(5)
  }
  return null
}

t.test('opens, answers waits, collects, stops', async (t) => {
  const { supervisor, deltas } = supervise(t)
  supervisor.publish(desired(1, ['ok']))
  supervisor.start()
  t.same(await supervisor.open(), { kind: 'listening', port: 12_345, server: 'uws' })
  t.equal(await supervisor.whenApplied(1), true)
  t.same(await supervisor.whenWarm('s', 'ok'), { kind: 'warm' })

  supervisor.publish(desired(2, ['ok', 'failed']))
  t.same(await supervisor.whenWarm('s', 'failed'), { kind: 'failed', reason: 'no good' })
  supervisor.publish(desired(3, ['ok']))
  t.equal(supervisor.observed()?.generations.length, 1, 'what left says nothing any more')

  await supervisor.collect()
  t.equal(deltas.length, 1)
  t.equal(await supervisor.stop(), true)
  t.equal(deltas.length, 2, 'the last counts came with the end')
  t.equal(supervisor.status().pid, null)
})

t.test('a process that served is replaced at once, however often it dies', async (t) => {
  const { supervisor } = supervise(t)
  supervisor.publish(desired(1, ['ok']))
  supervisor.start()
  await supervisor.open()
  const startMs = performance.now()
  for (let death = 1; death <= 5; death++) {
    const { pid } = supervisor.status()
    process.kill(pid ?? 0, 'SIGKILL')
    t.not(await listeningPid(supervisor, pid), null)
  }
  t.ok(performance.now() - startMs < 2_500, 'no delay grows from death to death')
})

t.test('a process that dies is replaced and told the newest state', async (t) => {
  const { supervisor } = supervise(t)
  supervisor.publish(desired(1, ['ok']))
  supervisor.start()
  await supervisor.open()
  const { pid } = supervisor.status()
  process.kill(pid ?? 0, 'SIGKILL')
  while (supervisor.status().pid === pid) await sleep(2)
  t.equal(await supervisor.whenApplied(1), true, 'by the new one')
  t.not(await listeningPid(supervisor, pid), null)
  t.match(supervisor.status(), { replaced: 1, lastExit: 'SIGKILL', listening: true })
})

t.test(
  'a load that kills the process fails, and can be taken back before it is tried again',
  async (t) => {
    const { supervisor } = supervise(t)
    supervisor.publish(desired(1, ['ok']))
    supervisor.start()
    await supervisor.open()
    supervisor.publish(desired(2, ['ok', 'killer']))
    t.same(await supervisor.whenWarm('s', 'killer'), {
      kind: 'failed',
      reason: 'the serving process ended (SIGKILL) while it loaded the generation',
    })
    supervisor.publish(desired(3, ['ok']))
    t.equal(await supervisor.whenApplied(3), true)
    t.equal(supervisor.status().replaced, 1)
  },
)

t.test('a process that answers nothing any more is replaced', async (t) => {
  const { supervisor } = supervise(t, PROGRAM, 100)
  supervisor.publish(desired(1, ['ok']))
  supervisor.start()
  await supervisor.open()
  const { pid } = supervisor.status()
  supervisor.publish(desired(2, ['ok', 'hang']))
  await supervisor.whenApplied(2)
  supervisor.publish(desired(3, ['ok']))
  t.not(await listeningPid(supervisor, pid), null)
  t.equal(await supervisor.whenApplied(3), true)
})

t.test('a process that cannot start: the node says so and gives up', async (t) => {
  const { supervisor } = supervise(t, 'process.exit(7)')
  supervisor.publish(desired(1, []))
  supervisor.start()
  t.same(await supervisor.open(), {
    kind: 'failed',
    reason: 'the serving process ended (code 7)',
  })
})

t.test('a port that cannot be had', async (t) => {
  const sentence = `process.send({ kind: 'listenFailed', reason: 'in use' })`
  const { supervisor } = supervise(
    t,
    PROGRAM.replace(/listen: .*\n/, `listen: () => ${sentence},\n`),
  )
  supervisor.publish(desired(1, []))
  supervisor.start()
  t.same(await supervisor.open(), { kind: 'failed', reason: 'in use' })
})

t.test('a process that does not end is ended', async (t) => {
  const { supervisor } = supervise(t, PROGRAM.replace(/stop: .*\n/, 'stop() {},\n'))
  supervisor.publish(desired(1, []))
  supervisor.start()
  await supervisor.open()
  const startMs = performance.now()
  t.equal(await supervisor.stop(), false)
  t.ok(performance.now() - startMs < 4_000)
})

t.test('settled: routing in force, and nothing that gets traffic still on its way', async (t) => {
  const observed = (revision: number, state: GenerationState): ObservedState => ({
    revision,
    connections: 0,
    generations: [
      {
        serviceId: 's',
        generationId: 'g',
        state,
        reason: null,
        threads: 1,
        threadsLost: 0,
        loadMs: null,
        queued: 0,
        running: 0,
        stoppedEndpoints: [],
      },
    ],
  })
  const wanted = desired(5, ['g'])
  t.equal(isSettled(wanted, null), false)
  t.equal(isSettled(wanted, observed(4, 'active')), false)
  t.equal(isSettled(wanted, observed(5, 'loading')), false)
  for (const state of ['warm', 'active', 'failed'] as const) {
    t.equal(isSettled(wanted, observed(5, state)), true, state)
  }
  t.equal(isSettled(wanted, { revision: 5, connections: 0, generations: [] }), false)
  const disabled = { ...wanted, services: [{ serviceId: 's', enabled: false, mapping: [] }] }
  t.equal(isSettled(disabled, observed(5, 'loading')), true)
})
