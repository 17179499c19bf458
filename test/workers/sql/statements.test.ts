/**
 * Goal: what is a statement and what is a parameter is decided by the text as the database reads
 * it, and arguments are what their parameters say. Method: texts with quotes, comments and worse.
 */

import t from 'tap'
import type { ColumnType } from '../../../core/bundle/plan.ts'
import { isReadOnly } from '../../../workers/forge/sql-effects.ts'
import { readArguments, utcTimestamp } from '../../../workers/sql/arguments.ts'
import type { Dialect } from '../../../workers/sql/scan.ts'
import {
  changesSession,
  nativeText,
  type ParameterSource,
  planStatements,
} from '../../../workers/sql/statements.ts'

function textsOf(text: string, dialect: Dialect, parameters: readonly ParameterSource[] = []) {
  const planned = planStatements(text, parameters, dialect)
  return planned.kind === 'faults'
    ? planned.faults.map(({ path, reason }) => `${path}: ${reason}`)
    : planned.statements.map((one) => `${one.text} <${one.parameters.map(({ name }) => name)}>`)
}

t.test('statements are cut where the database sees a semicolon', async (t) => {
  const cut: readonly (readonly [Dialect, string, readonly string[]])[] = [
    ['postgresql', 'select 1;select 2;', ['select 1 <>', 'select 2 <>']],
    ['postgresql', ';; select 1 ; -- end;\n ;', ['select 1 <>']],
    ['postgresql', "select ';?', 'it''s;?'", ["select ';?', 'it''s;?' <>"]],
    ['postgresql', "select 'a\\'; select 2", ["select 'a\\' <>", 'select 2 <>']],
    ['postgresql', "select E'a\\';?'", ["select E'a\\';?' <>"]],
    ['postgresql', 'select "a;?""b"', ['select "a;?""b" <>']],
    ['postgresql', 'select $$;?$$, $a$;$$?$a$', ['select $$;?$$, $a$;$$?$a$ <>']],
    ['postgresql', 'select /* ; /* ? */ ; */ 1', ['select /* ; /* ? */ ; */ 1 <>']],
    ['postgresql', 'select a$b$ from t', ['select a$b$ from t <>']],
    ['mysql', "select 'a\\';?', `b;``?`", ["select 'a\\';?', `b;``?` <>"]],
    ['mysql', 'select "a;?\\"?"', ['select "a;?\\"?" <>']],
    ['mysql', 'select 1 # ;?\n; select 5--1', ['select 1 # ;? <>', 'select 5--1 <>']],
    ['mysql', 'select /* /* ; */ 1', ['select /* /* ; */ 1 <>']],
    ['duckdb', "select '?;' from range(3)", ["select '?;' from range(3) <>"]],
  ]
  for (const [dialect, text, expected] of cut) {
    const found = textsOf(text, dialect).map((one) => one.replace(/\s+</, ' <'))
    t.same(found, expected, `${dialect}: ${text}`)
  }
})

t.test('parameters go with the ? of all statements, in order', async (t) => {
  const text = 'update a set b = ?, c = \'?\' where d = ?; select "?" -- ?\n from e where f = ?'
  t.same(textsOf(text, 'postgresql', ['x', { name: 'y', type: 'integer' }, 'x']), [
    "update a set b = ?, c = '?' where d = ? <x,y>",
    'select "?" -- ?\n from e where f = ? <x>',
  ])
  t.equal(
    nativeText("a = ? and b ?? 'k' and c = '?' and d = ?", 'postgresql'),
    "a = $1 and b ? 'k' and c = '?' and d = $2",
  )
  t.equal(nativeText('a = ? -- ?', 'duckdb'), 'a = $1 -- ?')
  t.equal(nativeText('a = ? and b = "?"', 'mysql'), 'a = ? and b = "?"')
  t.ok(changesSession('/* x */ set search_path = a', 'postgresql'))
  t.notOk(changesSession('select 1 -- set', 'postgresql'))
})

t.test('only what reads in every dialect is run again by itself', (t) => {
  const readsAll = (text: string) =>
    isReadOnly({
      connection: 'crm',
      statements: [{ text, parameters: [] }],
      maxRows: 1,
      commit: false,
      duckdb: null,
    })
  t.ok(readsAll("select 'update' from a -- delete"))
  t.notOk(readsAll('select a from b for update'))
  t.notOk(readsAll('with gone as (delete from a returning *) select * from gone'))
  t.notOk(readsAll("select '\\'', a into outfile 'a', '\\'' from b"), 'escapes of MySQL')
  t.notOk(readsAll("with x as (select '\\' /* ' */) delete from a"))
  t.end()
})

t.test('faults name the place', async (t) => {
  const faults: readonly (readonly [Dialect, string, readonly ParameterSource[], RegExp])[] = [
    ['postgresql', 'select 1\n  + ?', [], /^query: line 2, column 5: \? has no parameter; .* 1 \?/],
    ['postgresql', 'select ?', ['a', 'b'], /^parameters\[1\]: the query has 1 \?, .* names 2/],
    ['postgresql', "select 'a", [], /^query: line 1, column 8: what 'a opens is never closed/],
    ['postgresql', 'select $q$ a', [], /column 8: .* never closed/],
    ['postgresql', 'select 1 /* x', [], /column 10: .* never closed/],
    ['postgresql', 'select $1', [], /column 8: \$1 is not a placeholder here; write \?/],
    ['duckdb', 'select $name', [], /\$name is not a placeholder/],
    ['mysql', 'select 1 /*!50000 ; drop */', [], /a comment that the database runs/],
    ['postgresql', ' -- nothing\n;', [], /^query: it holds no statement/],
    ['postgresql', 'select 1; Commit', [], /column 11: COMMIT is not allowed; "commit": true/],
    ['duckdb', "select * from enable_logging(storage='file')", [], /enable_logging is not allowed/],
    ['duckdb', 'select * from "ENABLE_LOGGING" /**/ (1)', [], /ENABLE_LOGGING.* is not allowed/],
    ['duckdb', "from query('select 1')", [], /query is not allowed/],
  ]
  for (const [dialect, text, parameters, expected] of faults) {
    t.match(textsOf(text, dialect, parameters).join('\n'), expected, `${dialect}: ${text}`)
  }
  const twice = [{ name: 'a', type: 'integer' as const }, 'a']
  t.match(textsOf('select ?, ?', 'mysql', twice).join(), /parameters\[1\]: "a" is without a type/)
  t.same(textsOf('select query from t', 'duckdb'), ['select query from t <>'], 'a column')
})

function read(body: unknown, types: Readonly<Record<string, ColumnType | null>>): unknown {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const found = readArguments(new TextEncoder().encode(text), new Map(Object.entries(types)))
  if (found.kind === 'refused') return `${found.code}: ${found.reason}`
  return [...found.values].map(([, { text: value }]) => value)
}

t.test('arguments: names and types', async (t) => {
  t.same(read('', {}), [], 'an empty body is {}')
  t.same(read(' \n', {}), [])
  t.match(read('', { a: null }), /ERR_ARGUMENT_INVALID: "a" is missing/)
  t.match(read({ b: 1 }, { a: null }), /"b" is no parameter; there is "a"/)
  t.match(read('[1]', {}), /ERR_BODY_INVALID: the body must be an object/)
  t.match(read('{', {}), /ERR_BODY_INVALID: .*JSON/)
  t.same(read({ a: 1, b: 'x', c: true, d: null }, { a: null, b: null, c: null, d: null }), [
    ...['1', 'x', 'true', null],
  ])
  t.match(read('{"__proto__":1}', {}), /"__proto__" is no parameter/)
  const allowed: readonly (readonly [ColumnType, unknown, string])[] = [
    ['integer', '9223372036854775807', '9223372036854775807'],
    ['integer', -5, '-5'],
    ['number', '0.1000000000000000000000001', '0.1000000000000000000000001'],
    ['number', 1e300, '1e+300'],
    ['boolean', 'false', 'false'],
    ['string', 12, '12'],
    ['date', '2024-02-29', '2024-02-29'],
    ['timestamp', '2024-03-01T01:30:00.123456+02:00', '2024-02-29 23:30:00.123456'],
    ['timestamp', '2024-03-01', '2024-03-01 00:00:00'],
  ]
  for (const [type, value, expected] of allowed) t.same(read({ a: value }, { a: type }), [expected])
})

t.test('arguments that are refused name the parameter', async (t) => {
  const refused: readonly (readonly [ColumnType | null, unknown, RegExp])[] = [
    [null, [1], /"a": an array is not allowed/],
    [null, { x: 1 }, /"a": an object is not allowed/],
    [null, 'a\0b', /"a": the text holds a NUL/],
    ['string', 'x'.repeat(1024 * 1024 + 1), /"a": the text is over 1 MiB/],
    ['integer', 1.5, /"a": the number is not an integer/],
    ['integer', 2 ** 60, /"a": the integer is beyond 2\^53; send it as a text/],
    ['integer', '9223372036854775808', /allowed is integer or null/],
    ['integer', '1; drop table t', /allowed is integer or null/],
    ['number', 'NaN', /allowed is number or null/],
    ['number', '0x10', /allowed is number/],
    ['boolean', 1, /a number is not allowed; allowed is boolean/],
    ['boolean', 'yes', /allowed is boolean/],
    ['date', '2023-02-29', /an ISO 8601 date/],
    ['date', 20240101, /a number is not allowed/],
    ['timestamp', '2024-01-01T25:00:00Z', /an ISO 8601 timestamp/],
    ['integer', true, /a boolean is not allowed/],
  ]
  for (const [type, value, expected] of refused) {
    const found = String(read({ a: value }, { a: type }))
    t.match(found, expected)
    t.ok(found.length < 300 && found.startsWith('ERR_ARGUMENT_INVALID'), 'the value is not echoed')
  }
  t.match(read('{"a":1e999}', { a: null }), /the number is too large/)
  t.equal(utcTimestamp('2024-01-01 10:00'), '2024-01-01 10:00:00')
  t.equal(utcTimestamp('2024-01-01 10:00:00.1234567'), null, 'more than is kept')
})
