/**
 * Goal: what stands between a pool and its database, or is left behind by a request, ends no other
 * request: connections that are refused, a network that drops everything, procedures.
 * Method: PostgreSQL and MariaDB of this machine, reached over a wire that is cut and silenced.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  type DatabaseKind,
  MARIADB,
  POSTGRESQL,
  skipReason,
  type TestDatabase,
} from '../../tools/databases.ts'
import { openEndpoint } from '../../tools/sql-asking.ts'
import { Wire } from '../../tools/wire.ts'

const HELD = { postgresql: 'select pg_sleep(3)', mysql: 'select sleep(3)' } as const

for (const database of [POSTGRESQL, MARIADB]) {
  const skip = skipReason(database)
  t.test(database.kind, { skip, timeout: 240_000 }, async (t) => {
    const running = await database.start(t)
    await scarcity(t, running, database)
    await silence(t, running)
    if (database === MARIADB) await procedures(t, running)
  })
}

/** A database that has no session to give for a while has them again, whoever holds the others. */
async function scarcity(t: Test, { settings }: TestDatabase, { kind }: DatabaseKind) {
  const wire = await new Wire().open(t, settings.port)
  const connection = { ...settings, name: 'scarce', port: wire.port }
  const held = await openEndpoint(t, { query: HELD[kind], connection })
  const quick = await openEndpoint(t, { query: 'select 1', connection })
  t.match(await quick.ask(), { code: null })
  const holding = held.ask()
  wire.refuses = true
  await sleep(50)
  t.match(await quick.ask(), { code: 'ERR_DATABASE_DOWN' })
  wire.refuses = false
  await sleep(1_800)
  t.match(await quick.ask(), { code: null }, 'while the first session is still held')
  t.match(await holding, { code: null })
}

/** What a procedure leaves open must not take in what the next request writes. */
async function procedures(t: Test, { settings }: TestDatabase): Promise<void> {
  const connection = { ...settings, name: 'single', poolSize: 1 }
  const open = (query: string, more = connection) => openEndpoint(t, { query, connection: more })
  for (const text of [
    'create table notes (n int)',
    'create procedure leave_open() start transaction',
  ]) {
    t.match(await (await open(text)).ask(), { code: null })
  }
  const call = await open('call leave_open()')
  const insert = await open('insert into notes values (77)')
  t.match(await call.ask(), { code: null })
  t.match(await insert.ask(), { code: null, updatedRows: 1 })
  const other = await open('select n from notes', settings)
  t.same((await other.ask()).rows, [['77']])
}

/** A network that drops everything must not keep a run, nor the session that it has. */
async function silence(t: Test, { settings }: TestDatabase): Promise<void> {
  const wire = await new Wire().open(t, settings.port)
  const connection = { ...settings, name: 'silent', port: wire.port, poolSize: 1, connectMs: 500 }
  const more = { connection, commit: true, timeoutMs: 400 }
  const endpoint = await openEndpoint(t, { query: 'select 1', ...more })
  t.match(await endpoint.ask(), { code: null })
  wire.silent = true
  const never = sleep(2_500, { code: 'never' })
  t.match(await Promise.race([endpoint.ask(), never]), { code: 'ERR_DEADLINE' })
  wire.silent = false
  await sleep(1_800)
  t.match(
    await Promise.race([endpoint.ask(), sleep(2_500, null)]),
    { code: null },
    'the session was given back',
  )
}
