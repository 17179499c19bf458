/**
 * Goal: every request that a lane accepts settles exactly once, on time, whatever callers, threads
 * and other lanes do; no lane holds more than its bounds; nobody starves.
 *
 * Method: the real lanes and scheduler over runners that the test finishes by hand. A runner is the
 * seam of the contract; the pool behind it is tested with the engine.
 */

import t from 'tap'
import { ERROR_TABLE } from '../../../core/base/errors.ts'
import { PackedBatch } from '../../../core/dispatch/batch.ts'
import { Pending } from '../../../core/dispatch/pending.ts'
import { pick } from '../../../core/dispatch/scheduler.ts'
import { Asker, accept, refusalOf, setUp, sleep, turn } from '../../tools/dispatching.ts'
import { until } from '../../tools/waiting.ts'

t.test('a lane is bounded in requests and in bytes', async (t) => {
  const { lane } = setUp(t, { requestsMax: 3, bytesMax: 10 })
  accept(lane, new Asker(), '1234')
  accept(lane, new Asker(), '1234')
  t.equal(refusalOf(lane, '123'), 'ERR_LANE_FULL')
  t.equal(ERROR_TABLE.ERR_LANE_FULL.status, 429)
  const last = accept(lane, new Asker(), '12')
  t.equal(refusalOf(lane, ''), 'ERR_LANE_FULL')
  lane.settle(last)
  accept(lane, new Asker(), '12')
  lane.take()
  t.equal(lane.waiting, 0)
  accept(lane, new Asker(), '1234567890')
})

t.test('callers that have gone neither fill a lane nor cost a thread', async (t) => {
  const { lane, scheduler, runner, settled } = setUp(t, { requestsMax: 4, bytesMax: 1_000 })
  const blocker = new Asker()
  accept(lane, blocker)
  scheduler.wake(lane)
  await turn()
  t.equal(runner.calls.length, 1)
  const patient = new Asker()
  accept(lane, patient)
  scheduler.wake(lane)
  for (let i = 0; i < 10_000; i++) {
    const asker = new Asker()
    const pending = accept(lane, asker, 'y'.repeat(100))
    scheduler.wake(lane)
    asker.done = true
    lane.settle(pending)
    if (pending.body !== null) t.fail('its bytes are free at once')
  }
  t.equal(lane.waiting, 1)
  const silent = new Asker()
  accept(lane, silent)
  silent.done = true
  runner.finish(0)
  await until(() => runner.calls.length === 2)
  t.same(runner.bodies(1), ['x'], 'only the one that somebody waits for is run')
  runner.finish(1)
  await until(() => patient.answers.length === 1)
  t.equal(blocker.answers.length, 1)
  t.equal(silent.answers.length, 0)
  t.equal(settled(), 10_003)
})

t.test('a batch is packed into a buffer of its size that nobody shares', async (t) => {
  const { lane } = setUp(t, {})
  const shared = Buffer.from('SECRET-of-another-caller')
  accept(lane, new Asker(), 'one')
  const inside = lane.enter(new Asker(), shared.subarray(7, 9))
  t.ok(inside instanceof Pending)
  accept(lane, new Asker(), '')
  accept(lane, new Asker(), 'four')
  const job = new PackedBatch(lane, lane.take(), performance.now() + 3).toJob()
  t.equal(Buffer.from(job.bytes).toString(), 'oneoffour')
  t.equal(job.bytes.buffer.byteLength, 9)
  t.equal(job.bytes.byteOffset, 0)
  t.same([...job.ends], [3, 5, 5, 9])
  t.ok(job.waitUs.every((us) => us >= 3_000 && us < 2_000_000))
})

t.test('a large body that is alone is handed over, not copied', async (t) => {
  const { lane } = setUp(t, { borrows: true })
  const packed = (...sizes: number[]) => {
    const bodies = sizes.map((size) => new Uint8Array(size).fill(7))
    for (const body of bodies) lane.enter(new Asker(), body)
    const job = new PackedBatch(lane, lane.take(), performance.now()).toJob()
    t.equal(
      job.bytes.byteLength,
      bodies.reduce((sum, { byteLength }) => sum + byteLength, 0),
    )
    t.equal(job.lent === true, job.bytes === bodies[0])
    return job.lent === true
  }
  t.equal(packed(200_000), true)
  t.equal(packed(200_000, 1), false)
  t.equal(packed(200), false)
  lane.enter(new Asker(), new Uint8Array(400_000).subarray(0, 200_000))
  t.equal(new PackedBatch(lane, lane.take(), 0).toJob().lent, undefined, 'its buffer holds more')
  lane.log = { record: () => {} }
  t.equal(packed(200_000), false, 'the log wants it afterwards')
})

t.test(
  'requests of one turn are one batch, later ones gather while the thread is busy',
  async (t) => {
    const { lane, scheduler, runner } = setUp(t, { batchMax: 4 })
    const askers = Array.from({ length: 10 }, () => new Asker())
    for (const [i, asker] of askers.entries()) {
      accept(lane, asker, `${i}`)
      scheduler.wake(lane)
      if (i === 2) await turn()
    }
    t.same(runner.bodies(0), ['0', '1', '2'])
    await turn()
    t.equal(runner.calls.length, 1, 'no thread is free')
    runner.finish(0)
    await until(() => runner.calls.length === 2)
    t.same(runner.bodies(1), ['3', '4', '5', '6'])
    runner.finish(1)
    await until(() => runner.calls.length === 3)
    runner.finish(2)
    await until(() => askers.every((asker) => asker.answers.length === 1))
    t.same(
      askers.map(({ answers }) => answers[0]),
      askers.map((_, i) => `"${i}"`),
    )
  },
)

t.test('deadlines fire on time while every thread is busy', async (t) => {
  const { lane, scheduler, runner } = setUp(t, { timeoutMs: 50 })
  const askers: Asker[] = []
  const lateMs: number[] = []
  for (let i = 0; i < 20; i++) {
    const asker = new Asker()
    accept(lane, asker)
    scheduler.wake(lane)
    askers.push(asker)
    await sleep(4)
  }
  await until(() => askers.every(({ errors }) => errors.length === 1))
  for (const asker of askers) {
    t.equal(asker.errors[0]?.code, 'ERR_DEADLINE')
    lateMs.push(asker.endedMs - asker.bornMs - 50)
  }
  t.ok(Math.min(...lateMs) >= 0, 'never early')
  lateMs.sort((a, b) => a - b)
  // A busy machine makes many of them late, a tick that is too coarse makes nearly all.
  const [, , , undisturbed = 0] = lateMs
  t.ok(undisturbed < 20, `within 20 ms: ${lateMs.map(Math.round).join(', ')}`)
  const fresh = new Asker()
  runner.finish(0)
  await sleep(20)
  t.ok(
    askers.every(({ answers }) => answers.length === 0),
    'the late answer is dropped',
  )
  t.equal(runner.calls.length, 1, 'and none of the others is run')
  accept(lane, fresh)
  scheduler.wake(lane)
  await until(() => runner.calls.length === 2)
  runner.finish(1)
  await until(() => fresh.answers.length === 1)
})

t.test('permits bound the batches of all pools together', async (t) => {
  const first = setUp(t, {}, { permits: 2 })
  const lanes = [first, ...[1, 2, 3].map(() => first.another({}))]
  const askers = lanes.map(({ lane }) => {
    const asker = new Asker()
    accept(lane, asker)
    first.scheduler.wake(lane)
    return asker
  })
  await turn()
  const started = () => lanes.filter(({ runner }) => runner.calls.length > 0)
  t.equal(started().length, 2)
  t.equal(first.scheduler.running, 2)
  first.runner.finish(0)
  await until(() => started().length === 3)
  t.equal(first.scheduler.running, 2)
  for (const { runner } of lanes.slice(1)) {
    await until(() => runner.calls.length === 1)
    runner.finish(0)
  }
  await until(() => askers.every(({ answers }) => answers.length === 1))
  t.equal(first.scheduler.running, 0)
})

t.test('a costly lane and a cheap one get the same thread time', async (t) => {
  const costly = setUp(t, { batchMax: 1 }, { permits: 1 })
  const cheap = costly.another({ batchMax: 1 })
  const usedMs = { costly: 0, cheap: 0 }
  const { scheduler } = costly
  const startMs = performance.now()
  for (const { lane } of [costly, cheap]) {
    for (let i = 0; i < 700; i++) {
      accept(lane, new Asker())
      scheduler.wake(lane)
    }
  }
  while (performance.now() - startMs < 1_000) {
    await until(() => costly.runner.open + cheap.runner.open > 0)
    const [kind, runner, ms] =
      costly.runner.open > 0
        ? (['costly', costly.runner, 20] as const)
        : (['cheap', cheap.runner, 2] as const)
    const beginMs = performance.now()
    await sleep(ms)
    usedMs[kind] += performance.now() - beginMs
    runner.finish(runner.calls.length - 1)
    await turn()
  }
  const share = usedMs.cheap / (usedMs.cheap + usedMs.costly)
  t.ok(share > 0.35 && share < 0.65, `the cheap lane had ${(share * 100).toFixed(0)} % of the time`)
  t.ok(cheap.runner.calls.length > costly.runner.calls.length, 'and so more runs')
  cheap.finishAll()
  costly.finishAll()
})

t.test('what a lane owed is forgotten while it rests', async (t) => {
  const rested = setUp(t, { batchMax: 1 }, { permits: 1 })
  const busy = rested.another({ batchMax: 1 })
  accept(rested.lane, new Asker())
  rested.scheduler.wake(rested.lane)
  await turn()
  const startMs = performance.now()
  await sleep(150)
  rested.runner.finish(0)
  // A busy machine may have slept longer than it was asked to, so the lane owes more.
  await sleep(performance.now() - startMs + 50)
  for (let i = 0; i < 100; i++) {
    accept(busy.lane, new Asker())
    rested.scheduler.wake(busy.lane)
  }
  await turn()
  accept(rested.lane, new Asker())
  rested.scheduler.wake(rested.lane)
  for (let run = 0; rested.runner.calls.length === 1 && run < 50; run++) {
    await until(() => busy.runner.open + rested.runner.open > 0)
    if (rested.runner.open > 0) break
    await sleep(2)
    busy.runner.finish(run)
    await turn()
  }
  t.ok(busy.runner.calls.length <= 6, `${busy.runner.calls.length} runs of the other went first`)
  rested.finishAll()
  busy.finishAll()
})

t.test('single rows go before many-row requests, which still get their turn', async (t) => {
  const single = setUp(t, { batchMax: 1 }, { permits: 1 })
  const multi = single.another({ batchMax: 1, verb: 'multi', runner: single.runner })
  for (let i = 0; i < 300; i++) {
    accept(multi.lane, new Asker(), 'm')
    accept(single.lane, new Asker(), 's')
    single.scheduler.wake(multi.lane)
    single.scheduler.wake(single.lane)
  }
  for (let run = 0; run < 60; run++) {
    await until(() => single.runner.calls.length === run + 1)
    await sleep(1)
    single.runner.finish(run)
  }
  const order = single.runner.calls.slice(0, 60).map((_, run) => single.runner.bodies(run)[0])
  t.equal(order[0], 's')
  const multis = order.filter((body) => body === 'm').length
  t.ok(multis > 5 && multis < 45, `${multis} of 60 runs were many-row requests`)
  single.finishAll()
})

t.test('pick gives turns by credit, and to all when all are in debt', async (t) => {
  const { lane: a, another } = setUp(t, {})
  const { lane: b } = another({})
  const { lane: c } = another({ verb: 'multi' })
  a.creditUs = -20_000
  b.creditUs = 1
  c.creditUs = 5_000
  t.equal(pick([a, b, c]), b)
  b.creditUs = -1
  t.equal(pick([a, b, c]), c)
  c.creditUs = -7_000
  t.equal(pick([a, b, c]), b)
  t.same([a.creditUs, b.creditUs, c.creditUs], [-15_000, 4_999, -2_000])
  b.creditUs = -1_000_000
  a.creditUs = -1_000_000
  c.creditUs = -1_000_000
  t.equal(pick([c, a, b]), a)
  t.equal(pick([]), null)
})

t.test('a long run returns its permit, once', async (t) => {
  const slow = setUp(t, {}, { permits: 1 })
  const other = slow.another({})
  const [waiting, quick] = [new Asker(), new Asker()]
  accept(slow.lane, waiting)
  slow.scheduler.wake(slow.lane)
  await turn()
  accept(other.lane, quick)
  slow.scheduler.wake(other.lane)
  await turn()
  t.equal(other.runner.calls.length, 0)
  const startMs = performance.now()
  await until(() => other.runner.calls.length === 1)
  t.ok(performance.now() - startMs > 200, 'after a while')
  slow.runner.finish(0)
  other.runner.finish(0)
  await until(() => waiting.answers.length + quick.answers.length === 2)
  for (const { lane } of [slow, other]) accept(lane, new Asker())
  for (const { lane } of [slow, other]) slow.scheduler.wake(lane)
  await turn()
  t.equal(slow.scheduler.running, 1, 'there is still one permit, not two')
  slow.finishAll()
  other.finishAll()
})

t.test('a hung run is told once, and again when it answers after all', async (t) => {
  const hung = setUp(t, { timeoutMs: 30 }, { hangMs: 60 })
  const asker = new Asker()
  accept(hung.lane, asker)
  hung.scheduler.wake(hung.lane)
  await until(() => hung.hangs() === 1)
  t.equal(asker.errors[0]?.code, 'ERR_DEADLINE', 'the caller has not waited for that')
  await sleep(40)
  t.equal(hung.hangs(), 1)
  t.equal(hung.hangsEnded(), 0)
  hung.runner.finish(0)
  await until(() => hung.hangsEnded() === 1)
  t.equal(asker.answers.length, 0)
  t.equal(hung.settled(), 1)
})

t.test('a run that may legally take so long does not hang', async (t) => {
  const slow = setUp(t, { legalMs: 150 }, { hangMs: 20 })
  const askedMs = performance.now()
  accept(slow.lane, new Asker())
  slow.scheduler.wake(slow.lane)
  await until(() => slow.hangs() === 1)
  t.ok(performance.now() - askedMs > 150, 'its own limit counts, not that of the node')
  slow.finishAll()
})

t.test('a run that is lost costs its batch a 503, and nobody else', async (t) => {
  const { lane, scheduler, runner, settled } = setUp(t, { batchMax: 2 }, { permits: 2 }, 2)
  const askers = Array.from({ length: 4 }, () => new Asker())
  for (const asker of askers) {
    accept(lane, asker)
    scheduler.wake(lane)
  }
  await until(() => runner.calls.length === 2)
  runner.crash(0)
  runner.finish(1)
  await until(() => settled() === 4)
  t.same(
    askers.map(({ errors, answers }) => errors[0]?.code ?? answers.length),
    ['ERR_WORKER_LOST', 'ERR_WORKER_LOST', 1, 1],
  )
  t.equal(ERROR_TABLE.ERR_WORKER_LOST.status, 503)
})
