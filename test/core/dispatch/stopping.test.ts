/**
 * Goal: a lane whose runs do harm is stopped at once and for as long as it must be, answers on time
 * whatever became of its threads, and leaves a note of what it was running.
 *
 * Method: the real lanes and scheduler over runners that the test finishes by hand.
 */

import t from 'tap'
import { AppError, ERROR_TABLE } from '../../../core/base/errors.ts'
import { Asker, accept, refusalOf, setUp, turn } from '../../tools/dispatching.ts'
import { until } from '../../tools/waiting.ts'

t.test('a lane that is stopped answers all who wait and all who come, until resumed', async (t) => {
  const { lane, scheduler, runner, settled } = setUp(t, { batchMax: 1 })
  const askers = Array.from({ length: 5 }, () => new Asker())
  for (const asker of askers) {
    accept(lane, asker)
    scheduler.wake(lane)
  }
  await turn()
  const { ERR_POOL_DOWN } = ERROR_TABLE
  scheduler.stopLane(lane, new AppError('ERR_POOL_DOWN'))
  t.same(
    askers.map(({ errors }) => errors[0]?.status),
    [undefined, ...new Array(4).fill(ERR_POOL_DOWN.status)],
  )
  t.equal(refusalOf(lane), 'ERR_POOL_DOWN')
  runner.finish(0)
  await until(() => settled() === 5)
  t.equal(askers[0]?.answers.length, 1, 'what was running is answered')
  scheduler.stopLane(lane, new AppError('ERR_ENDPOINT_CRASHES'))
  t.equal(refusalOf(lane), 'ERR_ENDPOINT_CRASHES', 'the newest reason is told')
  lane.resume()
  const again = new Asker()
  accept(lane, again)
  scheduler.wake(lane)
  await until(() => runner.calls.length === 2)
  runner.finish(1)
  await until(() => again.answers.length === 1)
})

t.test('whose only thread is lost still answers on time, stopped or not', async (t) => {
  const { lane, scheduler, runner, hangs } = setUp(
    t,
    { timeoutMs: 60, batchMax: 1 },
    { hangMs: 80 },
  )
  accept(lane, new Asker())
  scheduler.wake(lane)
  await until(() => hangs() === 1)
  const lateMs: number[] = []
  for (let i = 0; i < 10; i++) {
    const asker = new Asker()
    accept(lane, asker)
    scheduler.wake(lane)
    await until(() => asker.errors.length === 1)
    t.equal(asker.errors[0]?.code, 'ERR_DEADLINE')
    lateMs.push(asker.endedMs - asker.bornMs - 60)
  }
  t.ok(Math.min(...lateMs) >= 0, 'never early')
  const median = lateMs.sort((a, b) => a - b)[5] ?? 0
  t.ok(median < 20, `within 20 ms: ${median.toFixed(1)}, at worst ${lateMs.at(-1)?.toFixed(1)}`)
  const waiting = new Asker()
  accept(lane, waiting)
  scheduler.wake(lane)
  await turn()
  scheduler.stopLane(lane, new AppError('ERR_ENDPOINT_HANGS'))
  t.equal(waiting.errors[0]?.code, 'ERR_ENDPOINT_HANGS', 'nobody waits for a stopped lane')
  t.equal(refusalOf(lane), 'ERR_ENDPOINT_HANGS')
  t.equal(runner.calls.length, 1)
})

t.test('the witness knows every batch before its thread does, and forgets it after', async (t) => {
  const log: string[] = []
  const witness = {
    enter: (subject: string) => log.push(`enter ${subject}`),
    leave: (record: number) => void log.push(`leave ${record}`),
  }
  const side = setUp(t, { batchMax: 1 }, { witness }, 2)
  for (let i = 0; i < 2; i++) {
    accept(side.lane, new Asker())
    side.scheduler.wake(side.lane)
  }
  await turn()
  t.equal(side.runner.calls.length, 2)
  t.same(log, ['enter svc/g/score', 'enter svc/g/score'])
  side.runner.finish(0)
  await until(() => log.length === 3)
  side.runner.crash(1)
  await until(() => log.length === 4)
  t.same(log.slice(2), ['leave 1', 'leave 2'], 'also when the thread was lost')
  const waits = side.another({ permit: false, witnessed: false })
  accept(waits.lane, new Asker())
  side.scheduler.wake(waits.lane)
  await turn()
  t.equal(waits.runner.open, 1)
  t.equal(log.length, 4, 'what waits is not noted')
})
