/**
 * Goal: whoever writes a wrong service.json learns of every mistake in one go, in words that name
 * the field and what is allowed. Method: a right manifest, and for each rule one with that mistake;
 * then one with many mistakes at once.
 */

import t from 'tap'
import {
  type CheckedManifest,
  checkManifest,
  checkManifestText,
} from '../../../core/bundle/check.ts'

const CONTEXT = {
  serviceId: 'iris',
  generationId: null,
  fileName: 'v1.zip',
  files: new Set(['model.onnx', 'service.json']),
}
const ENDPOINT = { id: 'predict', type: 'STD_PREDICTION', model: 'model.onnx' }

function manifest(endpoint: object, extra: object = {}): object {
  return { formatVersion: 1, ...extra, endpoints: [{ ...ENDPOINT, ...endpoint }] }
}

/** `path: reason` of each fault. */
function lines(checked: CheckedManifest): string[] {
  if (checked.kind === 'valid') return []
  return checked.faults.map(({ path, reason }) => `${path}: ${reason}`)
}

t.test('four lines of JSON are a manifest', async (t) => {
  const checked = checkManifest(manifest({}), CONTEXT)
  t.match(checked, { kind: 'valid', generationId: 'v1', manifest: { formatVersion: 1 } })
})

t.test('the generation id comes from manifest, query or file name, in this order', async (t) => {
  const id = (extra: object, context: object) => {
    const checked = checkManifest(manifest({}, extra), { ...CONTEXT, ...context })
    return checked.kind === 'valid' ? checked.generationId : lines(checked).join('\n')
  }
  t.equal(id({ generationId: 'm' }, {}), 'm')
  t.equal(id({ generationId: 'm' }, { generationId: 'm' }), 'm')
  t.equal(id({}, { generationId: 'q' }), 'q')
  t.equal(id({}, { fileName: 'C:\\bundles\\iris-v2.ZIP' }), 'iris-v2')
  t.match(id({ generationId: 'm' }, { generationId: 'q' }), /"m", but \?generationId= says "q"/)
  t.match(id({}, { fileName: 'my model (1).zip' }), /file name "my model \(1\)".*\?generationId=/)
  t.match(id({}, { fileName: null }), /no generation id.*\?generationId=/)
  t.match(id({}, { generationId: 'actions' }), /\?generationId= "actions"/)
  t.match(id({ generationId: 'actions' }, {}), /reserved/)
  t.match(id({ generationId: '../x' }, {}), /generationId must be 1 to 128 characters/)
})

t.test('each mistake is told in words', async (t) => {
  const cases: readonly [object, string][] = [
    [{ id: 'a b' }, 'endpoints[0].id: id must be 1 to 128 characters'],
    [
      { treshold: 1 },
      'endpoints[0].treshold: "treshold" is no known key; did you mean "threshold"',
    ],
    [{ zzz: 1 }, 'endpoints[0].zzz: "zzz" is no known key; known are id, type'],
    [{ timeoutMs: '5' }, 'endpoints[0].timeoutMs: timeoutMs must be a whole number, not "5"'],
    [{ maxRows: 0 }, 'endpoints[0].maxRows: maxRows must be 1 or more, not 0'],
    [{ batch: true }, 'endpoints[0].batch: batch must be false, not true'],
    [
      { prediction: 'BINARY' },
      'endpoints[0].prediction: prediction must be "BINARY_CLASSIFICATION", "MULTICLASS", ' +
        '"REGRESSION" or "RAW", not "BINARY"',
    ],
    [{ type: 'STD_PREDICTON' }, 'endpoints[0].type: "STD_PREDICTON" is no endpoint type; did you'],
    [{ model: undefined }, 'endpoints[0].model: model is required for STD_PREDICTION'],
    [
      { model: 'modell.onnx' },
      'endpoints[0].model: "modell.onnx" is not a file of the bundle; did',
    ],
    [{ classes: [1, '1'] }, 'endpoints[0].classes[1]: "1" is there twice'],
    [{ prediction: 'REGRESSION', classes: ['a', 'b'] }, 'endpoints[0].classes: classes belong to'],
    [
      { prediction: 'BINARY_CLASSIFICATION', classes: ['a', 'b', 'c'] },
      'endpoints[0].classes: BINARY_CLASSIFICATION has 2 classes, not 3',
    ],
    [{ prediction: 'MULTICLASS', threshold: 0.5 }, 'endpoints[0].threshold: threshold belongs to'],
    [{ prediction: 'RAW', features: [{ name: 'a' }] }, 'endpoints[0].features: features belong to'],
    [{ testQueries: [{ q: 1 }] }, 'endpoints[0].testQueries[0].q: q must be an object, not 1'],
    [{ testQueries: [{}] }, 'endpoints[0].testQueries[0].q: q is required'],
  ]
  for (const [endpoint, wanted] of cases) {
    const told = lines(checkManifest(manifest(endpoint), CONTEXT))
    t.equal(told.length, 1, `one fault for ${JSON.stringify(endpoint)}: ${told.join(' | ')}`)
    t.ok(told[0]?.startsWith(wanted), `${told[0]} starts with ${wanted}`)
  }
})

t.test('features: names, values and categories', async (t) => {
  const cases: readonly [object, string][] = [
    [{ onMissing: 'IMPUTE' }, 'value: value is required: onMissing says IMPUTE'],
    [{ type: 'number', value: 'x' }, 'value: value must be a number for "a", not "x"'],
    [{ type: 'integer', value: 1.5 }, 'value: value must be a whole number for "a", not 1.5'],
    [{ type: 'boolean', value: 1 }, 'value: value must be true or false for "a", not 1'],
    [{ type: 'string', categories: ['r'], value: 'g' }, 'value: value "g" is not in categories'],
    [{ type: 'number', categories: ['r'] }, 'categories: categories belong to string features'],
    [{ onUnknown: 'IGNORE' }, 'categories: categories is required: onUnknown says IGNORE'],
    [{ value: [1] }, 'value: value must be a number, a text or true or false, not a list'],
    [{ onMissing: 'DROP' }, 'onMissing: onMissing must be "ERROR", "IGNORE" or "IMPUTE", not'],
  ]
  for (const [feature, wanted] of cases) {
    const features = [{ name: 'a', ...feature }]
    const told = lines(checkManifest(manifest({ features }), CONTEXT))
    t.equal(told.length, 1, told.join(' | '))
    t.ok(told[0]?.startsWith(`endpoints[0].features[0].${wanted}`), `${told[0]} has ${wanted}`)
  }
  const twice = manifest({ features: [{ name: 'a' }, { name: 'b' }, { name: 'a' }] })
  t.same(lines(checkManifest(twice, CONTEXT)), [
    'endpoints[0].features[2].name: "a" is the name of endpoints[0].features[0] already',
  ])
})

t.test('authorization is a word or an object', async (t) => {
  const told = (authorization: unknown) =>
    lines(checkManifest(manifest({}, { authorization }), CONTEXT))
  t.same(told('PUBLIC'), [])
  t.same(told({ method: 'API_KEYS', keys: [{ sha256: 'a'.repeat(64) }] }), [])
  t.match(told('PRIVATE'), ['"PUBLIC", "API_KEYS" or an object, not "PRIVATE"'])
  t.match(told({ method: 'API_KEYS', keys: [{ sha256: 'A' }] }), [
    'authorization.keys[0].sha256: sha256 must be 64 hexadecimal digits',
  ])
  t.match(told({ methd: 'PUBLIC' }), [/method is required/, /did you mean "method"/])
})

t.test('what is no constant is one fault, whatever its type', async (t) => {
  const told = lines(checkManifest(manifest({}, { formatVersion: '1' }), CONTEXT))
  t.match(told, [/^formatVersion: formatVersion must be 1, not "1"$/])
  t.equal(told.length, 1)
})

t.test('all faults come at once', async (t) => {
  const raw = {
    formatVersion: 2,
    serviceId: 'wine',
    endpoint: [],
    endpoints: [
      { id: 'p', type: 'STD_PREDICTION', model: 'absent', features: [{ name: 'a', type: 'int' }] },
      { id: 'p', type: 'NOTHING', timeoutMs: 0 },
    ],
  }
  const told = lines(checkManifest(raw, { ...CONTEXT, fileName: 'no id!.zip' })).join('\n')
  for (const part of [
    'formatVersion must be 1, not 2',
    'did you mean "endpoints"?',
    'endpoints[0].features[0].type: type must be "number"',
    'endpoints[1].timeoutMs: timeoutMs must be 1 or more',
    'generationId: the file name "no id!"',
    'serviceId: is "wine", but the bundle is imported into "iris"',
    'endpoints[1].id: "p" is the id of endpoints[0] already',
    'endpoints[1].type: "NOTHING" is no endpoint type',
  ]) {
    t.ok(told.includes(part), `${part} is told`)
  }
})

t.test('a known type that this node does not run is 422, whatever its own keys are', async (t) => {
  const raw = manifest({ id: 'sql', type: 'SQL_QUERY', query: 'SELECT 1', model: undefined })
  const checked = checkManifest(raw, CONTEXT)
  t.match(checked, { kind: 'invalid', code: 'ERR_ENDPOINT_TYPE' })
  t.match(lines(checked), [/endpoints\[0\]\.type: endpoint "sql" is a SQL_QUERY/])
  const alias = checkManifest(manifest({ type: 'PY_FUNCTION' }), CONTEXT)
  t.match(lines(alias), [/is a PYTHON_FUNCTION/], 'names of other products are known')
  const both = checkManifest(manifest({ type: 'SQL_QUERY' }, { formatVersion: 3 }), CONTEXT)
  t.match(both, { code: 'ERR_BUNDLE_INVALID' })
  t.equal(lines(both).length, 2, 'with a fault of the manifest both are told')
})

t.test('texts that are no manifest', async (t) => {
  const told = (text: string) => lines(checkManifestText(text, CONTEXT)).join('\n')
  t.match(told('{"formatVersion":'), /service\.json is not JSON/)
  t.match(told('[]'), /service\.json must be an object, not a list/)
  t.match(told(`${'['.repeat(100_000)}`), /nested over 64 levels/)
  t.equal(told(`\uFEFF${JSON.stringify(manifest({ model: 'model.onnx' }))}`), '')
  const brackets = manifest({ testQueries: [{ q: { features: { a: '['.repeat(100) } } }] })
  t.equal(told(JSON.stringify(brackets)), '', 'brackets in a text are no nesting')
})

t.test('a hostile number of faults is cut', async (t) => {
  const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, 1]))
  const told = lines(checkManifest(manifest(many), CONTEXT))
  t.equal(told.length, 201)
  t.match(told.at(-1), /more faults are not listed/)
})
