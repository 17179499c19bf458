/**
 * Goal: the embedded database answers over a bundle's files, exactly, and does nothing else: it
 * reads no other file, writes none, and ends at the deadline.
 * Method: tables made of small and large files, and statements that try to get out.
 */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildDuckdb, splitHeader } from '../../../workers/sql/build-duckdb.ts'
import type { ParameterSource } from '../../../workers/sql/statements.ts'
import { openEndpoint, type SqlSource } from '../../tools/sql-asking.ts'

const PEOPLE = [
  'id,name,"the ""score""",born,seen,big,ok',
  '1,Ada,1.5,1815-12-10,2024-02-29T03:04:05.123456+02:00,9223372036854775807,true',
  '2,"O\'Brien; --",,2000-01-01,2024-01-01 00:00:00,-1,false',
  '3,"two\nlines",0.1,,,,',
  '4,,3,,,,',
  '',
].join('\n')
const COLUMNS = {
  id: 'integer',
  'the "score"': 'number',
  born: 'date',
  seen: 'timestamp',
  big: 'integer',
  ok: 'boolean',
} as const

async function openPeople(t: Test) {
  const directory = t.testdir({
    'people.csv': PEOPLE,
    "it's [1].csv": 'a;b\r\n1;x\r\n2;y\r\n',
    'tabs.tsv': 'a\tb\n1,5\tx\n',
  })
  const duckdb = await buildDuckdb(
    [
      { name: 'people', file: 'people.csv', columns: COLUMNS, key: ['id'] },
      { name: 'other', file: "it's [1].csv", delimiter: ';', columns: { a: 'integer' } },
      { name: 'tabs', file: 'tabs.tsv' },
      { name: 'remote', key: ['a'] },
    ],
    directory,
  )
  t.equal(duckdb, '.switchyard/tables.duckdb')
  t.same(readdirSync(join(directory, '.switchyard')), ['tables.duckdb'], 'closed and whole')
  const ask = async (
    query: string,
    parameters: readonly ParameterSource[] = [],
    body: unknown = '',
    more: Partial<SqlSource> = {},
  ) => {
    const source = { query, parameters, duckdb, directory, ...more }
    return (await openEndpoint(t, source)).ask(body)
  }
  return ask
}

t.test('tables of a bundle', async (t) => {
  const ask = await openPeople(t)
  const all = await ask('select * from people order by id')
  t.same(
    all.columns.map(({ type }) => type),
    ['bigint', 'varchar', 'double', 'date', 'timestamp', 'bigint', 'boolean'],
  )
  t.same(all.rows, [
    [
      ...['1', 'Ada', '1.5', '1815-12-10', '2024-02-29T01:04:05.123456'],
      ...['9223372036854775807', 'true'],
    ],
    ['2', "O'Brien; --", null, '2000-01-01', '2024-01-01T00:00:00', '-1', 'false'],
    ['3', 'two\nlines', '0.1', null, null, null, null],
    ['4', null, '3', null, null, null, null],
  ])
  t.same((await ask('select b from other order by a desc')).rows, [['y'], ['x']])
  t.same((await ask('select a, b from tabs')).rows, [['1,5', 'x']], 'tabs, as in look-ups')
})

t.test('arguments, results and limits', async (t) => {
  const ask = await openPeople(t)
  const byName = (name: unknown) => ask('select id from people where name = ?', ['name'], { name })
  t.same((await byName("O'Brien; --")).rows, [['2']])
  t.same((await byName("' or '1'='1")).rows, [])
  t.same((await byName('%')).rows, [])
  t.same((await byName(1)).rows, [])
  t.match(await byName(['x']), { code: 'ERR_ARGUMENT_INVALID', detail: /"name": an array/ })
  t.match(await byName('a\0'), { code: 'ERR_ARGUMENT_INVALID', detail: /NUL/ })
  const byId = (id: unknown) => ask('select name from people where id = ?', ['id'], { id })
  t.same((await byId(1)).rows, [['Ada']])
  t.same((await byId('1')).rows, [['Ada']])
  t.same((await byId(1.5)).rows, [], 'a number is not rounded')
  t.match(await byId('x'), { code: 'ERR_ARGUMENT_INVALID', detail: /Could not convert/ })
  const big = [{ name: 'n', type: 'integer' as const }]
  const exact = await ask('select id from people where big = ?', big, { n: '9223372036854775807' })
  t.same(exact.rows, [['1']])
  const typed = [
    { name: 'd', type: 'date' as const },
    { name: 'x', type: 'integer' as const },
  ]
  const sum = await ask('select ? + 1 as d, ? + 1 as x', typed, { d: '2024-02-28', x: 41 })
  t.same(sum.rows, [['2024-02-29', '42']], sum.detail)
  const kinds = await ask(
    'select 1.10::decimal(9,2), 0.1::float, 170141183460469231731687303715884105727::hugeint, ' +
      "'\\xAB'::blob, [1,2], timestamptz '2024-01-01 01:00:00.5+01', time '10:00:00'",
  )
  t.same(kinds.rows, [
    [
      ...['1.10', '0.1', '170141183460469231731687303715884105727', '\\xab', '[1, 2]'],
      ...['2024-01-01T00:00:00.5Z', '10:00:00'],
    ],
  ])
  t.same((await ask('select 1 as a; select 2 as b')).rows, [['2']])

  const limited = await ask('select * from range(1000000)', [], '', { maxRows: 100 })
  t.match(limited, { code: 'ERR_QUERY_FAILED', detail: /more than the 100 rows/ })
  const startMs = performance.now()
  const slow = await ask('select count(*) from range(1000000) a, range(1000000) b', [], '', {
    timeoutMs: 200,
  })
  t.match(slow, { code: 'ERR_DEADLINE' })
  t.ok(performance.now() - startMs < 20_000, 'interrupted: it would take minutes')
  t.same((await byId(2)).rows, [["O'Brien; --"]], 'and goes on')
})

t.test('nothing gets out of the embedded database', async (t) => {
  const directory = t.testdir({ 'a.csv': 'a\n1\n' })
  const duckdb = await buildDuckdb([{ name: 'a', file: 'a.csv' }], directory)
  const out = join(directory, 'out')
  const attempts = [
    "select * from read_csv('/etc/passwd')",
    "select * from read_text('/etc/passwd')",
    "select * from '/etc/passwd'",
    "select * from glob('/etc/*')",
    `copy a to '${out}'`,
    `export database '${out}'`,
    `attach '${out}'`,
    'set threads = 8',
    'set enable_external_access = true',
    'install httpfs',
    'load httpfs',
    "select * from 'https://127.0.0.1/x.parquet'",
    'create table b (x int)',
    'create temp table b as select 1',
    'insert into a values (2)',
    'drop table a',
    'call enable_logging_nope()',
    'prepare p as select 1',
    'create secret s (type s3)',
  ]
  for (const query of attempts) {
    for (const file of [duckdb, null]) {
      const opening = openEndpoint(t, { query, duckdb: file, directory })
      await t.rejects(opening, { code: 'ERR_CODE_REFUSED', detail: /^statement 1 of/ }, query)
    }
  }
  t.notOk(existsSync(out))
  const path = await openEndpoint(t, {
    query: 'select path from duckdb_databases()',
    duckdb,
    directory,
  })
  t.match(await path.ask(), { code: null })
  const none = await openEndpoint(t, { query: 'select 40 + ?', parameters: ['n'] })
  t.same((await none.ask({ n: 2 })).rows, [['42']], 'without tables it computes')
})

t.test('files that are refused', async (t) => {
  const directory = t.testdir({
    'ragged.csv': 'a,b\n1,2\n3\n4,5\n',
    'wide.csv': 'a,b\n1,2\n3,4,5\n',
    'typed.csv': 'a,b\n1,x\n2.5.1,y\n',
    'broken.parquet': 'no parquet',
  })
  const build = (file: string, columns = {}) =>
    buildDuckdb([{ name: 't', file, columns }], directory)
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['ragged.csv', /ragged\.csv: line 3: /],
    ['wide.csv', /wide\.csv: line 3: /],
    ['typed.csv', /typed\.csv: line 3: .*2\.5\.1/],
    ['broken.parquet', /broken\.parquet: .*[Pp]arquet/],
    ['none.csv', /none\.csv: /],
  ]
  for (const [file, expected] of wrong) {
    const faults = [{ path: 'tables[0].file', reason: expected }]
    await t.rejects(build(file, { a: 'integer' }), { code: 'ERR_BUNDLE_INVALID', faults }, file)
  }
  t.same(splitHeader('a,"b,""c""\nd",e\r\n1', ','), ['a', 'b,"c"\nd', 'e'])
})

t.test('a million rows', async (t) => {
  const directory = t.testdir({})
  mkdirSync(join(directory, 'data'))
  const lines = Array.from({ length: 1_000_000 }, (_, n) => `${n},name ${n},${n / 7}`)
  writeFileSync(join(directory, 'data/big.csv'), `id,name,x\n${lines.join('\n')}\n`)
  const before = process.cpuUsage()
  const table = {
    name: 'big',
    file: 'data/big.csv',
    columns: { id: 'integer', x: 'number' },
  } as const
  const duckdb = await buildDuckdb([{ ...table, key: ['id'] }], directory)
  const { user, system } = process.cpuUsage(before)
  const cpuMs = Math.round((user + system) / 1_000)
  t.ok(cpuMs < 15_000, `made in ${cpuMs} ms of the processors' time`)
  const source = { query: 'select name from big where id = ?', parameters: ['id'] }
  const endpoint = await openEndpoint(t, { ...source, duckdb, directory })
  t.same((await endpoint.ask({ id: 999_999 })).rows, [['name 999999']])
})
