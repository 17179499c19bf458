/**
 * Goal: a model and four lines of JSON are enough, and a manifest that does not fit its model is
 * told in full. Method: the shapes that exporters really give, as data; no model is loaded.
 */

import t from 'tap'
import type { StdPredictionEndpoint } from '../../../core/bundle/endpoint-schemas.ts'
import type { TensorSpec } from '../../../core/bundle/plan.ts'
import { planInputs } from '../../../workers/forge/inputs.ts'
import { completeShapes } from '../../../workers/forge/shapes.ts'
import { planPrediction } from '../../../workers/forge/signature.ts'
import { Tensor } from '../../../workers/onnx/session.ts'

type Shape = TensorSpec['shape']
type Extra = Partial<StdPredictionEndpoint>

function spec(name: string, datatype: TensorSpec['datatype'], shape: Shape): TensorSpec {
  return { name, datatype, shape }
}

const X4 = [spec('X', 'float32', [null, 4])]
const LABEL = spec('label', 'int64', [null])
const PROBABILITIES = (columns: number | null) => spec('probs', 'float32', [null, columns])
const VALUE = spec('variable', 'float32', [null, 1])

interface Model {
  readonly inputs?: readonly TensorSpec[]
  readonly outputs: readonly TensorSpec[]
  readonly labels?: readonly string[]
}

function plan({ inputs = X4, outputs, labels }: Model, extra: Extra = {}) {
  const endpoint: StdPredictionEndpoint = { id: 'p', type: 'STD_PREDICTION', model: 'm', ...extra }
  const signature = { model: 'm', inputs, outputs, labels: labels ?? null }
  return planPrediction(signature, endpoint, 'endpoints[0]')
}

/** `path: reason` of each fault, without the path of the endpoint. */
function faults(model: Model, extra: Extra): string[] {
  const planned = plan(model, extra)
  if (planned.kind === 'planned') return []
  return planned.faults.map(({ path, reason }) => `${path.replace('endpoints[0].', '')}: ${reason}`)
}

/** What it is, the model, what the manifest adds, what is planned. */
const KINDS: readonly [string, Model, Extra, object][] = [
  [
    'two columns',
    { outputs: [LABEL, PROBABILITIES(2)] },
    {},
    {
      kind: 'BINARY_CLASSIFICATION',
      label: 'label',
      probabilities: 'probs',
      classes: ['0', '1'],
    },
  ],
  [
    'three columns',
    { outputs: [LABEL, PROBABILITIES(3)] },
    {},
    { kind: 'MULTICLASS', classes: ['0', '1', '2'], threshold: null },
  ],
  [
    'labels of the model',
    { outputs: [spec('l', 'string', [null]), PROBABILITIES(2)], labels: ['no', 'yes'] },
    {},
    { kind: 'BINARY_CLASSIFICATION', label: 'l', classes: ['no', 'yes'] },
  ],
  [
    'one column and two labels',
    { outputs: [LABEL, PROBABILITIES(1)], labels: ['a', 'b'] },
    {},
    { kind: 'BINARY_CLASSIFICATION', probabilities: 'probs', classes: ['a', 'b'] },
  ],
  [
    'columns unknown, labels known',
    { outputs: [LABEL, PROBABILITIES(null)], labels: ['a', 'b', 'c'] },
    {},
    { kind: 'MULTICLASS', classes: ['a', 'b', 'c'] },
  ],
  ['a column of numbers', { outputs: [VALUE] }, {}, { kind: 'REGRESSION', value: 'variable' }],
  [
    'a vector of numbers',
    { outputs: [spec('y', 'float64', [null])] },
    {},
    { kind: 'REGRESSION', value: 'y' },
  ],
  [
    'a threshold makes one column a probability',
    { outputs: [spec('sigmoid', 'float32', [null, 1])] },
    { threshold: 0.4 },
    { kind: 'BINARY_CLASSIFICATION', probabilities: 'sigmoid', label: null, threshold: 0.4 },
  ],
  [
    'classes make scores probabilities',
    { outputs: [PROBABILITIES(3)] },
    { classes: ['a', 1, true] },
    { kind: 'MULTICLASS', label: null, probabilities: 'probs', classes: ['a', '1', 'true'] },
  ],
  [
    'several numbers per row',
    { outputs: [PROBABILITIES(3)] },
    {},
    { kind: 'RAW', inputs: [{ features: [] }] },
  ],
  ['scores that are no probabilities', { outputs: [LABEL, PROBABILITIES(1)] }, {}, { kind: 'RAW' }],
  ['several outputs', { outputs: [VALUE, PROBABILITIES(3), LABEL] }, {}, { kind: 'RAW' }],
  [
    'images',
    { inputs: [spec('i', 'float32', [null, 3, 224, 224])], outputs: [PROBABILITIES(1000)] },
    {},
    { kind: 'RAW', maxRows: 1, features: [] },
  ],
  [
    'a batch of fixed size',
    { inputs: [spec('i', 'float32', [8, 4])], outputs: [VALUE] },
    {},
    { kind: 'RAW' },
  ],
  ['RAW on request', { outputs: [VALUE] }, { prediction: 'RAW' }, { kind: 'RAW' }],
  [
    'only labels',
    { outputs: [LABEL] },
    { prediction: 'MULTICLASS' },
    { kind: 'MULTICLASS', label: 'label', probabilities: null, classes: [] },
  ],
]

t.test('the kind of prediction is read from the outputs', async (t) => {
  for (const [name, model, extra, wanted] of KINDS) {
    const planned = plan(model, extra)
    t.match(planned, { kind: 'planned', plan: wanted }, name)
  }
})

t.test('features: names, types and places', async (t) => {
  const one = plan({ outputs: [VALUE] })
  t.match(one, {
    plan: {
      inputs: [{ name: 'X', features: [0, 1, 2, 3] }],
      features: [{ name: 'f0', type: 'number', onMissing: 'ERROR', value: null }, {}, {}, {}],
      maxRows: 64,
      batchable: false,
    },
  })
  const columns = [
    spec('age', 'float32', [null, 1]),
    spec('city', 'string', [null, 1]),
    spec('visits', 'int64', [null, null]),
    spec('vip', 'bool', [null]),
  ]
  t.match(plan({ inputs: columns, outputs: [VALUE] }), {
    plan: {
      features: [
        { name: 'age', type: 'number' },
        { name: 'city', type: 'string' },
        { name: 'visits', type: 'integer' },
        { name: 'vip', type: 'boolean' },
      ],
      inputs: [{ features: [0] }, { features: [1] }, { features: [2] }, { features: [3] }],
    },
  })
  const mixed = [spec('num', 'float32', [null, 2]), spec('city', 'string', [null, 1])]
  t.match(plan({ inputs: mixed, outputs: [VALUE] }), {
    plan: { features: [{ name: 'num_0' }, { name: 'num_1' }, { name: 'city' }] },
  })
  const features = [
    { name: 'city', onUnknown: 'IGNORE' as const },
    { name: 'b', input: 'num', onMissing: 'IMPUTE' as const, value: 1 },
    { name: 'a', input: 'num', type: 'boolean' as const },
  ]
  t.match(plan({ inputs: mixed, outputs: [VALUE] }, { features, maxRows: 7 }), {
    plan: {
      inputs: [
        { name: 'num', features: [1, 2] },
        { name: 'city', features: [0] },
      ],
      features: [{ onUnknown: 'IGNORE' }, { value: 1, type: 'number' }, { type: 'boolean' }],
      maxRows: 7,
    },
  })
  const wide = plan({ inputs: [spec('X', 'float32', [null, 100_000])], outputs: [VALUE] })
  t.match(wide, { plan: { maxRows: 40 } }, 'buffers of a batch are bounded')
})

t.test('labels that the manifest renames', async (t) => {
  const outputs = [LABEL, PROBABILITIES(2)]
  const label = (labels: string[], classes: string[]) => {
    const planned = plan({ outputs, labels }, { classes })
    return planned.kind === 'planned' ? planned.plan.label : planned.faults
  }
  t.equal(label(['no', 'yes'], ['no', 'yes']), 'label')
  t.equal(label(['0', '1'], ['bad', 'good']), 'label', 'an index names its class')
  t.equal(label(['1', '2'], ['bad', 'good']), null, 'no class and no index: probabilities decide')
  t.equal(label(['0', '1'], ['1', '0']), null, 'numbers as names are no indexes')
  t.match(faults({ outputs: [LABEL], labels: ['1', '2'] }, { classes: ['a', 'b'] }), [
    'classes: the model answers labels only, and these are "1" or "2"',
  ])
})

const BINARY: Model = { outputs: [LABEL, PROBABILITIES(2)] }
/** The model, what the manifest says, and how each fault begins. */
const MISFITS: readonly [Model, Extra, string[]][] = [
  [BINARY, { features: [{ name: 'a' }] }, ['features: input "X" takes 4 features, 1 is listed']],
  [BINARY, { outputs: { label: 'lable' } }, ['outputs.label: "lable" is no output of the model']],
  [BINARY, { classes: ['a', 'b', 'c'] }, ['classes: 3 classes are listed, output "probs" has 2']],
  [BINARY, { prediction: 'REGRESSION', outputs: { value: 'probs' } }, ['outputs.value: output p']],
  [
    { outputs: [LABEL, PROBABILITIES(3)] },
    { prediction: 'BINARY_CLASSIFICATION' },
    ['prediction: BINARY_CLASSIFICATION has 2 classes, the model has 3'],
  ],
  [
    { outputs: [LABEL, PROBABILITIES(3)], labels: ['a', 'b', 'c'] },
    { prediction: 'BINARY_CLASSIFICATION' },
    ['prediction: BINARY_CLASSIFICATION has 2 classes, the model has 3'],
  ],
  [
    { outputs: [LABEL, PROBABILITIES(3)] },
    { threshold: 0.5 },
    ['threshold: BINARY_CLASSIFICATION has 2 classes, the model has 3'],
  ],
  [
    { outputs: [LABEL, PROBABILITIES(3)] },
    { prediction: 'MULTICLASS', threshold: 0.5 },
    ['threshold: threshold belongs to BINARY_CLASSIFICATION'],
  ],
  [
    { outputs: [LABEL] },
    { prediction: 'BINARY_CLASSIFICATION', threshold: 0.5 },
    ['threshold: threshold needs probabilities'],
  ],
  [{ outputs: [VALUE] }, { prediction: 'REGRESSION', classes: ['a', 'b'] }, ['classes: classes']],
  [
    { outputs: [spec('text', 'string', [null])] },
    { prediction: 'REGRESSION' },
    ['outputs.value: name the output with one number per row; the model has "text string[?]"'],
  ],
  [
    { inputs: [spec('i', 'float32', [1, 1, 28, 28])], outputs: [PROBABILITIES(10)] },
    { prediction: 'MULTICLASS' },
    ['prediction: input "i" has shape [1, 1, 28, 28], not [rows, features]: only RAW'],
  ],
  [
    { inputs: [spec('i', 'float32', [1, 1, 28, 28])], outputs: [PROBABILITIES(10)] },
    { features: [{ name: 'a' }] },
    ['features: features needs a prediction of rows, but the model is served RAW: input "i"'],
  ],
  [
    { inputs: [spec('X', 'float32', [null, null])], outputs: [VALUE] },
    {},
    ['features: input "X" takes any number of features: list them'],
  ],
  [
    { outputs: [VALUE] },
    {
      features: [
        { name: 'a', type: 'string' },
        { name: 'b', value: 'x' },
        { name: 'c', categories: ['x'] },
        { name: 'd', input: 'Y' },
        { name: 'e' },
      ],
    },
    [
      'features[3].input: "Y" is no input of the model, which has "X"',
      'features[0].type: input "X" is float32: type must be number, integer or boolean, not',
      'features[1].value: value must be a number for "b", not "x"',
      'features[2].categories: categories belong to string features',
    ],
  ],
  [
    { inputs: [spec('n', 'int64', [null, 1]), spec('s', 'string', [null, 1])], outputs: [VALUE] },
    { features: [{ name: 'n', type: 'number' }, { name: 't' }] },
    [
      'features[1].name: "t" is no input of the model, which has "n" or "s"',
      'features: input "s" takes 1 feature, 0 are listed',
      'features[0].type: input "n" is int64: type must be integer or boolean, not number',
    ],
  ],
]

t.test('what does not fit the model is told', async (t) => {
  for (const [model, extra, wanted] of MISFITS) {
    const told = faults(model, extra)
    t.equal(told.length, wanted.length, told.join(' | '))
    for (const [i, start] of wanted.entries()) {
      t.ok(told[i]?.startsWith(start), `${told[i]} starts with ${start}`)
    }
  }
})

t.test('shapes that the model leaves open are completed by runs', async (t) => {
  const floats = (dims: number[]) => {
    return new Tensor('float32', new Float32Array(dims.reduce((a, b) => a * b, 1)), dims)
  }
  const shapes = (declared: Shape, one: number[], two: number[] | null) => {
    const outputs = [spec('y', 'float32', declared)]
    const fetched = two === null ? null : { y: floats(two) }
    return completeShapes(outputs, { y: floats(one) }, fetched)[0]?.shape
  }
  t.same(shapes([], [1, 3], [2, 3]), [null, 3], 'ONNX Runtime says [] of what it does not know')
  t.same(shapes([], [], []), [], 'a single number stays one')
  t.same(shapes([], [1], [1]), [1], 'one answer for all rows')
  t.same(shapes([null, null], [1, 3], [2, 3]), [null, 3])
  t.same(shapes([null, null], [1, 3], null), [null, 3])
  t.same(shapes([1, 3], [1, 3], null), [1, 3])
  t.same(shapes([null, null], [1, 3], [2, 4]), [null, null], 'what follows the rows is free')
})

t.test("features that share the name of an object's own are ordinary", async (t) => {
  const given = [{ name: '__proto__' }]
  const endpoint = { id: 'p', type: 'STD_PREDICTION', model: 'm', features: given }
  const { features, faults } = planInputs([spec('X', 'float32', [null, 1])], endpoint, 'e')
  t.same([features[0]?.name, faults.length], ['__proto__', 0])
})
