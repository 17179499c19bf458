/**
 * Goal: whoever writes a wrong service.json learns of every mistake in one go, in words that name
 * the field and what is allowed. Method: a right manifest, and for each rule one with that mistake;
 * then one with many mistakes at once.
 */

import { Ajv } from 'ajv'
import t from 'tap'
import {
  type CheckedManifest,
  checkManifest,
  checkManifestText,
} from '../../../core/bundle/check.ts'
import { ENDPOINT_TYPES, endpointType } from '../../../core/bundle/endpoint-types.ts'
import { ManifestSchema } from '../../../core/bundle/manifest.ts'

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

const CODE_FILES = ['f.py', 'f.R', 'rows.csv', 'rows.parquet', 'requirements.txt', 'wheels/a.whl']
const ALL = { ...CONTEXT, files: new Set([...CONTEXT.files, ...CODE_FILES]) }
const TABLES = [
  { name: 'people', file: 'rows.csv', key: ['id'], columns: { id: 'integer' } },
  { name: 'remote', connection: 'crm', from: 'public.remote', key: ['a', 'b'] },
  { name: 'plain', file: 'rows.parquet' },
]

/** One endpoint of each type; each is right. */
const EVERY_TYPE: Readonly<Record<string, object>> = {
  STD_PREDICTION: { model: 'model.onnx' },
  CUSTOM_PREDICTION: {
    file: 'f.py',
    prediction: 'BINARY_CLASSIFICATION',
    classes: ['no', 'yes'],
    threshold: 0.4,
    features: [{ name: 'a', type: 'number' }],
    enrich: { lookups: [{ table: 'people', key: { id: 'who' }, columns: { name: 'a' } }] },
  },
  CUSTOM_R_PREDICTION: { file: 'f.R', function: 'score.row', prediction: 'REGRESSION' },
  R_PREDICTION: { file: 'f.R', function: 'score', prediction: 'REGRESSION' },
  PYTHON_FUNCTION: { file: 'f.py', function: 'add', get: true, variables: { A_1: 'x' } },
  PY_FUNCTION: { file: 'f.py', function: 'add', rawResponse: true, requestMetadata: true },
  R_FUNCTION: { file: 'f.R', function: 'add', children: 2 },
  SQL_QUERY: { query: 'SELECT ?', parameters: ['a', { name: 'b', type: 'date' }], commit: true },
  DATASET_LOOKUP: { lookups: [{ table: 'people' }, { table: 'remote', onMissing: 'NULL' }] },
  DATASETS_LOOKUP: { lookups: [{ table: 'people', columns: ['name'] }] },
}

function ofType(type: string, extra: object = {}, outside: object = {}): object {
  const endpoint = { id: 'e', type, ...EVERY_TYPE[type], ...extra }
  return { formatVersion: 1, tables: TABLES, ...outside, endpoints: [endpoint] }
}

t.test('every type and every alias is a manifest, under the name of its type', async (t) => {
  for (const type of Object.keys(EVERY_TYPE)) {
    const python = { requirements: 'requirements.txt', wheels: 'wheels/' }
    const checked = checkManifest(ofType(type, {}, { python }), ALL)
    t.same(lines(checked), [], type)
    const [endpoint] = checked.kind === 'valid' ? checked.manifest.endpoints : []
    t.equal(endpoint?.type, endpointType(type))
  }
  t.ok(
    ENDPOINT_TYPES.every((type) => EVERY_TYPE[type] !== undefined),
    'no type is left out',
  )
})

/** Type, what is wrong with it, and how the sentence begins. */
const MISTAKES: readonly [string, object, string][] = [
  ['PYTHON_FUNCTION', { function: undefined }, 'function: function is required for PYTHON_FUN'],
  ['PYTHON_FUNCTION', { function: '1a' }, 'function: function must be a name of letters, digits'],
  ['PYTHON_FUNCTION', { file: 'g.py' }, 'file: "g.py" is not a file of the bundle; did you mean'],
  ['PYTHON_FUNCTION', { funktion: 'x' }, 'funktion: "funktion" is no known key; did you mean "fu'],
  [
    'PYTHON_FUNCTION',
    { query: 'x' },
    'query: "query" belongs to SQL_QUERY, not to PYTHON_FUNCTION',
  ],
  [
    'STD_PREDICTION',
    { function: 'x' },
    'function: "function" belongs to CUSTOM_R_PREDICTION, R_FUNCTION and PYTHON_FUNCTION, not',
  ],
  ['R_FUNCTION', { rawResponse: true }, 'rawResponse: "rawResponse" belongs to PYTHON_FUNCTION'],
  ['R_FUNCTION', { children: 0 }, 'children: children must be 1 or more, not 0'],
  ['R_FUNCTION', { variables: { 'a b': 'x' } }, 'variables.a b: "a b" must be a name of letters'],
  ['R_FUNCTION', { variables: { SWITCHYARD_CHILD: '' } }, 'variables.SWITCHYARD_CHILD: names'],
  ['PYTHON_FUNCTION', { variables: { SWITCHYARD_KEY: 'k' } }, 'variables.SWITCHYARD_KEY: names'],
  ['R_PREDICTION', { function: '_a' }, 'function: function must be a name of letters, digits, "_'],
  ['CUSTOM_PREDICTION', { prediction: 'RAW' }, 'prediction: prediction must be "BINARY_CLASSIF'],
  ['CUSTOM_PREDICTION', { class: 3 }, 'class: class must be a text, not 3'],
  ['CUSTOM_PREDICTION', { dataFolder: 'data' }, 'dataFolder: "data" is not a folder of the bun'],
  ['CUSTOM_PREDICTION', { classes: undefined }, 'classes: classes is required: the threshold'],
  ['CUSTOM_PREDICTION', { classes: ['a', 'b', 'c'] }, 'classes: BINARY_CLASSIFICATION has 2'],
  [
    'CUSTOM_PREDICTION',
    { prediction: 'REGRESSION', classes: undefined },
    'threshold: threshold belongs to BINARY_CLASSIFICATION, not to REGRESSION',
  ],
  ['CUSTOM_PREDICTION', { features: [{ name: 'a' }] }, 'features[0].type: type is required for'],
  [
    'CUSTOM_R_PREDICTION',
    { features: [{ name: 'a', type: 'number', input: 'X' }] },
    'features[0].input: input belongs to STD_PREDICTION',
  ],
  [
    'CUSTOM_R_PREDICTION',
    { features: [{ name: 'a', type: 'integer', onMissing: 'IMPUTE', value: 1.5 }] },
    'features[0].value: value must be a whole number',
  ],
  ['SQL_QUERY', { query: '' }, 'query: query must not be empty'],
  ['SQL_QUERY', { parameters: [{ name: 'a', type: 'float' }] }, 'parameters[0].type: type must'],
  ['SQL_QUERY', { maxRows: 2_000_000 }, 'maxRows: maxRows must be 1000000 or less'],
  ['DATASET_LOOKUP', { lookups: [] }, 'lookups: lookups must have at least 1 entry'],
  ['DATASET_LOOKUP', { lookups: [{ table: 'peple' }] }, 'lookups[0].table: "peple" is none of'],
  ['DATASET_LOOKUP', { lookups: [{ table: 'plain' }] }, 'lookups[0].table: table "plain" has no'],
  [
    'DATASET_LOOKUP',
    { lookups: [{ table: 'remote', key: { c: 'x' } }] },
    'lookups[0].key.c: "c" is not part of the key of remote, which is "a", "b"',
  ],
  [
    'DATASET_LOOKUP',
    {
      lookups: [
        { table: 'people', columns: ['x'] },
        { table: 'remote', columns: { y: 'x' } },
      ],
    },
    'lookups[1].columns.y: endpoints[0].lookups[0].columns[0] gives a "x" already',
  ],
  ['DATASET_LOOKUP', { lookups: [{ table: 'people', onMissing: 'DROP' }] }, 'lookups[0].onMiss'],
  [
    'STD_PREDICTION',
    { enrich: { lookups: [{ table: 'nobody' }] } },
    'enrich.lookups[0].table: "nobody" is none of the tables; there are people, remote, plain',
  ],
  [
    'STD_PREDICTION',
    { prediction: 'RAW', enrich: { lookups: [{ table: 'people' }] } },
    'enrich: enrich belongs to predictions of rows',
  ],
]

t.test('each mistake in an endpoint of any type is told in words', async (t) => {
  for (const [type, extra, wanted] of MISTAKES) {
    const told = lines(checkManifest(ofType(type, extra), ALL))
    t.equal(told.length, 1, `one fault for ${JSON.stringify(extra)}: ${told.join(' | ')}`)
    t.ok(told[0]?.startsWith(`endpoints[0].${wanted}`), `${told[0]} starts with ${wanted}`)
  }
})

t.test('tables and the Python environment', async (t) => {
  const cases: readonly [object, string][] = [
    [{ name: 'PEOPLE', file: 'rows.csv' }, 'tables[3].name: "PEOPLE" is the name of tables[0] alr'],
    [{ name: '1a', file: 'rows.csv' }, 'tables[3].name: name must be a name of up to 63 letters'],
    [{ name: 'x' }, 'tables[3].file: table "x" needs "file", or "connection" to a database'],
    [{ name: 'x', file: 'rows.csv', connection: 'c' }, 'tables[3].connection: table "x" has a fil'],
    [{ name: 'x', file: 'rows.csv', from: 'y' }, 'tables[3].from: from belongs to tables with'],
    [{ name: 'x', file: 'f.py' }, 'tables[3].file: "f.py" must end in .csv, .tsv'],
    [{ name: 'x', file: 'row.csv' }, 'tables[3].file: "row.csv" is not a file of the bundle; did'],
    [{ name: 'x', file: 'rows.parquet', delimiter: ';' }, 'tables[3].delimiter: delimiter belong'],
    [{ name: 'x', connection: 'c', from: 'a b' }, 'tables[3].from: from must be the name of a t'],
    [{ name: 'x', file: 'rows.csv', key: ['a', 'b', 'a'] }, 'tables[3].key[2]: "a" is there twice'],
    [{ name: 'x', file: 'rows.csv', columns: { a: 'int' } }, 'tables[3].columns.a: a must be "st'],
  ]
  for (const [table, wanted] of cases) {
    const raw = ofType('SQL_QUERY', {}, { tables: [...TABLES, table] })
    const told = lines(checkManifest(raw, ALL))
    t.equal(told.length, 1, told.join(' | '))
    t.ok(told[0]?.startsWith(wanted), `${told[0]} starts with ${wanted}`)
  }
  const python = (value: object) =>
    lines(checkManifest(ofType('PYTHON_FUNCTION', {}, { python: value }), ALL))
  t.match(python({ wheels: 'wheels' }), [/^python\.requirements: requirements is required$/])
  t.match(python({ requirements: 'requirments.txt' }), [/did you mean "requirements\.txt"/])
  const folder = python({ requirements: 'requirements.txt', wheels: 'wheel' })
  t.match(folder, [/python\.wheels: "wheel" is not a folder of the bundle; did you mean "wheels"/])
})

t.test('faults of endpoints, tables and envelope do not hide each other', async (t) => {
  const raw = ofType('DATASET_LOOKUP', { lookups: [{ table: 'x' }], timeoutMs: 0 }, { pool: 1 })
  const told = lines(checkManifest(raw, ALL)).join('\n')
  t.match(told, /pool: pool must be an object/)
  t.match(told, /endpoints\[0\]\.timeoutMs/)
  t.notMatch(told, /none of the tables/, 'what nobody can judge is not told')
})

t.test('the schema that is printed agrees with the check', async (t) => {
  const validate = new Ajv({ strict: false }).compile(ManifestSchema)
  for (const type of Object.keys(EVERY_TYPE)) t.ok(validate(ofType(type)), type)
  t.notOk(validate(ofType('SQL_QUERY', { function: 'x' })), 'a key of another type')
  t.notOk(validate(ofType('PY_FUNCTION', { type: 'SQL_QUERY' })), 'keys and type belong together')
  t.notOk(validate(ofType('STD_PREDICTION', { model: undefined })), 'what is required')
  t.notOk(validate(ofType('FORECAST')))
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
