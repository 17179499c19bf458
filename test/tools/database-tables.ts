/**
 * Tables in a database, and a bundle whose look-ups ask them: a model and a model that is enriched
 * among its endpoints.
 */

import type { Test } from 'tap'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import type { DatabaseKind } from './databases.ts'
import { type ForgeRun, type runForge, runForgeHere } from './forge-child.ts'
import { regressor } from './onnx-models.ts'
import { NO_RUNTIMES } from './runtimes.ts'
import { openEndpoint } from './sql-asking.ts'

const STAMPS = {
  postgresql: ['timestamptz', 'boolean'],
  mysql: ['datetime(3)', 'boolean'],
} as const

/** Keys that are dangerous anywhere: all are rows of a table, each with its number. */
export const HOSTILE = [
  "' or '1'='1",
  "'; drop table people; --",
  '\\',
  '%',
  '?',
  '$1',
  '"`',
  'grün 😀',
  'e\u0301'.normalize('NFC'),
  '0',
  'null',
  '',
]

export async function makeTables(
  t: Test,
  connection: ConnectionSettings,
  { kind }: DatabaseKind,
): Promise<void> {
  const [stamp, truth] = STAMPS[kind]
  const run = async (query: string, body: object = {}): Promise<void> => {
    const parameters = Object.keys(body)
    const { code, detail } = await (await openEndpoint(t, { connection, query, parameters })).ask(
      body,
    )
    if (code !== null) throw new Error(`${query}: ${detail}`)
  }
  await run(
    `create table people (id bigint, big bigint, price decimal(20,6), factor double precision, ` +
      `yes ${truth}, day date, at ${stamp}, note text); ` +
      "insert into people values (1, 9223372036854775807, 12.5, 0.1, true, '2024-02-29', " +
      "'2024-02-29 01:02:03.456', 'a \"b\" 😀'), (2, -5, -0.000001, 1e21, false, '1999-12-31', " +
      "'1999-12-31 23:59:59', ''), (3, null, null, null, null, null, null, null), " +
      "(9007199254740993, 1, 1, 1, true, '2000-01-01', '2000-01-01', 'big'), " +
      "(7, 1, 1, 1, true, '2000-01-01', '2000-01-01', 'x'), (7, 1, 1, 1, true, null, null, 'y')",
  )
  const collation = kind === 'mysql' ? ' collate utf8mb4_bin' : ''
  await run(`create table words (word varchar(100)${collation}, n integer)`)
  for (const [n, word] of HOSTILE.entries()) {
    await run(`insert into words values (?, ${n})`, { word })
  }
  await run(
    `create table stays (guest bigint, yes ${truth}, day date, at ${stamp}, price decimal(10,2), ` +
      "km double precision); insert into stays values (1, true, '2024-02-29', " +
      "'2024-02-29 12:00:00.5', 9.99, 1.5), (1, false, '2024-02-29', '2024-02-29 12:00:00.5', " +
      "9.99, 2.5), (1, true, '2024-03-01', '2024-02-29 12:00:00.5', 9.99, 3.5)",
  )
}

export const lookup = (id: string, table: string, other: object = {}) => ({
  id,
  type: 'DATASET_LOOKUP',
  timeoutMs: 5_000,
  lookups: [{ table, ...other }],
})

const STAY_KEY = ['guest', 'yes', 'day', 'at', 'price']
export const TABLES = [
  { name: 'people', connection: 'crm', key: ['id'], columns: { yes: 'boolean' } },
  { name: 'texts', connection: 'crm', from: 'words', key: ['word'] },
  { name: 'stays', connection: 'crm', key: STAY_KEY, columns: { yes: 'boolean' } },
]
const FEATURES = [{ name: 'x0' }, { name: 'x1' }]
const ENRICH = {
  lookups: [{ table: 'people', key: { id: 'who' }, columns: { factor: 'x1' } }],
  dump: true,
}
export const ENDPOINTS = [
  lookup('people', 'people'),
  lookup('texts', 'texts'),
  lookup('lenient', 'people', { columns: ['note'], onMissing: 'NULL', onMultiple: 'IGNORE' }),
  lookup('stays', 'stays', { key: { guest: 'who' } }),
  { id: 'model', type: 'STD_PREDICTION', model: 'm.onnx', prediction: 'REGRESSION' },
  {
    id: 'rich',
    type: 'STD_PREDICTION',
    model: 'm.onnx',
    prediction: 'REGRESSION',
    features: FEATURES,
    enrich: ENRICH,
  },
]

interface TablesManifest {
  readonly tables?: readonly object[]
  readonly endpoints: readonly object[]
}

/** `runner`: by a process of its own, or here. */
export async function forgeOf(
  t: Test,
  connections: readonly ConnectionSettings[],
  manifest: TablesManifest,
  runner: typeof runForge = runForgeHere,
): Promise<ForgeRun> {
  const text = JSON.stringify({ formatVersion: 1, ...manifest })
  const entries = [
    { name: 'service.json', data: text },
    { name: 'm.onnx', data: regressor(2) },
  ]
  const done = await runner(entries, { settings: { ...NO_RUNTIMES, connections } })
  t.teardown(() => done.remove())
  return done
}
