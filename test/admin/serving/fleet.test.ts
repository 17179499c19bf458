/**
 * Goal: whatever becomes of a serving process, control knows, replaces it without losing anybody,
 * and who waits gets an answer. Method: real child processes that speak the channel and die, hang
 * or fail at the moment that a test names; the real serving process is in test/fault/ and in
 * test/flow/.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { desired, listening, newFleet, openFleet, pidsOf, replacements } from '../../tools/fleet.ts'
import { until } from '../../tools/waiting.ts'

t.setTimeout(240_000)

/** Children start slowly on a busy machine. */

t.test('opens, answers waits, collects, stops', async (t) => {
  const { fleet, deltas } = newFleet(t)
  fleet.publish(desired(1, ['ok']))
  fleet.start()
  t.same(await fleet.open(), { kind: 'listening', port: 12_345, server: 'uws' })
  t.equal(await fleet.whenApplied(1), true)
  t.same(await fleet.whenWarm('s', 'ok'), { kind: 'warm' })
  t.match(fleet.status(), { wanted: 1, listening: true, server: 'uws', stopped: [] })

  fleet.publish(desired(2, ['ok', 'failed']))
  t.same(await fleet.whenWarm('s', 'failed'), { kind: 'failed', reason: 'no good' })
  fleet.publish(desired(3, ['ok']))
  t.equal(fleet.observed()?.generations.length, 1, 'what left says nothing any more')

  await until(async () => {
    await fleet.collect()
    return deltas.has(1)
  })
  const [pid] = pidsOf(fleet, 'serving')
  t.equal(await fleet.stop(), true)
  t.same(fleet.status().processes, [])
  t.throws(() => process.kill(pid ?? 0, 0), 'it is gone')
})

t.test('a process that served is replaced at once, however often it dies', async (t) => {
  const { fleet } = await openFleet(t)
  const tookMs: number[] = []
  for (let death = 1; death <= 5; death++) {
    const startMs = performance.now()
    const [pid] = pidsOf(fleet, 'serving')
    process.kill(pid ?? 0, 'SIGKILL')
    await until(async () => pidsOf(fleet, 'serving').some((other) => other !== pid))
    tookMs.push(Math.round(performance.now() - startMs))
  }
  t.ok(Math.min(...tookMs.slice(2)) < 2_000, `no delay grows from death to death: ${tookMs} ms`)
  t.match(fleet.status(), { replacements: { died: 5 }, lastExit: 'SIGKILL', listening: true })
  t.equal(await fleet.whenApplied(1), true, 'the new one was told the newest state')
})

t.test('a load that kills the process fails, and can be taken back before a retry', async (t) => {
  const { fleet } = await openFleet(t)
  fleet.publish(desired(2, ['ok', 'killer']))
  t.same(await fleet.whenWarm('s', 'killer'), {
    kind: 'failed',
    reason: 'the serving process ended (SIGKILL) while it loaded the generation',
  })
  fleet.publish(desired(3, ['ok']))
  t.equal(await fleet.whenApplied(3), true)
  t.equal(replacements(fleet, 'died'), 1)
})

t.test('hand-over: the new one listens before the old one is told to leave', async (t) => {
  const { fleet, told, let: happen } = await openFleet(t)
  happen('slow-leaver')
  const [old] = pidsOf(fleet, 'serving')
  const [first, second] = await Promise.all([fleet.replace('asked'), fleet.replace('asked')])
  t.match(first, { kind: 'replaced', processes: 1 })
  t.equal(second, first, 'who asks meanwhile joins')
  const [next] = pidsOf(fleet, 'serving')
  t.not(next, old)
  t.same(pidsOf(fleet, 'retiring'), [old])
  t.equal(replacements(fleet, 'asked'), 1)
  await until(async () => told().includes(`${old} retire`))
  t.ok(told().indexOf(`${next} listen`) < told().indexOf(`${old} retire`), told().join(', '))

  fleet.publish(desired(2, ['ok']))
  const startMs = performance.now()
  t.equal(await fleet.whenApplied(2), true)
  t.ok(performance.now() - startMs > 200, 'the one that leaves is waited for')
  t.ok(told().includes(`${old} desired 2 stopped 0`), 'and told what was revoked')
  await until(async () => fleet.status().processes.length === 1)
  t.equal(fleet.status().lastExit, null, 'it left in order')
  t.match(fleet.status().replacements, { died: undefined })
})

t.test(
  'an old process that does not leave is ended, and one on the way out at a stop',
  async (t) => {
    const { fleet, let: happen } = await openFleet(t)
    happen('stays')
    t.match(await fleet.replace('asked'), { kind: 'replaced' })
    t.equal(pidsOf(fleet, 'retiring').length, 1)
    await until(async () => pidsOf(fleet, 'retiring').length === 0)
    t.match(await fleet.replace('asked'), { kind: 'replaced' })
    await fleet.stop()
    t.same(fleet.status().processes, [])
  },
)

t.test('the new one fails: the old one goes on', async (t) => {
  const { fleet, told, let: happen } = await openFleet(t)
  const before = pidsOf(fleet, 'serving')
  happen('dies-at-once')
  t.same(await fleet.replace('asked'), { kind: 'failed', reason: 'the new one ended (code 3)' })
  happen('cannot-listen')
  t.same(await fleet.replace('asked'), { kind: 'failed', reason: 'in use' })
  t.same(pidsOf(fleet, 'serving'), before)
  t.notOk(told().includes(`${before[0]} retire`))
  t.same(fleet.status().replacements, {})
  t.match(await fleet.replace('certificates'), { kind: 'replaced' }, 'and the next try succeeds')
})

t.test('the new one cannot load what the old one has: the old one goes on', async (t) => {
  const { fleet, told, let: happen } = await openFleet(t)
  const before = pidsOf(fleet, 'serving')
  happen('next-loads-nothing')
  const reason = 'a new process could not load s/ok: no good'
  t.same(await fleet.replace('asked'), { kind: 'failed', reason })
  t.same(pidsOf(fleet, 'serving'), before)
  t.notOk(told().some((line) => line.endsWith('retire')))
  t.match(await fleet.replace('asked'), { kind: 'replaced' })
})

t.test('the old one dies while the new one starts: it takes the place', async (t) => {
  const { fleet } = await openFleet(t)
  const [old] = pidsOf(fleet, 'serving')
  const outcome = fleet.replace('asked')
  await until(async () => pidsOf(fleet, 'starting').length === 1)
  const [next] = pidsOf(fleet, 'starting')
  process.kill(old ?? 0, 'SIGKILL')
  t.match(await outcome, { kind: 'replaced' })
  t.same(pidsOf(fleet, 'serving'), [next])
  t.same(fleet.status().replacements, { asked: 1 })
})

t.test('where two cannot listen at once, the old one leaves the port first', async (t) => {
  const made = newFleet(t)
  made.let('port-of-one')
  made.let('port-is-free')
  const { fleet, told } = made
  fleet.publish(desired(1, ['ok']))
  fleet.start()
  t.match(await fleet.open(), { server: 'node' })
  const [old] = pidsOf(fleet, 'serving')
  t.match(await fleet.replace('asked'), { kind: 'replaced' })
  const [next] = pidsOf(fleet, 'serving')
  const order = [`${next} listen`, `${old} retire`, `${next} listen`]
  t.same(
    told().filter((line) => !line.includes('desired')),
    [`${old} listen`, ...order],
  )
})

t.test(
  'two places: all acknowledge, one after the other is replaced, one may be down',
  async (t) => {
    const { fleet, deltas } = await openFleet(t, { processes: 2 })
    const before = pidsOf(fleet, 'serving')
    t.equal(before.length, 2)
    await until(async () => {
      await fleet.collect()
      return deltas.size === 2
    })
    t.same([...deltas.keys()].sort(), [1, 2], 'counts know their source')
    t.equal(fleet.observed()?.connections, 4)
    t.match(await fleet.replace('asked'), { kind: 'replaced', processes: 2 })
    const after = pidsOf(fleet, 'serving')
    t.equal(after.length, 2)
    t.ok(after.every((pid) => !before.includes(pid)))

    const [stopped = 0, other = 0] = after
    process.kill(stopped, 'SIGSTOP')
    fleet.publish(desired(2, ['ok']))
    const applied = fleet.whenApplied(2)
    t.equal(await Promise.race([applied, sleep(300, 'waits')]), 'waits', 'for the slower one')
    process.kill(stopped, 'SIGCONT')
    t.equal(await applied, true)

    process.kill(other, 'SIGKILL')
    await until(async () => pidsOf(fleet, 'serving').length === 1)
    t.match(fleet.status(), { wanted: 2, listening: true })
    await until(async () => pidsOf(fleet, 'serving').length === 2)
  },
)

t.test('without a port to share there is no second place', async (t) => {
  const made = newFleet(t, { processes: 2 })
  made.let('port-of-one')
  made.let('port-is-free')
  made.fleet.publish(desired(1, ['ok']))
  made.fleet.start()
  t.match(await made.fleet.open(), { kind: 'failed', reason: /use --processes 1$/ })
})

t.test('a lost thread costs the process; the third hang stops the endpoint', async (t) => {
  const { fleet, told, let: happen } = await openFleet(t)
  for (let hang = 1; hang <= 3; hang++) {
    t.same(fleet.status().stopped, [])
    // None that leaves, which would take it for itself.
    await until(async () => fleet.status().processes.length === 1)
    happen('loses-a-thread')
    fleet.publish(desired(1 + hang, ['ok']))
    await until(async () => replacements(fleet, 'hung') === hang)
  }
  const stopped = { serviceId: 's', generationId: 'ok', endpointId: 'e' }
  t.same(fleet.status().stopped, [{ ...stopped, cause: 'hangs' }])
  t.ok(
    told().some((line) => line.endsWith('desired 4 stopped 1')),
    'sent at once, with the state that holds',
  )
  fleet.pardon('s', 'other')
  t.equal(fleet.status().stopped.length, 1)
  fleet.pardon('s', 'ok')
  t.same(fleet.status().stopped, [])
  const [pid] = pidsOf(fleet, 'serving')
  await until(async () => told().includes(`${pid} desired 4 stopped 0`))
})

t.test('a crash makes the next ones note what runs; the third noted one stops it', async (t) => {
  const suspects: string[] = []
  const { fleet, let: happen } = await openFleet(t, {
    witnessed: ['s/ok/e'],
    onCrash: (refs) => suspects.push(...refs.map(({ generationId }) => generationId)),
  })
  happen('witnessed')
  for (let crash = 1; crash <= 4; crash++) {
    t.same(fleet.status().stopped, [], `after ${crash - 1}, of which the first was not noted`)
    const [pid] = pidsOf(fleet, 'serving')
    process.kill(pid ?? 0, crash % 2 === 0 ? 'SIGABRT' : 'SIGSEGV')
    await until(async () => pidsOf(fleet, 'serving').some((other) => other !== pid))
    // A death by hand in between is nobody's fault.
    if (crash === 2) {
      const [next] = pidsOf(fleet, 'serving')
      process.kill(next ?? 0, 'SIGKILL')
      await until(async () => pidsOf(fleet, 'serving').some((other) => other !== next))
    }
  }
  t.match(fleet.status().stopped, [{ endpointId: 'e', cause: 'crashes' }])
  t.same(suspects, ['ok', 'ok', 'ok'], 'what ran is told, and not of a death by hand')
  t.same(fleet.status().replacements, { crashed: 4, died: 1 })
})

t.test('a process that answers nothing any more is replaced, then ended', async (t) => {
  const { fleet } = await openFleet(t, { beatEveryMs: 800 })
  const [pid] = pidsOf(fleet, 'serving')
  process.kill(pid ?? 0, 'SIGSTOP')
  await sleep(1_000)
  process.kill(pid ?? 0, 'SIGCONT')
  await sleep(2_600)
  t.same(pidsOf(fleet, 'serving'), [pid], 'one that was stopped for a moment is not')
  process.kill(pid ?? 0, 'SIGSTOP')
  await until(async () => replacements(fleet, 'silent') === 1)
  await until(async () => fleet.status().processes.length === 1)
  t.equal(await fleet.whenApplied(1), true)
  fleet.publish(desired(2, ['ok', 'hang']))
  await until(async () => replacements(fleet, 'silent') === 2)
})

t.test('a process that does not apply a state in time is replaced', async (t) => {
  const { fleet, let: happen } = await openFleet(t, { beatEveryMs: 1_000 })
  const [pid] = pidsOf(fleet, 'serving')
  happen(`deaf-${pid}`)
  fleet.publish(desired(2, ['ok']))
  t.equal(await fleet.whenApplied(2), false)
  await until(async () => replacements(fleet, 'silent') === 1)
  t.equal(await fleet.whenApplied(2), true)
  t.not(pidsOf(fleet, 'serving')[0], pid)
})

t.test('one that has grown is replaced, unless a new one is as large', async (t) => {
  const { logger, said } = listening()
  const bytes = new Map<number, number>()
  const { fleet } = await openFleet(t, {
    beatEveryMs: 200,
    memoryBytesMax: 1_000,
    residentBytesOf: (pid) => bytes.get(pid) ?? 500,
    logger,
  })
  const [first = 0] = pidsOf(fleet, 'serving')
  bytes.set(first, 1_001)
  await until(async () => replacements(fleet, 'memory') === 1)
  t.equal(fleet.status().overMemory, false)
  const [second = 0] = pidsOf(fleet, 'serving')
  bytes.set(second, 2_000)
  await sleep(700)
  t.equal(replacements(fleet, 'memory'), 1, 'not so soon again')
  t.equal(said.filter((line) => /grown/.test(line)).length, 1)
})

t.test('when a new one is as large, that is said and nothing is done', async (t) => {
  const { logger, said } = listening()
  let residentBytes = 950
  const { fleet } = await openFleet(t, {
    beatEveryMs: 200,
    memoryBytesMax: 1_000,
    residentBytesOf: () => residentBytes,
    logger,
  })
  t.equal(fleet.status().overMemory, false, 'large, but within its limit')
  residentBytes = 1_100
  await until(async () => fleet.status().overMemory)
  await sleep(500)
  t.equal(replacements(fleet, 'memory'), 0)
  t.equal(said.filter((line) => /raise it/.test(line)).length, 1)
  residentBytes = 400
  await until(async () => !fleet.status().overMemory)
})

t.test('a process that cannot start: the node says so and gives up', async (t) => {
  const { fleet } = newFleet(t, { program: 'process.exit(7)' })
  fleet.publish(desired(1, []))
  fleet.start()
  t.same(await fleet.open(), {
    kind: 'failed',
    reason: 'the serving process ended (code 7)',
  })
})

t.test('a process that cannot even be made: so too', async (t) => {
  const { fleet } = newFleet(t, { execArgv: ['\0'] })
  fleet.publish(desired(1, []))
  fleet.start()
  const opened = await fleet.open()
  t.match(opened, { kind: 'failed', reason: /the serving process ended \(.*null bytes/ })
})

t.test('a port that cannot be had', async (t) => {
  const { fleet, let: happen } = newFleet(t)
  happen('cannot-listen')
  fleet.publish(desired(1, []))
  fleet.start()
  t.same(await fleet.open(), { kind: 'failed', reason: 'in use' })
})

t.test('a process that does not end is ended', async (t) => {
  const { fleet } = newFleet(t, { replace: [/stop: .*\n/, 'stop() {},\n'] })
  fleet.publish(desired(1, []))
  fleet.start()
  await fleet.open()
  const startMs = performance.now()
  t.equal(await fleet.stop(), false)
  t.ok(performance.now() - startMs < 30_000)
})
