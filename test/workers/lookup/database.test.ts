/**
 * Goal: a table in a database is asked as one of the bundle is: the same answers, types and rules;
 * what is wrong with it is told at import, and a database that is down is told of at once.
 * Method: PostgreSQL and MariaDB of this machine; the bundle is forged by the real child process,
 * and its plans opened as threads open them; bundles that are refused are forged here.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { poolOf, type Verb } from '../../../core/bundle/kinds.ts'
import type { EndpointPlan, GenerationPlan } from '../../../core/bundle/plan.ts'
import type { ConnectionSettings } from '../../../core/config/runtimes.ts'
import { openRuntime } from '../../../workers/open-runtime.ts'
import type { Runtime } from '../../../workers/runtime.ts'
import {
  ENDPOINTS,
  forgeOf,
  HOSTILE,
  lookup,
  makeTables,
  TABLES,
} from '../../tools/database-tables.ts'
import {
  type DatabaseKind,
  MARIADB,
  POSTGRESQL,
  skipReason,
  type TestDatabase,
} from '../../tools/databases.ts'
import { type ForgeRun, runForge } from '../../tools/forge-child.ts'
import { jobOf } from '../../tools/plans.ts'
import { predictionPlan, pythonPlace, whyNoPython } from '../../tools/python-endpoints.ts'
import { openEndpoint } from '../../tools/sql-asking.ts'
import { tableContext } from '../../tools/tables.ts'
import { quickest } from '../../tools/waiting.ts'

for (const database of [POSTGRESQL, MARIADB]) {
  const skip = skipReason(database)
  t.test(database.kind, { skip, timeout: 240_000 }, async (t) => {
    const running = await database.start(t)
    await makeTables(t, running.settings, database)
    const generation = await forgedAll(t, running.settings)
    const place = { t, generation, connection: running.settings }
    await columnsOfTypes(place, database)
    await hostileKeys(place)
    await rules(place)
    await composite(place)
    await enriched(place)
    await custom(place)
    await refusals(t, running.settings, database)
    await deadline(place, database)
    await outage(place, running)
  })
}

interface Place {
  readonly t: Test
  readonly generation: GenerationPlan
  readonly connection: ConnectionSettings
}

const directories = new WeakMap<GenerationPlan, string>()

async function forgedAll(t: Test, settings: ConnectionSettings): Promise<GenerationPlan> {
  const manifest = { tables: TABLES, endpoints: ENDPOINTS }
  const done = await forgeOf(t, [settings], manifest, runForge)
  if (done.verdict?.kind !== 'forged') throw new Error(JSON.stringify(done.verdict))
  const { plan, report } = done.verdict
  t.match(report.tables, [{ name: 'people', rows: null, columns: 8, connection: 'crm' }, {}, {}])
  const pools = plan.endpoints.map((endpoint) => [endpoint.id, poolOf(endpoint, plan)])
  const io = pools.filter(([, pool]) => pool === 'io').map(([id]) => id)
  t.same(io, ['people', 'texts', 'lenient', 'stays', 'rich'], 'what waits runs where waiting is')
  directories.set(plan, done.directory)
  return plan
}

async function open(
  { t, generation, connection }: Place,
  id: string,
  other: Partial<EndpointPlan> = {},
): Promise<Runtime> {
  const plan = generation.endpoints.find((endpoint) => endpoint.id === id)
  if (plan === undefined) throw new Error(`no ${id}`)
  const context = tableContext(directories.get(generation) ?? '', generation.tables)
  const settings = { ...context.settings, connections: [connection] }
  const runtime = await openRuntime({ ...plan, ...other } as EndpointPlan, { ...context, settings })
  t.teardown(() => runtime.release())
  return runtime
}

/** Answers as JSON, or what failed. */
async function ask(runtime: Runtime, bodies: readonly unknown[], verb: Verb = 'single') {
  const outcome = await runtime.run(
    jobOf(
      bodies.map((body) => JSON.stringify(body)),
      verb,
    ),
  )
  if (outcome.kind !== 'answers') throw new Error(JSON.stringify(outcome))
  return outcome.bodies.map((body, i) => {
    const failure = outcome.failures?.find(({ index }) => index === i)
    return failure ?? JSON.parse(String(body))
  })
}

async function columnsOfTypes(place: Place, { kind }: DatabaseKind): Promise<void> {
  const { t } = place
  const runtime = await open(place, 'people')
  const ids = [1, '1', 2, 3, '9007199254740993']
  const answers = await ask(
    runtime,
    ids.map((id) => ({ data: { id } })),
  )
  const [one, same, two, three, four] = answers.map(({ results }) => results?.[0].data)
  t.strictSame(
    one,
    {
      big: '9223372036854775807',
      price: 12.5,
      factor: 0.1,
      yes: true,
      day: '2024-02-29',
      at: '2024-02-29T01:02:03.456Z',
      note: 'a "b" 😀',
    },
    JSON.stringify(answers[0]),
  )
  t.strictSame(same, one, 'an integer is an integer')
  t.match(two, { big: -5, price: -0.000001, factor: 1e21, yes: false, at: /^1999-12-31T23:59:59/ })
  t.equal(two.note, '')
  const nothing = { big: null, price: null, factor: null, yes: null, day: null }
  t.strictSame(three, { ...nothing, at: null, note: null })
  t.equal(four.note, 'big', '64 bits are compared exactly')
  const near = await ask(runtime, [{ data: { id: '9007199254740992' } }, { data: { id: 1.5 } }])
  t.match(near, [{ code: 'ERR_LOOKUP_MISSING' }, { code: 'ERR_ARGUMENT_INVALID' }], kind)
}

async function hostileKeys(place: Place): Promise<void> {
  const { t } = place
  const runtime = await open(place, 'texts')
  const items = HOSTILE.map((word) => ({ data: { word } }))
  const [multi] = await ask(runtime, [{ items }], 'multi')
  t.strictSame(
    multi.results.map(({ data }: { data: { n: number } }) => data.n),
    HOSTILE.map((_, n) => n),
  )
  const strange = ['e\u0301', 'a\0b', '\ud800', 'x'.repeat(500_000), "'", 0]
  const answers = await ask(
    runtime,
    strange.map((word) => ({ data: { word } })),
  )
  t.equal(answers[0].results?.[0].data.n, 8, 'texts are sent in the form NFC')
  t.equal(answers[5].results?.[0].data.n, 9, 'a number is taken as the text that it is written as')
  for (const answer of answers.slice(1, 5)) t.match(answer, { code: 'ERR_LOOKUP_MISSING' })
}

async function rules(place: Place): Promise<void> {
  const { t } = place
  const strict = await open(place, 'people')
  const bodies = [{ data: { id: 99 } }, { data: { id: 7 } }, { data: {} }, { data: { id: 'a' } }]
  const answers = await ask(strict, bodies)
  t.match(answers, [
    { code: 'ERR_LOOKUP_MISSING', detail: 'table people has no row with id = 99' },
    { code: 'ERR_LOOKUP_MULTIPLE', detail: 'table people has several rows with id = 7' },
    { code: 'ERR_ARGUMENT_INVALID', detail: /"id" is missing/ },
    { code: 'ERR_ARGUMENT_INVALID', detail: /"id" must be a 64-bit integer/ },
  ])
  const lenient = await open(place, 'lenient')
  const ids = [99, 7, 1]
  const [multi] = await ask(lenient, [{ items: ids.map((id) => ({ data: { id } })) }], 'multi')
  t.strictSame(multi.results, [
    { data: { note: null } },
    { data: {}, ignored: true, ignoreReason: 'MULTIPLE_LOOKUP_MATCHES' },
    { data: { note: 'a "b" 😀' } },
  ])
  const many = Array.from({ length: 300 }, (_, i) => ({ data: { id: i % 2 === 0 ? 1 : 2 } }))
  const [crowd] = await ask(strict, [{ items: many }], 'multi')
  t.equal(crowd.results.filter(({ data }: { data: object }) => 'note' in data).length, 300)
}

async function composite(place: Place): Promise<void> {
  const { t } = place
  const runtime = await open(place, 'stays')
  const whole = {
    who: 1,
    yes: true,
    day: '2024-02-29',
    at: '2024-02-29T14:00:00.5+02:00',
    price: 9.99,
  }
  const keys = [
    whole,
    { ...whole, yes: false },
    { ...whole, yes: 0, at: '2024-02-29 12:00:00.500' },
    { ...whole, day: '2024-03-01', price: '9.990' },
    { ...whole, price: 9.98 },
    { ...whole, at: '2024-02-29T12:00:00Z' },
    { ...whole, yes: 'x' },
    { ...whole, day: '2024-02-30' },
  ]
  const answers = await ask(
    runtime,
    keys.map((data) => ({ data })),
  )
  t.strictSame(
    answers.map((answer) => answer.results?.[0].data.km ?? answer.code),
    [
      ...[1.5, 2.5, 2.5, 3.5, 'ERR_LOOKUP_MISSING', 'ERR_LOOKUP_MISSING'],
      ...['ERR_ARGUMENT_INVALID', 'ERR_ARGUMENT_INVALID'],
    ],
    JSON.stringify(answers),
  )
}

async function enriched(place: Place): Promise<void> {
  const { t } = place
  const runtime = await open(place, 'rich')
  const rows = [1, '2', 99, 7, 3].map((who) => ({ features: { x0: 2, who } }))
  const answers = await ask(runtime, rows)
  t.match(answers[0].result, { postEnrich: { x0: 2, who: 1, x1: 0.1 } })
  t.ok(Math.abs(answers[0].result.prediction - 2.1) < 1e-5, String(answers[0].result.prediction))
  t.match(answers[1].result, { postEnrich: { x1: 1e21 } })
  t.match(answers.slice(2), [
    { code: 'ERR_LOOKUP_MISSING' },
    { code: 'ERR_LOOKUP_MULTIPLE' },
    { code: 'ERR_FEATURE_INVALID', detail: /"x1"/ },
  ])
}

async function custom({ t, generation, connection }: Place): Promise<void> {
  const why = whyNoPython()
  if (why !== false) {
    t.comment(why)
    return
  }
  const code =
    'class P:\n  def predict(self, rows):\n    return [r["x0"] + (r["age"] or 0) for r in rows]\n'
  const place = await pythonPlace(t, { 'code.py': code }, { connections: [connection] })
  const [key] = [{ column: 'id', field: 'who' }]
  const step = { table: 'people', key: [key], columns: [{ column: 'price', as: 'age' }] }
  const steps = [{ ...step, onMissing: 'NULL', onMultiple: 'ERROR' } as const]
  const plan = predictionPlan({}, {}, { enrich: { steps, dump: true } })
  const endpoint = await place.open(plan, generation.tables ?? [])
  const bodies = [1, 99, 7].map((who) => ({ body: { features: { x0: 1, who } } }))
  const [one, nobody, several] = await endpoint.batch(bodies)
  t.match(one?.answer, { result: { prediction: 13.5, postEnrich: { age: 12.5, who: 1 } } })
  t.match(nobody?.answer, { result: { prediction: 1, postEnrich: { age: null } } })
  t.match(several, { status: 'failed', code: 'ERR_LOOKUP_MULTIPLE' })
}

function told({ verdict }: ForgeRun): { readonly code: string; readonly told: string[] } {
  if (verdict?.kind !== 'refused') throw new Error(`not refused: ${JSON.stringify(verdict)}`)
  const { code, faults } = verdict
  return { code, told: faults.map(({ path, reason }) => `${path}: ${reason}`) }
}

async function refusals(
  t: Test,
  settings: ConnectionSettings,
  { kind }: DatabaseKind,
): Promise<void> {
  const refused = async (
    table: object,
    asked: object = {},
    connections: readonly ConnectionSettings[] = [settings],
  ) => {
    const tables = [{ name: 'people', connection: 'crm', key: ['id'], ...table }]
    return told(
      await forgeOf(t, connections, { tables, endpoints: [lookup('l', 'people', asked)] }),
    )
  }
  const table = await refused({ from: 'peple' })
  t.match(table, {
    code: 'ERR_BUNDLE_INVALID',
    told: [/^tables\[0\]\.from: .*"peple" of connection "crm" cannot.*did you mean "people"\?$/],
  })
  const names = await refused({ key: ['idd'], columns: { pryce: 'number', note: 'string' } })
  t.match(names.told, [
    /^tables\[0\]\.key\[0\]: "idd" is no column of people; did you mean "id"\?$/,
    /^tables\[0\]\.columns\.pryce: .*did you mean "price"\?$/,
  ])
  const column = await refused({}, { columns: ['nota'] })
  t.match(column.told, [/^endpoints\[0\]\.lookups\[0\]\.columns\[0\]: .*did you mean "note"/])
  const type = await refused({ columns: { id: 'string' } })
  t.match(type.told, [/^tables\[0\]\.columns\.id: .*"id" as integer, not as string$/])
  const unknown = await refused({ connection: 'crn' })
  t.match(unknown, {
    code: 'ERR_CONNECTION_UNUSABLE',
    told: [/^tables\[0\]\.connection: the node has no connection "crn"; it may use crm; did you/],
  })
  const closed = [
    { ...settings, services: ['other'] },
    { ...settings, name: 'erp' },
  ]
  const other = await refused({}, {}, closed)
  t.match(other.told, [
    /^tables\[0\]\.connection: .*"crm" is not open to the service "demo"; it may use erp/,
  ])
  // What PostgreSQL alone calls a placeholder too many must not be said of an unknown database.
  const sql = { id: 'q', type: 'SQL_QUERY', connection: 'crn', query: "SELECT 'it\\'s ?' AND" }
  const query = told(await forgeOf(t, closed, { endpoints: [sql] }))
  t.match(query, {
    code: 'ERR_CONNECTION_UNUSABLE',
    told: [/^endpoints\[0\]\.connection: the node has no connection "crn"; it may use erp/],
  })
  await unreachable(t, settings, kind)
}

async function unreachable(
  t: Test,
  settings: ConnectionSettings,
  kind: DatabaseKind['kind'],
): Promise<void> {
  const down = [{ ...settings, port: 1 }]
  const lacking = { name: 'people', connection: 'crm', key: ['id'], columns: { id: 'integer' } }
  const endpoints = [lookup('l', 'people')]
  const needed = told(await forgeOf(t, down, { tables: [lacking], endpoints }))
  t.match(needed, {
    code: 'ERR_CONNECTION_UNUSABLE',
    told: [/^tables\[0\]\.connection: connection "crm" cannot be reached \(.*ECONNREFUSED/],
  })
  const enough = await forgeOf(t, down, {
    tables: [{ ...TABLES[0], columns: { id: 'integer', note: 'string' } }],
    endpoints: [lookup('l', 'people', { columns: ['note'] })],
  })
  t.match(enough.verdict, { kind: 'forged', plan: { tables: [{ columns: { length: 2 } }] } }, kind)
}

const LOCK = {
  postgresql: 'lock table people in access exclusive mode; select pg_sleep(4)',
  mysql: 'lock tables people write; select sleep(4)',
} as const

async function deadline(place: Place, { kind }: DatabaseKind): Promise<void> {
  const { t, connection } = place
  const runtime = await open(place, 'people', { timeoutMs: 300 })
  t.match(await ask(runtime, [{ data: { id: 1 } }]), [{ results: [{}] }])
  const lock = await openEndpoint(t, {
    connection,
    query: LOCK[kind],
    commit: kind === 'postgresql',
  })
  const locked = lock.ask()
  await sleep(200)
  const startMs = performance.now()
  const answers = await ask(runtime, [{ data: { id: 1 } }, { data: { id: 2 } }])
  t.match(answers, [{ code: 'ERR_DEADLINE' }, { code: 'ERR_DEADLINE' }])
  t.ok(performance.now() - startMs < 3_500, 'long before the lock is gone')
  t.match(await locked, { code: null })
  t.match(await ask(runtime, [{ data: { id: 1 } }]), [{ results: [{}] }], 'and answers again')
}

async function outage(place: Place, database: TestDatabase): Promise<void> {
  const { t, generation } = place
  const connection = { ...place.connection, name: 'crm', poolSize: 3 }
  const other = { ...place, connection }
  const runtime = await open(other, 'people')
  const rich = await open(other, 'rich')
  const model = await open(other, 'model')
  const body = { data: { id: 1 } }
  const row = { features: { x0: 1, who: 1 } }
  t.match(await ask(runtime, [body]), [{ results: [{}] }])
  await database.kill()
  await sleep(400)
  const down = { code: 'ERR_DATABASE_DOWN', detail: 'connection crm' }
  const leastMs = await quickest(100, async () => {
    t.match(await ask(runtime, [body, body]), [down, down])
    t.match(await ask(rich, [row]), [down])
    const [multi] = await ask(runtime, [{ items: [body] }], 'multi')
    t.match(multi.results, [
      { ignored: true, ignoreReason: 'LOOKUP_FAILED', error: { code: down.code } },
    ])
  })
  t.ok(leastMs < 100, 'at once')
  const plain = { features: Object.fromEntries(modelFeatures(generation).map((name) => [name, 1])) }
  t.match(await ask(model, [plain]), [{ result: { prediction: 2 } }], 'others go on')
  database.start()
  await database.ready()
  await sleep(1_300)
  t.match(await ask(runtime, [body]), [{ results: [{}] }], 'used again by itself')
  t.match(await ask(rich, [row]), [{ result: { ignored: false } }])
}

function modelFeatures({ endpoints }: GenerationPlan): string[] {
  const model = endpoints.find(({ id }) => id === 'model')
  return model?.type === 'STD_PREDICTION' ? model.prediction.features.map(({ name }) => name) : []
}
