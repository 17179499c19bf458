/**
 * Goal: an endpoint of any type is tried at import by what will serve it, and whatever is wrong
 * with its code, its tables or this machine is a sentence then and not at the first request.
 * Method: the example bundles and small ones that misbehave, forged with the interpreters of this
 * machine: by the real child process where more than their verdict counts, else in this one.
 */

import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import type { ZipEntry } from '../../../bench/workloads/zip-writer.ts'
import type { EndpointPlan, EndpointReport } from '../../../core/bundle/plan.ts'
import { allTypesBundle, exampleNames } from '../../tools/bundles.ts'
import {
  type ForgeRun,
  type ForgeRunOptions,
  runForge,
  runForgeHere,
} from '../../tools/forge-child.ts'
import { identity } from '../../tools/onnx-models.ts'
import { whyNoPython } from '../../tools/python-endpoints.ts'
import { runtimes } from '../../tools/runtimes.ts'
import { smallDisk, whyNoSmallDisk } from '../../tools/small-disk.ts'

t.setTimeout(240_000)

const noPython = whyNoPython('pandas')
const noR = runtimes({ teardown: () => {} }).rscript === null ? 'Rscript is missing' : false
const skip = noPython
const skipAny = noPython === false ? noR : noPython

async function run(
  t: Test,
  given: Buffer | readonly ZipEntry[],
  options: ForgeRunOptions = {},
  runner: typeof runForge = runForgeHere,
) {
  const done = await runner(given, { settings: runtimes(t), ...options })
  t.teardown(() => done.remove())
  return done
}

/** By a process of its own. */
function runChild(t: Test, given: Buffer | readonly ZipEntry[], options: ForgeRunOptions = {}) {
  return run(t, given, options, runForge)
}

function forged({ verdict }: ForgeRun) {
  if (verdict?.kind !== 'forged') throw new Error(`not forged: ${JSON.stringify(verdict)}`)
  return verdict
}

function refusal({ verdict }: ForgeRun): { code: string; told: string[] } {
  if (verdict?.kind !== 'refused') throw new Error(`not refused: ${JSON.stringify(verdict)}`)
  return {
    code: verdict.code,
    told: verdict.faults.map(({ path, reason }) => `${path}: ${reason}`),
  }
}

type Files = Readonly<Record<string, string | Buffer>>

function bundle(endpoints: readonly object[], files: Files, extra: object = {}): ZipEntry[] {
  const manifest = { formatVersion: 1, ...extra, endpoints }
  const entries = Object.entries(files).map(([name, data]) => ({ name, data }))
  return [{ name: 'service.json', data: JSON.stringify(manifest) }, ...entries]
}

function pythonFunction(id: string, extra: object = {}): object {
  return { id, type: 'PYTHON_FUNCTION', file: 'f.py', function: 'f', ...extra }
}

function predictor(extra: object = {}): object {
  const features = [{ name: 'a', type: 'number' }]
  const fixed = { id: 'p', type: 'CUSTOM_PREDICTION', file: 'p.py', prediction: 'REGRESSION' }
  return { ...fixed, input: 'records', features, ...extra }
}

function reportOf(done: ForgeRun, id = 'p'): EndpointReport {
  const found = forged(done).report.endpoints.find(({ endpointId }) => endpointId === id)
  if (found === undefined) throw new Error(`no report of ${id}`)
  return found
}

function planOf(done: ForgeRun, id = 'p'): EndpointPlan {
  const found = forged(done).plan.endpoints.find((plan) => plan.id === id)
  if (found === undefined) throw new Error(`no plan of ${id}`)
  return found
}

/** Files below a folder, relative. */
function filesIn(directory: string, below = ''): string[] {
  return readdirSync(join(directory, below), { withFileTypes: true }).flatMap((entry) => {
    const path = join(below, entry.name)
    return entry.isDirectory() ? filesIn(directory, path) : [path]
  })
}

t.test(
  'one bundle with every type forges, and its test queries hold',
  { skip: skipAny },
  async (t) => {
    const { archive, endpoints } = allTypesBundle('v1')
    const done = await runChild(t, archive)
    const { plan, report } = forged(done)
    t.equal(plan.endpoints.length, endpoints.length)
    const types = new Set(plan.endpoints.map(({ type }) => type))
    t.equal(types.size, 7, 'every type is there')
    for (const { endpointId, testQueries, program, cost } of report.endpoints) {
      t.ok(testQueries.length > 0 && testQueries.every(({ passed }) => passed), endpointId)
      t.ok(cost.fixedUs + cost.perRowUs > 0, `${endpointId} was measured`)
      const type = planOf(done, endpointId).type
      const expected = { P: /^Python 3/, R: /^R \d/, S: /^DuckDB/, C: /^(?:Python|R) \d/ }
      const wanted = Reflect.get(expected, type.startsWith('SQL') ? 'S' : (type[0] ?? ''))
      if (wanted instanceof RegExp && type !== 'STD_PREDICTION') t.match(program, wanted, type)
    }
    for (const one of plan.endpoints) t.ok(one.warmUp.length > 0, `${one.id} has a warm-up`)
    t.same([...new Set(done.phases)].slice(0, 3), ['unpacking', 'checking', 'tables'])
    const tables = new Map(report.tables?.map((table) => [table.name, table]))
    t.match(tables.get('customers'), { connection: null, rows: Number })
    t.ok((plan.made ?? []).length >= 3, 'made files are listed')
    const own = new Set(filesIn(done.directory))
    for (const file of plan.made ?? []) t.ok(own.has(file), `${file} is there`)
    const others = [...own].filter((file) => file.startsWith('.switchyard'))
    t.same(others.sort(), [...(plan.made ?? [])].sort(), 'and nothing else was written')
    t.notOk(
      [...own].some((file) => file.includes('__pycache__')),
      'no byte code in the generation',
    )
    t.ok(exampleNames().length >= 8)
  },
)

t.test('one process tries the code, and none waits to take its place', { skip }, async (t) => {
  const settings = runtimes(t)
  const starts = join(settings.runDirectory, '../starts')
  const code = `open(${JSON.stringify(starts)}, "a").write("x")\ndef f():\n  return 1\n`
  const testQueries = [{ q: {}, expect: 1 }]
  const endpoints = [pythonFunction('f', { children: 3, testQueries })]
  forged(await runChild(t, bundle(endpoints, { 'f.py': code }), { settings }))
  t.equal(readFileSync(starts, 'utf8'), 'x')
})

t.test('rows share a call of foreign code where that is proven', { skip }, async (t) => {
  const plain = 'class P:\n  def predict(self, rows):\n    return [r["a"] * 2 for r in rows]\n'
  const queries = [{ q: { features: { a: 1 } }, expect: { prediction: 2 } }]
  const good = await run(t, bundle([predictor({ testQueries: queries })], { 'p.py': plain }))
  t.match(reportOf(good), { batchable: true, batchReason: /8 different rows gave the same/ })
  t.match(planOf(good), { python: { prediction: { batchable: true, maxRows: 64 } } })
  const leaky = plain.replace('r["a"] * 2', 'r["a"] * 2 + len(rows) - 1')
  const bad = await run(t, bundle([predictor({ testQueries: queries })], { 'p.py': leaky }))
  t.match(reportOf(bad), { batchable: false, batchReason: /changes with the other rows/ })
  t.match(planOf(bad), { python: { prediction: { batchable: false, maxRows: 1 } } })
  const counter = `n = 0\n${plain.replace('    return', '    global n\n    n += 1\n    return')}`
  const other = counter.replace('* 2', '* 2 + n')
  const moving = await run(t, bundle([predictor()], { 'p.py': other }))
  t.match(reportOf(moving).batchReason, /from call to call/)
  const free = predictor({ features: undefined, testQueries: queries })
  const one = await run(t, bundle([free], { 'p.py': plain }))
  t.match(reportOf(one).batchReason, /two different rows, and there is only one: add test queries/)
  const forbidden = await run(t, bundle([predictor({ batch: false })], { 'p.py': plain }))
  t.match(reportOf(forbidden), { batchable: false, batchReason: /batch: false/ })
})

t.test('what is wrong with code is told, with all other faults', { skip }, async (t) => {
  const endpoints = [
    pythonFunction('import'),
    pythonFunction('name', { file: 'g.py', function: 'absent' }),
    pythonFunction('raises', { file: 'g.py', testQueries: [{ name: 'boom', q: { x: 0 } }] }),
    pythonFunction('value', { file: 'g.py', testQueries: [{ q: { x: 4 }, expect: { y: 3 } }] }),
    { id: 'model', type: 'STD_PREDICTION', model: 'broken.onnx' },
  ]
  const files = {
    'f.py': 'import no_such_module\ndef f(): return 1\n',
    'g.py': 'def f(x): return {"y": 1 / x}\n',
    'broken.onnx': 'x',
  }
  const { code, told } = refusal(await run(t, bundle(endpoints, files)))
  t.equal(code, 'ERR_CODE_REFUSED', 'the first of all in rank')
  t.match(told[0], /^endpoints\[0\]\.file: .*No module named 'no_such_module'/)
  t.match(told[1], /^endpoints\[1\]\.file: .*absent/)
  t.match(told[2], /^endpoints\[2\]\.testQueries\[0\]\.q: .*"boom" failed: ZeroDivisionError/)
  t.match(told[3], /^endpoints\[3\]\.testQueries\[0\]\.expect\.y: .*expected 3, got 0\.25/)
  t.match(told[4], /^endpoints\[4\]\.model: broken\.onnx: the file is no ONNX model/)
  t.equal(told.length, 5)
})

t.test('without interpreters: one clear sentence each, models forge all the same', async (t) => {
  const endpoints = [
    pythonFunction('py'),
    { id: 'r', type: 'R_FUNCTION', file: 'f.R', function: 'f' },
    { id: 'model', type: 'STD_PREDICTION', model: 'm.onnx' },
  ]
  const files = {
    'f.py': 'def f(): return 1\n',
    'f.R': 'f <- function() 1\n',
    'm.onnx': identity({ type: 'float', shape: ['N', 2] }),
  }
  const settings = runtimes(t, { python: null, rscript: null })
  const { code, told } = refusal(await run(t, bundle(endpoints, files), { settings }))
  t.equal(code, 'ERR_INTERPRETER_MISSING')
  t.match(told[0], /^endpoints\[0\]\.type: .*apt-get install python3/)
  t.match(told[1], /^endpoints\[1\]\.type: .*apt-get install r-base-core/)
  t.equal(told.length, 2)
  const alone = await run(t, bundle(endpoints.slice(2), files), { settings })
  t.equal(forged(alone).plan.endpoints.length, 1)
})

t.test('tables: ragged rows, unknown columns, a disk that is too small', async (t) => {
  const lookup = (extra: object = {}) => ({
    id: 'l',
    type: 'DATASET_LOOKUP',
    lookups: [{ table: 'people', ...extra }],
  })
  const people = { name: 'people', file: 'people.csv', key: ['id'], columns: { id: 'integer' } }
  const tables = [people]
  const rows = (text: string, extra: object = {}) =>
    bundle([lookup(extra)], { 'people.csv': text }, { tables })
  const good = await run(t, rows('id,name\n1,Ada\n2,Bo\n'))
  t.match(forged(good).report.tables, [{ name: 'people', rows: 2, columns: 2, connection: null }])
  t.match(planOf(good, 'l'), { lookup: { steps: [{ columns: [{ column: 'name', as: 'name' }] }] } })
  const ragged = refusal(await run(t, rows('id,name\n1,Ada\n2\nx,Cy\n')))
  t.match(ragged, { code: 'ERR_BUNDLE_INVALID', told: [/^tables\[0\]\.file: people\.csv line 3/] })
  t.match(ragged.told[1], /line 4/)
  const column = refusal(await run(t, rows('id,name\n1,Ada\n', { columns: ['nam'] })))
  t.match(column.told, [/^endpoints\[0\]\.lookups\[0\]\.columns\[0\]: .*did you mean "name"/])
  const small = await runChild(t, rows(`id,name\n1,${'x'.repeat(100_000)}\n`), {
    diskBytesMax: 200_000,
  })
  t.match(refusal(small), {
    code: 'ERR_DISK_FULL',
    told: [/people\.csv needs about 1 MiB as a tab/],
  })
  const missed = await run(t, [
    ...bundle(
      [{ ...lookup(), testQueries: [{ name: 'nobody', q: { data: { id: 9 } } }] }],
      {
        'people.csv': 'id,name\n1,Ada\n',
      },
      { tables },
    ),
  ])
  t.match(refusal(missed), { code: 'ERR_TEST_QUERY', told: [/"nobody" failed: .*people/] })
})

t.test('SQL: faults of the text, and no query that nobody gave', async (t) => {
  const sql = (query: string, extra: object = {}) =>
    bundle(
      [{ id: 'q', type: 'SQL_QUERY', query, ...extra }],
      { 'o.csv': 'a,b\n1,x\n' },
      {
        tables: [{ name: 'o', file: 'o.csv', columns: { a: 'integer' } }],
      },
    )
  const good = await run(
    t,
    sql('SELECT b FROM o WHERE a = ?', {
      parameters: ['a'],
      testQueries: [{ q: { a: 1 }, expect: { rows: [['x']] } }],
    }),
  )
  t.match(planOf(good, 'q'), { warmUp: ['{"a":1}'], sql: { duckdb: /\.switchyard/ } })
  t.match(reportOf(good, 'q').program, /DuckDB/)
  const untried = await run(t, sql('SELECT b FROM o'))
  t.match(reportOf(untried, 'q'), { testQueries: [], cost: { fixedUs: 0 } })
  const count = refusal(await run(t, sql('SELECT ?')))
  t.match(count, {
    code: 'ERR_BUNDLE_INVALID',
    told: [/^endpoints\[0\]\.query: .*\? has no param/],
  })
  const column = refusal(await run(t, sql('SELECT nothing FROM o')))
  t.match(column.told, [/^endpoints\[0\].*nothing/])
  const remote = sql('SELECT 1', { connection: 'crm' })
  t.match(refusal(await run(t, remote)), {
    code: 'ERR_CONNECTION_UNUSABLE',
    told: [/^endpoints\[0\]\.connection: .*crm/],
  })
})

t.test('a Python environment that cannot be made', { skip: whyNoPython('venv') }, async (t) => {
  const files = { 'f.py': 'def f(): return 1\n', 'r.txt': 'switchyard-no-such-package==1\n' }
  const python = { requirements: 'r.txt' }
  const done = await runChild(t, bundle([pythonFunction('f')], files, { python }))
  t.match(refusal(done), { code: 'ERR_ENVIRONMENT_FAILED', told: [/^python: pip: /] })
  t.ok(done.phases.includes('environment'))
  t.notOk(existsSync(join(done.directory, '__pycache__')))
})

const noDisk = whyNoSmallDisk()

t.test('a full disk is no fault of a Parquet file', { skip: noDisk ?? false }, async (t) => {
  const query = "SELECT range AS id, repeat('x', 80) AS name FROM range(100000)"
  const done = await onFullDisk(t, 'p.parquet', await parquet(t, query), {
    endpoint: { type: 'DATASET_LOOKUP', lookups: [{ table: 'p' }] },
    table: { key: ['id'] },
  })
  t.match(done, { code: 'ERR_DISK_FULL', told: [/^tables\[0\]\.file: p\.parquet does not fit/] })
})

t.test('nor one of the tables of the embedded database', { skip: noDisk ?? false }, async (t) => {
  const lines = Array.from(
    { length: 70_000 },
    (_, i) => `${i},${randomBytes(48).toString('base64')}`,
  )
  const done = await onFullDisk(t, 'c.csv', Buffer.from(`id,name\n${lines.join('\n')}\n`), {
    endpoint: { type: 'SQL_QUERY', query: 'SELECT count(*) FROM p' },
    table: {},
  })
  t.match(done, { code: 'ERR_DISK_FULL', told: [/^tables: they do not fit as a database: /] })
})

async function onFullDisk(
  t: Test,
  file: string,
  data: Buffer,
  { endpoint, table }: { readonly endpoint: object; readonly table: object },
) {
  const directory = join(smallDisk(t, 6 * 1024 * 1024).path, 'generation')
  mkdirSync(directory)
  const tables = [{ name: 'p', file, ...table }]
  const entries = bundle([{ id: 'e', ...endpoint }], { [file]: data }, { tables })
  return refusal(await runChild(t, entries, { directory }))
}

async function parquet(t: Test, query: string): Promise<Buffer> {
  const file = join(t.testdir({}), 'made.parquet')
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`COPY (${query}) TO '${file}' (FORMAT parquet)`)
  connection.closeSync()
  instance.closeSync()
  return readFileSync(file)
}
