/**
 * Goal: the models and bodies of the benchmark are what they say, the same every time, and the same
 * question in both protocols. Method: small models of the same formulas are run by ONNX Runtime;
 * bodies are read back; answers as each protocol gives them are compared.
 */

import { InferenceSession, Tensor } from 'onnxruntime-node'
import t from 'tap'
import {
  columnsModel,
  convolutionModel,
  denseModel,
  pseudoRandom,
  treesModel,
} from '../../../bench/workloads/models.ts'
import { firstDifference, questionOf, scoresOf } from '../../../bench/workloads/protocols.ts'
import { rowsOf, WORKLOAD_NAMES, workloadOf } from '../../../bench/workloads/workloads.ts'

async function run(model: Buffer, feeds: Record<string, Tensor>) {
  const session = await InferenceSession.create(model)
  return session.run(feeds)
}

const floats = (dims: readonly number[]) => {
  const size = dims.reduce((product, one) => product * one, 1)
  const random = pseudoRandom(1)
  return new Tensor('float32', Float32Array.from({ length: size }, random), dims)
}

/** Rows of probabilities, which must sum to one. */
function sums(data: Tensor['data'] | undefined, width: number): number[] {
  const values = Array.from(data ?? [], Number)
  return Array.from({ length: values.length / width }, (_, i) =>
    values.slice(i * width, (i + 1) * width).reduce((sum, one) => sum + one, 0),
  )
}

t.test('every formula gives a model that runs, the same bytes each time', async (t) => {
  const trees = () => treesModel({ features: 5, trees: 6, depth: 3, classes: ['a', 'b', 'c'] })
  const columns = () => columnsModel({ numbers: ['n0', 'n1'], texts: { kind: ['x', 'y'] } })
  const dense = () => denseModel([4, 8, 3])
  const convolution = () => convolutionModel(8, [{ channels: 4, stride: 2 }])
  for (const make of [trees, columns, dense, convolution]) t.ok(make().equals(make()))
  const forest = await run(trees(), { input: floats([7, 5]) })
  t.same(forest['label']?.dims, [7])
  t.ok(sums(forest['probas']?.data, 3).every((sum) => Math.abs(sum - 1) < 1e-5))
  const spread = new Set(Array.from(forest['probas']?.data ?? [], Number))
  t.ok(spread.size > 7, 'rows differ, so trees are walked')
  const one = (value: number) => new Tensor('float32', [value, value], [2, 1])
  const kind = new Tensor('string', ['x', 'unknown'], [2, 1])
  const table = await run(columns(), { n0: one(1), n1: one(2), kind })
  t.same(table['probas']?.dims, [2, 2])
  const network = await run(dense(), { input: floats([2, 4]) })
  t.ok(sums(network['probas']?.data, 3).every((sum) => Math.abs(sum - 1) < 1e-5))
  const image = await run(convolution(), { image: floats([1, 3, 8, 8]) })
  t.same(image['scores']?.dims, [1, 10])
})

t.test('bodies have the rows that they say, and are the same each time', async (t) => {
  for (const name of WORKLOAD_NAMES) {
    const workload = workloadOf(name)
    for (const { rows } of workload.shapes) {
      const ask = () => questionOf('own', workload, rowsOf(workload, rows))
      t.same(ask(), ask(), `${name}, ${rows} rows`)
      const body = JSON.parse(ask().body)
      t.equal(
        rows === 1 ? Object.keys(body).join() : body.items.length,
        rows === 1 ? 'features' : rows,
      )
    }
  }
  const trees = workloadOf('trees')
  const large = trees.shapes.find(({ name }) => name === 'large')
  const { body } = questionOf('own', trees, rowsOf(trees, large?.rows ?? 0))
  t.ok(Math.abs(body.length - 2e6) < 1e5, `the large body has ${body.length} bytes`)
})

t.test('the other protocol asks the same', async (t) => {
  const workload = workloadOf('columns')
  const rows = rowsOf(workload, 3)
  const { inputs } = JSON.parse(questionOf('v2', workload, rows).body)
  t.equal(inputs.length, workload.inputs.length)
  for (const { name, shape, datatype, data } of inputs) {
    t.same(shape, [3, 1])
    t.same(
      data,
      rows.map((row) => row[name]),
    )
    t.equal(datatype, typeof data[0] === 'string' ? 'BYTES' : 'FP32')
  }
})

t.test('answers of both protocols are compared, and a difference is named', async (t) => {
  const workload = workloadOf('columns')
  const own = (a: number, b: number) =>
    JSON.stringify({ results: [{ probas: { 1: b, 0: a } }, { probas: { 0: 0.5, 1: 0.5 } }] })
  const v2 = JSON.stringify({
    outputs: [
      { name: 'label', data: [0, 1] },
      { name: 'probas', data: [0.75, 0.25, 0.5, 0.5] },
    ],
  })
  const expected = scoresOf('own', workload, own(0.75, 0.25))
  t.same(expected, [
    [0.75, 0.25],
    [0.5, 0.5],
  ])
  t.equal(firstDifference(expected, scoresOf('v2', workload, v2)), null)
  t.match(
    firstDifference(expected, scoresOf('own', workload, own(0.7, 0.3))),
    /row 0, score 0: 0.7/,
  )
  t.match(firstDifference(expected, [[0.75, 0.25]]), /1 rows, not 2/)
  t.match(firstDifference([[1]], [[Number.NaN]]), /NaN/)
  const single = JSON.stringify({ result: { ignored: true } })
  t.match(firstDifference(expected.slice(0, 1), scoresOf('own', workload, single)), /NaN/)
})
