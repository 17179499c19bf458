/**
 * Goal: models that others made work over HTTP as they do elsewhere. Method: a bundle of each model
 * and four lines of JSON, imported by a started node; the answers are compared with the expected
 * outputs that came with the models (within 1e-4 of the
 * value, or of 1 for smaller ones), and those of the demo bundles with scikit-learn's.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bundleOf, Client, demoBundle } from '../tools/client.ts'
import { startNode } from '../tools/node.ts'
import { SHARED } from '../tools/paths.ts'
import { floatsOf } from '../tools/tensor-proto.ts'

const TOLERANCE = 1e-4
const models = join(SHARED ?? '', 'models')
const skip = SHARED === null ? '../shared is not here, and with it no models' : false

/** Largest difference, as a share of the expected value where that is over 1. */
function close(got: readonly number[], expected: readonly number[]): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY
  return Math.max(
    ...expected.map((value, i) => {
      const difference = Math.abs(value - (got[i] ?? Number.NaN))
      return difference / Math.max(1, Math.abs(value))
    }),
  )
}

function range(size: number, make: (index: number) => number): number[] {
  return Array.from({ length: size }, (_, i) => make(i))
}

const model = (path: string) => readFileSync(join(models, path))

async function mnist(t: Test, client: Client): Promise<void> {
  await client.deploy('mnist', 'v1', bundleOf(model('mnist_8/model.onnx')))
  for (const set of [0, 1, 2]) {
    const folder = `mnist_8/test_data_set_${set}`
    const data = floatsOf(model(`${folder}/input_0.pb`))
    const features = { Input3: { shape: [1, 1, 28, 28], data } }
    const { status, body } = await client.query('mnist/p/predict', { features })
    t.equal(status, 200)
    const output = body.result.outputs.Plus214_Output_0
    t.match(output, { datatype: 'float32', shape: [1, 10] })
    t.ok(close(output.data, floatsOf(model(`${folder}/output_0.pb`))) < TOLERANCE)
  }
}

async function shufflenet(t: Test, client: Client): Promise<void> {
  await client.deploy('shuffle', 'v1', bundleOf(model('shufflenet/light_shufflenet.onnx')))
  const size = 3 * 224 * 224
  const data = range(size, (i) => Math.fround(i / size))
  const features = { 'gpu_0/data_0': { shape: [1, 3, 224, 224], data } }
  const { status, body } = await client.query('shuffle/p/predict', { features })
  t.equal(status, 200)
  const expected = floatsOf(model('shufflenet/light_shufflenet_output_0.pb'))
  t.ok(close(body.result.outputs['gpu_0/softmax_1'].data, expected) < TOLERANCE)
}

async function triton(t: Test, client: Client): Promise<void> {
  const a = range(16, (i) => i + 3)
  const b = range(16, (i) => 40 - i)
  const sums = a.map((value, i) => value + (b[i] ?? 0))
  const differences = a.map((value, i) => value - (b[i] ?? 0))
  await client.deploy('simple', 'v1', bundleOf(model('triton_simple/simple.onnx')))
  const numbers = await client.query('simple/p/predict', {
    features: { INPUT0: [a], INPUT1: [b] },
  })
  t.same(numbers.body.result.outputs.OUTPUT0, { datatype: 'int32', shape: [1, 16], data: sums })
  t.same(numbers.body.result.outputs.OUTPUT1.data, differences)
  await client.deploy('texts', 'v1', bundleOf(model('triton_simple/simple_string.onnx')))
  const texts = await client.query('texts/p/predict', {
    features: { INPUT0: [a.map(String)], INPUT1: [b.map(String)] },
  })
  t.same(texts.body.result.outputs.OUTPUT0.data, sums.map(String))
  t.same(texts.body.result.outputs.OUTPUT1.data, differences.map(String))
}

async function forest(t: Test, client: Client): Promise<void> {
  const file = 'sklearn_randomforest/sklearn_randomforest_expected.json'
  const expected = JSON.parse(model(file).toString())
  const forest = model('sklearn_randomforest/sklearn_randomforest.onnx')
  await client.deploy('forest', 'v1', bundleOf(forest))
  const items = expected.input.map((row: number[]) => ({
    features: Object.fromEntries(row.map((value, i) => [`f${i}`, value])),
  }))
  const { status, body } = await client.query('forest/p/predict-multi', { items })
  t.equal(status, 200)
  t.equal(body.results.length, expected.expected_labels.length)
  for (const [i, result] of body.results.entries()) {
    t.equal(result.prediction, String(expected.expected_labels[i]))
    const probas = [0, 1, 2].map((label) => result.probas[String(label)])
    t.ok(close(probas, expected.expected_probabilities[i]) < TOLERANCE)
  }
}

t.test('models of others', { skip }, async (t) => {
  const client = new Client(await startNode(t))
  await t.test('mnist_8: three digits', (t) => mnist(t, client))
  await t.test('shufflenet', (t) => shufflenet(t, client))
  await t.test('triton_simple: sums and differences, of numbers and of texts', (t) =>
    triton(t, client),
  )
  await t.test('sklearn_randomforest with its ZipMap: labels and probabilities', (t) =>
    forest(t, client),
  )
})

t.test('the demo bundles pass their own test queries, made by scikit-learn', async (t) => {
  const client = new Client(await startNode(t))
  for (const name of ['cancer', 'wine', 'cellar', 'diabetes', 'iris']) {
    await client.deploy(name, 'v1', demoBundle(`${name}-v1.zip`))
    const generation = await client.admin('GET', `/services/${name}/generations/v1`)
    const [endpoint] = generation.body.report.endpoints
    t.ok(endpoint.testQueries.length > 0, `${name} has test queries`)
    t.ok(
      endpoint.testQueries.every((query: { passed: boolean }) => query.passed),
      name,
    )
    t.ok(endpoint.loadMs > 0 && generation.body.report.peakMemoryBytes > 0, 'costs are shown')
    t.ok(endpoint.cost.perRowUs > 0 && endpoint.inputs.length > 0, 'cost model and inputs')
  }
})
