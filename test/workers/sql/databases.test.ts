/**
 * Goal: queries on real databases are exact, bound by the server, ended by the server, and a
 * database that dies is told of at once and used again when it is back.
 * Method: PostgreSQL and MariaDB of this machine, started here, killed and started again.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ConnectionSettings } from '../../../core/config/runtimes.ts'
import type { ParameterSource } from '../../../workers/sql/statements.ts'
import { openTableReader, readTableColumns } from '../../../workers/sql/table-reader.ts'
import {
  type DatabaseKind,
  MARIADB,
  POSTGRESQL,
  skipReason,
  type TestDatabase,
} from '../../tools/databases.ts'
import { type Asked, openEndpoint, type SqlSource } from '../../tools/sql-asking.ts'
import { quickest, until } from '../../tools/waiting.ts'

const KINDS = [POSTGRESQL, MARIADB]
const RUNNING = {
  postgresql:
    "select count(*) from pg_stat_activity where state = 'active' " +
    "and query like '%marker%' and pid <> pg_backend_pid()",
  mysql:
    'select count(*) from information_schema.processlist ' +
    "where info like '%marker%' and id <> connection_id()",
} as const
const SLOW = {
  postgresql: "select 'marker', pg_sleep(20)",
  mysql:
    "select 'marker', count(*) from seq_1_to_1000000 a, seq_1_to_1000000 b " +
    'where a.seq * b.seq = 7.5',
} as const
const MILLION = {
  postgresql: 'select n, md5(n::text) from generate_series(1, 1000000) n',
  mysql: 'select seq, md5(seq) from seq_1_to_1000000',
} as const

class Asker {
  readonly settings: ConnectionSettings
  readonly #t: Test

  constructor(t: Test, settings: ConnectionSettings) {
    this.#t = t
    this.settings = settings
  }

  open(source: SqlSource) {
    return openEndpoint(this.#t, { connection: this.settings, ...source })
  }

  async ask(
    query: string,
    parameters: readonly ParameterSource[] = [],
    body: unknown = '',
  ): Promise<Asked> {
    return (await this.open({ query, parameters })).ask(body)
  }
}

for (const database of KINDS) {
  const skip = skipReason(database)
  t.test(database.kind, { skip, timeout: 240_000 }, async (t) => {
    const running = await database.start(t)
    await parameters(t, new Asker(t, running.settings), database)
    await types(t, new Asker(t, running.settings), database)
    await transactions(t, new Asker(t, running.settings))
    await limits(t, new Asker(t, running.settings), database)
    await tables(t, new Asker(t, running.settings))
    await refusals(t, running)
    await outage(t, running, database)
  })
}

async function parameters(t: Test, asker: Asker, { kind }: DatabaseKind): Promise<void> {
  const made = await asker.ask(
    'create table people (id int primary key, name text); insert into people values (1, ?), (2, ?)',
    ['a', 'b'],
    { a: "'; drop table people; --", b: '100%' },
  )
  t.match(made, { code: null, updatedRows: 2 }, made.detail)
  const find = await asker.open({
    query: 'select id from people where name = ?',
    parameters: ['name'],
  })
  const rowsOf = async (name: unknown): Promise<unknown> => (await find.ask({ name })).rows
  t.same(await rowsOf("'; drop table people; --"), [['1']], 'text, and nothing but text')
  t.same(await rowsOf("' or '1'='1"), [])
  t.same(await rowsOf('100%'), [['2']])
  t.same(await rowsOf('%'), [], 'no pattern')
  t.same(await rowsOf(0), [], 'a number is equal to no word')
  t.same(await rowsOf(null), [], 'NULL is equal to nothing')
  t.same(await rowsOf('\\'), [])
  t.same(await rowsOf('😀'.repeat(1000)), [])
  t.same(await rowsOf('x'.repeat(1024 * 1024)), [], '1 MiB is a value')
  for (const wrong of ['a\0b', ['a'], { $ne: 1 }, 'x'.repeat(1024 * 1024 + 1)]) {
    t.match(await find.ask({ name: wrong }), { code: 'ERR_ARGUMENT_INVALID', detail: /"name"/ })
  }
  t.match(await find.ask({ nam: 1 }), { code: 'ERR_ARGUMENT_INVALID', detail: /"nam" is no/ })
  t.match(await find.ask(), { code: 'ERR_ARGUMENT_INVALID', detail: /"name" is missing/ })
  t.same((await asker.ask('select count(*) from people')).rows, [['2']], 'nothing was dropped')

  const typed: ParameterSource[] = [{ name: 'n', type: 'integer' }]
  const page = await asker.ask('select id from people order by id limit ?', typed, { n: 1 })
  t.same(page.rows, [['1']], page.detail)
  if (kind === 'postgresql') {
    const wrong = await asker.ask('select id from people where id = ?', ['id'], { id: 'abc' })
    t.match(wrong, { code: 'ERR_ARGUMENT_INVALID', detail: /invalid input syntax/ })
    const operator = await asker.ask(`select '{"a":1}'::jsonb ?? ?`, ['key'], { key: 'a' })
    t.same(operator.rows, [['true']], operator.detail)
  }
  const taken = await asker.ask('insert into people values (?, ?)', ['a', 'b'], { a: 1, b: 'x' })
  t.match(taken, { code: 'ERR_ARGUMENT_INVALID', detail: /uplicate/ }, 'a constraint')
  const wrong = await asker.ask('select nothing from people where id = ?', typed, { n: 1 })
  t.match(wrong, { code: 'ERR_QUERY_FAILED', detail: /nothing/ }, 'not the fault of a caller')
}

async function types(t: Test, asker: Asker, { kind }: DatabaseKind): Promise<void> {
  const isMysql = kind === 'mysql'
  const stamp = isMysql ? 'datetime(6)' : 'timestamp'
  const zoned = isMysql ? 'timestamp(6) null' : 'timestamptz'
  await asker.ask(
    `create table kinds (b bigint, d decimal(38,18), day date, at ${stamp}, z ${zoned}, ` +
      `f ${isMysql ? 'float' : 'real'}, g double precision, yes boolean, words text)`,
  )
  const names: ParameterSource[] = [
    { name: 'b', type: 'integer' },
    { name: 'd', type: 'number' },
    { name: 'day', type: 'date' },
    { name: 'at', type: 'timestamp' },
    { name: 'f', type: 'number' },
    { name: 'yes', type: 'boolean' },
    { name: 'words', type: 'string' },
  ]
  const put = await asker.ask(
    'insert into kinds (b, d, day, at, z, f, g, yes, words) ' +
      `values (?, ?, ?, ?, '2024-02-29 01:02:03.000004', ?, 0.1, ?, ?)`,
    names,
    {
      ...{ b: '9223372036854775807', d: '12345678901234567890.123456789012345678' },
      ...{ day: '2024-02-29', at: '2024-02-29T03:04:05.123456+02:00', f: 0.1 },
      ...{ yes: true, words: 'grün 😀' },
    },
  )
  t.match(put, { code: null, updatedRows: 1 }, put.detail)
  const got = await asker.ask('select * from kinds')
  t.same(
    got.rows,
    [
      [
        ...['9223372036854775807', '12345678901234567890.123456789012345678', '2024-02-29'],
        ...['2024-02-29T01:04:05.123456', '2024-02-29T01:02:03.000004Z', '0.1', '0.1'],
        ...[isMysql ? '1' : 'true', 'grün 😀'],
      ],
    ],
    got.detail,
  )
  const known = got.columns.map(({ type }) => type).join()
  t.equal(
    known,
    isMysql
      ? 'bigint,decimal,date,datetime,timestamp,float,double,tinyint,text'
      : 'bigint,numeric,date,timestamp without time zone,timestamp with time zone,' +
          'real,double precision,boolean,text',
  )
  const nulls = await asker.ask('select null as a, b from kinds where b = 9223372036854775807')
  t.same(nulls.rows, [[null, '9223372036854775807']])
  t.match(got.text, /"timing":\{"wait":0,"execution":[\d.]+\},"apiContext":\{"serviceId":"s1"/)
}

async function transactions(t: Test, asker: Asker): Promise<void> {
  await asker.ask('create table steps (n int primary key)')
  const two = 'insert into steps values (?); insert into steps values (?)'
  const count = async (): Promise<unknown> => (await asker.ask('select count(*) from steps')).rows
  const names = ['a', 'b'].map((name) => ({ name, type: 'integer' as const }))
  const one = await asker.open({ query: two, parameters: names, commit: true })
  t.match(await one.ask({ a: 1, b: 1 }), { code: 'ERR_ARGUMENT_INVALID' })
  t.same(await count(), [['0']], 'all was rolled back')
  t.match(await one.ask({ a: 1, b: 2 }), { code: null, updatedRows: 2 })
  t.same(await count(), [['2']])
  const each = await asker.open({ query: two, parameters: names })
  t.match(await each.ask({ a: 3, b: 3 }), { code: 'ERR_ARGUMENT_INVALID' })
  t.same(await count(), [['3']], 'without commit each statement stands alone')
  const last = await asker.ask('select 1 as x; select 2 as y; delete from steps where n = 3')
  t.match(last, { columns: [{ name: 'y' }], rows: [['2']], updatedRows: null })
  const altered = await asker.open({ query: 'select * from steps order by n' })
  t.same((await altered.ask()).rows, [['1'], ['2']])
  await asker.ask('alter table steps add column m int')
  t.same(
    (await altered.ask()).rows,
    [
      ['1', null],
      ['2', null],
    ],
    'prepared anew',
  )
}

async function limits(t: Test, asker: Asker, { kind }: DatabaseKind): Promise<void> {
  const slow = await asker.open({ query: SLOW[kind], timeoutMs: 400 })
  const running = await asker.open({ query: RUNNING[kind] })
  const startMs = performance.now()
  const asked = slow.ask()
  await sleep(150)
  t.same((await running.ask()).rows, [['1']], 'the server runs it')
  const stopped = await asked
  t.match(stopped, { code: 'ERR_DEADLINE' }, stopped.detail)
  t.ok(performance.now() - startMs < 10_000, 'long before the query ends')
  // A server takes a moment to end what it is told to end; the query takes far longer.
  const isIdle = async () => JSON.stringify((await running.ask()).rows) === '[["0"]]'
  await until(isIdle)
  t.match(await slow.ask('', 400), { code: 'ERR_DEADLINE' }, 'its time had passed in the lane')
  const crowd = await Promise.all(Array.from({ length: 12 }, () => slow.ask()))
  t.ok(crowd.every(({ code }) => code === 'ERR_DEADLINE'))
  await until(isIdle)

  const before = process.memoryUsage().rss
  const many = await asker.open({ query: MILLION[kind], maxRows: 1_000 })
  t.match(await many.ask(), { code: 'ERR_QUERY_FAILED', detail: /more than the 1000 rows/ })
  t.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024, 'not read into memory')
  const exact = await asker.open({ query: `${MILLION[kind]} limit 1000`, maxRows: 1_000 })
  t.equal((await exact.ask()).rows.length, 1_000)
  const all = await asker.open({ query: MILLION[kind], maxRows: 1_000_000, timeoutMs: 60_000 })
  t.equal((await all.ask()).rows.length, 1_000_000)
}

async function tables(t: Test, asker: Asker): Promise<void> {
  await asker.ask('create table look (k bigint, label text)')
  await asker.ask("insert into look values (9007199254740993, 'a'), (2, 'b'), (2, 'c'), (2, 'd')")
  const plan = {
    name: 'look',
    file: null,
    lmdb: null,
    database: { connection: 'crm', from: 'look' },
    key: ['k'],
    columns: [
      { name: 'k', type: 'integer' as const },
      { name: 'label', type: 'string' as const },
    ],
    rows: null,
  }
  t.same(await readTableColumns(asker.settings, 'look', performance.now() + 5_000), plan.columns)
  const reader = openTableReader(asker.settings, plan, () => {})
  t.teardown(() => reader.release())
  const rows = (...key: (string | number | null)[]) => reader.rows(key, performance.now() + 5_000)
  t.same(await rows('9007199254740993'), [['9007199254740993', 'a']])
  t.equal((await rows(2)).length, 2, 'two are enough to know that there are several')
  t.same(await rows(null), [])
  t.same(await rows('abc'), [], 'the key of no row')
  t.same(await rows("2' or '1'='1"), [])
  await t.rejects(readTableColumns(asker.settings, 'nowhere', performance.now() + 5_000), {
    code: 'ERR_QUERY_FAILED',
  })
}

async function refusals(t: Test, { settings }: TestDatabase): Promise<void> {
  const wrong = await openEndpoint(t, {
    query: 'select 1',
    connection: { ...settings, name: 'wrong', password: 'not-this' },
  })
  const answer = await wrong.ask()
  t.match(answer, { code: 'ERR_DATABASE_DOWN' })
  t.notMatch(answer.detail, /not-this|tester|127/, 'callers are not told where and who')
  t.match(wrong.statuses.at(-1), { subject: 'connection wrong', up: false, detail: /tester/ })
  await t.rejects(
    openEndpoint(t, { query: 'select 1', connection: { ...settings, services: ['other'] } }),
    { code: 'ERR_CONNECTION_UNUSABLE', detail: /not open to the service "s1"/ },
  )
}

async function outage(t: Test, database: TestDatabase, { kind }: DatabaseKind): Promise<void> {
  const endpoint = await openEndpoint(t, {
    query: 'select 1',
    connection: { ...database.settings, name: 'outage' },
    timeoutMs: 5_000,
  })
  t.match(await endpoint.ask(), { code: null })
  const counts = new Map<string, number>()
  let isOver = false
  let slowestMs = 0
  const load = async (): Promise<void> => {
    while (!isOver) {
      const startMs = performance.now()
      const { code } = await endpoint.ask()
      slowestMs = Math.max(slowestMs, performance.now() - startMs)
      counts.set(code ?? 'ok', (counts.get(code ?? 'ok') ?? 0) + 1)
      await sleep(2)
    }
  }
  const loads = Promise.all(Array.from({ length: 16 }, load))
  await sleep(300)
  await database.kill()
  await sleep(1_500)
  t.match(endpoint.statuses.at(-1), { up: false }, 'health says so')
  const down = async () => t.match(await endpoint.ask(), { code: 'ERR_DATABASE_DOWN' })
  t.ok((await quickest(50, down)) < 50, 'at once')
  database.start()
  await database.ready()
  await sleep(1_500)
  t.match(await endpoint.ask(), { code: null }, 'used again by itself')
  isOver = true
  await loads
  t.same([...counts.keys()].sort(), ['ERR_DATABASE_DOWN', 'ok'], `${kind}: no other answer`)
  t.ok(slowestMs < 8_000, `the slowest took ${Math.round(slowestMs)} ms`)
  t.match(endpoint.statuses.at(-1), { up: true, detail: /PostgreSQL|MariaDB/ })
  const crowd = await Promise.all(Array.from({ length: 40 }, () => endpoint.ask()))
  t.ok(
    crowd.every(({ code }) => code === null),
    'the pool is whole',
  )
}
