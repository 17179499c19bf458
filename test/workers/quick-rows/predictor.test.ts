/**
 * Goal: whether a body is parsed or read in place makes no difference to its caller.
 * Method: the same rows, good and bad ones, to a predictor that knows how they are written and to
 * one that does not.
 */

import t from 'tap'
import { ask, open, type Result, releaseAll } from '../../tools/asking.ts'
import { regressor } from '../../tools/onnx-models.ts'
import { summing } from '../../tools/plans.ts'

t.teardown(releaseAll)

t.test('rows that were read without parsing get the same answers', async (t) => {
  const names = ['x0', 'x1', 'x2']
  const plan = summing('', 3)
  const bodyOf = (values: readonly unknown[], space = 0) =>
    JSON.stringify(
      { features: Object.fromEntries(names.map((name, i) => [name, values[i]])) },
      null,
      space,
    )
  const rows = [
    [1, 2, 3],
    [0.1, -0.25, 1e3],
    [1, 2, 1e300],
    [1, null, 3],
    [1, 'x', 3],
    [1, 2],
    [4, 5, 6],
  ]
  const first = await ask(
    await open(regressor(3), plan),
    rows.map((row) => bodyOf(row, 1)),
  )
  const again = await open(regressor(3), plan)
  await ask(again, [bodyOf([9, 9, 9])])
  const quick = await ask(
    again,
    rows.map((row) => bodyOf(row)),
  )
  const told = ({ code, detail, result }: Result) => ({ code, detail, result })
  t.strictSame(quick.map(told), first.map(told))
  t.match(quick[2], {
    code: 'ERR_FEATURE_INVALID',
    detail: 'feature "x2" is out of the range of float32',
  })
  const items = rows.map((row) => JSON.parse(bodyOf(row)))
  const multi = await ask(again, [{ items: [items[0], items[1]] }, { items }, { items }], 'multi')
  t.same(multi[1]?.results, multi[2]?.results)
})
