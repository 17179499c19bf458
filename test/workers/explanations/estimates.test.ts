/**
 * Goal: estimates are right. Shapley values by sampling meet the exact ones within their sampling
 * error, always add up to prediction minus base value, and give nothing to a feature that does
 * nothing; ICE is exact. The same row is explained alike, in one go or in slices.
 *
 * Method: models that are plain functions; exact values by enumeration of all coalitions; rows and
 * backgrounds of a printed seed. The sampling error is measured: many seeds, mean and spread.
 */

import t from 'tap'
import {
  type Explaining,
  exactShapley,
  explain,
  type ModelFunction,
} from '../../tools/explaining.ts'
import { randomOf } from '../../tools/random.ts'

const random = randomOf()
t.comment(`SEED=${random.seed}`)

const FEATURES = 7

function rowsOf(count: number): number[][] {
  return Array.from({ length: count }, () =>
    Array.from({ length: FEATURES }, () => 2 * random.next() - 1),
  )
}

const at = (row: readonly number[], i: number): number => row[i] ?? Number.NaN

/** x6 does nothing. */
const linear: ModelFunction = (x) => 3 + 2 * at(x, 0) - at(x, 1) + 0.5 * at(x, 2) + 4 * at(x, 3)

const entangled: ModelFunction = (x) =>
  at(x, 0) * at(x, 1) +
  Math.max(at(x, 1), at(x, 2)) * at(x, 3) +
  (at(x, 4) > 0 && at(x, 0) > 0 && at(x, 3) > 0 ? 2 : 0) +
  Math.sin(3 * at(x, 5))

const sumOf = (values: readonly number[]): number => values.reduce((sum, one) => sum + one, 0)

function ofSeeds(asked: Explaining, seeds: number): number[][] {
  return Array.from({ length: seeds }, (_, seed) => [
    ...explain({ ...asked, seed: seed * 7_919 + 1 }).contributions,
  ])
}

t.test('a linear model', async (t) => {
  const [row = [], ...background] = rowsOf(301)
  const mean = row.map((_, i) => sumOf(background.map((one) => at(one, i))) / background.length)
  const weights = [2, -1, 0.5, 4, 0, 0, 0]
  const exact = weights.map((weight, i) => weight * (at(row, i) - at(mean, i)))
  const asked = { model: linear, row, background }
  for (const steps of [25, 100, 1_000]) {
    const estimates = ofSeeds({ ...asked, permutations: steps }, 40)
    for (const [i, value] of exact.entries()) {
      const drawn = estimates.map((one) => at(one, i))
      const center = sumOf(drawn) / drawn.length
      const spread = Math.sqrt(sumOf(drawn.map((one) => (one - center) ** 2)) / drawn.length)
      // Values of a feature spread by 0.58 in [-1, 1], and a step draws one of them.
      const expected = (0.58 * Math.abs(at(weights, i))) / Math.sqrt(steps)
      t.ok(spread <= 1.5 * expected + 1e-12, `${steps} steps, x${i}: spread ${spread}`)
      const bound = (5 * expected) / Math.sqrt(drawn.length) + 1e-12
      t.ok(Math.abs(center - value) <= bound, `${steps} steps, x${i}: ${center} for ${value}`)
    }
  }
  const few = background.slice(0, 20)
  const means = row.map((_, i) => sumOf(few.map((one) => at(one, i))) / few.length)
  const { contributions } = explain({ ...asked, background: few })
  for (const [i, weight] of weights.entries()) {
    const value = weight * (at(row, i) - at(means, i))
    t.ok(Math.abs(at(contributions, i) - value) < 1e-9, 'exact where all rows are drawn alike')
  }
})

t.test('a model of interactions, against all coalitions', async (t) => {
  for (const size of [1, 6, 40]) {
    const [row = [], ...background] = rowsOf(size + 1)
    const asked = { model: entangled, row, background }
    const exact = exactShapley(entangled, row, background)
    const base = sumOf(background.map(entangled)) / size
    t.ok(Math.abs(sumOf(exact) - (entangled(row) - base)) < 1e-9, 'the yardstick adds up')
    const estimates = ofSeeds({ ...asked, permutations: 100 }, 60)
    for (const [i, value] of exact.entries()) {
      const drawn = estimates.map((one) => at(one, i))
      const center = sumOf(drawn) / drawn.length
      const spread = Math.sqrt(sumOf(drawn.map((one) => (one - center) ** 2)) / drawn.length)
      const error = Math.abs(center - value)
      t.ok(error <= (5 * spread) / Math.sqrt(drawn.length) + 1e-9, `x${i}: no bias, ${error}`)
      t.ok(spread < 0.15, `x${i}: 100 steps are enough for ${spread}`)
      if (i === 6) t.ok(Math.abs(value) + spread < 1e-12, 'what does nothing gets nothing')
    }
    const many = explain({ ...asked, permutations: 1_000 })
    for (const [i, value] of exact.entries()) {
      t.ok(Math.abs(at(many.contributions, i) - value) < 0.08, `x${i} of 1,000 steps`)
    }
  }
})

t.test('contributions add up, whatever is drawn', async (t) => {
  for (let i = 0; i < 100; i++) {
    const size = 1 + random.below(120)
    const [row = [], ...background] = rowsOf(size + 1)
    const permutations = 25 + random.below(100)
    const asked = { model: entangled, row, background, permutations, seed: random.below(2 ** 32) }
    const { contributions, base } = explain(asked)
    const expected = sumOf(background.map(entangled)) / size
    t.ok(Math.abs((base ?? Number.NaN) - expected) < 1e-9, 'the base is the mean')
    const missing = entangled(row) - expected - sumOf(contributions)
    t.ok(Math.abs(missing) < 1e-9, `${size} rows, ${permutations} steps: ${missing}`)
  }
  const flat: ModelFunction = (x) => (at(x, 0) > 5 ? 1 : 0)
  const [, ...background] = rowsOf(31)
  const outlier = [9, 0, 0, 0, 0, 0, 0]
  const rare = [outlier, ...background]
  const { contributions } = explain({ model: flat, row: at0(background), background: rare })
  const off = sumOf(contributions) + 1 / rare.length
  t.ok(Math.abs(off) < 1e-12, 'also where most starts score the same')
  t.ok(contributions.slice(1).every((one) => Math.abs(one) < 1e-12))
})

function at0(rows: readonly (readonly number[])[]): readonly number[] {
  return rows[0] ?? []
}

t.test('values that are the same are not run', async (t) => {
  const model: ModelFunction = (x) => at(x, 0) + at(x, 1)
  const background = [
    [1, 2, 3],
    [4, 2, 3],
  ]
  const alike = explain({ model, row: [4, 2, 3], background })
  t.same(alike.contributions, [1.5, 0, 0])
  t.equal(alike.rows, 1, 'but for the row itself')
  const ice = explain({ model, row: [4, 2, 3], background, method: 'ICE' })
  t.same(ice.contributions, [1.5, 0, 0])
  t.equal(ice.rows, 2)
})

t.test('ICE is exact', async (t) => {
  const [row = [], ...some] = rowsOf(51)
  // Values that come often, as those of categories do.
  const background = some.map((one) => one.map((value, i) => (i < 3 ? Math.round(value) : value)))
  const prediction = entangled(row)
  const exact = row.map((_, i) => {
    const curve = background.map((other) =>
      entangled(row.map((value, j) => (i === j ? at(other, i) : value))),
    )
    return prediction - sumOf(curve) / curve.length
  })
  const { contributions, base, rows } = explain({
    model: entangled,
    row,
    background,
    method: 'ICE',
  })
  for (const [i, value] of exact.entries()) {
    t.ok(Math.abs(at(contributions, i) - value) < 1e-9, `x${i}: ${value}`)
  }
  t.equal(base, null)
  t.ok(rows <= 1 + 3 * 3 + 4 * 50, `equal values are run once: ${rows}`)
})

t.test('slices and runs of any size give the very same', async (t) => {
  const [row = [], ...background] = rowsOf(24)
  for (const method of ['SHAPLEY', 'ICE'] as const) {
    const asked = { model: entangled, row, background, method, seed: 77, permutations: 33 }
    const whole = explain({ ...asked, runs: [4_096] })
    t.same(explain({ ...asked, runs: [4_096] }), whole, 'drawn alike each time')
    for (const runs of [[1], [5], [64], [3, 1, 40]]) {
      for (const isSliced of [false, true]) {
        t.same(explain({ ...asked, runs, isSliced }), whole, `${method}, runs of ${runs}`)
      }
    }
  }
  const asked = { model: entangled, row, background, permutations: 33 }
  t.notSame(explain({ ...asked, seed: 1 }), explain({ ...asked, seed: 2 }), 'chance is at work')
})
