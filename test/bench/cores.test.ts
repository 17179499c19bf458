/**
 * Goal: the model of more cores says what its formula says, and what counting costs is measured.
 * Method: costs with a known answer; the real recorder.
 */

import t from 'tap'
import { countingCost } from '../../bench/counting.ts'
import { coresText, figuresOf } from '../../bench/scale/cores.ts'

t.test('more cores, by the model', async (t) => {
  const cost = { loopUs: 15, threadUs: 5 }
  const one = figuresOf(2, cost)
  t.match(one, { processes: 2, perSecond: 100_000 })
  t.match(figuresOf(1, cost), { processes: 1, perSecond: 50_000, spreadPerSecond: 50_000 })
  const many = figuresOf(64, cost)
  t.match(many, { processes: 48, perSecond: 3_200_000 })
  t.ok(many.spreadPerSecond < many.perSecond * 0.7, 'connections are not spread evenly')
  t.match(coresText({ ...cost, sizes: [one, many] }), /64 cores, 48 processes: 3,200,000\/s/)
})

t.test('counting a request', async (t) => {
  const { answerUs, batchUs, keyUs } = countingCost()
  for (const us of [answerUs, batchUs, keyUs]) t.ok(us > 0 && us < 100, `${us} µs`)
})
