/**
 * Goal: a RAW tensor reaches the model value by value, or is refused by the name of its input
 * before anything is allocated for it.
 *
 * Method: identity models of each type and rank; sizes that lie, values that do not fit.
 */

import t, { type Test } from 'tap'
import { onnxModel } from '../../../bench/workloads/onnx-builder.ts'
import type { Predictor } from '../../../workers/onnx/predictor.ts'
import { ask, bare, type Cases, jsonOf, open, rawOf, releaseAll } from '../../tools/asking.ts'
import { prediction } from '../../tools/plans.ts'

t.teardown(releaseAll)

async function check(t: Test, predictor: Predictor, cases: Cases): Promise<void> {
  for (const [given, wanted] of cases) {
    const [answer] = await ask(predictor, [`{"features":{"X":${jsonOf(given)}}}`])
    const label = jsonOf(given).slice(0, 60)
    if (wanted instanceof RegExp) {
      t.match(answer, { code: 'ERR_TENSOR_INVALID', detail: wanted }, label)
      t.match(answer?.detail, /input "X"/, 'the input is named')
    } else t.same(Reflect.get(Object(answer?.result), 'outputs').Y, wanted, label)
  }
}

t.test('raw tensors: nested or with a shape, checked before they are made', async (t) => {
  await check(t, await rawOf('float32', [null, 2]), [
    [
      [
        [1, 2.5],
        [-0, 4],
      ],
      { datatype: 'float32', shape: [2, 2], data: [1, 2.5, 0, 4] },
    ],
    [
      { shape: [1, 2], data: [1, 2] },
      { datatype: 'float32', shape: [1, 2], data: [1, 2] },
    ],
    [
      { shape: [0, 2], data: [] },
      { datatype: 'float32', shape: [0, 2], data: [] },
    ],
    [[[1, 2], [3]], /is ragged/],
    [[[1, 2], 3], /is ragged/],
    [[[1, [2]]], /is ragged/],
    [[1, 2], /must have shape \[N, 2\], got \[2\]/],
    [[[1, 2, 3]], /must have shape \[N, 2\], got \[1, 3\]/],
    [[[[1, 2]]], /must have shape/],
    [[], /must have shape/],
    [{ shape: [2, 2], data: [1, 2] }, /has 2 values for shape \[2, 2\]/],
    [{ shape: [1e9, 1e9], data: [] }, /has 0 values for shape/],
    [{ shape: [2 ** 32, 2 ** 32], data: [] }, /has 0 values/],
    [{ shape: [-1, 2], data: [] }, /sizes from 0 up/],
    [{ shape: [0.5, 2], data: [1] }, /sizes from 0 up/],
    [{ shape: ['1', 2], data: [1, 2] }, /sizes from 0 up/],
    [{ shape: new Array(17).fill(1), data: [1] }, /sizes from 0 up/],
    [{ shape: [1, 2] }, /must be a nested array or/],
    [{ data: [1, 2] }, /must be a nested array or/],
    ['x', /must be a nested array or/],
    [5, /must be a nested array or/],
    [null, /is missing/],
    [[[1, null]], /holds null, which is not float32/],
    [[[1, '2']], /holds "2"/],
    [[[1, true]], /holds true/],
    [[[1, {}]], /holds \{\}/],
    [[[1, 1e39]], /holds 1e\+39/],
    [bare('[[1,1e400]]'), /holds Infinity/],
    [bare('[[1,NaN]]'), /holds null/],
    [bare(`${'['.repeat(20)}1${']'.repeat(20)}`), /nested too deep/],
  ])
  const [extra] = await ask(await rawOf('float32', [1]), [{ features: { X: [1], Y: [1] } }])
  t.match(extra, { code: 'ERR_TENSOR_INVALID', detail: '"Y" is no input of the model; it has "X"' })
})

t.test('raw tensors: zero rows and sizes that only lie', async (t) => {
  const free = await rawOf('float32', [null, null])
  await check(t, free, [
    [[], /must have shape/],
    [[[]], { datatype: 'float32', shape: [1, 0], data: [] }],
    [
      { shape: [0, 1e9], data: [] },
      { datatype: 'float32', shape: [0, 1e9], data: [] },
    ],
  ])
  const [huge] = await ask(free, [{ features: { X: { shape: [0, 2 ** 53 - 1], data: [] } } }])
  t.ok(huge?.code !== undefined, 'refused by one or the other, not a crash')
})

t.test('raw tensors: every type there and back', async (t) => {
  const out = (datatype: string, data: unknown[]) => ({ datatype, shape: [data.length], data })
  await check(t, await rawOf('int64', [null]), [
    [[1, -5, '9223372036854775807'], out('int64', [1, -5, '9223372036854775807'])],
    [bare('["9007199254740992"]'), out('int64', ['9007199254740992'])],
    [bare('[9007199254740993]'), /beyond 2\^53 as a string/],
    [['9223372036854775808'], /not int64/],
    [['1.5'], /int64/],
    [[1.5], /int64/],
    [[''], /int64/],
  ])
  await check(t, await rawOf('uint64', [null]), [
    [['18446744073709551615', 0], out('uint64', ['18446744073709551615', 0])],
    [[-1], /uint64/],
    [['18446744073709551616'], /uint64/],
  ])
  await check(t, await rawOf('bool', [null]), [
    [[true, false], out('bool', [true, false])],
    [[1], /holds 1, which is not true or false/],
  ])
  await check(t, await rawOf('string', [null]), [
    [['a"\n', '', '\u{1f600}'], out('string', ['a"\n', '', '\u{1f600}'])],
    [['a\0b'], /NUL/],
    [['\udc00'], /surrogate/],
    [[1], /holds 1/],
  ])
  await check(t, await rawOf('uint8', [null]), [
    [[0, 255], out('uint8', [0, 255])],
    [[256], /holds 256/],
    [[-1], /holds -1/],
    [[0.5], /holds 0\.5/],
  ])
  await check(t, await rawOf('float32', []), [
    [
      { shape: [], data: [2] },
      { datatype: 'float32', shape: [], data: [2] },
    ],
  ])
  await check(t, await rawOf('float64', [null]), [[[0.1, 1e308], out('float64', [0.1, 1e308])]])
})

t.test('raw outputs that are not finite are null', async (t) => {
  const model = onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N'] }],
    outputs: [{ name: 'Y', type: 'float', shape: ['N'] }],
    nodes: [{ op: 'Log', inputs: ['X'], outputs: ['Y'] }],
  })
  const predictor = await open(model, {
    ...prediction({ kind: 'RAW', model: '' }),
    inputs: [{ name: 'X', datatype: 'float32', shape: [null], features: [] }],
    outputs: [{ name: 'Y', datatype: 'float32', shape: [null] }],
  })
  const [answer] = await ask(predictor, [{ features: { X: [-1, 0, 1] } }])
  t.match(answer?.result, { outputs: { Y: { data: [null, null, 0] } } })
})
