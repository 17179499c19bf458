/**
 * Goal: predictors get their rows as they want them, and whatever form their results have, callers
 * get the envelope of every other prediction; a row that fails does so alone.
 * Method: real children; plain predictors for the rules, pandas and scikit-learn for the forms.
 */

import t from 'tap'
import type { FeaturePlan, LookupStep } from '../../../core/bundle/plan.ts'
import { feature } from '../../tools/plans.ts'
import {
  type PythonEndpoint,
  predictionPlan,
  pythonPlace,
  whyNoPython,
} from '../../tools/python-endpoints.ts'
import { tableOf } from '../../tools/tables.ts'

const skip = whyNoPython()
const withPandas = whyNoPython('numpy', 'pandas')
const withForest = whyNoPython('numpy', 'pandas', 'sklearn')

/** `result` of each row, or the failure. */
async function results(endpoint: PythonEndpoint, rows: readonly object[]): Promise<unknown[]> {
  const told = await endpoint.batch(rows.map((features) => ({ body: { features } })))
  return told.map((one) => (one.status === 'answer' ? one.answer?.['result'] : one))
}

const RECORDS = `
from dataiku.apinode.predict.predictor import RegressionPredictor, ClassificationPredictor
calls = []
class Sum(RegressionPredictor):
    def __init__(self, data_folder=None):
        self.factor = int(open(data_folder + "/factor.txt").read())
    def predict(self, rows):
        calls.append(len(rows))
        if any(row.get("x") == 13 for row in rows): raise ValueError("13 is unlucky")
        if any(row.get("x") == 14 for row in rows):
            raise DkuCustomApiException("14 is too many", http_status_code=422)
        if any(row.get("x") == 15 for row in rows): return [1.0] * (len(rows) + 1)
        return [None if row.get("x") == 16 else row["x"] * self.factor for row in rows]
class Calls(ClassificationPredictor):
    def predict(self, rows):
        return [{"prediction": str(row["x"]), "n": len(rows)} for row in rows]
class Meta:
    def predict(self, rows):
        who = dku_http_request_metadata.headers["x-who"]
        return [{"prediction": who, "n": len(rows)}] * len(rows)
`
const FILES = { 'code.py': RECORDS, 'model/factor.txt': '10' }

t.test('rows of many requests in one call, each with its own fate', { skip }, async (t) => {
  const { open } = await pythonPlace(t, FILES)
  const sum = await open(predictionPlan({}, { name: 'Sum', dataFolder: 'model' }))
  const rows = [1, 13, 2, 14, 16, 3].map((x) => ({ x }))
  const [one, unlucky, two, many, none, three] = await results(sum, rows)
  t.strictSame(one, { prediction: 10, ignored: false })
  t.strictSame(
    [two, three],
    [20, 30].map((prediction) => ({ prediction, ignored: false })),
  )
  t.match(unlucky, { code: 'ERR_CODE_RAISED', detail: 'ValueError: 13 is unlucky' })
  t.match(many, { code: 'ERR_CODE_RAISED', httpStatus: 422, detail: '14 is too many' })
  t.match(none, { ignored: true, ignoreReason: 'IGNORED_BY_MODEL' })
  t.match(await results(sum, [{ x: 15 }]), [
    { code: 'ERR_ANSWER_INVALID', detail: 'predict() returned 2 predictions for 1 rows' },
  ])
  t.match(await sum.ask({ x: 1 }), { code: 'ERR_BODY_INVALID' })
  const [told] = await sum.batch([{ body: { features: { x: 2 } }, waitUs: 1_000 }])
  t.match(told?.answer, {
    timing: { wait: 1, prediction: Number },
    apiContext: { serviceId: 'svc', endpointId: 'ep', serviceGeneration: 'g1' },
  })
  const items = [1, 13, 2].map((x) => ({ features: { x } }))
  const [multi] = await sum.batch([{ body: { items } }], 'multi')
  t.match(multi?.answer?.['results'], [
    { prediction: 10 },
    { ignored: true, ignoreReason: 'IGNORED_BY_MODEL', error: { code: 'ERR_CODE_RAISED' } },
    { prediction: 20 },
  ])
  const calls = await open(predictionPlan({ kind: 'MULTICLASS' }, { name: 'Calls' }))
  const gathered = await results(calls, [{ x: 1 }, { x: 'b' }, { x: true }])
  t.match(
    gathered,
    ['1', 'b', 'True'].map((prediction) => ({ prediction, customKeys: { n: 3 } })),
  )
  const alone = await open(
    predictionPlan({ kind: 'MULTICLASS', batchable: false }, { name: 'Calls' }),
  )
  t.match(await results(alone, [{ x: 1 }, { x: 2 }]), [
    { customKeys: { n: 1 } },
    { customKeys: { n: 1 } },
  ])
})

t.test('who asks is told of his own request only', { skip }, async (t) => {
  const { open } = await pythonPlace(t, FILES)
  const plan = predictionPlan({ kind: 'MULTICLASS' }, { name: 'Meta', requestMetadata: true })
  const meta = await open(plan)
  const told = await meta.batch(
    ['a', 'b', 'c'].map((who) => ({
      body: { features: {} },
      facts: { headers: [['x-who', who]] as const },
    })),
  )
  t.match(
    told.map(({ answer }) => answer?.['result']),
    ['a', 'b', 'c'].map((prediction) => ({ prediction, customKeys: { n: 1 } })),
  )
  const bytes = Buffer.from('{"features":{}}')
  const [ends, waitUs] = [Uint32Array.of(bytes.length), new Uint32Array(1)]
  const bare = await meta.runtime.run({ endpoint: 0, verb: 'single', bytes, ends, waitUs })
  t.match(
    bare,
    { failures: [{ code: 'ERR_CODE_RAISED', detail: /requestMetadata/ }] },
    'none is left',
  )
})

const FEATURES: readonly FeaturePlan[] = [
  feature('km'),
  feature('n', { type: 'integer', onMissing: 'IMPUTE', value: 7 }),
  feature('who', { type: 'string', categories: ['x', 'y'], onUnknown: 'IGNORE' }),
  feature('fast', { type: 'boolean', onMissing: 'IMPUTE', value: false }),
]

const SEEN = `
import json
class P:
    def predict(self, f):
        if isinstance(f, list):
            return [{"prediction": 1, "seen": row, "order": list(row)} for row in f]
        if hasattr(f, "columns"):
            first = json.loads(f.to_json(orient="values"))[0]
            seen = {"columns": list(f.columns), "types": [str(d) for d in f.dtypes], "first": first}
        else:
            f[0, 0] += 0  # it can be changed
            seen = {"shape": list(f.shape), "type": str(f.dtype), "first": f[0].tolist()}
        return [{"prediction": 1, "n": len(f), **seen}] * len(f)
`

t.test('what predict() is given', { skip: withPandas }, async (t) => {
  const { open } = await pythonPlace(t, { 'code.py': SEEN })
  const ask = async (plan: object, rows: readonly object[]) =>
    results(await open(predictionPlan(plan)), rows)
  const row = { who: 'x', km: '1.5', extra: 1 }
  const order = ['km', 'n', 'who', 'fast']
  const declared = await ask({ features: FEATURES }, [
    row,
    {},
    { km: 1, who: 'z' },
    { km: 1, who: 2 ** 53 },
  ])
  t.match(declared[0], {
    customKeys: { seen: { km: 1.5, n: 7, who: 'x', fast: false }, order },
  })
  t.match(declared[1], { code: 'ERR_FEATURE_INVALID', detail: 'feature "km" is missing' })
  t.match(declared[2], { ignored: true, ignoreDetail: /unknown category "z"/ })
  t.match(declared[3], { code: 'ERR_FEATURE_INVALID', detail: /"who" is a number beyond 2\^53/ })
  const [frame] = await ask({ features: FEATURES, input: 'pandas' }, [{ km: 2, who: 'y' }])
  const types = ['float64', 'int64', 'object', 'bool']
  t.match(frame, { customKeys: { columns: order, types, first: [2, 7, 'y', false], n: 1 } })
  const numbers = [feature('a'), feature('b')]
  const [table] = await ask({ features: numbers, input: 'pandas' }, [{ b: 2, a: 1 }])
  t.match(table, {
    customKeys: { columns: ['a', 'b'], types: ['float64', 'float64'], first: [1, 2] },
  })
  const [array] = await ask({ features: numbers, input: 'numpy' }, [
    { b: 2, a: 1 },
    { b: 3, a: 4 },
  ])
  t.match(array, { customKeys: { shape: [2, 2], type: 'float64', first: [1, 2] } })
  const free = await ask({ input: 'numpy' }, [
    { a: 1, b: null },
    { b: 'x', a: 1 },
  ])
  t.match(free[0], { customKeys: { shape: [1, 2], first: [1, null] } })
  t.match(free[1], { code: 'ERR_FEATURE_INVALID', detail: 'feature "b" must be a number, got "x"' })
  const strangers = await ask({ input: 'pandas' }, [{ a: 1 }, { a: 1, evil: 2 }, { a: 3 }])
  t.match(
    strangers.map((one) => one),
    [
      { customKeys: { columns: ['a'], n: 2 } },
      { customKeys: { columns: ['a', 'evil'] } },
      { customKeys: { n: 2 } },
    ],
    'a stranger adds no column to my table',
  )
  await t.rejects(ask({ features: FEATURES, input: 'numpy' }, []), { message: /"who" is a string/ })
})

const FORMS = `
from dataiku.apinode.predict.predictor import ClassificationPredictor, RegressionPredictor
import pandas as pd, numpy as np
class C(ClassificationPredictor):
    def predict(self, f):
        n = len(f)
        s = pd.Series(["no", "yes"] * n)[:n]
        d = pd.DataFrame({"yes": [.75] * n, "no": [.25] * n})
        k = [{"row": i, "big": 2**60} for i in range(n)]
        lost = pd.Series([None] * n)
        nan = pd.DataFrame({"yes": [np.nan] * n, "no": [np.nan] * n})
        dicts = [{"probas": {"yes": .9, "no": .1}, "probaPercentile": 90}] * n
        return {
            "series": s, "pair": (s, d), "triple": (s, d, k), "keys": (s, None, k),
            "list": list(s), "array": np.array(["yes"] * n), "probas": np.array([[.3, .7]] * n),
            "second": (s, np.array([.8] * n)), "lost": (lost, nan), "dicts": dicts,
            "lists": (list(s), [[.3, .7]] * n), "alien": ["maybe"] * n, "short": s[:0],
            "text": "yes", "nothing": None, "width": (s, np.zeros((n, 3))),
            "name": (s, pd.DataFrame({"a": [1.] * n, "b": [0.] * n})),
            "badkeys": (s, None, [1] * n),
        }[f["kind"].iloc[0]]
class R(RegressionPredictor):
    def predict(self, f):
        n = len(f)
        s = pd.Series(np.arange(n) + .5)
        return {
            "series": s, "pair": (s, [{"i": np.int64(i)} for i in range(n)]), "none": (s, None),
            "triple": (s, None, None), "frame": s.to_frame(), "list": list(s),
            "float32": np.array([.5] * n, dtype="float32"), "nan": s * np.nan,
            "na": pd.Series([pd.NA] * n), "inf": s * np.inf, "text": ["a"] * n,
        }[f["kind"].iloc[0]]
`

t.test('the forms of a classification', { skip: withPandas }, async (t) => {
  const { open } = await pythonPlace(t, { 'code.py': FORMS })
  const endpoint = await open(
    predictionPlan({ kind: 'BINARY_CLASSIFICATION', classes: ['no', 'yes'], input: 'pandas' }),
  )
  const is = async (kind: string, wanted: object) =>
    t.strictSame((await results(endpoint, [{ kind }]))[0], { ...wanted, ignored: false }, kind)
  const prediction = 'no'
  for (const kind of ['series', 'list']) await is(kind, { prediction })
  await is('array', { prediction: 'yes' })
  const probas = { no: 0.25, yes: 0.75 }
  await is('pair', { prediction, probas })
  const [triple] = await endpoint.batch([{ body: { features: { kind: 'triple' } } }])
  t.match(triple?.answer, { result: { prediction, probas, customKeys: { row: 0 } } })
  await is('keys', { prediction, customKeys: { row: 0, big: 2 ** 60 } })
  await is('probas', { prediction: 'yes', probas: { no: 0.3, yes: 0.7 } })
  await is('lists', { prediction, probas: { no: 0.3, yes: 0.7 } })
  await is('second', { prediction, probas: { no: 1 - 0.8, yes: 0.8 } })
  await is('dicts', { prediction: 'yes', probas: { no: 0.1, yes: 0.9 }, probaPercentile: 90 })
  t.match(await results(endpoint, [{ kind: 'lost' }]), [{ ignored: true }])
  for (const [kind, detail] of [
    ['alien', /"maybe" is none of the classes/],
    ['short', /returned 0 predictions for 1 rows/],
    ['text', /the predictions are a str/],
    ['nothing', /returned no predictions/],
    ['width', /3 columns of probabilities for 2 classes/],
    ['name', /probability for "a", which is no class/],
    ['badkeys', /custom keys of row 0 are a int/],
  ] as const) {
    t.match(await results(endpoint, [{ kind }]), [{ code: 'ERR_ANSWER_INVALID', detail }], kind)
  }
  const strict = await open(
    predictionPlan({
      kind: 'BINARY_CLASSIFICATION',
      classes: ['no', 'yes'],
      threshold: 0.8,
      input: 'pandas',
    }),
  )
  t.match(await results(strict, [{ kind: 'probas' }]), [{ prediction: 'no' }], 'threshold')
  t.match(await results(strict, [{ kind: 'dicts' }]), [{ prediction: 'yes' }], 'threshold')
})

t.test('the forms of a regression', { skip: withPandas }, async (t) => {
  const { open } = await pythonPlace(t, { 'code.py': FORMS })
  const endpoint = await open(predictionPlan({ input: 'pandas' }))
  const two = (kind: string) => results(endpoint, [{ kind }, { kind }])
  for (const kind of ['series', 'none', 'triple', 'frame', 'list']) {
    t.strictSame(
      await two(kind),
      [0.5, 1.5].map((value) => ({ prediction: value, ignored: false })),
      kind,
    )
  }
  t.match(await two('pair'), [{ customKeys: { i: 0 } }, { prediction: 1.5, customKeys: { i: 1 } }])
  t.match(await two('float32'), [{ prediction: 0.5 }, { prediction: 0.5 }])
  for (const kind of ['nan', 'na', 'inf']) t.match(await two(kind), [{ ignored: true }, {}], kind)
  t.match(await two('text'), [
    { code: 'ERR_ANSWER_INVALID', detail: /regression predicts numbers/ },
    {},
  ])
})

t.test('look-ups before the code', { skip }, async (t) => {
  const { open, directory } = await pythonPlace(t, FILES)
  const table = await tableOf(directory, 'who,x\na,4\nb,13\n', {
    key: ['who'],
    columns: { x: 'number' },
  })
  const step: LookupStep = {
    table: table.name,
    key: [{ column: 'who', field: 'user' }],
    columns: [{ column: 'x', as: 'x' }],
    onMissing: 'IGNORE',
    onMultiple: 'ERROR',
  }
  const plan = predictionPlan({ features: [feature('x')] }, { name: 'Sum', dataFolder: 'model' })
  const sum = await open({ ...plan, enrich: { steps: [step], dump: true } }, [table])
  t.match(await results(sum, [{ user: 'a' }, { user: 'nobody' }, { user: 'b' }]), [
    { prediction: 40, ignored: false, postEnrich: { user: 'a', x: 4 } },
    { ignored: true },
    { code: 'ERR_CODE_RAISED', detail: 'ValueError: 13 is unlucky' },
  ])
})

const FOREST = `
import os, sys
import numpy as np
from sklearn.ensemble import RandomForestClassifier
class Forest:
    def __init__(self):
        x = np.random.RandomState(0).rand(400, 4)
        y = (x.sum(axis=1) > 2).astype(int)
        self.model = RandomForestClassifier(10, random_state=0).fit(x, y)
        self.classes_ = self.model.classes_
    def predict(self, f):
        return self.model.predict(f), self.model.predict_proba(f)
`

t.test('a forest of scikit-learn', { skip: withForest }, async (t) => {
  const { open } = await pythonPlace(t, { 'code.py': FOREST })
  const features = ['a', 'b', 'c', 'd'].map((name) => feature(name))
  const warmUp = [JSON.stringify({ features: { a: 0, b: 0, c: 0, d: 0 } })]
  for (const classes of [[], ['0', '1']]) {
    const kind = 'BINARY_CLASSIFICATION'
    const plan = predictionPlan({ kind, classes, features, input: 'numpy' }, {}, { warmUp })
    const forest = await open(plan)
    const rows = [0.05, 0.95].map((v) => ({ a: v, b: v, c: v, d: v }))
    const [low, high] = await results(forest, rows)
    t.match(low, { prediction: '0', probas: { '0': 1, '1': 0 }, ignored: false })
    t.match(high, { prediction: '1', probas: { '0': 0, '1': 1 }, ignored: false })
  }
})
