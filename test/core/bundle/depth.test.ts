/**
 * Goal: whoever writes percentiles or rules that cannot be followed learns at the import which one
 * and why, whether the manifest alone says so or only the model does. Method: a right manifest, and
 * one for each mistake; those of the model are judged by the real forge elsewhere.
 */

import { Ajv } from 'ajv'
import t from 'tap'
import { checkManifest } from '../../../core/bundle/check.ts'
import { ManifestSchema } from '../../../core/bundle/manifest.ts'

const CONTEXT = {
  serviceId: null,
  generationId: 'g1',
  fileName: null,
  files: new Set(['model.onnx', 'p.py', 'service.json']),
}

const BINARY = {
  id: 'p',
  type: 'STD_PREDICTION',
  model: 'model.onnx',
  prediction: 'BINARY_CLASSIFICATION',
  classes: ['no', 'yes'],
  features: [
    { name: 'amount', type: 'number' },
    { name: 'country', type: 'string' },
    { name: 'known', type: 'boolean' },
    { name: 'age' },
  ],
}
const CODE = {
  ...BINARY,
  type: 'CUSTOM_PREDICTION',
  model: undefined,
  file: 'p.py',
  features: [...BINARY.features.slice(0, 3), { name: 'age', type: 'string' }],
}
const REGRESSION = { ...BINARY, prediction: 'REGRESSION', classes: undefined }

function manifestOf(endpoint: object): object {
  return JSON.parse(JSON.stringify({ formatVersion: 1, endpoints: [endpoint] }))
}

function told(endpoint: object): string[] {
  const checked = checkManifest(manifestOf(endpoint), CONTEXT)
  return checked.kind === 'valid' ? [] : checked.faults.map((one) => `${one.path}: ${one.reason}`)
}

const HOLDS = [{ feature: 'amount', min: 1, max: 5 }]
const YES = { class: 'yes' }

function named(when: readonly object[], then: object): object {
  return { name: 'r', when, then }
}

/** A rule with these conditions and this effect, of an endpoint of the right kind. */
function rule(when: readonly object[], then: object = YES, base: object = BINARY): object {
  return { ...base, overrides: [named(when, then)] }
}

t.test('what is right, by the check and by the printed schema', async (t) => {
  const when = [
    { feature: 'amount', min: 1 },
    { feature: 'country', in: ['FR', 'DE'] },
    { feature: 'country', notIn: ['XX'] },
    { feature: 'known', equals: true },
    { feature: 'age', missing: false },
    { feature: 'age', equals: 'a type for the model to tell' },
  ]
  const quantiles = { percentiles: [0, 0.25, 0.25, 1] }
  const right = [
    { ...rule(when), ...quantiles },
    { ...rule(when, YES, CODE), ...quantiles },
    rule(when, { min: 0, max: 10 }, REGRESSION),
    rule(HOLDS, { value: 3 }, REGRESSION),
    rule(HOLDS, { class: 'anything' }, { ...BINARY, prediction: undefined, classes: undefined }),
    rule([{ feature: 'whatever', max: 1 }], YES, { ...CODE, features: undefined }),
  ]
  const validate = new Ajv({ strict: false }).compile(ManifestSchema)
  for (const endpoint of right) {
    t.same(told(endpoint), [])
    t.ok(validate(manifestOf(endpoint)), JSON.stringify(validate.errors))
  }
})

const MISTAKES: readonly [object, string][] = [
  [{ ...BINARY, percentiles: [0.5] }, 'percentiles: percentiles must have at least 2 entries'],
  [{ ...BINARY, percentiles: [0, 2] }, 'percentiles[1]: percentiles[1] must be 1 or less, not 2'],
  [{ ...BINARY, percentiles: [0, 0.5, 0.2] }, 'percentiles[2]: percentiles must ascend: 0.2 foll'],
  [{ ...REGRESSION, percentiles: [0, 1] }, 'percentiles: percentiles belong to BINARY_CLASSIFI'],
  [
    { ...CODE, classes: undefined, percentiles: [0, 1] },
    'classes: classes is required: the percentiles are for the second of two',
  ],
  [rule([]), 'overrides[0].when: when must have at least 1 entry'],
  [rule([{ feature: 'amount' }]), 'overrides[0].when[0]: a condition has one of equals, in, notIn'],
  [
    rule([{ feature: 'amount', equals: 1, max: 2 }]),
    'overrides[0].when[0]: a condition has one of equals, in, notIn, missing, or min and max',
  ],
  [rule([{ feature: 'amount', min: 2, max: 1 }]), 'overrides[0].when[0].min: min 2 is over max 1'],
  [
    rule([{ feature: 'amont', min: 2 }]),
    'overrides[0].when[0].feature: "amont" is no feature; did you mean "amount"?',
  ],
  [
    rule([...HOLDS, { feature: 'amount', equals: '2' }]),
    'overrides[0].when[1].equals: equals must be a number for "amount", not "2"',
  ],
  [
    rule([{ feature: 'country', in: ['FR', 33] }]),
    'overrides[0].when[0].in: in must be a text for "country", not 33',
  ],
  [
    rule([{ feature: 'known', notIn: [0] }]),
    'overrides[0].when[0].notIn: notIn must be true or false for "known", not 0',
  ],
  [rule([{ feature: 'country', max: 1 }]), 'overrides[0].when[0].max: max is for numbers, "coun'],
  [rule([{ feature: 'a', equels: 1 }]), 'overrides[0].when[0].equels: "equels" is no known key; d'],
  [rule(HOLDS, {}), 'overrides[0].then: then has one of class, value, or min and max, not none'],
  [rule(HOLDS, { class: 'yes', min: 1 }), 'overrides[0].then: then has one of class, value, or'],
  [rule(HOLDS, { class: 'maybe' }), 'overrides[0].then.class: "maybe" is none of the classes "no"'],
  [rule(HOLDS, { value: 1 }), 'overrides[0].then.value: value belongs to REGRESSION, not to BINA'],
  [rule(HOLDS, { max: 1 }), 'overrides[0].then.max: max belongs to REGRESSION, not to BINARY'],
  [rule(HOLDS, YES, REGRESSION), 'overrides[0].then.class: class belongs to classification, not'],
  [rule(HOLDS, { min: 2, max: 1 }, REGRESSION), 'overrides[0].then.min: min 2 is over max 1'],
  [
    { ...BINARY, overrides: [named(HOLDS, YES), named(HOLDS, YES)] },
    'overrides[1].name: "r" is the name of a rule already',
  ],
  [
    rule(HOLDS, YES, { ...BINARY, prediction: 'RAW', classes: undefined, features: undefined }),
    'overrides: overrides belong to predictions of rows; RAW takes whole tensors',
  ],
  [
    { id: 'p', type: 'SQL_QUERY', query: 'SELECT 1', percentiles: [0, 1] },
    'percentiles: "percentiles" belongs to STD_PREDICTION, CUSTOM_PREDICTION and CUSTOM_R_PREDI',
  ],
]

t.test('each mistake is told once, in words', async (t) => {
  for (const [endpoint, wanted] of MISTAKES) {
    const lines = told(endpoint)
    t.equal(lines.length, 1, lines.join(' | '))
    t.ok(lines[0]?.startsWith(`endpoints[0].${wanted}`), `${lines[0]} starts with ${wanted}`)
  }
})
