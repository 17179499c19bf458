/**
 * Goal: `bundle init` reads out of a file what its manifest needs, and what it writes is a bundle
 * that a node takes.
 * Method: the commands on models, code, statements and tables, some as the compiled program and the
 * others in this process; each manifest is compared and then tried by `bundle check`. What must not
 * happen (code that runs, files that are overwritten, a command that hangs) is looked for.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../../../bench/paths.ts'
import { type Workplace, workplace } from '../../../tools/command.ts'
import { workplaceHere } from '../../../tools/command-shell.ts'
import {
  classifier,
  endlessLoop,
  lostWeights,
  mixedPipeline,
  regressor,
} from '../../../tools/onnx-models.ts'
import { SHARED } from '../../../tools/paths.ts'

function manifestOf(place: Workplace, folder = 'b'): ReturnType<typeof JSON.parse> {
  return JSON.parse(readFileSync(join(place.path, folder, 'service.json'), 'utf8'))
}

t.test('a model of one tensor: its features, named by a sample where there is one', async (t) => {
  const place = workplace(t)
  place.write('model.onnx', classifier(3, 3))
  const made = await place.json('bundle', 'init', 'plain', '--model', 'model.onnx')
  t.match(made, { manifest: 'plain/service.json', created: true })
  t.same(made.files, [{ path: 'model.onnx', copied: true }])
  t.match(made.notes.join(), /does not name its classes: they are called 0, 1, 2/)
  t.same(manifestOf(place, 'plain'), {
    formatVersion: 1,
    endpoints: [
      {
        id: 'model',
        type: 'STD_PREDICTION',
        model: 'model.onnx',
        prediction: 'MULTICLASS',
        features: ['f0', 'f1', 'f2'].map((name) => ({ name, type: 'number' })),
        testQueries: [{ name: 'a made-up row', q: { features: { f0: 0, f1: 0, f2: 0 } } }],
      },
    ],
  })

  place.write('sample.csv', 'alcohol,malic acid,cultivar,ash\n13.2,1.78,a,2.14\n12,2,b,2\n')
  const named = ['bundle', 'init', 'b', '--model', 'model.onnx', '--sample', 'sample.csv']
  const unclear = await place.switchyard(...named)
  t.equal(unclear.code, 1)
  t.match(unclear.stderr, /sample\.csv has 4 columns, the model takes 3 features: name the one/)
  t.notOk(existsSync(join(place.path, 'b')), 'nothing was written')
  await place.json(...named, '--target', 'cultivar', '--endpoint', 'wine', '--public')
  const [endpoint] = manifestOf(place).endpoints
  t.equal(endpoint.id, 'wine')
  t.same(
    endpoint.features.map(({ name }: { name: string }) => name),
    ['alcohol', 'malic acid', 'ash'],
  )
  const features = { alcohol: 13.2, 'malic acid': 1.78, ash: 2.14 }
  t.same(endpoint.testQueries, [{ name: 'the first row of sample.csv', q: { features } }])
  const checked = await place.json('bundle', 'check', 'b')
  t.equal(checked.authorization, 'PUBLIC')
  t.same(checked.report.endpoints[0].testQueries, [
    { name: 'the first row of sample.csv', passed: true },
  ])
})

t.test('a model with an input for each column', async (t) => {
  const place = workplaceHere(t)
  place.write('model.onnx', mixedPipeline())
  const bare = await place.json('bundle', 'init', 'bare', '--model', 'model.onnx')
  t.match(bare.notes.join(), /the model took no made-up row.*--sample gives it a real one/)
  t.notOk('testQueries' in bare.endpoint)
  place.write('sample.csv', 'size,colour,id\n2,green,7\n')
  const sampled = ['bundle', 'init', 'b', '--model', 'model.onnx', '--sample', 'sample.csv']
  const { endpoint } = await place.json(...sampled)
  t.same(endpoint.features, [
    { name: 'colour', type: 'string' },
    { name: 'size', type: 'number' },
  ])
  t.same(endpoint.testQueries[0].q, { features: { colour: 'green', size: 2 } })
  t.equal(endpoint.prediction, 'REGRESSION')
  place.write('wrong.csv', 'size,color\n2,green\n')
  const wrong = await place.switchyard(...sampled.slice(0, -1), 'wrong.csv')
  t.match(wrong.stderr, /wrong\.csv has no column "colour" in its header; did you mean "color"/)
  place.write('refused.csv', 'size,colour\n2,purple\n')
  const refused = await place.switchyard(...sampled.slice(0, -1), 'refused.csv')
  t.equal(refused.code, 1)
  t.match(refused.stderr, /the model refuses the first row of refused\.csv/)
})

const real = SHARED === null ? { skip: 'there are no shared models' } : {}

t.test('real models, one endpoint after the other in one bundle', real, async (t) => {
  const place = workplaceHere(t)
  const models = join(SHARED ?? '', 'models')
  for (const path of [
    'sklearn_randomforest/sklearn_randomforest.onnx',
    'mnist_8/model.onnx',
    'triton_simple/simple_string.onnx',
  ]) {
    await place.json('bundle', 'init', 'b', '--model', join(models, path))
  }
  const small = join(ROOT, 'bench/models/small.onnx')
  await place.json('bundle', 'init', 'b', '--model', small, '--service', 'all')
  const { serviceId, endpoints } = manifestOf(place)
  t.equal(serviceId, 'all')
  const [forest, digits, strings, last] = endpoints
  t.match(forest, { prediction: 'MULTICLASS', classes: ['0', '1', '2'] })
  t.equal(forest.features.length, 4)
  t.match(digits, { id: 'model', prediction: 'RAW' })
  t.match(strings, { prediction: 'RAW' })
  t.match(last, { id: 'small', prediction: 'BINARY_CLASSIFICATION' })
  const checked = await place.json('bundle', 'check', 'b')
  t.equal(checked.endpoints.length, 4)
})

t.test('a model that hangs, lacks its weights or is none is refused in words', async (t) => {
  const place = workplace(t)
  place.write('node.json', JSON.stringify({ forgeMs: 5_000 }))
  place.write('hangs.onnx', endlessLoop())
  place.write('none.onnx', 'not a model')
  place.write('lost.onnx', lostWeights())
  const hangs = ['--model', 'hangs.onnx', '--prediction', 'regression', '--config', 'node.json']
  const refusals: readonly (readonly [readonly string[], RegExp])[] = [
    [hangs, /looked into hangs\.onnx did not finish within 5 s: ended while running hangs\.onnx/],
    [['--model', 'none.onnx'], /none\.onnx/],
    [['--model', 'lost.onnx'], /lost\.onnx needs the file "weights\.bin"/],
  ]
  for (const [args, reason] of refusals) {
    const { code, stderr } = await place.switchyard('bundle', 'init', 'b', ...args)
    t.equal(code, 1, args.join(' '))
    t.match(stderr, reason)
  }
  t.notOk(existsSync(join(place.path, 'b')), 'nothing was written')
})

const CODE = `
raise SystemExit('this line must not run')
import absent_module

def quote(kg, km=100, *, express: bool = False, note=None, **more):
    return helper(kg)

def _private(): ...

def defaults(a=1, b="x", c=(1, 2), d=[1]): ...
`

t.test('Python functions are read and not run', async (t) => {
  const place = workplaceHere(t)
  place.write('shipping.py', CODE)
  const init = ['bundle', 'init', 'b', '--python', 'shipping.py']
  const several = await place.switchyard(...init)
  t.equal(several.code, 2)
  t.match(several.stderr, /has the functions quote, defaults: name one with --function/)
  const near = await place.switchyard(...init, '--function', 'quot')
  t.match(near.stderr, /no function "quot" at its top level; did you mean "quote"/)
  const { endpoint, notes } = await place.json(...init, '--function', 'quote')
  t.same(endpoint, { id: 'quote', type: 'PYTHON_FUNCTION', file: 'shipping.py', function: 'quote' })
  t.match(notes.join(), /add a test query, with values for kg/)
  const { endpoint: second } = await place.json(...init, '--function', 'defaults')
  t.same(second.testQueries, [{ name: 'defaults', q: { a: 1, b: 'x', d: [1] } }])
  place.write('sample.csv', 'kg,km,express\n2.5,10,true\n')
  const sampled = [...init, '--function', 'quote', '--endpoint', 'q2', '--sample', 'sample.csv']
  const { endpoint: third } = await place.json(...sampled)
  t.same(third.testQueries[0].q, { kg: 2.5, km: 10, express: true, note: null })
  t.same(
    manifestOf(place).endpoints.map(({ id }: { id: string }) => id),
    ['quote', 'defaults', 'q2'],
  )
  place.write('broken.py', 'def f(:\n')
  const broken = await place.switchyard('bundle', 'init', 'b', '--python', 'broken.py')
  t.match(broken.stderr, /broken\.py cannot be read: line 1: /)
})

t.test('a Python function that works becomes a bundle that works', async (t) => {
  const place = workplace(t)
  place.write('f.py', 'def double(x: float = 2.0):\n    return {"twice": 2 * x}\n')
  await place.json('bundle', 'init', 'b', '--python', 'f.py')
  const { report } = await place.json('bundle', 'check', 'b')
  t.same(report.endpoints[0].testQueries, [{ name: 'defaults', passed: true }])
})

t.test('a Python predictor takes features and classes from a sample', async (t) => {
  const place = workplaceHere(t)
  const code = `
class Scorer:
    def predict(self, features):
        answers = []
        for row in features:
            score = min(1.0, row['kg'] / 10)
            label = 'late' if score > 0.5 else 'on time'
            answers.append({'prediction': label, 'probas': {'late': score, 'on time': 1 - score}})
        return answers

def helper(): ...
`
  place.write('late.py', code)
  const init = ['bundle', 'init', 'b', '--python', 'late.py']
  const unknown = await place.switchyard(...init)
  t.equal(unknown.code, 2)
  t.match(unknown.stderr, /--prediction says it, or --sample and --target show it/)
  place.write('sample.csv', 'kg,carrier,zip,outcome\n2.5,dhl,0123,on time\n9,ups,1234,late\n')
  const { endpoint } = await place.json(...init, '--sample', 'sample.csv', '--target', 'outcome')
  t.match(endpoint, {
    type: 'CUSTOM_PREDICTION',
    class: 'Scorer',
    prediction: 'BINARY_CLASSIFICATION',
    classes: ['late', 'on time'],
    testQueries: [{ q: { features: { kg: 2.5, carrier: 'dhl', zip: '0123' } } }],
  })
  t.same(endpoint.features, [
    { name: 'kg', type: 'number' },
    { name: 'carrier', type: 'string' },
    { name: 'zip', type: 'string' },
  ])
  const manifest = manifestOf(place)
  manifest.endpoints[0].input = 'records'
  place.write('b/service.json', JSON.stringify(manifest))
  const sampled = ['--sample', 'sample.csv', '--target', 'outcome']
  const { report, samples } = await place.json('bundle', 'build', 'b', '-o', 'v1.zip', ...sampled)
  t.same(report.endpoints[0].testQueries, [{ name: 'the first row', passed: true }])
  // Of the second class, "on time".
  t.same(samples[0].percentiles, [0.1, 0.75])
  t.equal(report.endpoints[0].backgroundRows, 2)
})

t.test('R functions are read and not run', async (t) => {
  const place = workplaceHere(t)
  const code = `
quit(status = 7)
arrival <- function(km, speed = -1.5, label = "h\u00e9 \\"x\\"", on = TRUE, ...) km / speed
.hidden <- function(x) x
twice = function(x = 2) list(twice = 2 * x)
`
  place.write('arrival.R', code)
  const init = ['bundle', 'init', 'b', '--r', 'arrival.R']
  const several = await place.switchyard(...init)
  t.match(several.stderr, /has the functions arrival, twice: name one/)
  const { endpoint } = await place.json(...init, '--function', 'twice')
  t.same(endpoint, {
    id: 'twice',
    type: 'R_FUNCTION',
    file: 'arrival.R',
    function: 'twice',
    testQueries: [{ name: 'defaults', q: { x: 2 } }],
  })
  place.write('sample.json', '[{"km": 310}]')
  const sampled = [...init, '--function', 'arrival', '--sample', 'sample.json']
  const { endpoint: second } = await place.json(...sampled)
  t.same(second.testQueries[0].q, { km: 310, speed: -1.5, label: 'h\u00e9 "x"', on: true })
  const predicts = [...sampled, '--prediction', 'regression', '--endpoint', 'hours']
  const { endpoint: third } = await place.json(...predicts)
  t.match(third, { type: 'CUSTOM_R_PREDICTION', prediction: 'REGRESSION' })
  t.same(third.features, [{ name: 'km', type: 'integer' }])
  place.write('broken.R', 'f <- function(x {\n')
  const broken = await place.switchyard('bundle', 'init', 'b', '--r', 'broken.R')
  t.match(broken.stderr, /broken\.R cannot be read: line 1/)
})

t.test('a table becomes a look-up, a statement a query over it', async (t) => {
  const place = workplaceHere(t)
  place.write(
    'orders 2026.csv',
    'customer,amount,paid,due,zip,note\n7,1.5,true,2026-02-28,00501,\n8,2,false,2026-03-01,7,x\n',
  )
  const table = ['--table', 'orders 2026.csv']
  const noKey = await place.switchyard('bundle', 'init', 'b', ...table)
  t.equal(noKey.code, 2)
  t.match(noKey.stderr, /--key names the columns by which rows of the table are looked up/)
  const near = await place.switchyard('bundle', 'init', 'b', ...table, '--key', 'custmer')
  t.match(near.stderr, /--key: orders 2026\.csv has no column "custmer"; did you mean "customer"/)
  await place.json('bundle', 'init', 'b', ...table, '--key', 'customer')
  const columns = { customer: 'integer', amount: 'number', paid: 'boolean', due: 'date' }
  t.match(manifestOf(place), {
    tables: [{ name: 'orders_2026', file: 'orders 2026.csv', key: ['customer'], columns }],
    endpoints: [{ id: 'orders-2026', type: 'DATASET_LOOKUP', lookups: [{ table: 'orders_2026' }] }],
  })
  const sql = 'SELECT amount FROM orders_2026 WHERE customer = ? AND due >= ? LIMIT ?'
  const { endpoint } = await place.json('bundle', 'init', 'q', '--sql', sql, ...table)
  t.same(endpoint.parameters, [
    { name: 'customer', type: 'integer' },
    { name: 'due', type: 'date' },
    { name: 'limit', type: 'integer' },
  ])
  t.same(endpoint.testQueries[0].q, { customer: 7, due: '2026-02-28', limit: 1 })
  for (const folder of ['b', 'q']) {
    const { report } = await place.json('bundle', 'check', folder)
    t.same(report.endpoints[0].testQueries, [{ name: 'the first row', passed: true }], folder)
  }
  const named = ['--sql', 'SELECT ? + ?', '--parameters', 'a:number,b:number', '--endpoint', 'sum']
  const { endpoint: sum, notes } = await place.json('bundle', 'init', 'q', ...named)
  t.same(sum.parameters, [
    { name: 'a', type: 'number' },
    { name: 'b', type: 'number' },
  ])
  t.match(notes.join(), /add a test query, with values for a, b/)
  const fewer = await place.switchyard(
    'bundle',
    'init',
    'q',
    '--sql',
    'SELECT ?, ?',
    ...['--parameters', 'a'],
  )
  t.match(fewer.stderr, /--parameters names 1, the statement has 2 \?/)
  const unclosed = await place.switchyard('bundle', 'init', 'q', '--sql', "SELECT 'x")
  t.match(unclosed.stderr, /query: line 1, column 8: what 'x opens is never closed/)
})

t.test('nothing is overwritten without --force', async (t) => {
  const place = workplaceHere(t)
  place.write('model.onnx', regressor(2))
  const init = ['bundle', 'init', 'b', '--model', 'model.onnx']
  await place.json(...init)
  const again = await place.json(...init)
  t.same(again.files, [{ path: 'model.onnx', copied: false }], 'the same again changes nothing')
  const before = readFileSync(join(place.path, 'b/service.json'), 'utf8')
  place.write('model.onnx', regressor(3))
  const other = await place.switchyard(...init)
  t.equal(other.code, 1)
  t.match(other.stderr, /service\.json has the endpoint "model" already: --force overwrites it/)
  const file = await place.switchyard(...init, '--endpoint', 'second')
  t.match(file.stderr, /model\.onnx is there and is another file: --force overwrites it/)
  t.equal(readFileSync(join(place.path, 'b/service.json'), 'utf8'), before)
  t.ok(readFileSync(join(place.path, 'b/model.onnx')).equals(regressor(2)))
  await place.json(...init, '--force')
  t.equal(manifestOf(place).endpoints[0].features.length, 3)
  place.write('b/service.json', 'not JSON')
  const broken = await place.switchyard(...init)
  t.match(broken.stderr, /service\.json is there and is no JSON object/)
  const inside = join(place.path, 'b/deep/model.onnx')
  place.write('b/deep/model.onnx', regressor(4))
  const used = await place.json('bundle', 'init', 'b', '--model', inside, '--force')
  t.same(used.files, [{ path: 'deep/model.onnx', copied: false }])
  t.same(readdirSync(join(place.path, 'b')).sort(), ['deep', 'model.onnx', 'service.json'])
})

t.test('options that cannot be meant are said in one line', async (t) => {
  const place = workplaceHere(t)
  place.write('model.onnx', regressor(2))
  place.write('empty.csv', '')
  place.write('ragged.csv', 'a,b\n1\n')
  place.write('notes.txt', '')
  const model = ['--model', 'model.onnx']
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /give one of --model, --python, --r, --sql, --sql-file and --table/],
    [[...model, '--sql', 'SELECT 1'], /give one of --model/],
    [['--model', 'absent.onnx'], /--model absent\.onnx cannot be read: ENOENT/],
    [['--model', '.'], /--model \. is no file/],
    [[...model, '--target', 'x'], /--target names a column of --sample, which is not given/],
    [[...model, '--sample', 'notes.txt'], /a sample is a \.csv, \.tsv or \.json file/],
    [[...model, '--sample', 'empty.csv'], /empty\.csv is empty: its first line is the header/],
    [[...model, '--sample', 'ragged.csv'], /ragged\.csv line 2 has 1 values, the header has 2/],
    [[...model, '--prediction', 'guess'], /--prediction "guess": BINARY_CLASSIFICATION/],
    [[...model, '--endpoint', 'a b'], /endpoints\[0\]\.id: id must be/],
    [['--table', 'notes.txt', '--key', 'a'], /a table is a \.csv, \.tsv or \.parquet file/],
  ]
  for (const [args, reason] of wrong) {
    const { code, stderr } = await place.switchyard('bundle', 'init', 'b', ...args)
    t.ok(code === 1 || code === 2, args.join(' '))
    t.match(stderr, reason)
    t.equal(stderr.trim().split('\n').length, 1, stderr)
  }
  t.notOk(existsSync(join(place.path, 'b')))
})
