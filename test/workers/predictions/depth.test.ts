/**
 * Goal: what a prediction tells beyond the model's answer is right to the last row: the percentile
 * by its definition, rules by their order and by the features that were sent, for models and code
 * alike. Method: the percentile against a count over the sample; rules by real models and real
 * Python, and whole bundles by the real forge.
 */

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { onnxModel } from '../../../bench/workloads/onnx-builder.ts'
import type { ZipEntry } from '../../../bench/workloads/zip-writer.ts'
import type { DepthPlan, OverridePlan } from '../../../core/bundle/depth-plan.ts'
import { openPredictor } from '../../../workers/onnx/predictor.ts'
import { resultWriter } from '../../../workers/predictions/result-text.ts'
import { ask, one, open, releaseAll } from '../../tools/asking.ts'
import { runForge } from '../../tools/forge-child.ts'
import { classifier, regressor } from '../../tools/onnx-models.ts'
import { endpoint, feature, jobOf, prediction, summing } from '../../tools/plans.ts'
import { predictionPlan, pythonPlace, whyNoPython } from '../../tools/python-endpoints.ts'

t.teardown(releaseAll)

/** X[N,2] -> probability of the second class = the second column; the first is a feature only. */
const second = onnxModel({
  inputs: [{ name: 'X', type: 'float', shape: ['N', 2] }],
  outputs: [{ name: 'probabilities', type: 'float', shape: ['N', 1] }],
  initializers: [{ name: 'one', type: 'int64', dims: [1], data: [1] }],
  nodes: [
    {
      op: 'Gather',
      inputs: ['X', 'one'],
      outputs: ['probabilities'],
      attributes: { axis: { int: 1 } },
    },
  ],
})
const binary = prediction({
  kind: 'BINARY_CLASSIFICATION',
  model: '',
  features: [feature('a', { onMissing: 'IMPUTE', onInvalid: 'IMPUTE', value: 7 }), feature('p')],
  probabilities: 'probabilities',
  classes: ['no', 'yes'],
})

function percentileIn(percentiles: readonly number[], score: number): number {
  const scored = {
    prediction: 'b',
    probas: [
      ['a', 0],
      ['b', score],
    ],
    customKeys: null,
  } as const
  return JSON.parse(resultWriter({ features: null, percentiles })(scored, {})).probaPercentile
}

/** A function, because an object with the literal key `then` looks like a promise to linters. */
function ruled<W, E>(name: string, when: readonly W[], then: E) {
  return { name, when, then }
}

function range(feature: string, min: number | null, max: number | null) {
  return { kind: 'range', feature, min, max } as const
}

t.test('a percentile is the share of the sample at or below, rounded up', async (t) => {
  const seed = Date.now() | 0
  t.comment(`seed ${seed}`)
  const hundred = Array.from({ length: 101 }, (_, i) => i / 100)
  for (let i = 1; i <= 100; i++) t.equal(percentileIn(hundred, i / 100), i)
  t.same(
    [percentileIn(hundred, 0), percentileIn(hundred, -1), percentileIn(hundred, 2)],
    [1, 1, 100],
  )
  t.equal(percentileIn([0, 0.5, 1], 0.25), 25, 'spread evenly between two quantiles')
  t.equal(percentileIn([0.5, 0.5, 0.5, 0.9], 0.5), 67, 'ties count up to the last')
  const sample = fc.uniqueArray(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 2 })
  const property = fc.property(sample, fc.nat(), (values, pick) => {
    const sorted = values.toSorted((a, b) => a - b)
    const score = sorted[pick % sorted.length] ?? 0
    const below = sorted.filter((value) => value < score).length
    const share = Math.max(1, Math.ceil((below * 100) / (sorted.length - 1)))
    return percentileIn(sorted, score) === share
  })
  fc.assert(property, { seed, numRuns: 300 })
})

t.test('percentile of the model, threshold before rules, both in one answer', async (t) => {
  const percentiles = [0, 0.25, 0.5, 0.75, 1]
  const overrides: OverridePlan[] = [
    ruled('too "much"', [range('a', 100, null)], { kind: 'class', value: 'yes' }),
    ruled(
      'all of it',
      [range('a', 10, 200), { kind: 'in', feature: 'p', values: [0.75], negated: false }],
      { kind: 'class', value: 'no' },
    ),
  ]
  const plan = { ...binary, threshold: 0.8, percentiles }
  const ranked = await open(second, plan)
  t.strictSame((await one(ranked, { a: 1, p: 0.75 })).result, {
    prediction: 'no',
    probaPercentile: 75,
    probas: { no: 0.25, yes: 0.75 },
    ignored: false,
  })
  const under = await open(second, { ...plan, overrides })
  t.strictSame((await one(under, { a: '150', p: 0.75 })).result, {
    prediction: 'yes',
    probaPercentile: 75,
    probas: { no: 0, yes: 1 },
    override: {
      ruleMatched: true,
      appliedRule: 'too "much"',
      rawResult: { prediction: 'no', probabilities: { no: 0.25, yes: 0.75 } },
      predictionChanged: true,
    },
    ignored: false,
  })
  t.match((await one(under, { a: 10, p: 0.75 })).result, {
    prediction: 'no',
    override: { appliedRule: 'all of it', predictionChanged: false },
  })
  t.strictSame((await one(under, { a: 10, p: 0.5 })).result, {
    prediction: 'no',
    probaPercentile: 50,
    probas: { no: 0.5, yes: 0.5 },
    override: { ruleMatched: false },
    ignored: false,
  })
  const items = [
    { features: { a: 1, p: 1 } },
    { features: { a: 1 } },
    { features: { a: 100, p: 0 } },
  ]
  const [multi] = await ask(under, [{ items }], 'multi')
  t.match(multi?.results, [
    { prediction: 'yes', probaPercentile: 100, override: { ruleMatched: false } },
    { ignored: true, error: { code: 'ERR_FEATURE_INVALID' } },
    { prediction: 'yes', probaPercentile: 1, override: { appliedRule: 'too "much"' } },
  ])
})

t.test('a rule sees what was sent, not what stands in for it', async (t) => {
  const then = { kind: 'class', value: 'yes' } as const
  const rule = (name: string, when: OverridePlan['when'][number]) => ({ name, when: [when], then })
  const of = { feature: 'a' } as const
  const predictor = await open(second, {
    ...binary,
    overrides: [
      rule('missing', { kind: 'missing', negated: false, ...of }),
      rule('seven', { kind: 'in', values: [7], negated: false, ...of }),
      rule('neither 8 nor 9', { kind: 'in', values: [8, 9], negated: true, ...of }),
      rule('from 8.5', { kind: 'range', min: 8.5, max: null, ...of }),
      rule('there', { kind: 'missing', negated: true, ...of }),
    ],
  })
  const applied = async (features: object) => {
    const { result } = await one(predictor, { p: 0, ...features })
    return Reflect.get(Object(Reflect.get(Object(result), 'override')), 'appliedRule')
  }
  t.equal(await applied({}), 'missing', 'and not the imputed 7')
  t.equal(await applied({ a: null }), 'missing')
  t.equal(await applied({ a: 'x' }), 'missing', 'nothing that a number could be')
  t.equal(await applied({ a: 7 }), 'seven')
  t.equal(await applied({ a: '7.0' }), 'seven')
  t.equal(await applied({ a: -3 }), 'neither 8 nor 9')
  t.equal(await applied({ a: 9 }), 'from 8.5')
  t.equal(await applied({ a: 8 }), 'there')
})

t.test('regressions are moved into bounds, or set', async (t) => {
  const rules: OverridePlan[] = [
    ruled('set', [range('x1', 9, 9)], { kind: 'value', value: -1 }),
    ruled('bounds', [range('x0', 0, null)], { kind: 'clip', min: 2, max: 4 }),
  ]
  const predictor = await open(regressor(2), { ...summing('', 2), overrides: rules })
  const answer = async (x0: number, x1: number) => (await one(predictor, { x0, x1 })).result
  const override = (appliedRule: string, was: number | null, predictionChanged: boolean) => ({
    ruleMatched: true,
    appliedRule,
    rawResult: { prediction: was },
    predictionChanged,
  })
  const rows: [number, number, unknown][] = [
    [1, 0, { prediction: 2, override: override('bounds', 1, true), ignored: false }],
    [3, 0, { prediction: 3, override: override('bounds', 3, false), ignored: false }],
    [9, 0, { prediction: 4, override: override('bounds', 9, true), ignored: false }],
    [-5, 0, { prediction: -5, override: { ruleMatched: false }, ignored: false }],
    [1, 9, { prediction: -1, override: override('set', 10, true), ignored: false }],
  ]
  for (const [x0, x1, wanted] of rows) t.strictSame(await answer(x0, x1), wanted, `${x0} ${x1}`)
})

const PYTHON = `
class Predictor:
    def __init__(self, data_folder=None):
        pass
    def predict(self, rows):
        names = ["yes" if row["p"] > 0.5 else "no" for row in rows]
        return names, [{"no": 1 - row["p"], "yes": row["p"]} for row in rows]
`

t.test('code has the same depth', { skip: whyNoPython('pandas') }, async (t) => {
  const place = await pythonPlace(t, { 'code.py': PYTHON })
  const depth: DepthPlan = {
    percentiles: [0, 0.5, 1],
    overrides: [
      ruled('abroad', [{ kind: 'in', feature: 'country', values: ['FR'], negated: true }], {
        kind: 'class',
        value: 'yes',
      }),
    ],
  }
  const classes = ['no', 'yes']
  const kind = 'BINARY_CLASSIFICATION'
  const told = await place.open(predictionPlan({ kind, classes, ...depth }))
  const [abroad, home] = await told.batch(
    ['DE', 'FR'].map((country) => ({ body: { features: { p: 0.25, country } } })),
  )
  t.strictSame(abroad?.answer?.['result'], {
    prediction: 'yes',
    probaPercentile: 25,
    probas: { no: 0, yes: 1 },
    override: {
      ruleMatched: true,
      appliedRule: 'abroad',
      rawResult: { prediction: 'no', probabilities: { no: 0.75, yes: 0.25 } },
      predictionChanged: true,
    },
    ignored: false,
  })
  t.match(home?.answer?.['result'], { prediction: 'no', override: { ruleMatched: false } })
})

async function forge(t: Test, model: Buffer, extra: object) {
  const manifest = { id: 'p', type: 'STD_PREDICTION', model: 'model.onnx', ...extra }
  const entries: ZipEntry[] = [
    { name: 'service.json', data: JSON.stringify({ formatVersion: 1, endpoints: [manifest] }) },
    { name: 'model.onnx', data: model },
  ]
  const done = await runForge(entries)
  t.teardown(() => done.remove())
  const { verdict } = done
  if (verdict?.kind === 'refused') return { done, plan: null, told: verdict.faults }
  const plan = verdict?.kind === 'forged' ? verdict.plan.endpoints[0] : undefined
  if (plan?.type !== 'STD_PREDICTION') throw new Error(JSON.stringify(verdict))
  return { done, plan, told: [] }
}

t.test('from the manifest to the answer, and what only the model can tell', async (t) => {
  const rule = (when: object, then: object) => ({ overrides: [ruled('r', [when], then)] })
  const { plan, done, told } = await forge(t, classifier(2, 2), {
    percentiles: [0, 1],
    ...rule({ feature: 'f0', max: 5 }, { class: '1' }),
    testQueries: [
      {
        q: { features: { f0: 1, f1: 1 } },
        expect: { prediction: '1', override: { appliedRule: 'r' } },
      },
    ],
  })
  t.same(told, [])
  if (plan === null) return
  t.match(plan.prediction, {
    percentiles: [0, 1],
    overrides: [ruled('r', [range('f0', null, 5)], { kind: 'class', value: '1' })],
  })
  const options = { serviceId: 'svc', generationId: 'g1' }
  const served = await openPredictor(done.directory, options, endpoint(plan.prediction))
  t.teardown(() => served.release())
  t.match((await one(served, { f0: 9, f1: 1 })).result, { override: { ruleMatched: false } })
  const outcome = await served.run(jobOf([JSON.stringify({ features: { f0: 1, f1: 1 } })]))
  t.match(outcome, { bodies: [/"prediction":"1","probaPercentile":\d+,"probas":\{"0":0,"1":1\}/] })

  const wrong: [Buffer, object, object][] = [
    [
      classifier(2, 2),
      rule({ feature: 'f2', max: 1 }, { class: '1' }),
      { path: 'endpoints[0].overrides[0].when[0].feature', reason: /"f2" is no feature; did/ },
    ],
    [
      classifier(2, 2),
      rule({ feature: 'f1', equals: 'x' }, { class: '1' }),
      { path: 'endpoints[0].overrides[0].when[0].equals', reason: /must be a number for "f1"/ },
    ],
    [
      classifier(2, 2),
      rule({ feature: 'f1', max: 1 }, { class: 'yes' }),
      { path: 'endpoints[0].overrides[0].then.class', reason: /"yes" is none of the classes "0"/ },
    ],
    [
      regressor(2),
      rule({ feature: 'f1', max: 1 }, { class: 'yes' }),
      { path: 'endpoints[0].overrides[0].then.class', reason: /not to REGRESSION/ },
    ],
    [
      regressor(2),
      { percentiles: [0, 1] },
      { path: 'endpoints[0].percentiles', reason: /not to REGRESSION/ },
    ],
  ]
  for (const [model, extra, fault] of wrong) t.match((await forge(t, model, extra)).told, [fault])
})
