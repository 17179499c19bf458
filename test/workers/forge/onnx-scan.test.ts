/**
 * Goal: what the forge must know of a model is read from it without loading it, and no file,
 * however broken or hostile, is more than refused.
 *
 * Method: models made here, with one thing wrong each; real ones cut and changed at random
 * (SEED=… repeats a run).
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type ModelSpec, onnxModel } from '../../../bench/workloads/onnx-builder.ts'
import { bytesField, integerField, textField } from '../../../workers/forge/onnx-wire.ts'
import { modelFacts, rewriteZipMaps } from '../../../workers/forge/zipmap.ts'
import { modelFiles, raw } from '../../tools/model-files.ts'
import { SHARED } from '../../tools/paths.ts'

const { fileOf, newPath, rewrite } = modelFiles(t)

const x = { name: 'x', type: 'float', shape: [null, 2] } as const
const scores = { name: 'scores', type: 'float', shape: [null, 3] } as const
const zipped: ModelSpec = {
  inputs: [x],
  outputs: [{ name: 'map', type: 'float', mapKey: 'string' }],
  nodes: [
    {
      op: 'ZipMap',
      domain: 'ai.onnx.ml',
      inputs: ['x'],
      outputs: ['map'],
      attributes: { classlabels_strings: { strings: ['no', 'yes'] } },
    },
  ],
}

const models = SHARED === null ? [] : onnxFiles(join(SHARED, 'models'))

function onnxFiles(folder: string): string[] {
  const paths = readdirSync(folder, { recursive: true }).map(String)
  return paths.filter((path) => path.endsWith('.onnx')).map((path) => join(folder, path))
}

const weights = {
  name: 'w',
  type: 'float',
  dims: [2],
  data: [],
  externalFile: 'w/m.data',
} as const
const add = { op: 'Add', inputs: ['x', 'w'], outputs: ['scores'] }
const adding: ModelSpec = { inputs: [x], outputs: [scores], nodes: [add], initializers: [weights] }

t.test('facts: versions, nodes, and files with weights', async (t) => {
  t.same(await modelFacts(fileOf(onnxModel(adding))), {
    kind: 'facts',
    irVersion: 10,
    producer: 'switchyard-test',
    producerVersion: '',
    opsets: [
      { domain: '', version: 21 },
      { domain: 'ai.onnx.ml', version: 3 },
    ],
    nodeCount: 1,
    externalFiles: [{ path: 'w/m.data', bytesMin: 0 }],
    weightBytes: 0,
  })
})

t.test('facts: bytes of weights, wherever they are', async (t) => {
  const weightsIn = async (spec: Partial<ModelSpec>): Promise<number> => {
    const facts = await modelFacts(fileOf(onnxModel({ ...adding, ...spec })))
    return facts.kind === 'facts' ? facts.weightBytes : Number.NaN
  }
  const large = { name: 'w', type: 'float', dims: [500], data: new Array(500).fill(1) } as const
  const found = await weightsIn({ initializers: [large] })
  t.ok(found > 2_000 && found < 2_100, `${found}`)
  const constant = {
    ...add,
    op: 'Constant',
    inputs: [],
    attributes: { value: { tensor: large } },
  }
  t.ok((await weightsIn({ initializers: [], nodes: [constant] })) > 2_000)
  const inner = { inputs: [], outputs: [scores], nodes: [constant], initializers: [large] }
  const branches = { then_branch: { graph: inner }, else_branch: { graph: inner } }
  const nodes = [{ op: 'If', inputs: ['x'], outputs: ['scores'], attributes: branches }]
  t.equal(await weightsIn({ initializers: [], nodes }), 0, 'not those of subgraphs')
  const small = { ...large, dims: [5], data: [1, 2, 3, 4, 5] }
  t.equal(await weightsIn({ initializers: [small] }), 0)
})

t.test('a model reads no files but those of its bundle', async (t) => {
  const bad = [
    '/etc/passwd',
    '../x',
    'a/../../x',
    'C:/x',
    '..\\x',
    'a\0b',
    '',
    './x',
    'd/',
    '*/_ORT_MEM_ADDR_/*',
  ]
  for (const externalFile of bad) {
    const tensor = { ...weights, externalFile }
    const constant = {
      op: 'Constant',
      inputs: [],
      outputs: ['w'],
      attributes: { value: { tensor } },
    }
    const graph = { inputs: [], outputs: [], nodes: [constant] }
    const branch = {
      op: 'If',
      inputs: ['c'],
      outputs: ['y'],
      attributes: { then_branch: { graph } },
    }
    const hidden = { initializers: [] }
    for (const where of [
      { initializers: [tensor] },
      { nodes: [constant], ...hidden },
      { nodes: [branch], ...hidden },
    ]) {
      t.match(await modelFacts(fileOf(onnxModel({ ...adding, ...where }))), {
        kind: 'refused',
        reason: /^external data "/,
      })
    }
  }
})

t.test('where and how long external data must be', async (t) => {
  const entry = (key: string, value: string) =>
    bytesField(13, [raw(textField(1, key), textField(2, value))])
  const facts = (...tensors: Buffer[]) =>
    modelFacts(
      fileOf(
        raw(
          bytesField(
            7,
            tensors.flatMap((tensor) => bytesField(5, [tensor])),
          ),
        ),
      ),
    )
  const first = raw(entry('location', 'd'), entry('offset', '4096'), entry('length', '10'))
  const second = raw(entry('location', 'd'), entry('length', '100'))
  t.match(await facts(first, second), { externalFiles: [{ path: 'd', bytesMin: 4106 }] })
  for (const value of ['-1', '1e99', 'x', '99999999999999999999']) {
    const odd = raw(entry('location', 'd'), entry('length', value))
    t.match(await facts(odd), { kind: 'refused', reason: /offset or length/ })
  }
  t.match(await facts(raw(entry('location', 'd'), entry('location', '/e'))), { reason: /twice/ })
})

t.test('files that are no models, or attack their reader, are refused', async (t) => {
  const nested = (levels: number): Buffer => {
    let graph = raw(textField(2, 'leaf'))
    for (let level = 0; level < levels; level++) {
      const attribute = raw(textField(1, 'body'), bytesField(6, [graph]))
      graph = raw(bytesField(1, [raw(bytesField(5, [attribute]))]))
    }
    return raw(bytesField(7, [graph]))
  }
  t.equal((await rewrite(nested(20))).result.kind, 'none')
  const node = raw(bytesField(1, []))
  const nodes = Buffer.alloc(node.length * 250_001, node)
  const bad: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /no ONNX graph/],
    [Buffer.from('Dear reader, this is a text file and no model.'), /no ONNX model/],
    [Buffer.from([0x3a]), /does not end|too early/],
    [Buffer.from([0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f]), /longer than what holds it/],
    [Buffer.alloc(64, 0xff), /a number that does not end/],
    [Buffer.from([0x00, 0x00]), /without a number/],
    [Buffer.from([0x0b, 0x0c]), /unknown kind 3/],
    [raw(integerField(7, 1)), /wrong kind/],
    [raw(bytesField(1, [])), /wrong kind/],
    [raw(bytesField(7, []), bytesField(7, [])), /two ONNX graphs/],
    [raw(bytesField(2, [Buffer.from([0xff])])), /not UTF-8/],
    [raw(bytesField(2, [Buffer.alloc(65 * 1024, 'x')])), /too long/],
    [nested(30), /nested too deep/],
    [nested(3_000), /nested too deep/],
    [raw(bytesField(7, [nodes])), /over 250000 nodes/],
    [raw(bytesField(7, [Buffer.alloc(2_000_002, raw(bytesField(12, [])))])), /over 1000000 names/],
  ]
  for (const [bytes, reason] of bad)
    t.match((await rewrite(bytes)).result, { kind: 'refused', reason })
})

t.test('cut and changed at random: an answer, never a crash', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
  t.comment(`SEED=${seed}`)
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return Math.floor((state / 0x80000000) * below)
  }
  const sources = [onnxModel(zipped), ...models.map((path) => readFileSync(path))]
  const kinds = { none: 0, rewritten: 0, refused: 0 }
  const check = async (bytes: Buffer) => {
    const { out, result } = await rewrite(bytes)
    kinds[result.kind] += 1
    if (result.kind !== 'rewritten') return
    const again = await rewriteZipMaps(out, newPath())
    if (again.kind === 'rewritten') t.fail('a ZipMap was left over')
  }
  for (const source of sources) {
    for (let cut = 0; cut < 40; cut++) await check(source.subarray(0, random(source.length)))
    for (let round = 0; round < 60; round++) {
      const copy = Buffer.from(source)
      const near = Math.min(copy.length, 2_000)
      const changes = 1 + random(4)
      for (let change = 0; change < changes; change++) {
        const place = random(2) === 0 ? random(near) : copy.length - 1 - random(near)
        copy[place] = random(256)
      }
      await check(copy)
    }
  }
  t.comment(JSON.stringify(kinds))
  t.ok(kinds.refused > 0 && kinds.none > 0 && kinds.rewritten > 0)
})
