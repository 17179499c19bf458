/**
 * Goal: the table of percentiles is evenly spaced quantiles, in order and between 0 and 1.
 * Method: figures with a known answer, and properties over scores of a fixed seed.
 */

import t from 'tap'
import { quantiles } from '../../../workers/drafts/quantiles.ts'
import { randomOf } from '../../tools/random.ts'

t.test('quantiles of known scores', async (t) => {
  t.same(quantiles([0.5, 0.1]), [0.1, 0.5])
  t.same(quantiles([0.3, 0.1, 0.2]), [0.1, 0.2, 0.3], 'of few scores each is one')
  const scores = Array.from({ length: 201 }, (_, i) => i / 200)
  t.same(
    quantiles(scores.toReversed()),
    Array.from({ length: 101 }, (_, i) => i / 100),
  )
  const pairs = Array.from({ length: 202 }, (_, i) => i / 201)
  t.equal(quantiles(pairs)[50], 0.5, 'between two scores')
  t.same(quantiles([0.25, 0.25, 0.25]), [0.25, 0.25, 0.25])
  t.throws(() => quantiles([0.5]), /need 2 rows with a score, there are 1/)
})

t.test('whatever the scores are, the table ascends', async (t) => {
  const random = randomOf(7)
  for (const count of [2, 50, 101, 102, 5_000]) {
    const scores = Array.from({ length: count }, () => random.next() ** 9)
    const table = quantiles(scores)
    t.equal(table.length, Math.min(101, count))
    t.ok(table.every((value, i) => value >= (table[i - 1] ?? 0) && value <= 1))
    t.ok(Math.abs((table[0] ?? 1) - Math.min(...scores)) < 1e-7)
    t.ok(Math.abs((table.at(-1) ?? 0) - Math.max(...scores)) < 1e-7)
  }
})
