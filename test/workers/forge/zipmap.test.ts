/**
 * Goal: a classifier that ends in ZipMap nodes answers tensors with the right labels after the
 * rewrite, and nothing else in the file changes.
 *
 * Method: real models and small ones made here, run through ONNX Runtime before and after.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  type Attribute,
  type ModelSpec,
  type NodeSpec,
  onnxModel,
} from '../../../bench/workloads/onnx-builder.ts'
import { GRAPH, MODEL, OPSET } from '../../../workers/forge/onnx-fields.ts'
import {
  bytesField,
  edited,
  type Field,
  integerField,
  textField,
  WireFile,
  writePieces,
} from '../../../workers/forge/onnx-wire.ts'
import { modelFacts, rewriteZipMaps } from '../../../workers/forge/zipmap.ts'
import { openModel, Tensor } from '../../../workers/onnx/session.ts'
import { modelFiles, raw } from '../../tools/model-files.ts'
import { SHARED } from '../../tools/paths.ts'

const { fileOf, newPath, rewrite } = modelFiles(t)

const labelled = (labels: Attribute): NodeSpec => ({
  op: 'LinearClassifier',
  domain: 'ai.onnx.ml',
  inputs: ['x'],
  outputs: ['label', 'scores'],
  attributes: {
    coefficients: { floats: [1, 0, 0, 1, -1, -1] },
    intercepts: { floats: [0, 0, 0] },
    multi_class: { int: 1 },
    post_transform: { string: 'SOFTMAX' },
    ...('strings' in labels ? { classlabels_strings: labels } : { classlabels_ints: labels }),
  },
})

const zipMap = (labels: Readonly<Record<string, Attribute>>, output = 'map'): NodeSpec => ({
  op: 'ZipMap',
  domain: 'ai.onnx.ml',
  inputs: ['scores'],
  outputs: [output],
  attributes: labels,
})

const colours = { strings: ['red', 'green', 'blue'] }
const x = { name: 'x', type: 'float', shape: [null, 2] } as const
const label = { name: 'label', type: 'string', shape: [null] } as const
const scores = { name: 'scores', type: 'float', shape: [null, 3] } as const
const map = { name: 'map', type: 'float', mapKey: 'string' } as const

const zipped: ModelSpec = {
  inputs: [x],
  outputs: [label, map],
  nodes: [labelled(colours), zipMap({ classlabels_strings: colours })],
}

const models = SHARED === null ? [] : onnxFiles(join(SHARED, 'models'))
const skip = models.length === 0 && '../shared is not here, and with it no models'

function onnxFiles(folder: string): string[] {
  const paths = readdirSync(folder, { recursive: true }).map(String)
  return paths.filter((path) => path.endsWith('.onnx')).map((path) => join(folder, path))
}

t.test('a real forest gives the labels and probabilities of scikit-learn', { skip }, async (t) => {
  const place = join(SHARED ?? '', 'models/sklearn_randomforest')
  const expected = JSON.parse(
    readFileSync(join(place, 'sklearn_randomforest_expected.json'), 'utf8'),
  )
  const out = newPath()
  const result = await rewriteZipMaps(join(place, 'sklearn_randomforest.onnx'), out)
  const outputs = [{ name: 'output_probability', labels: ['0', '1', '2'] }]
  t.same(result, { kind: 'rewritten', outputs })
  const model = await openModel(out)
  t.same(model.outputs, [
    { name: 'output_label', datatype: 'int64', shape: [null] },
    { name: 'output_probability', datatype: 'float32', shape: [null, 3] },
  ])
  const rows = expected.input.length
  const X = new Tensor('float32', Float32Array.from(expected.input.flat()), [rows, 4])
  const answer = await model.run({ X })
  t.same([...(answer['output_label']?.data ?? [])].map(Number), expected.expected_labels)
  const found = [...(answer['output_probability']?.data ?? [])].map(Number)
  const wanted: number[] = expected.expected_probabilities.flat()
  t.equal(found.length, wanted.length)
  t.ok(
    wanted.every((value, index) => Math.abs(value - (found[index] ?? NaN)) < 1e-4),
    `${found}`,
  )
  await model.release()
})

t.test('what is not edited stays, byte for byte', { skip }, async (t) => {
  for (const path of models) {
    const file = new WireFile(path)
    const rebuilt = edited(file, { start: 0, end: file.size }, (field) => {
      if (field.number !== MODEL.graph) return null
      return bytesField(
        MODEL.graph,
        edited(file, file.message(field), () => null),
      )
    })
    const out = newPath()
    await writePieces(file, rebuilt, out)
    file.close()
    t.ok(readFileSync(out).equals(readFileSync(path)), path)
  }
})

t.test('a rewritten model answers what the scores were before', async (t) => {
  const { out, result } = await rewrite(onnxModel(zipped))
  t.same(result, { kind: 'rewritten', outputs: [{ name: 'map', labels: colours.strings }] })
  const before = await openModel(fileOf(onnxModel({ ...zipped, outputs: [label, scores] })))
  const after = await openModel(out)
  const feeds = { x: new Tensor('float32', Float32Array.from([1, 2, 3, -4, 0, 0]), [3, 2]) }
  const plain = await before.run(feeds)
  const answer = await after.run(feeds)
  t.same(answer['map']?.dims, [3, 3])
  t.same(answer['map']?.data, plain['scores']?.data, 'the very same bits')
  t.same(answer['label']?.data, ['green', 'red', 'red'])
  await before.release()
  await after.release()
  t.match(await rewriteZipMaps(out, newPath()), { kind: 'none' }, 'once is enough')
})

t.test('fields that nobody knows, and weights, are kept', async (t) => {
  const unknown = raw(textField(999, 'from the future'), integerField(998, 2 ** 40))
  const { out, result } = await rewrite(Buffer.concat([onnxModel(zipped), unknown]))
  t.equal(result.kind, 'rewritten')
  t.ok(readFileSync(out).subarray(-unknown.length).equals(unknown))
  t.match(await rewriteZipMaps(out, newPath()), { kind: 'none', classLabels: colours.strings })
})

t.test('several ZipMaps, whole numbers, and one whose output nobody asked for', async (t) => {
  const numbers = { ints: [-1, 7, 9_007_199_254_740_991] }
  const spec: ModelSpec = {
    inputs: [x],
    outputs: [{ ...map, name: 'second' }, map],
    nodes: [
      labelled(colours),
      zipMap({ classlabels_strings: colours }),
      zipMap({ classlabels_int64s: numbers }, 'second'),
      zipMap({ classlabels_int64s: numbers }, 'unused'),
    ],
  }
  const { out, result } = await rewrite(onnxModel(spec))
  t.same(result, {
    kind: 'rewritten',
    outputs: [
      { name: 'second', labels: ['-1', '7', '9007199254740991'] },
      { name: 'map', labels: colours.strings },
    ],
  })
  const model = await openModel(out)
  t.same(
    model.outputs.map(({ shape }) => shape),
    [
      [null, 3],
      [null, 3],
    ],
  )
  await model.release()
})

t.test('the default domain is imported, hints about the map are dropped', async (t) => {
  const path = fileOf(onnxModel(zipped))
  const file = new WireFile(path)
  const isDefault = (field: Field) =>
    [...file.fields(file.message(field))].some(
      (part) => part.number === OPSET.domain && file.text(part) === '',
    )
  const hint = raw(bytesField(GRAPH.valueInfo, [raw(textField(1, 'map'))]))
  const pieces = edited(file, { start: 0, end: file.size }, (field) => {
    if (field.number === MODEL.opsetImport && isDefault(field)) return []
    if (field.number !== MODEL.graph) return null
    return bytesField(MODEL.graph, [...edited(file, file.message(field), () => null), hint])
  })
  const bare = newPath()
  await writePieces(file, pieces, bare)
  file.close()
  t.match(await modelFacts(bare), { opsets: [{ domain: 'ai.onnx.ml', version: 3 }] })
  const out = newPath()
  t.equal((await rewriteZipMaps(bare, out)).kind, 'rewritten')
  t.match(await modelFacts(out), { opsets: [{ domain: 'ai.onnx.ml' }, { domain: '', version: 9 }] })
  t.notOk(readFileSync(out).includes(hint))
  const model = await openModel(out)
  t.equal(model.outputs.length, 2, 'ONNX Runtime takes it')
  await model.release()
})

t.test('a ZipMap that cannot be replaced is refused, with what to do', async (t) => {
  const zip = zipMap({ classlabels_strings: colours })
  const inside = { inputs: [], outputs: [map], nodes: [zip] }
  const branches = { then_branch: { graph: inside }, else_branch: { graph: inside } }
  const bad: [NodeSpec[], RegExp][] = [
    [[zip, { op: 'Identity', inputs: ['map'], outputs: ['y'] }], /"map" feeds another node/],
    [[{ op: 'If', inputs: ['c'], outputs: ['y'], attributes: branches }], /inside a subgraph/],
    [
      [zip, { op: 'If', inputs: ['c'], outputs: ['y'], attributes: captures('map') }],
      /feeds another/,
    ],
    [[zipMap({})], /names no class labels/],
    [[zipMap({ classlabels_strings: colours, classlabels_int64s: { ints: [1] } })], /labels twice/],
    [[{ ...zip, inputs: [] }], /one input and one output/],
    [[{ ...zip, outputs: ['map', 'more'] }], /one input and one output/],
  ]
  for (const [nodes, reason] of bad) {
    const { result } = await rewrite(onnxModel({ ...zipped, nodes: [labelled(colours), ...nodes] }))
    t.match(result, { kind: 'refused', reason })
  }
  const body = raw(bytesField(7, [raw(textField(4, 'ZipMap'), textField(7, 'ai.onnx.ml'))]))
  const called = Buffer.concat([onnxModel(zipped), raw(bytesField(MODEL.functions, [body]))])
  t.match((await rewrite(called)).result, { reason: /subgraph or a function/ })
})

/** A branch that takes a value of the graph around it. */
function captures(name: string): Record<string, Attribute> {
  const nodes = [{ op: 'Identity', inputs: [name], outputs: ['inner'] }]
  return { then_branch: { graph: { inputs: [], outputs: [], nodes } } }
}

t.test('without ZipMap, labels come from the one classifier that feeds the outputs', async (t) => {
  const none = async (spec: Partial<ModelSpec>) => {
    const model = { ...zipped, outputs: [label, scores], nodes: [labelled(colours)], ...spec }
    const { result } = await rewrite(onnxModel(model))
    return result.kind === 'none' ? result.classLabels : result
  }
  t.same(await none({}), colours.strings)
  const whole = { ...label, type: 'int64' } as const
  const counted = labelled({ ints: [3, -4, 5] })
  t.same(await none({ nodes: [counted], outputs: [whole, scores] }), ['3', '-4', '5'])
  const other = { ...labelled(colours), outputs: ['label2', 'scores2'] }
  t.same(
    await none({ nodes: [labelled(colours), other] }),
    colours.strings,
    'the other feeds nothing',
  )
  const both = [label, { ...scores, name: 'scores2' }]
  t.equal(await none({ nodes: [labelled(colours), other], outputs: both }), null, 'two of them')
  t.equal(await none({ nodes: [counted] }), null, 'numbers that come out as other texts')
  t.equal(await none({ nodes: [] }), null)
  const packed = raw(
    bytesField(8, [Buffer.from([3, 4, 0x85, 0x01])]),
    textField(1, 'classlabels_ints'),
  )
  const node = raw(textField(2, 'label'), textField(4, 'Odd'), bytesField(5, [packed]))
  const graph = raw(bytesField(1, [node]), bytesField(12, [raw(textField(1, 'label'))]))
  const { result } = await rewrite(raw(bytesField(7, [graph])))
  t.same(result, { kind: 'none', classLabels: ['3', '4', '133'] }, 'packed, and named at the end')
})
