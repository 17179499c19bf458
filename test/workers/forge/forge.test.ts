/**
 * Goal: a good bundle comes out of the forge with a plan that answers right, a bad one with every
 * reason, and nothing that a model does is more than a message. Method: bundles around real models,
 * forged here, and ones that are built to do harm, by the real child process.
 */

import { readFileSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { onnxModel } from '../../../bench/workloads/onnx-builder.ts'
import type { ZipEntry } from '../../../bench/workloads/zip-writer.ts'
import { bundleEntries } from '../../../bench/workloads/zip-writer.ts'
import type { EndpointPlan, OnnxEndpointPlan } from '../../../core/bundle/plan.ts'
import { tryBody } from '../../../workers/forge/queries.ts'
import { openPredictor } from '../../../workers/onnx/predictor.ts'
import {
  type ForgeRun,
  type ForgeRunOptions,
  runForge,
  runForgeHere,
} from '../../tools/forge-child.ts'
import {
  allocates,
  alwaysFails,
  classifier,
  endlessLoop,
  identity,
  int4Output,
  lostWeights,
  mixedFloats,
  mixedPipeline,
  regressor,
  rowDependent,
  shiftedLabels,
  unknownOperator,
} from '../../tools/onnx-models.ts'
import { SHARED } from '../../tools/paths.ts'

async function run(
  t: Test,
  entries: readonly ZipEntry[],
  options: ForgeRunOptions = {},
  runner: typeof runForge = runForge,
) {
  const done = await runner(entries, options)
  t.teardown(() => done.remove())
  return done
}

/** For what ends by itself, whatever it is judged to be. */
function runHere(t: Test, entries: readonly ZipEntry[], options: ForgeRunOptions = {}) {
  return run(t, entries, options, runForgeHere)
}

function forged({ verdict }: ForgeRun) {
  if (verdict?.kind !== 'forged') throw new Error(`not forged: ${JSON.stringify(verdict)}`)
  return verdict
}

/** Code and `path: reason` of each fault. */
function refusal({ verdict, exitCode }: ForgeRun): {
  code: string
  told: string[]
  exitCode: unknown
} {
  if (verdict?.kind !== 'refused') throw new Error(`not refused: ${JSON.stringify(verdict)}`)
  const told = verdict.faults.map(({ path, reason }) => `${path}: ${reason}`)
  return { code: verdict.code, told, exitCode }
}

function onnx(plan: EndpointPlan | undefined): OnnxEndpointPlan {
  if (plan?.type !== 'STD_PREDICTION') throw new Error(`no model: ${plan?.type}`)
  return plan
}

/** Answers of the plan that came out, given as workers give them. */
async function answers(done: ForgeRun, plan: OnnxEndpointPlan, bodies: readonly object[]) {
  const predictor = await openPredictor(
    done.directory,
    { serviceId: 'demo', generationId: 'v1' },
    plan,
  )
  const results: unknown[] = []
  for (const body of bodies) {
    const tried = await tryBody(predictor, JSON.stringify(body))
    results.push(tried.kind === 'answered' ? tried.result : tried)
  }
  await predictor.release()
  return results
}

t.test('a model and four lines of JSON', async (t) => {
  const done = await run(t, bundleEntries(classifier(4, 3)))
  const { plan, report, generationId, contentSha256 } = forged(done)
  t.same([done.exitCode, generationId], [0, 'v1'])
  t.same(done.phases, ['unpacking', 'checking', 'loading', 'testing', 'measuring'])
  t.match(contentSha256, /^[0-9a-f]{64}$/)
  t.match(plan, {
    planVersion: 1,
    authorization: { method: 'API_KEYS', keys: [] },
    threads: null,
    endpoints: [
      {
        id: 'predict',
        type: 'STD_PREDICTION',
        modelRef: 'model.onnx',
        timeoutMs: 10_000,
        queue: { maxRequests: 1_024 },
        prediction: { kind: 'MULTICLASS', model: 'model.onnx', batchable: true, maxRows: 64 },
      },
    ],
  })
  t.match(report, {
    files: 2,
    runtime: /^onnxruntime-node \d/,
    endpoints: [
      {
        endpointId: 'predict',
        zipMap: 'none',
        batchable: true,
        inputs: [{ name: 'X', datatype: 'float32', shape: [null, 4] }],
        testQueries: [{ name: 'made-up row', passed: true }],
      },
    ],
  })
  const [endpoint] = report.endpoints
  t.ok(report.peakMemoryBytes > 20 * 1024 * 1024 && report.durationMs > 0)
  t.ok(endpoint !== undefined && endpoint.loadMs > 0 && endpoint.firstRunMs > 0)
  t.ok((endpoint?.modelBytes ?? 0) > 100)
  const [predict] = plan.endpoints
  t.equal(predict?.warmUp.length, 3)
  t.match(JSON.parse(predict?.warmUp[0] ?? ''), { features: { f0: 0, f3: 0 } })
})

t.test('what the manifest says is in the plan', async (t) => {
  const sha256 = 'a'.repeat(64)
  const testQueries = [
    {
      name: 'red',
      q: { features: { colour: 'red', size: '2' } },
      expect: { prediction: 21, ignored: false },
    },
    { name: 'blue', q: { features: { colour: 'blue' } }, expect: { prediction: 13 } },
  ]
  const features = [
    { name: 'colour', categories: ['red', 'green', 'blue'] },
    { name: 'size', onMissing: 'IMPUTE', value: 1 },
  ]
  const extra = {
    generationId: 'g7',
    authorization: { method: 'API_KEYS', keys: [{ sha256 }] },
    pool: { threads: 2 },
  }
  const settings = {
    timeoutMs: 50,
    queue: { maxRequests: 8 },
    modelRef: 'm:1',
    features,
    testQueries,
  }
  const done = await runHere(t, bundleEntries(mixedPipeline(), settings, extra))
  const { plan, report, generationId } = forged(done)
  t.equal(generationId, 'g7')
  t.match(plan, {
    authorization: { method: 'API_KEYS', keys: [{ id: 'bundle-aaaaaaaa', sha256 }] },
    threads: 2,
    endpoints: [{ timeoutMs: 50, queue: { maxRequests: 8 }, modelRef: 'm:1' }],
  })
  t.match(report.endpoints[0]?.testQueries, [
    { name: 'red', passed: true },
    { name: 'blue', passed: true },
  ])
  t.equal(plan.endpoints[0]?.warmUp.length, 2, 'test queries warm the workers up')
})

t.test('a row-dependent model is served row by row', async (t) => {
  const { plan, report } = forged(await runHere(t, bundleEntries(rowDependent(1))))
  t.match(onnx(plan.endpoints[0]).prediction, { kind: 'REGRESSION', batchable: false, maxRows: 1 })
  t.match(report.endpoints[0]?.batchReason, /changes with the other rows/)
})

t.test('a model that knows its categories needs a test query, and is served without', async (t) => {
  const { plan, report } = forged(await runHere(t, bundleEntries(mixedPipeline())))
  t.match(plan.endpoints[0], { warmUp: [], prediction: { batchable: false } })
  t.match(report.endpoints[0]?.batchReason, /no test queries.*Unknown Category/)
})

t.test('weights beside a model in a folder, and one model for two endpoints', async (t) => {
  const graph = {
    inputs: [{ name: 'X', type: 'float', shape: ['N', 2] }],
    outputs: [{ name: 'probabilities', type: 'float', shape: ['N', 2], mapKey: 'string' }],
    initializers: [
      { name: 'W', type: 'float', dims: [2, 2], data: [], externalFile: 'weights.bin' },
    ],
    nodes: [
      { op: 'MatMul', inputs: ['X', 'W'], outputs: ['scores'] },
      {
        op: 'ZipMap',
        domain: 'ai.onnx.ml',
        inputs: ['scores'],
        outputs: ['probabilities'],
        attributes: { classlabels_strings: { strings: ['no', 'yes'] } },
      },
    ],
  } as const
  const endpoint = { type: 'STD_PREDICTION', model: 'sub/model.onnx' }
  const expect = { prediction: 'yes', probas: { no: 0.25, yes: 0.75 } }
  const testQueries = [{ q: { features: { f0: 0.25, f1: 0.75 } }, expect }]
  const endpoints = [
    { id: 'a', ...endpoint, testQueries },
    { id: 'b', ...endpoint, threshold: 0.9, classes: ['0', '1'] },
  ]
  const weights = Buffer.from(new Float32Array([1, 0, 0, 1]).buffer)
  const done = await runHere(t, [
    { name: 'service.json', data: JSON.stringify({ formatVersion: 1, endpoints }) },
    { name: 'sub/model.onnx', data: onnxModel(graph) },
    { name: 'sub/weights.bin', data: weights },
  ])
  const { plan, report } = forged(done)
  const model = 'sub/model.onnx.switchyard.onnx'
  t.match(plan.endpoints, [
    {
      prediction: { kind: 'BINARY_CLASSIFICATION', model, classes: ['no', 'yes'], threshold: null },
    },
    { prediction: { kind: 'BINARY_CLASSIFICATION', model, classes: ['0', '1'], threshold: 0.9 } },
  ])
  t.equal(report.endpoints[0]?.modelBytes, onnxModel(graph).length + weights.length)
})

t.test('failed test queries: all of them, each by name, field and values', async (t) => {
  const features = { f0: 1, f1: 2, f2: 3, f3: 4 }
  const testQueries = [
    { name: 'one', q: { features }, expect: { prediction: '1', probas: { '0': 0.5, none: 1 } } },
    { name: 'fits', q: { features }, expect: { probas: { '0': 0.9966 } } },
    { q: { features: { f0: 1 } } },
  ]
  const { code, told, exitCode } = refusal(
    await run(t, bundleEntries(classifier(4, 3), { testQueries })),
  )
  t.same([code, exitCode], ['ERR_TEST_QUERY', 0])
  const at = 'endpoints[0].testQueries'
  t.match(told, [
    `${at}[0].expect.prediction: test query "one": expected "1", got "0"`,
    `${at}[0].expect.probas.0: test query "one": expected 0.5, got 0.996`,
    `${at}[0].expect.probas.none: test query "one": expected 1, got nothing`,
    `${at}[2].q: test query "testQueries[2]" failed: feature "f1" is missing`,
  ])
  t.equal(told.length, 4)
})

t.test('a manifest that does not fit its model, with all its faults', async (t) => {
  const manifest = {
    formatVersion: 1,
    endpoints: [
      { id: 'a', type: 'STD_PREDICTION', model: 'model.onnx', features: [{ name: 'x' }] },
      { id: 'b', type: 'STD_PREDICTION', model: 'text.onnx' },
      { id: 'c', type: 'STD_PREDICTION', model: 'model.onnx', classes: ['x', 'y'] },
      { id: 'd', type: 'STD_PREDICTION', model: 'shifted.onnx' },
    ],
  }
  const entries = [
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'model.onnx', data: classifier(4, 3) },
    { name: 'text.onnx', data: 'This is no model.\n' },
    { name: 'shifted.onnx', data: shiftedLabels() },
  ]
  const { code, told } = refusal(await runHere(t, entries))
  t.equal(code, 'ERR_BUNDLE_INVALID')
  t.match(told, [
    'endpoints[0].features: input "X" takes 4 features, 1 is listed',
    /^endpoints\[1\]\.model: text\.onnx: .*no ONNX model/,
    'endpoints[2].classes: 2 classes are listed, output "probabilities" has 3 columns',
    'endpoints[3].classes: the model answered the label "-1", the classes are "0" or "1"',
  ])
})

t.test('bundles that never reach a model', async (t) => {
  const model = classifier(4, 3)
  const missing = refusal(await run(t, bundleEntries(model).slice(1)))
  t.match(missing, { code: 'ERR_BUNDLE_INVALID', told: [/service\.json/] })
  const sql = refusal(await runHere(t, bundleEntries(model, { type: 'SQL_QUERY' })))
  t.match(sql, { told: [/query is required for SQL_QUERY/, /"model" belongs to STD_PREDICTION/] })
  const unnamed = refusal(await runHere(t, bundleEntries(model), { fileName: 'my model.zip' }))
  t.match(unnamed, { code: 'ERR_BUNDLE_INVALID', told: [/\?generationId=/] })
  const evil = refusal(await runHere(t, [...bundleEntries(model), { name: '../evil', data: 'x' }]))
  t.match(evil, { code: 'ERR_BUNDLE_INVALID' })
  t.ok(
    evil.told.some((line) => line.includes('..')),
    evil.told.join(' | '),
  )
})

t.test(
  'models that cannot be loaded or run: one clear line, no paths of this machine',
  async (t) => {
    const cases: readonly [string, Buffer, RegExp | string][] = [
      ['text', Buffer.from('not a model at all\n'.repeat(50)), /no ONNX model/],
      ['empty', Buffer.alloc(0), /no ONNX/],
      ['truncated', regressor(300).subarray(0, 700), /no ONNX model, or is damaged/],
      ['int4', int4Output(), '"Y" has the element type int4, which cannot be served'],
      ['half', identity({ type: 'float16', shape: ['N', 2] }), '"X" has the element type float16'],
      ['operator', unknownOperator(), /operator\.onnx cannot be loaded: .*NoSuchOperator/],
      ['floats', mixedFloats(), /floats\.onnx cannot be loaded: .*all number inputs as float32$/],
      ['weights', lostWeights(), 'weights.onnx needs the file "weights.bin", which is not in the'],
      ['failing', alwaysFails(), /failing\.onnx fails when it is run: Reshape node: .*Input shape/],
    ]
    const endpoints = cases.map(([id]) => ({ id, type: 'STD_PREDICTION', model: `${id}.onnx` }))
    const files = cases.map(([id, data]) => ({ name: `${id}.onnx`, data }))
    const manifest = JSON.stringify({ formatVersion: 1, endpoints })
    const done = await run(t, [{ name: 'service.json', data: manifest }, ...files])
    const { code, told, exitCode } = refusal(done)
    t.same([code, exitCode, told.length], ['ERR_MODEL_REFUSED', 0, cases.length])
    for (const [i, [id, , wanted]] of cases.entries()) {
      t.ok(told[i]?.startsWith(`endpoints[${i}].model: ${id}.onnx`), `${told[i]}`)
      t.match(told[i], wanted, id)
      t.notMatch(
        told[i],
        /switchyard-forge|onnxruntime_src|onnxruntime::|\n/,
        `${id}: one plain line`,
      )
    }
  },
)

t.test('a model that never returns is heard of until its first run', async (t) => {
  const done = await run(t, bundleEntries(endlessLoop()), { killMs: 2_500 })
  t.match(done, { verdict: null, signal: 'SIGKILL' })
  t.equal(done.phases.at(-1), 'testing', 'its parent knows where it hung')
})

t.test('a model that asks for more memory than there is', async (t) => {
  const { code, told } = refusal(await run(t, bundleEntries(allocates(4e13))))
  t.equal(code, 'ERR_MODEL_LIMITS')
  t.match(told, [/ConstantOfShape node: /])
})

t.test('an archive that is gone is told, not thrown', async (t) => {
  const done = await run(t, bundleEntries(regressor(2)), { archive: '/nowhere/absent.zip' })
  t.match(done, { exitCode: 0, verdict: { kind: 'refused', code: 'ERR_INTERNAL' } })
})

const models = SHARED === null ? null : join(SHARED, 'models')
const real = models === null ? { skip: '../shared is not here, and with it no models' } : {}

function realModel(path: string): Buffer {
  return readFileSync(join(models ?? '', path))
}

t.test('the real models', real, async (t) => {
  const raw = [
    'mnist_8/model.onnx',
    'shufflenet/light_shufflenet.onnx',
    'triton_simple/simple.onnx',
  ]
  for (const path of raw) {
    const done = await runHere(t, bundleEntries(realModel(path)))
    const plan = onnx(forged(done).plan.endpoints[0])
    t.match(plan.prediction, { kind: 'RAW', batchable: false, maxRows: 1 }, path)
    t.equal(plan.warmUp.length, 1, `${path} has a warm-up`)
  }
  const texts = await runHere(t, bundleEntries(realModel('triton_simple/simple_string.onnx')))
  const plan = onnx(forged(texts).plan.endpoints[0])
  const row = Array.from({ length: 16 }, (_, i) => String(i))
  const [sum] = await answers(texts, plan, [{ features: { INPUT0: [row], INPUT1: [row] } }])
  t.match(sum, { outputs: { OUTPUT0: { datatype: 'string', shape: [1, 16], data: ['0', '2'] } } })
})

t.test('the forest with ZipMap left on answers its probabilities', real, async (t) => {
  const expected: unknown = JSON.parse(
    realModel('sklearn_randomforest/sklearn_randomforest_expected.json').toString('utf8'),
  )
  const forest = bundleEntries(realModel('sklearn_randomforest/sklearn_randomforest.onnx'))
  const done = await runHere(t, forest)
  const { plan, report } = forged(done)
  const endpoint = onnx(plan.endpoints[0])
  t.match(endpoint.prediction, {
    kind: 'MULTICLASS',
    model: 'model.onnx.switchyard.onnx',
    classes: ['0', '1', '2'],
    batchable: true,
  })
  t.equal(report.endpoints[0]?.zipMap, 'rewritten')
  t.equal(report.files, 2, 'the copy is no file of the bundle')
  await access(join(done.directory, endpoint.prediction.model))
  const { input, expected_labels: labels, expected_probabilities: probabilities } = Object(expected)
  const bodies = input.map(([f0, f1, f2, f3]: number[]) => ({ features: { f0, f1, f2, f3 } }))
  for (const [i, result] of (await answers(done, endpoint, bodies)).entries()) {
    t.match(result, { prediction: String(labels[i]), ignored: false })
    const got = Object.values(Object(result).probas).map(Number)
    const worst = Math.max(...got.map((p, k) => Math.abs(p - probabilities[i][k])))
    t.ok(worst <= 1e-4, `row ${i} differs by ${worst}`)
  }
  const again = forged(await runHere(t, forest))
  t.equal(again.contentSha256, forged(done).contentSha256, "content is the bundle's own files")
})
