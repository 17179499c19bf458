/**
 * Goal: a feature reaches the model as the caller meant it, or the caller is told its name and what
 * is wrong; nothing wraps, is cut or becomes NaN on the way.
 *
 * Method: models that answer their input as they got it, one for each element type.
 */

import t, { type Test } from 'tap'
import type { Datatype } from '../../../core/bundle/plan.ts'
import { Columns } from '../../../workers/onnx/columns.ts'
import type { Predictor } from '../../../workers/onnx/predictor.ts'
import { ask, bare, type Cases, column, jsonOf, open, releaseAll, sum } from '../../tools/asking.ts'
import { regressor } from '../../tools/onnx-models.ts'
import { feature, jobOf, summing } from '../../tools/plans.ts'

t.teardown(releaseAll)

/** A RegExp stands for a refusal whose detail matches, anything else for the prediction. */
async function check(t: Test, predictor: Predictor, cases: Cases): Promise<void> {
  const answers = await ask(
    predictor,
    cases.map(([given]) => `{"features":{"v":${jsonOf(given)}}}`),
  )
  for (const [i, [given, wanted]] of cases.entries()) {
    const label = `${jsonOf(given)?.slice(0, 40)}`
    if (wanted instanceof RegExp) {
      t.match(answers[i], { code: 'ERR_FEATURE_INVALID', detail: wanted }, label)
      t.match(answers[i]?.detail, /^feature "v" /, 'the feature is named')
    } else t.equal(sum(answers[i]), wanted, label)
  }
}

t.test('numbers: what fits, what is text, what is refused', async (t) => {
  await check(t, await column('float32', {}), [
    [1.5, 1.5],
    ['1.5', 1.5],
    [' -2e3 ', -2000],
    ['.5', 0.5],
    ['7.', 7],
    ['+3', 3],
    ['9007199254740993', 9007199254740992],
    [null, /is missing/],
    [bare('NaN'), /is missing/],
    ['', /is missing/],
    ['nan', /is missing/],
    [bare('Infinity'), /out of the range of float32/],
    [bare('-Infinity'), /out of the range of float32/],
    [bare('1e400'), /out of the range/],
    ['1e400', /out of the range/],
    [3.5e38, /out of the range/],
    ['Infinity', /must be a number, got "Infinity"/],
    ['0x10', /must be a number/],
    ['0b1', /must be a number/],
    ['1_000', /must be a number/],
    ['1,5', /must be a number/],
    ['.', /must be a number/],
    ['abc', /must be a number, got "abc"/],
    ['x'.repeat(10_000), /got "x{57}\.\.\."$/],
    [true, /got true/],
    [[1], /got an array/],
    [{ a: 1 }, /got an object/],
  ])
  await check(t, await column('float64', {}), [
    [0.1, 0.1],
    [1e300, 1e300],
    [bare('1e400'), /out of the range/],
  ])
})

t.test('integers of every width never wrap', async (t) => {
  const widths: [Datatype, number, number][] = [
    ['int8', -128, 127],
    ['uint8', 0, 255],
    ['int16', -32768, 32767],
    ['uint16', 0, 65535],
    ['int32', -(2 ** 31), 2 ** 31 - 1],
    ['uint32', 0, 2 ** 32 - 1],
  ]
  for (const [type, lowest, highest] of widths) {
    await check(t, await column(type, { type: 'integer' }), [
      [lowest, lowest],
      [highest, highest],
      [String(highest), highest],
      [lowest - 1, /out of the range/],
      [highest + 1, /out of the range/],
      [0.5, /must be an integer/],
      ['0.5', /must be an integer/],
    ])
  }
})

t.test('integers of 64 bits keep every digit', async (t) => {
  const signed = await column('int64', { type: 'integer' })
  await check(t, signed, [
    [2 ** 53 - 1, 2 ** 53 - 1],
    [2 ** 53, /must be an integer/],
    [bare('9007199254740993'), /must be an integer/],
    [-0, 0],
    ['9223372036854775808', /out of the range of int64/],
    ['-9223372036854775809', /out of the range of int64/],
    ['99999999999999999999', /out of the range of int64/],
    [1.5, /must be an integer/],
    [bare('1e400'), /must be an integer/],
  ])
  const ends = ['9223372036854775807', '-9223372036854775808', '9007199254740993']
  const outcome = await signed.run(jobOf(ends.map((v) => `{"features":{"v":"${v}"}}`)))
  const bodies = outcome.kind === 'answers' ? outcome.bodies : []
  for (const [i, end] of ends.entries()) t.match(bodies[i], `"prediction":${end},`)
  const unsigned = await column('uint64', { type: 'integer' })
  await check(t, unsigned, [
    ['18446744073709551616', /out of the range of uint64/],
    [-1, /out of the range of uint64/],
  ])
  const top = await unsigned.run(jobOf(['{"features":{"v":"18446744073709551615"}}']))
  t.match(top.kind === 'answers' && top.bodies[0], '"prediction":18446744073709551615,')
})

t.test('truth values and texts', async (t) => {
  const truth = await column('uint8', { type: 'boolean' })
  await check(t, truth, [
    [true, 1],
    [false, 0],
    ['TRUE', 1],
    ['0', 0],
    [1, 1],
    [2, /must be a boolean, got 2/],
    ['yes', /must be a boolean/],
    ['', /is missing/],
  ])
  await check(t, await column('string', { type: 'string' }), [
    ['', ''],
    ['é \u{1f600} "\\\n', 'é \u{1f600} "\\\n'],
    [1.5, '1.5'],
    [-0, '0'],
    [null, /is missing/],
    [bare('NaN'), /is missing/],
    [bare('Infinity'), /must be a string, got Infinity/],
    [2 ** 53 - 1, '9007199254740991'],
    [bare('9007199254740993'), /is a number beyond 2\^53: give it as a text/],
    ['9007199254740993', '9007199254740993'],
    [true, /must be a string, got true/],
    ['red\0blue', /NUL/],
    ['\ud800', /surrogate/],
  ])
  const known = { type: 'string', categories: ['red', 'blue'] } as const
  await check(t, await column('string', known), [
    ['red', 'red'],
    ['Red', /has the unknown category "Red"/],
    ['', /has the unknown category ""/],
    ['toString', /has the unknown category/],
  ])
})

t.test('missing, invalid and unknown values as the manifest says', async (t) => {
  const kinds = [
    ['onMissing', 'null', 'is missing'],
    ['onInvalid', '[]', 'must be a string, got an array'],
    ['onUnknown', '"green"', 'has the unknown category "green"'],
  ] as const
  for (const [rule, given, why] of kinds) {
    const plan = { type: 'string', categories: ['red', 'blue'], value: 'red' } as const
    const body = `{"features":{"v":${given}}}`
    const error = await column('string', plan)
    t.same(await ask(error, [body]), [
      { code: 'ERR_FEATURE_INVALID', detail: `feature "v" ${why}` },
    ])
    const ignore = await column('string', { ...plan, [rule]: 'IGNORE' })
    const [ignored] = await ask(ignore, [body])
    t.same(ignored?.result, {
      ignored: true,
      ignoreReason: 'IGNORED_BY_MODEL',
      ignoreDetail: `feature "v" ${why}`,
    })
    const impute = await column('string', { ...plan, [rule]: 'IMPUTE' })
    const [imputed, own] = await ask(impute, [body, '{"features":{"v":"blue"}}'])
    t.match(imputed?.result, { prediction: 'red', ignored: false })
    t.match(own?.result, { prediction: 'blue' })
  }
})

t.test('features whose names every object has', async (t) => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty']
  const features = names.map((name) => feature(name))
  const predictor = await open(regressor(4), { ...summing('', 4), features })
  const all = '{"features":{"__proto__":1,"constructor":2,"toString":4,"hasOwnProperty":8}}'
  const some = '{"features":{"__proto__":1,"constructor":2,"hasOwnProperty":8}}'
  const answers = await ask(predictor, [all, some, '{"features":{}}', all])
  t.same(answers.map(sum), [
    15,
    'feature "toString" is missing',
    'feature "__proto__" is missing',
    15,
  ])
  const plain = await open(regressor(1), summing('', 1))
  const attack = '{"features":{"x0":1,"__proto__":{"x0":5,"polluted":1},"constructor":{}}}'
  t.same(
    (await ask(plain, [attack])).map(sum),
    [1],
    'features that nobody asked for are passed over',
  )
  t.match((await ask(plain, ['{"__proto__":{"features":{"x0":1}}}']))[0], {
    code: 'ERR_BODY_INVALID',
  })
  t.equal(Reflect.get({}, 'polluted'), undefined)
})

t.test('batches of all sizes are of the rows that were put in last', (t) => {
  const named = (count: number) => Array.from({ length: count }, (_, i) => feature(`x${i}`))
  const inputOf = (i: number) => ({
    name: `in${i}`,
    datatype: 'float32' as const,
    shape: [null, 1],
    features: [i],
  })
  for (const inputs of [1, 40]) {
    const plan = {
      ...summing('', inputs),
      features: named(inputs),
      inputs: Array.from({ length: inputs }, (_, i) => inputOf(i)),
    }
    const columns = new Columns(plan, 64)
    for (const rows of [1, 7, 64, 7, 1, 64]) {
      const values = Array.from({ length: rows }, (_, row) => rows * 100 + row)
      for (const [row, value] of values.entries()) {
        columns.fillNumbers(new Float64Array(inputs).fill(value), 0, row)
      }
      const feeds = columns.feeds(rows)
      t.equal(Object.keys(feeds).length, inputs)
      for (const { dims, data } of Object.values(feeds)) {
        t.same([dims, [...data]], [[rows, 1], values])
      }
    }
    t.equal(columns.feeds(1), columns.feeds(1), 'small ones are kept')
    const large = columns.feeds(64)
    t.equal(columns.feeds(64) === large, inputs === 1, 'and no more than a few')
  }
  t.end()
})
