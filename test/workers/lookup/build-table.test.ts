/**
 * Goal: a file becomes exactly the table that its author wrote, whatever its size, or is refused
 * with the line, the column and the text that are wrong; nothing half made is left.
 *
 * Method: real files, read back through the reader that workers use.
 */

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { DuckDBInstance } from '@duckdb/node-api'
import t from 'tap'
import { compiled } from '../../../bench/paths.ts'
import type { TablePlan } from '../../../core/bundle/plan.ts'
import { buildTable } from '../../../workers/lookup/build-table.ts'
import { ROW_CHARS_MAX } from '../../../workers/lookup/csv.ts'
import { lookupSteps } from '../../../workers/lookup/lookup-plan.ts'
import { Table } from '../../../workers/lookup/table.ts'
import { bundleFolder, reasonsOf, tableOf } from '../../tools/tables.ts'

async function read(directory: string, plan: TablePlan, keys: readonly string[][]) {
  const table = new Table(directory, join(directory, '../run'), plan)
  const found = keys.map((key) => table.find(key))
  await table.close()
  return found
}

function hashOf(directory: string, plan: TablePlan): string {
  const bytes = readFileSync(join(directory, plan.lmdb ?? '', 'data.mdb'))
  return createHash('sha256').update(bytes).digest('hex')
}

t.test('every type keeps its value, and empty cells are null', async (t) => {
  const directory = bundleFolder(t)
  const text = [
    'id,text,whole,real,flag,day,moment',
    '1,"a ""b"", c",42,1.50,TRUE,2024-02-29,2024-02-29 12:00:00+02',
    '2,"two\nlines",-9223372036854775808,1e-7,0,1999-12-31,2020-01-01T00:00:00.123456Z',
    '3,,9007199254740993,-0,false,,2020-06-01',
    '4,é\u2028\u0001,+007,nan,1,2000-01-01,2020-06-01T10:00',
    '5,,,,,,',
  ].join('\n')
  const plan = await tableOf(directory, text, {
    key: ['id'],
    columns: {
      id: 'integer',
      whole: 'integer',
      real: 'number',
      flag: 'boolean',
      day: 'date',
      moment: 'timestamp',
    },
  })
  t.equal(plan.rows, 5)
  t.match(plan.columns[1], { name: 'text', type: 'string' }, 'what is not declared is a string')
  const rows = await read(directory, plan, [['1'], ['2'], ['3'], ['4'], ['5']])
  const values = rows.map((cells) => ('kind' in cells ? cells : cells.map((c) => JSON.parse(c))))
  t.strictSame(values, [
    [1, 'a "b", c', 42, 1.5, true, '2024-02-29', '2024-02-29T10:00:00.000Z'],
    [
      2,
      'two\nlines',
      '-9223372036854775808',
      1e-7,
      false,
      '1999-12-31',
      '2020-01-01T00:00:00.123Z',
    ],
    [3, null, '9007199254740993', 0, false, null, '2020-06-01T00:00:00.000Z'],
    [4, 'é\u2028\u0001', 7, null, true, '2000-01-01', '2020-06-01T10:00:00.000Z'],
    [5, null, null, null, null, null, null],
  ])
})

t.test('cells that do not fit are refused by line, column and text', async (t) => {
  const directory = bundleFolder(t)
  const columns = {
    n: 'integer',
    x: 'number',
    b: 'boolean',
    d: 'date',
    s: 'timestamp',
  } as const
  const bad: readonly (readonly [string, RegExp])[] = [
    ['1.5,,,,', /line 2 column "n": "1.5" is no 64-bit integer/],
    ['9223372036854775808,,,,', /"9223372036854775808" is no 64-bit integer/],
    ['007x,,,,', /"007x" is no 64-bit integer/],
    [',1e999,,,', /column "x": "1e999" is no finite number/],
    [',inf,,,', /"inf" is no finite number/],
    [',,yes,,', /column "b": "yes" is no boolean/],
    [',,,2023-02-29,', /column "d": "2023-02-29" is no date/],
    [',,,29.02.2024,', /"29.02.2024" is no date/],
    [',,,,2024-02-30T00:00:00Z', /column "s": "2024-02-30T00:00:00Z" is no timestamp/],
    [',,,,2024-01-01 25:00', /is no timestamp/],
  ]
  for (const [cells, expected] of bad) {
    const reasons = await reasonsOf(directory, `id,n,x,b,d,s\na,${cells}\n`, { columns })
    t.match(reasons, [expected], cells)
    t.equal(reasons.length, 1)
  }
  t.notOk(existsSync(join(directory, '.switchyard/tables/rows')), 'nothing is left')
})

t.test('ragged rows are told by the line they are on, the first twenty', async (t) => {
  const directory = bundleFolder(t)
  const text = 'id,a\n1,"x\ny\nz"\n\n2,b,c\n3\n4,d\n"5,e\n'
  t.match(await reasonsOf(directory, text, {}), [
    'rows.csv line 6 has 3 cells, its header has 2',
    'rows.csv line 7 has 1 cells, its header has 2',
    /line 9 is not well quoted/,
  ])
  const crlf = `id,a\r\n${'1,"q\r\nr"\r\n'.repeat(30_000)}oops\r\n`
  t.strictSame(
    await reasonsOf(directory, crlf, {}),
    ['rows.csv line 60002 has 1 cells, its header has 2'],
    'far behind the first piece of the file',
  )
  const many = await reasonsOf(directory, `id,a\n${'1\n'.repeat(25)}`, {})
  t.equal(many.length, 21)
  t.equal(many[20], 'rows.csv has 5 more rows with faults')
})

t.test('headers', async (t) => {
  const directory = bundleFolder(t)
  t.match(await reasonsOf(directory, '', {}), [/has no header row/])
  t.match(await reasonsOf(directory, 'id,a,a\n', {}), [/names the columns 2 and 3 "a"/])
  t.match(await reasonsOf(directory, 'id,,b\n', {}), [/has no name for column 2/])
  t.match(await reasonsOf(directory, 'idd,b\n', {}), [/no column "id"; did you mean "idd"\?/])
  t.match(await reasonsOf(directory, 'id\n', { columns: { age: 'integer' } }), [/no column "age"/])
  t.match(await reasonsOf(directory, 'id\n1\n', { delimiter: '"' }), [/cannot be a delimiter/])
  const bytes = Buffer.concat([Buffer.from('id,a\n1,x\n2,'), Buffer.from([0xff, 0x0a])])
  t.match(await reasonsOf(directory, bytes, {}), [/line 3 is not valid UTF-8/])
})

t.test('byte order mark, CRLF, old line ends, other delimiters', async (t) => {
  const directory = bundleFolder(t)
  const texts: readonly (readonly [string, string])[] = [
    ['\ufeffid,a\r\n1,"x,y"\r\n2,z\r\n', ','],
    ['id;a\n1;x,y\r\n\n2;z', ';'],
    ['id\ta\r1\tx,y\r2\tz\r', '\t'],
  ]
  for (const [text, delimiter] of texts) {
    const plan = await tableOf(directory, text, { key: ['id'], delimiter })
    t.equal(plan.rows, 2)
    const found = await read(directory, plan, [['1'], ['2']])
    t.strictSame(found, [
      ['"1"', '"x,y"'],
      ['"2"', '"z"'],
    ])
  }
})

t.test('keys: several columns, all forms of a text, duplicates, none, too long', async (t) => {
  const directory = bundleFolder(t)
  const lines = ['a,n,v', 'x,1,one', '"x1:",01,two', 'Ame\u0301lie,2,three', 'x,+1,four', 'x,3,']
  const plan = await tableOf(directory, lines.join('\n'), {
    key: ['a', 'n'],
    columns: { n: 'integer' },
  })
  const keys = [
    ['x', '1'],
    ['x1:', '1'],
    ['Am\u00e9lie', '2'],
    ['x', '2'],
    ['x', '3'],
  ]
  t.strictSame(await read(directory, plan, keys), [
    { kind: 'multiple', rows: 2 },
    ['"x1:"', '1', '"two"'],
    ['"Ame\u0301lie"', '2', '"three"'],
    { kind: 'missing' },
    ['"x"', '3', 'null'],
  ])
  const nullKey = await reasonsOf(directory, 'id,v\n1,a\n,b\n', {})
  t.match(nullKey, [/line 3 has no value in the key column "id"/])
  const long = await reasonsOf(
    directory,
    `id,v\n${'k'.repeat(1_977)},a\n${'é'.repeat(989)},b\n`,
    {},
  )
  t.strictSame(long, ['rows.csv line 3 has a key of 1979 bytes, at most 1978 can be'])
  const ten = 'k'.repeat(10 * 1024 * 1024)
  t.match(await reasonsOf(directory, `id,v\n${ten},a\n`, {}), [
    /line 2 has a key of 10485761 bytes/,
  ])
  t.match(await reasonsOf(directory, `id,v\n1,a\n2,"${'x'.repeat(ROW_CHARS_MAX)}`, {}), [
    /row at line 3 has over 16777216 characters; is a quote not closed\?/,
  ])
})

t.test('a field of 10 MB comes back whole', async (t) => {
  const directory = bundleFolder(t)
  const field = `é"\n${'x'.repeat(96)}`.repeat(100 * 1024)
  const text = `id,v\n1,"${field.replaceAll('"', '""')}"\n2,b\n`
  const plan = await tableOf(directory, text, { key: ['id'] })
  const [one, two] = await read(directory, plan, [['1'], ['2']])
  t.ok(one !== undefined && !('kind' in one) && JSON.parse(one[1] ?? '') === field)
  t.strictSame(two, ['"2"', '"b"'])
})

t.test('more rows than memory is given to are all there, whatever their order', async (t) => {
  const directory = bundleFolder(t)
  const rows = 60_000
  const filling = 'z'.repeat(1_000)
  const lines = Array.from({ length: rows }, (_, i) => `${(i * 7_919) % rows},${i},${filling}`)
  lines.push('17,again,', '18,again,', '17,more,')
  const plan = await tableOf(directory, `id,i,f\n${lines.join('\n')}\n`, {
    key: ['id'],
    columns: { id: 'integer', f: 'string' },
  })
  t.equal(plan.rows, rows + 3)
  const table = new Table(directory, join(directory, '../run'), plan)
  let right = 0
  for (let i = 0; i < rows; i++) {
    const found = table.find([String((i * 7_919) % rows)])
    if (!('kind' in found) && found[1] === `"${i}"`) right += 1
  }
  t.equal(right, rows - 2)
  t.strictSame(table.find(['17']), { kind: 'multiple', rows: 3 })
  t.strictSame(table.find(['18']), { kind: 'multiple', rows: 2 })
  await table.close()
  t.strictSame(readdirSync(join(directory, plan.lmdb ?? '')), ['data.mdb'], 'nothing else is left')
})

t.test('readers change nothing, in any thread', async (t) => {
  const directory = bundleFolder(t)
  const lines = Array.from({ length: 5_000 }, (_, i) => `k${i},${i}`)
  const plan = await tableOf(directory, `id,v\n${lines.join('\n')}\n`, { key: ['id'] })
  const before = hashOf(directory, plan)
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.module).then(async ({ Table }) => {
      const table = new Table(workerData.directory, workerData.run, workerData.plan)
      let right = 0
      for (let i = 0; i < 20000; i++) {
        const at = (i * 7919) % 5000
        if (table.find(['k' + at])[1] === JSON.stringify(String(at))) right += 1
      }
      await table.close()
      parentPort.postMessage(right)
    })`
  const module = compiled('workers/lookup/table.ts')
  const workerData = { module, directory, plan, run: join(directory, '../run') }
  const counts = [1, 2, 3].map(
    () =>
      new Promise((resolve, reject) => {
        const worker = new Worker(code, { eval: true, workerData })
        worker.once('message', resolve)
        worker.once('error', reject)
      }),
  )
  t.strictSame(await Promise.all(counts), [20_000, 20_000, 20_000])
  t.equal(hashOf(directory, plan), before, 'no byte has changed')
  t.strictSame(readdirSync(join(directory, plan.lmdb ?? '')), ['data.mdb'])
  t.strictSame(readdirSync(join(directory, '../run')), [], 'locks leave nothing behind')
})

t.test('Parquet: its own types, and what is no single value', async (t) => {
  const directory = bundleFolder(t)
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  const file = join(directory, 'it[1]*.parquet')
  await connection.run(`COPY (SELECT * FROM (VALUES
    (1::BIGINT, 'a', 0.1::FLOAT, 9007199254740993::BIGINT, true, DATE '2024-02-29',
      TIMESTAMP '2024-01-02 03:04:05.678', 1.50::DECIMAL(9,2), [1, 2]),
    (2::BIGINT, '', 'nan'::FLOAT, NULL, NULL, NULL, NULL, NULL, NULL)
    ) AS rows(id, text, real, big, flag, day, moment, price, list)) TO '${file}' (FORMAT parquet)`)
  connection.closeSync()
  instance.closeSync()
  const table = { name: 'rows', file: 'it[1]*.parquet', key: ['id'] }
  const built = await buildTable(table, { directory, wantsLmdb: true })
  if (built.kind === 'faults') throw new Error(JSON.stringify(built.faults))
  t.strictSame(
    built.plan.columns.map(({ type }) => type),
    ['integer', 'string', 'number', 'integer', 'boolean', 'date', 'timestamp', 'number'],
  )
  const rows = await read(directory, built.plan, [['1'], ['2']])
  t.strictSame(
    rows.map((cells) => ('kind' in cells ? cells : cells.map((cell) => JSON.parse(cell)))),
    [
      [
        ...[1, 'a', Math.fround(0.1), '9007199254740993', true, '2024-02-29'],
        ...['2024-01-02T03:04:05.678Z', 1.5],
      ],
      [2, '', null, null, null, null, null, null],
    ],
  )
  const byList = await buildTable({ ...table, key: ['list'] }, { directory, wantsLmdb: true })
  t.match(byList, {
    kind: 'faults',
    faults: [{ reason: /column "list", which is no single value/ }],
  })
  const none = await reasonsOf(directory, 'PAR1 not really', { file: 'broken.parquet' })
  t.match(none, [/cannot be read as Parquet/])
  t.notMatch(none, [/switchyard-table/], 'no path of this machine')
})

t.test('a table that nobody looks up gives its columns only', async (t) => {
  const directory = bundleFolder(t)
  await tableOf(directory, 'id,v\n1,a\n', { key: ['id'], name: 'plain' })
  const built = await buildTable(
    { name: 'plain', file: 'plain.csv' },
    { directory, wantsLmdb: false },
  )
  t.match(built, {
    kind: 'built',
    made: [],
    plan: { lmdb: null, rows: null, columns: { length: 2 } },
  })
})

t.test('steps: defaults, and what does not exist', async (t) => {
  const directory = bundleFolder(t)
  const text = 'region,size,depot,km\nwest,small,W1,1\n'
  const table = await tableOf(directory, text, { key: ['region', 'size'] })
  t.match(lookupSteps([{ table: 'rows', key: { size: 'parcel' } }], [table], 'lookups'), {
    kind: 'steps',
    steps: [
      {
        key: [
          { column: 'region', field: 'region' },
          { column: 'size', field: 'parcel' },
        ],
        columns: [
          { column: 'depot', as: 'depot' },
          { column: 'km', as: 'km' },
        ],
        onMissing: 'ERROR',
        onMultiple: 'ERROR',
      },
    ],
  })
  const lookups = [
    { table: 'row' },
    { table: 'rows', key: { sise: 'x' }, columns: ['depot', 'kms'] },
    { table: 'rows', columns: { km: 'depot' } },
  ]
  t.match(lookupSteps(lookups, [table], 'lookups'), {
    kind: 'faults',
    faults: [
      { path: 'lookups[0].table', reason: '"row" is no table; did you mean "rows"?' },
      { path: 'lookups[1].key.sise', reason: /not part of the key of rows; did you mean "size"/ },
      { path: 'lookups[1].columns[1]', reason: '"kms" is no column of rows; did you mean "km"?' },
      { path: 'lookups[2].columns', reason: /lookups\[1\] .* gives a "depot" already/ },
    ],
  })
})
