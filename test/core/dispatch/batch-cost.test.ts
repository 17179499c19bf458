/**
 * Goal: threads that are free share a backlog where that pays, by what batches really cost.
 * Method: batches of known cost, with and without what the forge has measured; lanes that are asked
 * for a part of what waits.
 */

import t from 'tap'
import { BatchCost } from '../../../core/dispatch/batch-cost.ts'
import { Asker, accept, setUp, turn } from '../../tools/dispatching.ts'
import { randomOf } from '../../tools/random.ts'

const NOTHING = { fixedUs: 0, perRowUs: 0 }

t.test('what the forge has measured holds until batches have run', async (t) => {
  t.equal(new BatchCost({ fixedUs: 20, perRowUs: 10 }).worth, 20, '4 × (20 + 30) / 10')
  t.equal(new BatchCost({ fixedUs: 100, perRowUs: 5_000 }).worth, 1)
  t.equal(new BatchCost(NOTHING).worth, Number.POSITIVE_INFINITY, 'nothing is known')
})

t.test('what batches take corrects it', async (t) => {
  const random = randomOf()
  for (const [fixedUs, perRowUs] of [
    [20, 5],
    [500, 100],
    [0, 2_000],
  ] as const) {
    for (const prior of [NOTHING, { fixedUs: 1_000, perRowUs: 1 }]) {
      const cost = new BatchCost(prior)
      for (let i = 0; i < 500; i++) {
        const rows = 1 + random.below(64)
        const noise = 0.9 + random.below(200) / 1_000
        cost.ran(rows, (fixedUs + rows * perRowUs) * noise)
      }
      const right = (4 * (fixedUs + 30)) / perRowUs
      t.ok(cost.worth >= Math.floor(right * 0.3), `${cost.worth} of ${right}`)
      t.ok(cost.worth <= Math.ceil(right * 3) + 8, `${cost.worth} of ${right}`)
    }
  }
})

t.test('batches of one size change the height of the line, not its form', async (t) => {
  const cost = new BatchCost({ fixedUs: 70, perRowUs: 10 })
  for (let i = 0; i < 100; i++) cost.ran(8, 2 * 180 - 30)
  t.equal(cost.worth, 40)
})

t.test('a split backlog', async (t) => {
  const sizes = async (cost: typeof NOTHING, threads: number, waiting: number) => {
    const { lane, scheduler, runner } = setUp(t, { cost }, { permits: threads }, threads)
    for (let i = 0; i < waiting; i++) {
      accept(lane, new Asker())
      scheduler.wake(lane)
    }
    await turn()
    return runner.calls.map((_, i) => runner.bodies(i).length)
  }
  const heavy = { fixedUs: 10, perRowUs: 5_000 }
  const small = { fixedUs: 20, perRowUs: 5 }
  t.same(await sizes(heavy, 3, 10), [4, 3, 3], 'each thread has its part')
  t.same(await sizes(heavy, 4, 2), [1, 1])
  t.same(await sizes(small, 3, 60), [40, 20], 'no part is smaller than what is worth it')
  t.same(await sizes(small, 3, 10), [10])
  t.same(await sizes(heavy, 1, 10), [10])
  t.same(await sizes(NOTHING, 3, 10), [10], 'nothing is known')
})
