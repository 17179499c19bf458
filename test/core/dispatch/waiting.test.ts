/**
 * Goal: lanes of endpoints that wait for children and databases neither hold up those that compute
 * nor are held up by them; what their runs answer, bytes and answers of the code's own making
 * included, reaches the right caller with the right status.
 *
 * Method: the real lanes and scheduler over runners that the test finishes by hand.
 */

import t from 'tap'
import { AppError } from '../../../core/base/errors.ts'
import { PackedBatch } from '../../../core/dispatch/batch.ts'
import type { LaneObserver } from '../../../core/dispatch/lane-listeners.ts'
import type { RawAnswer, RequestFacts } from '../../../workers/protocol.ts'
import { Asker, accept, bodyOf, setUp, sleep, turn } from '../../tools/dispatching.ts'
import { until } from '../../tools/waiting.ts'

const WAITS = { permit: false, batchMax: 1 }

function raw(index: number, status: number): RawAnswer {
  return { index, status, headers: [['x-a', 'b']], body: bodyOf('raw') }
}

t.test('what waits is served while every permit is taken, and takes none', async (t) => {
  const computing = setUp(t, {}, { permits: 1 })
  const waiting = computing.another(WAITS)
  const { scheduler } = computing
  accept(computing.lane, new Asker())
  scheduler.wake(computing.lane)
  await turn()
  t.equal(computing.runner.calls.length, 1)
  const first = new Asker()
  accept(waiting.lane, first)
  scheduler.wake(waiting.lane)
  await turn()
  t.equal(waiting.runner.calls.length, 1, 'there is no permit, and it needs none')
  t.equal(scheduler.running, 2)
  accept(waiting.lane, new Asker())
  scheduler.wake(waiting.lane)
  await turn()
  t.equal(waiting.runner.calls.length, 1, 'its runner has one place')
  waiting.runner.finish(0)
  await until(() => waiting.runner.calls.length === 2)
  t.equal(first.answers.length, 1)
  computing.runner.finish(0)
  await until(() => scheduler.running === 1)
  const second = new Asker()
  accept(computing.lane, second)
  scheduler.wake(computing.lane)
  await turn()
  t.equal(computing.runner.calls.length, 2, 'the permit is free though a wait goes on')
  const other = computing.another({})
  accept(other.lane, new Asker())
  scheduler.wake(other.lane)
  await turn()
  t.equal(other.runner.calls.length, 0, 'there is still one permit, not two')
  waiting.runner.finish(1)
  await turn()
  t.equal(other.runner.calls.length, 0, 'and the end of a wait brings none')
  for (const side of [computing, waiting, other]) side.finishAll()
})

t.test('a wait of any length gives back no permit that it never had', async (t) => {
  const computing = setUp(t, { batchMax: 1 }, { permits: 1 })
  const waiting = computing.another(WAITS)
  const { scheduler } = computing
  accept(waiting.lane, new Asker())
  scheduler.wake(waiting.lane)
  await turn()
  await sleep(330)
  for (let i = 0; i < 2; i++) {
    accept(computing.lane, new Asker())
    scheduler.wake(computing.lane)
  }
  await turn()
  t.equal(computing.runner.calls.length, 1, 'one permit is one run')
  waiting.runner.finish(0)
  await until(() => scheduler.running === 1)
  t.equal(computing.runner.calls.length, 1)
  computing.runner.finish(0)
  await until(() => computing.runner.calls.length === 2)
  computing.finishAll()
})

t.test('two verbs of one runner take turns, others have their own', async (t) => {
  const single = setUp(t, WAITS, { permits: 1 })
  const multi = single.another({ ...WAITS, verb: 'multi', runner: single.runner })
  const apart = single.another(WAITS)
  for (let i = 0; i < 6; i++) {
    for (const [side, name] of [
      [single, 's'],
      [multi, 'm'],
      [apart, 'a'],
    ] as const) {
      accept(side.lane, new Asker(), name)
      single.scheduler.wake(side.lane)
    }
  }
  for (let run = 0; run < 12; run++) {
    await until(() => single.runner.calls.length === run + 1)
    single.runner.finish(run)
  }
  const order = single.runner.calls.map((_, run) => single.runner.bodies(run)[0])
  t.equal(order.slice(0, 6).filter((body) => body === 'm').length, 3, order.join(''))
  t.equal(apart.runner.calls.length, 1)
  apart.finishAll()
})

t.test('every place of a runner is used, and none for callers that have gone', async (t) => {
  const side = setUp(t, WAITS, { permits: 1 }, 5)
  const askers = Array.from({ length: 8 }, () => new Asker())
  for (const asker of askers) {
    accept(side.lane, asker)
    side.scheduler.wake(side.lane)
  }
  await turn()
  t.equal(side.runner.open, 5)
  const leaving = askers[6]
  if (leaving !== undefined) leaving.done = true
  side.runner.finish(2)
  await until(() => side.runner.calls.length === 6)
  side.finishAll()
  await until(() => askers.filter(({ answers }) => answers.length === 1).length === 7)
  t.equal(side.runner.calls.length, 7, 'nobody waits for the one that has gone')
})

t.test('what waits and hangs is told at the time that is legal for it', async (t) => {
  const side = setUp(t, { ...WAITS, timeoutMs: 20, legalMs: 120 }, { hangMs: 10 })
  const asker = new Asker()
  accept(side.lane, asker)
  side.scheduler.wake(side.lane)
  await until(() => side.hangs() === 1)
  t.ok(performance.now() - asker.bornMs > 120)
  t.equal(asker.errors[0]?.code, 'ERR_DEADLINE')
  side.runner.finish(0)
  await until(() => side.hangsEnded() === 1)
})

t.test('facts travel with their request, and with no batch that has none', async (t) => {
  const { lane } = setUp(t, {})
  accept(lane, new Asker(), 'a')
  accept(lane, new Asker(), 'b')
  t.notOk('requests' in new PackedBatch(lane, lane.take(), performance.now()).toJob())
  const facts: RequestFacts = { method: 'GET', path: '/p', query: 'q=1', headers: [['a', 'b']] }
  accept(lane, new Asker(), 'a')
  lane.enter(new Asker(), bodyOf(''), { facts })
  const job = new PackedBatch(lane, lane.take(), performance.now()).toJob()
  t.same(job.requests, [{ method: 'POST', path: '', query: '', headers: [] }, facts])
  t.same(structuredClone(job.requests), job.requests, 'as a thread gets them')
  t.same([...job.ends], [1, 1])
})

/** What one batch of `count` requests is told and counted as. */
function watched() {
  const statuses: number[] = []
  const observer: LaneObserver = {
    answered: (status) => statuses.push(status),
    queuedBatch: () => {},
    batch: () => {},
  }
  return { statuses, observer }
}

/** As an exchange whose large answer nobody has room for. */
class Refusing extends Asker {
  requestId: string | null = null

  override replyJson(): void {
    this.requestId = 'number'
    this.replyError(new AppError('ERR_BUDGET_FULL'))
  }
}

t.test('an answer that was refused for its size is counted as what was given', async (t) => {
  const { statuses, observer } = watched()
  const { lane, scheduler, runner } = setUp(t, { observer })
  for (const asker of [new Refusing(), new Asker()]) {
    accept(lane, asker)
    scheduler.wake(lane)
  }
  await turn()
  runner.finish(0)
  await until(() => statuses.length === 2)
  t.same(statuses, [503, 200])
})

t.test('bytes, raw answers and failures reach their callers and are counted', async (t) => {
  const { statuses, observer } = watched()
  const side = setUp(t, { observer })
  const askers = Array.from({ length: 9 }, () => new Asker())
  for (const asker of askers) {
    accept(side.lane, asker)
    side.scheduler.wake(side.lane)
  }
  await turn()
  const gone = askers.at(-1)
  if (gone !== undefined) gone.done = true
  const bytes = bodyOf('{"é":1}')
  const code = 'ERR_CODE_RAISED'
  side.runner.finishWith(0, {
    kind: 'answers',
    bodies: [bytes, '', '', '', '', '', '', '', ''],
    raw: [raw(1, 302), raw(2, 199), raw(3, 600), raw(4, 200.5), raw(8, 200), raw(99, 200)],
    failures: [
      { index: 5, code, detail: 'x', status: 418 },
      { index: 6, code, detail: 'x', status: 200 },
      { index: 7, code, detail: 'x' },
    ],
    executeUs: 1,
  })
  await until(() => side.settled() === 9)
  t.equal(askers[0]?.answers[0], bytes, 'the bytes themselves')
  t.match(askers[1]?.raws, [{ status: 302, headers: [['x-a', 'b']] }])
  const errors = askers.map(({ errors }) => errors.map((error) => [error.code, error.status]))
  const refused = [['ERR_ANSWER_INVALID', 500]]
  t.same(errors.slice(2, 5), [refused, refused, refused])
  t.same(errors.slice(5), [[[code, 418]], [[code, 500]], [[code, 500]], []])
  t.match(askers[3]?.errors[0]?.message, /status is 600/)
  t.ok(askers.slice(0, 8).every((one) => one.replies === 1))
  t.equal(askers[8]?.replies, 0, 'who has gone is not answered')
  t.same(statuses.sort(), [200, 302, 418, 500, 500, 500, 500, 500])
})
