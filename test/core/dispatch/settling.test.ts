/**
 * Goal: whatever the order of arrivals, departures, failures and deadlines, every request that a
 * lane accepts settles exactly once, and every answer is counted exactly once.
 *
 * Method: random histories, by a seed that is printed, over real lanes and the real scheduler.
 */

import fc from 'fast-check'
import t from 'tap'
import { Fifo } from '../../../core/dispatch/fifo.ts'
import type { Lane } from '../../../core/dispatch/lane.ts'
import { Pending } from '../../../core/dispatch/pending.ts'
import { Asker, bodyOf, setUp, sleep, turn } from '../../tools/dispatching.ts'
import { until } from '../../tools/waiting.ts'

t.test('Fifo behaves as an array does', async (t) => {
  const seed = Date.now() | 0
  t.comment(`seed ${seed}`)
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.nat().map((n) => ({ kind: 'push', n }) as const) },
    { weight: 4, arbitrary: fc.constant({ kind: 'shift', n: 0 } as const) },
    { weight: 1, arbitrary: fc.nat({ max: 5 }).map((n) => ({ kind: 'keep', n }) as const) },
  )
  const property = fc.property(fc.array(step, { maxLength: 400, size: 'max' }), (steps) => {
    const fifo = new Fifo<number>()
    let model: number[] = []
    for (const { kind, n } of steps) {
      if (kind === 'push') {
        fifo.push(n)
        model.push(n)
      } else if (kind === 'shift') {
        if (fifo.shift() !== model.shift()) throw new Error('shift differs')
      } else {
        fifo.keep((item) => item % 5 !== n)
        model = model.filter((item) => item % 5 !== n)
      }
      if (fifo.size !== model.length || fifo.peek() !== model[0]) throw new Error('state differs')
    }
    while (model.length > 0) if (fifo.shift() !== model.shift()) throw new Error('order differs')
  })
  fc.assert(property, { seed, numRuns: 200 })
})

/** What happens more often stands here more often. */
const KINDS = 'ask ask ask leave finish finish crash fail turn wait'.split(' ')
const oneStep = fc.record({
  kind: fc.constantFrom(...KINDS),
  lane: fc.nat({ max: 3 }),
  which: fc.nat(),
})

t.test('any order of arrivals, departures, failures: each settles exactly once', async (t) => {
  const seed = Date.now() | 0
  t.comment(`seed ${seed}`)
  const steps = fc.array(oneStep, { minLength: 20, maxLength: 120, size: 'max' })
  const property = fc.asyncProperty(steps, async (plan) => {
    const first = setUp(t, { batchMax: 3, requestsMax: 6, timeoutMs: 12 }, { permits: 2 })
    const second = first.another({ batchMax: 1, serial: true, bytesMax: 4, timeoutMs: 1_000 })
    const waits = first.another({ batchMax: 1, permit: false, timeoutMs: 12 })
    const third = first.another({ verb: 'multi', runner: first.runner, timeoutMs: 1_000 })
    const sides = [first, second, third, waits]
    const entered: { asker: Asker; pending: Pending; lane: Lane }[] = []
    for (const { kind, lane: index, which } of plan) {
      const side = sides[index]
      if (side === undefined) continue
      const run = side.runner.openRun(which)
      if (kind === 'turn') await turn()
      else if (kind === 'wait') await sleep(3)
      else if (kind === 'ask') {
        const asker = new Asker()
        const pending = side.lane.enter(asker, bodyOf('b'))
        if (!(pending instanceof Pending)) continue
        first.scheduler.wake(side.lane)
        entered.push({ asker, pending, lane: side.lane })
      } else if (kind === 'leave') {
        const gone = entered[which % Math.max(1, entered.length)]
        if (gone === undefined || gone.asker.done) continue
        gone.asker.done = true
        if (which % 2 === 0) gone.lane.settle(gone.pending)
      } else if (run !== null) {
        if (kind === 'finish') side.runner.finish(run)
        else if (kind === 'crash') side.runner.crash(run)
        else side.runner.failFirst(run)
      }
    }
    for (const side of sides) side.finishAll()
    const settled = () => sides.reduce((sum, side) => sum + side.settled(), 0)
    await until(() => settled() === entered.length)
    await until(() => first.scheduler.running === 0)
    let told = 0
    for (const { asker, pending } of entered) {
      const replies = asker.answers.length + asker.errors.length
      told += replies
      if (pending.open || replies > 1) throw new Error(`${replies} replies`)
      if (replies === 0 && !asker.left) throw new Error('no reply for a caller who waits')
    }
    const answered = sides.reduce((sum, side) => sum + side.answered(), 0)
    if (answered !== told) throw new Error(`${answered} answers were counted of ${told}`)
    for (const { lane } of sides) if (lane.waiting !== 0) throw new Error('the lane is not empty')
  })
  await fc.assert(property, { seed, numRuns: 40 })
})
