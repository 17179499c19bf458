/**
 * Goal: each body of a batch gets exactly the answer that its own features deserve, as valid JSON,
 * or an error that names the field and the reason; nothing that a caller sends makes it throw.
 *
 * Method: small real models run by ONNX Runtime; the expected values are computed here.
 */

import fc from 'fast-check'
import t from 'tap'
import { onnxModel } from '../../../bench/workloads/onnx-builder.ts'
import { ERROR_TABLE } from '../../../core/base/errors.ts'
import type { Verb } from '../../../core/bundle/kinds.ts'
import type { PredictionPlan } from '../../../core/bundle/plan.ts'
import { ask, column, one, open, rawOf, releaseAll, sum } from '../../tools/asking.ts'
import {
  classifier,
  countingLoop,
  mixedPipeline,
  regressor,
  rowDependent,
} from '../../tools/onnx-models.ts'
import { feature, jobOf, prediction, summing } from '../../tools/plans.ts'

t.teardown(releaseAll)

const two = [feature('a'), feature('b')]
const binary = prediction({
  kind: 'BINARY_CLASSIFICATION',
  model: '',
  features: two,
  label: 'label',
  probabilities: 'probabilities',
  classes: ['0', '1'],
})

/** X[N,2] -> probabilities[N,2] = X: probabilities and labels are ours to choose. */
function chosen(type: 'copy' | 'second' | 'label-only'): Buffer {
  const columns = type === 'second' ? 1 : 2
  const take = { name: 'one', type: 'int64', dims: [1], data: [1] } as const
  return onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: ['N', 2] }],
    outputs: [
      { name: 'label', type: 'int64', shape: ['N'] },
      { name: 'probabilities', type: 'float', shape: ['N', columns] },
    ],
    initializers: [take],
    nodes: [
      {
        op: 'ArgMax',
        inputs: ['X'],
        outputs: ['label'],
        attributes: { axis: { int: 1 }, keepdims: { int: 0 } },
      },
      columns === 1
        ? {
            op: 'Gather',
            inputs: ['X', 'one'],
            outputs: ['probabilities'],
            attributes: { axis: { int: 1 } },
          }
        : { op: 'Identity', inputs: ['X'], outputs: ['probabilities'] },
    ],
  })
}

t.test('binary classification', async (t) => {
  const model = chosen('copy')
  const byLabel = await open(model, binary)
  t.same((await one(byLabel, { a: 0.25, b: 0.75 })).result, {
    prediction: '1',
    probas: { 0: 0.25, 1: 0.75 },
    ignored: false,
  })
  const named = await open(model, { ...binary, classes: ['no "way"', 'yes'], threshold: 0.9 })
  t.same((await one(named, { a: 0.25, b: 0.75 })).result, {
    prediction: 'no "way"',
    probas: { 'no "way"': 0.25, yes: 0.75 },
    ignored: false,
  })
  t.match((await one(named, { a: 0, b: 0.90625 })).result, { prediction: 'yes' })
  const strict = await open(model, { ...binary, threshold: 0.5 })
  t.match((await one(strict, { a: 0.5, b: 0.5 })).result, { prediction: '1' }, 'at the threshold')
  const column = await open(chosen('second'), { ...binary, label: null })
  t.same((await one(column, { a: 0, b: 0.75 })).result, {
    prediction: '1',
    probas: { 0: 0.25, 1: 0.75 },
    ignored: false,
  })
  const answers = await ask(
    column,
    [0.75, 0.125, 1].map((b) => ({ features: { a: 0, b } })),
  )
  t.match(answers, [{ result: { prediction: '1' } }, { result: { prediction: '0' } }, {}])
})

t.test('labels of a model as names of classes', async (t) => {
  const model = chosen('copy')
  const ask3 = async (other: Partial<PredictionPlan>) => {
    const predictor = await open(model, { ...binary, ...other })
    const { result } = await one(predictor, { a: 0.25, b: 0.75 })
    return Reflect.get(Object(result), 'prediction')
  }
  t.equal(await ask3({ classes: ['cat', 'dog'] }), 'dog', 'label 1 is the index of a name')
  t.equal(await ask3({ classes: ['1', '0'] }), '1', 'label 1 is the class "1", not the index')
  t.equal(await ask3({ classes: ['1', '2'] }), '1', 'classes are numbers: 1 is "1"')
  t.equal(await ask3({ classes: ['7', '9'] }), '9', 'a label that is no class: the most probable')
  t.equal(await ask3({ probabilities: null, classes: ['cat', 'dog'] }), 'dog')
  t.equal(
    await ask3({ probabilities: null, classes: ['7', '9'] }),
    '1',
    'no class: the label itself',
  )
})

t.test('multiclass: every row of a batch its own answer, in chunks of maxRows', async (t) => {
  const classes = ['red', 'green', 'blue']
  const features = ['a', 'b', 'c', 'd'].map((name) => feature(name))
  const plan = { ...binary, kind: 'MULTICLASS', features, classes } as const
  const inputs = [
    { name: 'X', datatype: 'float32', shape: [null, 4], features: [0, 1, 2, 3] },
  ] as const
  const predictor = await open(classifier(4, 3), { ...plan, inputs, maxRows: 8 })
  const rows = Array.from({ length: 27 }, (_, i) => ({ features: { a: i, b: -i, c: i % 3, d: 1 } }))
  const together = await ask(predictor, rows)
  for (const [i, row] of rows.entries()) {
    const [single] = await ask(predictor, [row])
    t.same(together[i]?.result, single?.result, `row ${i}`)
  }
  const [multi] = await ask(predictor, [{ items: rows }], 'multi')
  t.same(
    multi?.results,
    together.map(({ result }) => result),
    'and of predict-multi, in order',
  )
  const first = together[5]?.result
  const probas: Record<string, number> = Reflect.get(Object(first), 'probas')
  const total = Object.values(probas).reduce((sumOf, p) => sumOf + p, 0)
  t.ok(Math.abs(total - 1) < 1e-5)
  const best = Object.entries(probas).sort((x, y) => y[1] - x[1])[0]?.[0]
  t.equal(Reflect.get(Object(first), 'prediction'), best)
})

t.test('regression: [N,1] and [N], and what is not finite', async (t) => {
  const column = await open(regressor(2, 2), summing('', 2))
  t.same((await one(column, { x0: 1, x1: 0.5 })).result, { prediction: 3, ignored: false })
  t.same((await one(column, { x0: 3e38, x1: 3e38 })).result, { prediction: null, ignored: false })
  const flat = onnxModel({
    opset: 13,
    inputs: [{ name: 'X', type: 'float', shape: ['N', 2] }],
    outputs: [{ name: 'variable', type: 'float', shape: ['N'] }],
    initializers: [{ name: 'axes', type: 'int64', dims: [1], data: [1] }],
    nodes: [
      {
        op: 'ReduceSum',
        inputs: ['X', 'axes'],
        outputs: ['variable'],
        attributes: { keepdims: { int: 0 } },
      },
    ],
  })
  const answers = await ask(await open(flat, summing('', 2)), [
    { features: { x0: 1, x1: 2 } },
    { features: { x0: -0, x1: -0 } },
  ])
  t.same(answers.map(sum), [3, 0])
  const named = await open(chosen('copy'), { ...binary, label: null })
  t.same((await one(named, { a: 1e-45, b: 0 })).result, {
    prediction: '0',
    probas: { 0: 1.401298464324817e-45, 1: 0 },
    ignored: false,
  })
})

t.test('a model whose output does not fit the rows fails, and says what it gave', async (t) => {
  const predictor = await open(rowDependent(2), { ...summing('', 2), value: 'Y' })
  t.match(await one(predictor, { x0: 1, x1: 2 }), {
    code: 'ERR_INFERENCE',
    detail: /output "Y" has shape \[1, 2\] for 1 rows × 1/,
  })
})

t.test('columns of several types; a category that the model refuses fails alone', async (t) => {
  const features = [feature('colour', { type: 'string' }), feature('size')]
  const predictor = await open(mixedPipeline(), {
    ...summing('', 0),
    features,
    inputs: [
      { name: 'colour', datatype: 'string', shape: [null, 1], features: [0] },
      { name: 'size', datatype: 'float32', shape: [null, 1], features: [1] },
    ],
  })
  const body = (colour: string, size: unknown) => ({ features: { colour, size } })
  const rows = [
    body('red', 1),
    body('pink', 1),
    body('blue', '2'),
    body('green', null),
    body('green', 0),
  ]
  const answers = await ask(predictor, rows)
  t.same([answers[0], answers[2], answers[4]].map(sum), [11, 23, 2])
  t.match(answers[1], { code: 'ERR_INFERENCE' })
  t.notMatch(answers[1]?.detail, /\/.*\/.*\//, 'no path of this machine is told')
  t.match(answers[3], { code: 'ERR_FEATURE_INVALID', detail: 'feature "size" is missing' })
  const [multi] = await ask(predictor, [{ items: rows }], 'multi')
  t.match(multi?.results, [
    { prediction: 11 },
    { ignored: true, ignoreReason: 'IGNORED_BY_MODEL', error: { code: 'ERR_INFERENCE' } },
    { prediction: 23 },
    {
      ignored: true,
      ignoreReason: 'INVALID_FEATURE',
      error: { code: 'ERR_FEATURE_INVALID', message: 'feature "size" is missing' },
    },
    { prediction: 2 },
  ])
})

t.test('a model that is not batchable is run row by row', async (t) => {
  const plan = { ...prediction({ kind: 'RAW', model: '' }) }
  const spec = { name: 'X', datatype: 'float32', shape: [null, 2], features: [] } as const
  const raw2 = await open(rowDependent(2), {
    ...plan,
    inputs: [spec],
    outputs: [{ name: 'Y', datatype: 'float32', shape: [null, 2] }],
  })
  const answers = await ask(raw2, [{ features: { X: [[1, 2]] } }, { features: { X: [[5, 9]] } }])
  for (const answer of answers) {
    t.match(answer.result, { outputs: { Y: { data: [0, 0] } } }, 'a stranger changes nothing')
  }
  const rows = onnxModel({
    opset: 13,
    inputs: [{ name: 'X', type: 'float', shape: ['N', 1] }],
    outputs: [{ name: 'variable', type: 'float', shape: ['N', 1] }],
    nodes: [
      {
        op: 'ReduceMax',
        inputs: ['X'],
        outputs: ['top'],
        attributes: { axes: { ints: [0] }, keepdims: { int: 1 } },
      },
      { op: 'Sub', inputs: ['X', 'top'], outputs: ['variable'] },
    ],
  })
  const serial = await open(rows, { ...summing('', 1), batchable: false, maxRows: 8 })
  const sums = await ask(
    serial,
    [1, 2, 3].map((x0) => ({ features: { x0 } })),
  )
  t.same(sums.map(sum), [0, 0, 0])
})

t.test('bodies that are not what predict takes', async (t) => {
  const predictor = await open(regressor(1), summing('', 1))
  const good = '{"features":{"x0":1}}'
  const wrong: [string, RegExp][] = [
    ['', /empty/],
    ['null', /must be an object/],
    ['1', /must be an object/],
    ['"x"', /must be an object/],
    ['[{"features":{}}]', /must be an object/],
    ['{}', /"features" is missing/],
    ['{"features":null}', /"features" must be an object/],
    ['{"features":[1]}', /"features" must be an object/],
    ['{"features":"x0"}', /"features" must be an object/],
    ['{"features":{"x0":1}', /not JSON/],
  ]
  const answers = await ask(
    predictor,
    wrong.flatMap(([body]) => [body, good]),
  )
  for (const [i, [body, detail]] of wrong.entries()) {
    t.match(answers[2 * i], { code: 'ERR_BODY_INVALID', detail }, body)
    t.equal(sum(answers[2 * i + 1]), 1, 'the neighbour is answered')
  }
  const full =
    '{"features":{"x0":1},"explanations":{"enabled":null},' +
    '"dispatch":{"dispatchKey":"u"},"context":{"x":1}}'
  t.equal(sum((await ask(predictor, [full]))[0]), 1)
})

t.test('predict-multi: rows in place, more than maxRows, at most 10,000', async (t) => {
  const predictor = await open(regressor(1), { ...summing('', 1), maxRows: 64 })
  const items = Array.from({ length: 1_000 }, (_, i) => ({
    features: { x0: i % 7 === 3 ? 'x' : i },
  }))
  const [answer, none, broken, many] = await ask(
    predictor,
    [
      { items },
      { items: [] },
      { items: {} },
      { items: new Array(10_001).fill({ features: { x0: 1 } }) },
    ],
    'multi',
  )
  const results: { prediction?: number; error?: object }[] = Object(answer?.results)
  t.equal(results.length, 1_000)
  for (const [i, result] of results.entries()) {
    const fits = i % 7 === 3 ? result.error !== undefined : result.prediction === i
    if (!fits) t.fail(`row ${i} is ${JSON.stringify(result)}`)
  }
  t.same(none?.results, [])
  t.match(broken, { code: 'ERR_BODY_INVALID', detail: /"items" must be an array/ })
  t.match(many, { code: 'ERR_BODY_INVALID', detail: /"items" has 10001 rows, at most 10000/ })
  const [most] = await ask(
    predictor,
    [{ items: new Array(10_000).fill({ features: { x0: 2 } }) }],
    'multi',
  )
  t.equal(Object(most?.results).length, 10_000)
  const odd = [null, 1, {}, { features: [] }, { features: { x0: 1 }, context: {} }]
  const [mixed, other] = await ask(
    predictor,
    [{ items: odd }, '{"items":[{"features":{"x0":5}}]}'],
    'multi',
  )
  const invalid = {
    ignored: true,
    ignoreReason: 'INVALID_FEATURE',
    error: { code: 'ERR_BODY_INVALID' },
  }
  t.match(mixed?.results, [invalid, invalid, invalid, invalid, { prediction: 1 }])
  t.match(other?.results, [{ prediction: 5 }])
})

t.test('whatever is sent: answers as JSON or errors of the table, never a throw', async (t) => {
  const seed = Date.now() | 0
  t.comment(`seed ${seed}`)
  const predictors = [
    await open(classifier(2, 2), binary),
    await open(regressor(2), {
      ...summing('', 2),
      features: [
        feature('a', { onMissing: 'IGNORE' }),
        feature('b', { onInvalid: 'IMPUTE', value: 1 }),
      ],
    }),
    await rawOf('float32', [null, 2]),
    await rawOf('int64', [null]),
    await rawOf('string', [null, null]),
    await column('string', { type: 'string', onUnknown: 'IGNORE', categories: ['a'] }),
    await column('int64', { type: 'integer' }),
  ]
  const leaf = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.double(),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('1', 'NaN', '', 'a', 2 ** 53),
  )
  const features = fc.dictionary(fc.constantFrom('a', 'b', 'v', 'X', '__proto__', 'shape'), leaf)
  const shaped = fc.record({
    X: fc.record({ shape: fc.array(fc.integer({ min: -1, max: 3 })), data: fc.array(leaf) }),
  })
  const row = fc.record({ features: fc.oneof(features, shaped, leaf) })
  const body = fc.oneof(
    fc.json(),
    fc.string({ unit: 'binary' }),
    row.map((value) => JSON.stringify(value)),
    fc
      .record({ items: fc.oneof(fc.array(fc.oneof(row, leaf)), leaf) })
      .map((v) => JSON.stringify(v)),
  )
  const batch = fc.record({
    which: fc.nat({ max: predictors.length - 1 }),
    verb: fc.constantFrom<Verb>('single', 'multi'),
    bodies: fc.array(body, { minLength: 1, maxLength: 12 }),
  })
  const property = fc.asyncProperty(batch, async ({ which, verb, bodies }) => {
    const predictor = predictors[which]
    if (predictor === undefined) throw new Error('no predictor')
    for (const { code, detail } of await ask(predictor, bodies, verb)) {
      if (code === undefined) continue
      if (!(code in ERROR_TABLE)) throw new Error(`unknown code ${code}`)
      if (detail === '') throw new Error('an error without a reason')
    }
  })
  await fc.assert(property, { seed, numRuns: 400 })
})

t.test('rows that nobody waits for any more are not run', async (t) => {
  const spec = { datatype: 'int64', shape: [1] } as const
  const plan = prediction({
    kind: 'RAW',
    model: '',
    inputs: [{ name: 'turns', ...spec, features: [] }],
    outputs: [{ name: 'Y', datatype: 'float32', shape: [1, 4] }],
  })
  const predictor = await open(countingLoop(), plan, { timeoutMs: 30 })
  const rowOf = (turns: number) => ({ features: { turns: [turns] } })
  const items = Array.from({ length: 10_000 }, () => rowOf(20_000))
  const outcome = await predictor.run(jobOf([JSON.stringify({ items })], 'multi'))
  t.match(outcome, { kind: 'failed', code: 'ERR_DEADLINE' })
  t.match(await ask(predictor, [rowOf(1)]), [{ code: undefined }], 'the next job has its own time')
})
