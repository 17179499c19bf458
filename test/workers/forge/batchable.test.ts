/**
 * Goal: rows of strangers share a run only where they cannot see each other, and what a run costs
 * is known. Method: real models, loaded as workers load them, with every way in which a row can
 * leak into another; and figures with a known answer for the fit.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type NodeSpec, onnxModel } from '../../../bench/workloads/onnx-builder.ts'
import type { StdPredictionEndpoint } from '../../../core/bundle/endpoint-schemas.ts'
import { fit, measureCost } from '../../../workers/forge/cost.ts'
import { candidateRows } from '../../../workers/forge/rows.ts'
import { planPrediction } from '../../../workers/forge/signature.ts'
import { judgeRows, tryAsRows } from '../../../workers/forge/trial.ts'
import { openModel } from '../../../workers/onnx/session.ts'
import { classifier, mixedPipeline, regressor, rowDependent } from '../../tools/onnx-models.ts'

/** Judged as the forge judges it. */
async function judge(t: Test, bytes: Buffer, extra: Partial<StdPredictionEndpoint> = {}) {
  const home = await mkdtemp(join(tmpdir(), 'switchyard-batchable-'))
  t.teardown(() => rm(home, { recursive: true, force: true }))
  await writeFile(join(home, 'm.onnx'), bytes)
  const model = await openModel(join(home, 'm.onnx'))
  const endpoint: StdPredictionEndpoint = {
    id: 'p',
    type: 'STD_PREDICTION',
    model: 'm.onnx',
    ...extra,
  }
  const { inputs, outputs } = model
  const signature = { model: 'm.onnx', inputs, outputs, labels: null }
  const trial = await tryAsRows(model, signature, endpoint)
  if (trial === null) throw new Error('the model takes no rows')
  const planned = planPrediction({ ...signature, outputs: trial.outputs }, endpoint, 'e')
  if (planned.kind === 'faults') throw new Error(JSON.stringify(planned.faults))
  const judged = await judgeRows(planned.plan, trial, endpoint)
  await model.release()
  return judged
}

/** X[N,2] -> own[N,1], one number per row, then the given nodes make Y[N,1] of it. */
function leaky(nodes: readonly NodeSpec[]): Buffer {
  return onnxModel({
    opset: 13,
    inputs: [{ name: 'X', type: 'float', shape: ['N', 2] }],
    outputs: [{ name: 'Y', type: 'float', shape: ['N', 1] }],
    initializers: [
      { name: 'W', type: 'float', dims: [2, 1], data: [1, 2] },
      { name: 'tiny', type: 'float', dims: [1], data: [1e-4] },
      { name: 'axis0', type: 'int64', dims: [1], data: [0] },
    ],
    nodes: [{ op: 'MatMul', inputs: ['X', 'W'], outputs: ['own'] }, ...nodes],
  })
}

const MAX: NodeSpec = {
  op: 'ReduceMax',
  inputs: ['own'],
  outputs: ['max'],
  attributes: { axes: { ints: [0] }, keepdims: { int: 1 } },
}

t.test('independent rows are batched, and how it was proven is told', async (t) => {
  const judged = await judge(t, classifier(4, 3))
  t.match(judged, {
    batchable: true,
    maxRows: 64,
    reason: /^8 different rows gave the same answers/,
  })
  t.ok(judged.cost.fixedUs >= 0 && judged.cost.perRowUs >= 0 && judged.worstBatchMs > 0)
  t.match(await judge(t, regressor(3), { maxRows: 5 }), { batchable: true, maxRows: 5 })
})

t.test('the manifest may forbid it', async (t) => {
  const reason = 'the manifest says batch: false'
  t.match(await judge(t, regressor(3), { batch: false }), { batchable: false, maxRows: 1, reason })
  t.match(await judge(t, regressor(3), { maxRows: 1 }), {
    batchable: false,
    reason: 'maxRows is 1',
  })
})

t.test('rows that depend on each other run one by one', async (t) => {
  const changes = /changes with the other rows/
  const models: readonly [string, Buffer][] = [
    ['the mean of the batch', rowDependent(1)],
    ['the sum of the batch', leaky([{ op: 'CumSum', inputs: ['own', 'axis0'], outputs: ['Y'] }])],
    [
      'a whisper of the largest neighbour',
      leaky([
        MAX,
        { op: 'Mul', inputs: ['max', 'tiny'], outputs: ['part'] },
        { op: 'Add', inputs: ['own', 'part'], outputs: ['Y'] },
      ]),
    ],
    [
      'a scale over the batch, as dynamic quantization has',
      leaky([
        { op: 'DynamicQuantizeLinear', inputs: ['own'], outputs: ['q', 'scale', 'zero'] },
        { op: 'DequantizeLinear', inputs: ['q', 'scale', 'zero'], outputs: ['Y'] },
      ]),
    ],
  ]
  for (const [name, bytes] of models) {
    const judged = await judge(t, bytes, { prediction: 'REGRESSION' })
    t.match(judged, { batchable: false, maxRows: 1, reason: changes }, name)
  }
})

t.test('answers that differ from run to run prove nothing', async (t) => {
  const noise = leaky([
    { op: 'RandomNormalLike', inputs: ['own'], outputs: ['noise'] },
    { op: 'Add', inputs: ['own', 'noise'], outputs: ['Y'] },
  ])
  t.match(await judge(t, noise), { batchable: false, reason: /from run to run/ })
})

t.test('a first dimension that is not free', async (t) => {
  const one = onnxModel({
    inputs: [{ name: 'X', type: 'float', shape: [1, 2] }],
    outputs: [{ name: 'Y', type: 'float', shape: [1, 2] }],
    nodes: [{ op: 'Neg', inputs: ['X'], outputs: ['Y'] }],
  })
  const judged = await judge(t, one, { prediction: 'MULTICLASS' })
  t.match(judged, {
    batchable: false,
    reason: 'input "X" has shape [1, 2]: no free first dimension',
  })
  const summed = leaky([MAX, { op: 'Identity', inputs: ['max'], outputs: ['Y'] }])
  t.match(await judge(t, summed), { batchable: false }, 'one answer for all rows')
})

t.test('rows that the model refuses need test queries or categories', async (t) => {
  const bare = await judge(t, mixedPipeline())
  t.match(bare, {
    batchable: false,
    maxRows: 1,
    reason: /^no test queries .* took none \(OneHotEnc/,
  })
  const rows = [
    { colour: 'red', size: 1 },
    { colour: 'blue', size: 3 },
  ]
  const testQueries = rows.map((features) => ({ q: { features } }))
  t.match(await judge(t, mixedPipeline(), { testQueries }), { batchable: true, maxRows: 64 })
  const features = [{ name: 'colour', categories: ['red', 'green'] }, { name: 'size' }]
  t.match(await judge(t, mixedPipeline(), { features }), { batchable: true })
})

t.test('a row of zeros lends its values without an end of different rows', async (t) => {
  const testQueries = [{ q: { features: { f0: 0, f1: 0 } } }]
  const judged = await judge(t, classifier(2, 2), { testQueries })
  t.match(judged, { batchable: true, maxRows: 64 })
})

t.test('where there are only a few different rows the search for more ends', async (t) => {
  const judged = await judge(t, classifier(1, 2), { features: [{ name: 'a', type: 'boolean' }] })
  t.match(judged, {
    batchable: false,
    reason: 'a proof needs 8 different rows, and only 2 were found',
  })
})

t.test('made-up rows are the same every time', async (t) => {
  const feature = {
    onMissing: 'ERROR',
    onInvalid: 'ERROR',
    onUnknown: 'ERROR',
    value: null,
  } as const
  const features = [
    { ...feature, name: 'n', type: 'number', categories: null },
    { ...feature, name: 's', type: 'string', categories: ['a', 'b'] },
  ] as const
  const take = () => {
    const rows = candidateRows(features, [])
    return Array.from({ length: 20 }, () => JSON.stringify(rows.next().value))
  }
  t.same(take(), take())
  t.ok(new Set(take()).size >= 18, 'and differ from each other')
})

t.test('cost: least squares, never negative', async (t) => {
  const line = [1, 2, 4, 8].map((rows) => ({ rows, us: 20 + 3 * rows }))
  t.same(fit(line), { fixedUs: 20, perRowUs: 3 })
  t.same(fit([{ rows: 1, us: 50 }]), { fixedUs: 50, perRowUs: 0 })
  t.same(
    fit([
      { rows: 1, us: 1 },
      { rows: 2, us: 100 },
    ]).fixedUs,
    0,
  )
  t.same(
    fit([
      { rows: 1, us: 9 },
      { rows: 2, us: 5 },
    ]),
    { fixedUs: 7, perRowUs: 0 },
  )
})

t.test('cost: the time for measuring is bounded', async (t) => {
  const asked: number[] = []
  const slow = (rows: number) => {
    asked.push(rows)
    return new Promise((resolve) => setTimeout(resolve, rows * 100))
  }
  const { cost, worstBatchMs } = await measureCost(slow, 64)
  t.ok(Math.max(...asked) <= 8, `sizes up to ${Math.max(...asked)} were tried`)
  t.ok(cost.perRowUs > 50_000 && cost.perRowUs < 200_000, `${cost.perRowUs} us per row`)
  t.ok(worstBatchMs > 3_000, 'the largest batch is expected, not tried')
})

t.test('a size that the model refuses is not used', async (t) => {
  const upTo = (rowsMax: number) => async (rows: number) => {
    if (rows > rowsMax) throw new Error('too many')
  }
  t.equal((await measureCost(upTo(20), 64)).maxRows, 16)
  t.equal((await measureCost(upTo(64), 64)).maxRows, 64)
})
