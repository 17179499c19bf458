/**
 * Goal: predictions of real endpoints are explained as the wire contract says, whatever predicts;
 * a background sample that cannot be used is refused at import, with its line and field.
 * Method: small ONNX models, Python and R code, forged by the real child and asked slice by slice;
 * exact values by enumeration over a copy of the model in this file.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { OnnxEndpointPlan } from '../../../core/bundle/plan.ts'
import { readBackground } from '../../../workers/explanations/background.ts'
import { Explainer } from '../../../workers/explanations/explainer.ts'
import type { HeldTensors } from '../../../workers/explanations/onnx-scorer.ts'
import { openPredictor } from '../../../workers/onnx/predictor.ts'
import { askExplained, faultsOf, forgeBundle, type Json } from '../../tools/explained-endpoints.ts'
import { exactShapley, type ModelFunction } from '../../tools/explaining.ts'
import { classifier, identity, regressor } from '../../tools/onnx-models.ts'
import { whyNoPython } from '../../tools/python-endpoints.ts'
import { randomOf } from '../../tools/random.ts'
import { runtimes } from '../../tools/runtimes.ts'

t.setTimeout(240_000)

const noPython = whyNoPython()
const noR = runtimes({ teardown: () => {} }).rscript === null ? 'Rscript is missing' : false

const FEATURES = 4
const NAMES = ['a', 'b', 'c', 'd']
const random = randomOf(20_251)
const rows = Array.from({ length: 12 }, () =>
  Array.from({ length: FEATURES }, () => Math.round(40 * random.next() - 20) / 10),
)
const header = [...NAMES, 'target'].join(',')
const csv = [header, ...rows.map((row) => [...row, 'x'].join(','))].join('\n')
const json = JSON.stringify(rows.map((row) => named(row)))

function named(row: readonly number[]): Record<string, number> {
  return Object.fromEntries(NAMES.map((name, i) => [name, row[i] ?? 0]))
}

/** What classifier() of onnx-models.ts computes for one of its classes. */
function softmax(classes: number, of: number): ModelFunction {
  return (row) => {
    const scores = Array.from({ length: classes }, (_, one) =>
      row.reduce((sum, x, i) => sum + x * ((((i * classes + one) * 7) % 11) / 5 - 1), one / 10),
    )
    const powers = scores.map(Math.exp)
    return (powers[of] ?? 0) / powers.reduce((sum, power) => sum + power, 0)
  }
}

const features = NAMES.map((name) => ({ name, type: 'number' }))
const background = 'sample.csv'
const model = { type: 'STD_PREDICTION', model: 'm.onnx', features }
const binary = { ...model, id: 'two', classes: ['no', 'yes'], explanations: { background } }
const row = [1.5, -2, 0.5, 1]
const enabled = { enabled: true, method: null, nExplanations: null, nMonteCarloSteps: null }

function valuesOf(explanations: Json): number[] {
  return NAMES.map((name) => explanations[name] ?? Number.NaN)
}

const isClose = (a: number, b: number, tolerance: number) => Math.abs(a - b) <= tolerance
const sumOf = (values: readonly number[]) => values.reduce((sum, one) => sum + one, 0)
const meanOf = (values: readonly number[]) => sumOf(values) / values.length

t.test('a binary model: contributions to the probability of the second class', async (t) => {
  const { plan, reports, open, directory } = await forgeBundle(t, [binary], {
    'm.onnx': classifier(FEATURES, 2),
    [background]: csv,
  })
  const [endpoint] = plan.endpoints
  t.match(endpoint?.explanations, {
    enabled: false,
    method: 'SHAPLEY',
    nExplanations: 3,
    nMonteCarloSteps: 100,
  })
  const file = endpoint?.explanations?.background ?? ''
  t.match(plan.made, [file], 'it is known as made, so that it is looked after')
  t.equal(reports[0]?.backgroundRows, rows.length)
  t.equal(JSON.parse(readFileSync(join(directory, file), 'utf8')).scores.length, rows.length)
  const runtime = await open()
  const body = { features: named(row), explanations: { ...enabled, nExplanations: 99 } }
  const { answer, text } = await askExplained(runtime, body)
  t.match(text, /^\{"result":\{"prediction":".*?"probas":.*?,"explanations":\{.*?"ignored":false/)
  const { result, timing, apiContext } = answer ?? {}
  t.same(Object.keys(timing), ['wait', 'preparation', 'prediction', 'explanation'])
  t.match(apiContext, { serviceId: 'svc', endpointId: 'two', serviceGeneration: 'g1' })
  const values = valuesOf(result.explanations)
  const yes = softmax(2, 1)
  const base = meanOf(rows.map(yes))
  t.ok(isClose(result.explanationBase, base, 1e-6))
  t.ok(isClose(sumOf(values), result.probas.yes - result.explanationBase, 1e-9), 'they add up')
  for (const [i, exact] of exactShapley(yes, row, rows).entries()) {
    t.ok(isClose(values[i] ?? 0, exact, 0.02), `${NAMES[i]}: ${values[i]} for ${exact}`)
  }
  const sizes = Object.values<number>(result.explanations).map(Math.abs)
  t.same(
    sizes,
    sizes.toSorted((one, other) => other - one),
    'the largest come first',
  )
  const few = await askExplained(runtime, {
    features: named(row),
    explanations: { enabled: true, nExplanations: 2 },
  })
  t.same(few.answer?.['result'].explanations, fromLargest(result.explanations, 2), 'and the same')
  const plain = await askExplained(runtime, { features: named(row) })
  t.equal(plain.slices, 0)
  t.notOk('explanations' in (plain.answer?.['result'] ?? {}))
})

function fromLargest(explanations: Json, count: number): Json {
  return Object.fromEntries(Object.entries(explanations).slice(0, count))
}

t.test('three classes: the predicted one; ICE; many rows, each in its place', async (t) => {
  const ice = { background: 'sample.json', enabled: true, method: 'ICE', nExplanations: 4 }
  const impute = features.map((one) =>
    one.name === 'd' ? { ...one, onMissing: 'IMPUTE', value: 0.25 } : one,
  )
  const ignore = impute.map((one) => (one.name === 'a' ? { ...one, onMissing: 'IGNORE' } : one))
  const endpoint = { ...model, id: 'three', features: ignore, explanations: ice }
  const { open } = await forgeBundle(t, [endpoint], {
    'm.onnx': classifier(FEATURES, 3),
    'sample.json': json,
  })
  const runtime = await open()
  const items = [
    { features: named(row) },
    { features: { ...named(row), a: null } },
    { features: { ...named(row), b: 'wide' } },
    { features: { ...named([-1, 2, 0, 0]), d: null } },
  ]
  const { answer } = await askExplained(runtime, { items }, { verb: 'multi' })
  const [first, ignored, failed, imputed, ...more] = answer?.['results'] ?? []
  t.same(more, [])
  t.match(ignored, { ignored: true, ignoreReason: 'IGNORED_BY_MODEL' })
  t.match(failed, { ignored: true, error: { code: 'ERR_FEATURE_INVALID' } })
  t.notOk('explanations' in ignored || 'explanations' in failed)
  t.notOk('explanationBase' in first, 'what need not add up has no base')
  for (const [result, given] of [
    [first, row],
    [imputed, [-1, 2, 0, 0.25]],
  ]) {
    const predicted = softmax(3, Number(result.prediction))
    const exact = NAMES.map((_, i) => {
      const curve = rows.map((other) =>
        predicted(given.map((value: number, j: number) => (i === j ? (other[i] ?? 0) : value))),
      )
      return predicted(given) - meanOf(curve)
    })
    for (const [i, value] of valuesOf(result.explanations).entries()) {
      t.ok(isClose(value, exact[i] ?? 0, 1e-5), `${NAMES[i]}: ${value} for ${exact[i]}`)
    }
  }
  const off = await askExplained(runtime, {
    features: named(row),
    explanations: { enabled: false },
  })
  t.equal(off.slices, 0, 'a request may go without')
  t.notOk('explanations' in (off.answer?.['result'] ?? {}))
})

t.test(
  'features that look-ups add are explained, keys that the model does not get are not',
  async (t) => {
    const endpoint = {
      ...model,
      id: 'enriched',
      prediction: 'REGRESSION',
      features: ['x0', 'x1'].map((name) => ({ name, type: 'number' })),
      enrich: { lookups: [{ table: 'cities', columns: { rate: 'x1' } }], dump: true },
      explanations: { background: 'rows.csv', enabled: true, nExplanations: 9 },
      testQueries: [{ q: { features: { x0: 1, city: 'Ulm' } }, expect: { prediction: 6 } }],
    }
    const cities = { name: 'cities', file: 'c.csv', key: ['city'], columns: { rate: 'number' } }
    const { open } = await forgeBundle(
      t,
      [endpoint],
      {
        'm.onnx': regressor(2),
        'c.csv': 'city,rate\nUlm,5\nBonn,8\n',
        'rows.csv': 'x0,x1\n1,2\n3,4\n',
      },
      [cities],
    )
    const runtime = await open()
    const told = await askExplained(runtime, { features: { x0: 10, city: 'Bonn' } })
    const { prediction, explanations, explanationBase, postEnrich } = told.answer?.['result'] ?? {}
    t.equal(prediction, 18)
    t.match(postEnrich, { x0: 10, x1: 8, city: 'Bonn' })
    t.same(Object.keys(explanations), ['x0', 'x1'])
    t.ok(isClose(explanations.x0, 8, 1e-6), 'beside a mean of 2')
    t.ok(isClose(explanations.x1, 5, 1e-6), 'beside a mean of 3')
    t.ok(isClose(explanationBase, 5, 1e-6))
    const unknown = await askExplained(runtime, { features: { x0: 10, city: 'Rom' } })
    t.equal(unknown.answer, null)
    t.equal(unknown.code, 'ERR_LOOKUP_MISSING')
  },
)

t.test('slices in any thread give what one thread gives at once', async (t) => {
  const { plan, directory } = await forgeBundle(t, [binary], {
    'm.onnx': classifier(FEATURES, 2),
    [background]: csv,
  })
  const [endpoint] = plan.endpoints as [OnnxEndpointPlan]
  const generation = { serviceId: 'svc', generationId: 'g1' }
  const sample = await readBackground(directory, endpoint.explanations?.background ?? '')
  const openWith = async (sliceMs: number) => {
    const explainer = new Explainer<HeldTensors>(sample, { plan: endpoint, ...generation, sliceMs })
    const predictor = await openPredictor(directory, { ...generation, explainer }, endpoint)
    t.teardown(() => predictor.release())
    return predictor
  }
  const items = [named(row), { a: 'no' }, named([0, 1, 2, 3])].map((given) => ({ features: given }))
  const whole = await openWith(10_000)
  const sliced = [await openWith(0), await openWith(0.2)]
  const [first = whole] = sliced
  for (const method of ['SHAPLEY', 'ICE']) {
    const explanations = { enabled: true, method, nExplanations: 4, nMonteCarloSteps: 30 }
    const body = { items, explanations }
    const at = await askExplained(whole, body, { verb: 'multi' })
    t.equal(at.slices, 1)
    const apart = await askExplained(first, body, { verb: 'multi', threads: sliced })
    t.ok(apart.slices > 5, `${apart.slices} slices`)
    // How many rows share a run changes the last digits of a sum.
    compare(t, apart.answer?.['results'], at.answer?.['results'])
  }
  const late = await askExplained(
    whole,
    { features: named(row), explanations: enabled },
    { waitUs: 11_000_000 },
  )
  t.equal(late.code, 'ERR_DEADLINE')
})

function compare(t: Test, got: unknown, wanted: unknown): void {
  const rounded = (value: unknown) =>
    JSON.parse(
      JSON.stringify(value, (_, one) => (typeof one === 'number' ? Number(one.toFixed(5)) : one)),
    )
  t.same(rounded(got), rounded(wanted))
}

t.test('what is asked wrongly', async (t) => {
  const plain = { ...model, id: 'plain', prediction: 'REGRESSION' }
  const { open } = await forgeBundle(t, [binary, { ...plain, model: 'r.onnx' }], {
    'm.onnx': classifier(FEATURES, 2),
    'r.onnx': regressor(FEATURES),
    [background]: csv,
  })
  const runtime = await open(0)
  const cases = [
    ['yes', '"explanations" must be an object'],
    [{ enabled: 1 }, '"explanations.enabled" must be true or false'],
    [{ enabled: true, method: 'LIME' }, '"explanations.method" must be one of SHAPLEY, ICE'],
    [{ enabled: true, nExplanations: 0 }, '"explanations.nExplanations" must be a whole number'],
    ...[24, 1_001, 99.5, '100'].map((nMonteCarloSteps) => {
      return [
        { enabled: true, nMonteCarloSteps },
        'must be a whole number from 25 to 1000',
      ] as const
    }),
  ] as const
  for (const [explanations, reason] of cases) {
    const told = await askExplained(runtime, { features: named(row), explanations })
    t.equal(told.code, 'ERR_BODY_INVALID')
    t.ok(told.detail.includes(reason), told.detail)
  }
  const without = await open(1)
  const asked = { features: named(row), explanations: { enabled: true } }
  t.equal((await askExplained(without, asked)).code, 'ERR_EXPLANATION_UNAVAILABLE')
  const nulls = { features: named(row), explanations: { ...enabled, enabled: null } }
  t.equal((await askExplained(without, nulls)).answer?.['result'].prediction, sumOf(row))
})

t.test('samples that cannot be used are refused with line and field', async (t) => {
  const files = { 'm.onnx': classifier(FEATURES, 2) }
  const where = 'endpoints[0].explanations'
  const samples: readonly (readonly [string, string, RegExp])[] = [
    ['0.csv', csv.replace('a,b', 'A,b'), /0\.csv has no column "a".*did you mean "A"/],
    ['1.csv', `${csv}\n1,2,much,4,x`, /1\.csv line 14: feature "c" must be a number, got "much"/],
    ['2.csv', `${csv}\n1,2,,4,x`, /2\.csv line 14: feature "c" is missing/],
    ['3.csv', `${csv}\n1,2`, /3\.csv line 14 has 2 values, the header has 5/],
    ['4.csv', header, /4\.csv has no rows/],
    ['5.csv', '', /5\.csv has no rows/],
    ['6.json', '{"a":1}', /6\.json must be an array of objects/],
    ['7.json', '[{"a":1}', /7\.json is not JSON/],
    ['8.json', '[{"a":1,"b":1,"c":[2],"d":1}]', /8\.json \[0\]\.c must be a text, a number/],
    ['9.json', '[{"a":1,"b":1,"c":"w","d":1}]', /9\.json \[0\]: feature "c" must be a number/],
  ]
  const endpoints = samples.map(([name], i) => {
    return { ...binary, id: `e${i}`, explanations: { background: name } }
  })
  const texts = Object.fromEntries(samples.map(([name, text]) => [name, text]))
  const { code, told } = await faultsOf(t, endpoints, { ...files, ...texts })
  t.equal(code, 'ERR_BUNDLE_INVALID')
  t.equal(told.length, samples.length, told.join('\n'))
  for (const [i, [, , reason]] of samples.entries()) {
    const fault = told[i] ?? ''
    t.ok(fault.startsWith(`endpoints[${i}].explanations.background: `), fault)
    t.match(fault, reason)
  }
  const absent = await faultsOf(t, [binary], files)
  t.match(absent.told, [`${where}.background: "sample.csv" is not a file of the bundle`])
  const raw = { ...model, id: 'raw', prediction: 'RAW', explanations: { background } }
  const { features: _, ...tensors } = raw
  const whole = await faultsOf(t, [tensors], {
    'm.onnx': identity({ type: 'float', shape: ['N', 4] }),
    [background]: csv,
  })
  t.match(whole.told, [/RAW takes whole tensors/])
})

const PYTHON = `
class Price:
    def predict(self, rows):
        return [row["a"] * row["b"] + (3 if row["kind"] == "new" else 0) for row in rows]
class Risk:
    def predict_proba(self, rows):
        return [[1 - row["a"] / 10, row["a"] / 10] for row in rows]
    def predict(self, rows):
        return (["low"] * len(rows), [{"low": 1 - r["a"] / 10, "high": r["a"] / 10} for r in rows])
`
const sales = [
  { a: 1, b: 2, kind: 'old' },
  { a: 3, b: 1, kind: 'new' },
  { a: 2, b: 5, kind: 'old' },
]

t.test('code of a bundle, in Python', { skip: noPython }, async (t) => {
  const price = {
    id: 'price',
    type: 'CUSTOM_PREDICTION',
    file: 'p.py',
    class: 'Price',
    prediction: 'REGRESSION',
    input: 'records',
    explanations: { background: 'sales.json', enabled: true, nExplanations: 9 },
    testQueries: [
      { q: { features: { a: 2, b: 2, kind: 'new' } }, expect: { prediction: 7 } },
      { q: { features: { a: 1, b: 2, kind: 'old' } }, expect: { prediction: 2 } },
    ],
  }
  const { open, plan } = await forgeBundle(t, [price], {
    'p.py': PYTHON,
    'sales.json': JSON.stringify(sales),
  })
  t.match(plan.endpoints[0]?.warmUp[0], /"explanations":\{"enabled":false\}/)
  const runtime = await open()
  const { answer } = await askExplained(runtime, { features: { a: 4, b: 3, kind: 'new' } })
  const { prediction, explanations, explanationBase } = answer?.['result'] ?? {}
  t.equal(prediction, 15)
  t.ok(isClose(explanationBase, (2 + 6 + 10) / 3, 1e-9))
  const code = (one: { a: number; b: number; kind: string }) => [
    one.a,
    one.b,
    one.kind === 'new' ? 3 : 0,
  ]
  const copy: ModelFunction = ([a = 0, b = 0, extra = 0]) => a * b + extra
  const exact = exactShapley(copy, code({ a: 4, b: 3, kind: 'new' }), sales.map(code))
  for (const [i, name] of ['a', 'b', 'kind'].entries()) {
    t.ok(isClose(explanations[name], exact[i] ?? 0, 0.7), `${name}: ${explanations[name]}`)
  }
  t.ok(isClose(sumOf(Object.values(explanations)), 15 - explanationBase, 1e-9))
  const failing = await askExplained(runtime, { features: { a: 4, b: 'x', kind: 'new' } })
  t.equal(failing.answer, null, 'a row whose mixtures fail is not explained by half')
})

t.test('code of a bundle, in R', { skip: noR }, async (t) => {
  const hours = {
    id: 'hours',
    type: 'CUSTOM_R_PREDICTION',
    file: 'h.R',
    function: 'hours',
    prediction: 'REGRESSION',
    features: [
      { name: 'km', type: 'number' },
      { name: 'kg', type: 'number' },
    ],
    explanations: { background: 'days.csv' },
  }
  const { open } = await forgeBundle(t, [hours], {
    'h.R': 'hours <- function(km, kg) 2 + km / 60 + 0.5 * kg',
    'days.csv': 'km,kg\n60,2\n120,4\n240,0\n',
  })
  const runtime = await open()
  const body = { features: { km: 600, kg: 10 }, explanations: { enabled: true } }
  const { answer } = await askExplained(runtime, body)
  const { prediction, explanations, explanationBase } = answer?.['result'] ?? {}
  t.equal(prediction, 17)
  t.ok(isClose(explanationBase + sumOf(Object.values(explanations)), 17, 1e-9))
  t.ok(isClose(explanations.km, 10 - 7 / 3, 0.1), `${explanations.km}`)
  t.ok(isClose(explanations.kg, 5 - 1, 0.1), `${explanations.kg}`)
})
