/**
 * Goal: a service that asks a database serves what else it has whatever becomes of the database,
 * says at once that it is down, uses it again when it is back, and keeps its password to itself.
 * Method: a whole node with two connections to a PostgreSQL of this machine, which is killed under
 * load and started again.
 */

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { zip } from '../../bench/workloads/zip-writer.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import { type CallersReport, startCallers } from '../tools/callers.ts'
import { Client } from '../tools/client.ts'
import { POSTGRESQL, skipReason } from '../tools/databases.ts'
import { startNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { openEndpoint } from '../tools/sql-asking.ts'
import { quickest, until } from '../tools/waiting.ts'

const VARIABLE = 'CRM_SECRET'
const CONCURRENT = 4
/** An answer that waits for nothing. */
const AT_ONCE_MS = 150

/** The same database by two names: one password in a file, one in the environment. */
function configFile(t: Test, settings: ConnectionSettings): string {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-config-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const { kind, host, port, database, user, password } = settings
  const common = { kind, host, port, database, user, poolSize: CONCURRENT }
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, `${password}\n`)
  const connections = {
    crm: { ...common, passwordFile },
    erp: { ...common, passwordEnv: VARIABLE },
  }
  const path = join(folder, 'config.json')
  writeFileSync(path, JSON.stringify({ connections }))
  chmodSync(path, 0o600)
  return path
}

const FEATURES = [{ name: 'x0' }, { name: 'x1' }]

const MODEL = {
  type: 'STD_PREDICTION',
  model: 'm.onnx',
  prediction: 'REGRESSION',
  features: FEATURES,
}
const LOOKUPS = [{ table: 'people', key: { id: 'who' }, columns: { age: 'x1' } }]

const ENDPOINTS = [
  {
    id: 'ask',
    type: 'SQL_QUERY',
    connection: 'crm',
    query: 'select name from people where id = ?',
    parameters: [{ name: 'id', type: 'integer' }],
    testQueries: [{ q: { id: 1 }, expect: { rows: [['Ada']] } }],
  },
  {
    id: 'slow',
    type: 'SQL_QUERY',
    connection: 'crm',
    query: "select 'marker', pg_sleep(30)",
    timeoutMs: 300,
  },
  { id: 'look', type: 'DATASET_LOOKUP', lookups: [{ table: 'people', columns: ['age'] }] },
  { id: 'rich', ...MODEL, enrich: { lookups: LOOKUPS } },
  { id: 'model', ...MODEL },
  { id: 'local', type: 'DATASET_LOOKUP', lookups: [{ table: 'towns' }] },
  { id: 'own', type: 'SQL_QUERY', query: 'select count(*) as n from towns' },
]

function bundle(): Buffer {
  const manifest = {
    formatVersion: 1,
    authorization: 'PUBLIC',
    tables: [
      { name: 'people', connection: 'erp', key: ['id'] },
      { name: 'towns', file: 'towns.csv', key: ['town'] },
    ],
    endpoints: ENDPOINTS,
  }
  return zip([
    { name: 'service.json', data: JSON.stringify(manifest) },
    { name: 'm.onnx', data: regressor(2) },
    { name: 'towns.csv', data: 'town,size\nBern,5\n' },
  ])
}

const ASKED = [
  ['ask', 'ask/query', { id: 1 }],
  ['look', 'look/lookup', { data: { id: 1 } }],
  ['rich', 'rich/predict', { features: { x0: 1, who: 1 } }],
  ['model', 'model/predict', { features: { x0: 1, x1: 2 } }],
  ['local', 'local/lookup', { data: { town: 'Bern' } }],
  ['own', 'own/query', {}],
] as const
const REMOTE: readonly string[] = ['ask', 'look', 'rich']

async function prepared(t: Test) {
  const database = await POSTGRESQL.start(t)
  const { settings } = database
  const sql = async (query: string) => {
    const endpoint = await openEndpoint(t, { connection: { ...settings, poolSize: 1 }, query })
    const asked = await endpoint.ask()
    await endpoint.runtime.release()
    if (asked.code !== null) throw new Error(asked.detail)
    return asked.rows
  }
  await sql(
    'create table people (id bigint, name text, age integer); ' +
      "insert into people values (1, 'Ada', 36)",
  )
  const env = {
    SWITCHYARD_CONFIG: configFile(t, settings),
    [VARIABLE]: settings.password ?? '',
    SWITCHYARD_LOG_LEVEL: 'debug',
  }
  const node = await startNode(t, { env })
  const client = new Client(node)
  await client.deploy('s', 'v1', bundle())
  return { database, sql, node, client }
}

const skip = skipReason(POSTGRESQL)

t.test('a service with a database', { skip, timeout: 240_000 }, async (t) => {
  const { database, sql, node, client } = await prepared(t)
  const health = async () => (await client.admin('GET', '/health')).body
  const said: string[] = []
  const ask = async (path: string, body: object) => {
    const startMs = performance.now()
    const reply = await client.query(`s/${path}`, body)
    said.push(JSON.stringify(reply.body))
    return { ...reply, ms: Math.round(performance.now() - startMs) }
  }
  for (const [id, path, body] of ASKED) t.equal((await ask(path, body)).status, 200, id)
  t.match((await ask('ask/query', { id: 1 })).body, { rows: [['Ada']] })
  t.match((await ask('rich/predict', ASKED[2][2])).body, { result: { prediction: 37 } })

  await tooLong(t, sql, ask)
  t.match(await health(), { status: 'HEALTHY' })
  const load = ASKED.map(([id, path, body]) => {
    const options = { url: client.queryUrl(`s/${path}`), body: JSON.stringify(body) }
    return { id, callers: startCallers({ ...options, callers: 2, thinkMs: 10 }) }
  })
  await sleep(500)
  await database.kill()
  const isToldOf = (text: string, name: string): boolean => text.includes(`connection ${name}`)
  await until(async () => {
    const text = JSON.stringify(await health())
    return isToldOf(text, 'crm') && isToldOf(text, 'erp')
  })
  const ill = JSON.stringify(await health())
  t.match(ill, /"status":"DEGRADED"/, ill)
  for (const [id, path, body] of ASKED) {
    const leastMs = await quickest(AT_ONCE_MS, async () => {
      const reply = await ask(path, body)
      t.equal(reply.status, REMOTE.includes(id) ? 503 : 200, `${id}: ${JSON.stringify(reply.body)}`)
      if (REMOTE.includes(id)) t.match(JSON.stringify(reply.body), /ERR_DATABASE_DOWN/)
    })
    t.ok(leastMs < AT_ONCE_MS, `${id} answered after ${leastMs} ms`)
  }
  database.start()
  await database.ready()
  await until(async () => (await health()).status === 'HEALTHY')
  await sleep(300)
  for (const [id, path, body] of ASKED) t.equal((await ask(path, body)).status, 200, id)
  for (const { id, callers } of load) judge(t, id, await callers.stop())

  t.match(node.log(), /a database cannot be reached/, 'the log has the reason')
  t.match(node.log(), /a database answers again/)
  const { password } = database.settings
  const texts = [node.log(), ill, JSON.stringify(await health()), ...said]
  const generation = await client.admin('GET', '/services/s/generations/v1')
  texts.push(JSON.stringify(generation.body))
  t.notOk(
    texts.some((text) => text.includes(password ?? 'none')),
    'the password is nowhere',
  )
  t.notMatch(
    [ill, ...said].join(),
    new RegExp(`:${database.settings.port}|tester`),
    'nor the place',
  )
})

function judge(t: Test, id: string, { answered, statuses, lost, reasons }: CallersReport): void {
  t.equal(lost, 0, `${id}: no request went unanswered; ${reasons.join('; ')}`)
  const kinds = Object.keys(statuses).join()
  t.equal(kinds, REMOTE.includes(id) ? '200,503' : '200', `${id}: ${JSON.stringify(statuses)}`)
  t.ok(answered > 50, `${id} was asked ${answered} times`)
}

type Sql = Awaited<ReturnType<typeof prepared>>['sql']
type Ask = (
  path: string,
  body: object,
) => Promise<{ readonly status: number; readonly body: unknown; readonly ms: number }>

async function tooLong(t: Test, sql: Sql, ask: Ask): Promise<void> {
  const running =
    "select count(*) from pg_stat_activity where state = 'active' and " +
    "query like '%marker%' and pid <> pg_backend_pid()"
  const slow = ask('slow/query', {})
  await until(async () => (await sql(running))[0]?.[0] === '1', 1_000).catch(() => {})
  const { status, body, ms } = await slow
  t.equal(status, 504, JSON.stringify(body))
  t.ok(ms < 10_000, `told after ${ms} ms`)
  await until(async () => (await sql(running))[0]?.[0] === '0')
  const crowd = await Promise.all(Array.from({ length: 12 }, () => ask('slow/query', {})))
  t.ok(crowd.every((one) => one.status === 504))
  await until(async () => (await sql(running))[0]?.[0] === '0')
  t.equal((await ask('ask/query', { id: 1 })).status, 200, 'the pool is not exhausted')
}
