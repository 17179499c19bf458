/**
 * Goal: a record gets exactly the columns that its key stands for, as numbers where they are
 * numbers; a key that is missing, null, of another type, unknown or not unique gets the answer that
 * the manifest asks for; and a model sees the features that its tables hold.
 *
 * Method: tables made by the forge's own code, asked through the runtimes that workers open.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Verb } from '../../../core/bundle/kinds.ts'
import type {
  EnrichPlan,
  LookupEndpointPlan,
  LookupStep,
  TablePlan,
} from '../../../core/bundle/plan.ts'
import { openRuntime } from '../../../workers/open-runtime.ts'
import type { Runtime } from '../../../workers/runtime.ts'
import { effort, sayEffort } from '../../tools/effort.ts'
import { regressor } from '../../tools/onnx-models.ts'
import { endpoint, jobOf, summing } from '../../tools/plans.ts'
import { bundleFolder, tableContext, tableOf } from '../../tools/tables.ts'

type Teardown = Pick<Test, 'teardown'>

const directory = bundleFolder(t)
const customers = await tableOf(
  directory,
  'id,age,big,note\nada,36,9007199254740993,"a ""b"""\nbob,,7,é\nbob,1,2,3\nZoe\u0308,5,5,\n',
  { name: 'customers', key: ['id'], columns: { age: 'integer', big: 'integer' } },
)
const depots = await tableOf(
  directory,
  'region,day,km\n1,2024-02-29,12.50\n9007199254740993,2024-01-01,3\n',
  {
    name: 'depots',
    key: ['region', 'day'],
    columns: { region: 'integer', day: 'date', km: 'number' },
  },
)
const tables = [customers, depots]

function stepOf(table: TablePlan, other: Partial<LookupStep> = {}): LookupStep {
  return {
    table: table.name,
    key: table.key.map((column) => ({ column, field: column })),
    columns: table.columns
      .filter(({ name }) => !table.key.includes(name))
      .map(({ name }) => ({ column: name, as: name })),
    onMissing: 'ERROR',
    onMultiple: 'ERROR',
    ...other,
  }
}

async function lookup(t: Teardown, steps: readonly LookupStep[]): Promise<Runtime> {
  const { prediction: _, ...common } = endpoint(summing('', 1))
  const plan: LookupEndpointPlan = { ...common, type: 'DATASET_LOOKUP', lookup: { steps } }
  const runtime = await openRuntime(plan, tableContext(directory, tables))
  t.teardown(() => runtime.release())
  return runtime
}

/** Answers as JSON, or what failed. */
async function ask(runtime: Runtime, bodies: readonly unknown[], verb: Verb = 'single') {
  const texts = bodies.map((body) => (typeof body === 'string' ? body : JSON.stringify(body)))
  const outcome = await runtime.run(jobOf(texts, verb))
  if (outcome.kind !== 'answers') throw new Error(JSON.stringify(outcome))
  return outcome.bodies.map((body, i) => {
    const failure = outcome.failures?.find(({ index }) => index === i)
    return failure ?? JSON.parse(String(body))
  })
}

t.test('one record, several tables, columns by new names', async (t) => {
  const runtime = await lookup(t, [
    stepOf(customers),
    stepOf(depots, {
      key: [
        { column: 'region', field: 'where' },
        { column: 'day', field: 'day' },
      ],
      columns: [{ column: 'km', as: 'far "away"' }],
    }),
  ])
  const [answer] = await ask(runtime, [
    { data: { id: 'ada', where: 1, day: '2024-02-29', other: {} }, context: { x: 1 } },
  ])
  t.match(answer, {
    timing: { wait: 0, lookup: Number },
    apiContext: { serviceId: 'shop', endpointId: 'score', serviceGeneration: 'v1' },
  })
  t.strictSame(answer.results, [
    { data: { age: 36, big: '9007199254740993', note: 'a "b"', 'far "away"': 12.5 } },
  ])
})

t.test('keys in every form that means the same, and no other', async (t) => {
  const runtime = await lookup(t, [stepOf(depots)])
  const found = [
    { region: 1, day: '2024-02-29' },
    { region: '1', day: '2024-02-29' },
    { region: ' +01 ', day: '2024-02-29' },
    { region: '9007199254740993', day: '2024-01-01' },
  ]
  const answers = await ask(
    runtime,
    found.map((data) => ({ data })),
  )
  t.strictSame(
    answers.map(({ results }) => results?.[0].data.km),
    [12.5, 12.5, 12.5, 3],
  )
  const refused: readonly (readonly [object, RegExp])[] = [
    [{ day: '2024-02-29' }, /^field "region" is missing, table depots is asked by it$/],
    [{ region: null, day: '2024-02-29' }, /^field "region" is null/],
    [{ region: 1.5, day: '2024-02-29' }, /^field "region" must be a 64-bit integer.*got 1.5$/],
    // Has lost its last digit before it came here.
    [{ region: 9007199254740992, day: '2024-01-01' }, /must be a 64-bit integer, as a text beyond/],
    [{ region: true, day: '2024-02-29' }, /got true/],
    [{ region: [1], day: '2024-02-29' }, /got a list/],
    [{ region: 1, day: '29.02.2024' }, /^field "day" must be a date/],
    [{ region: 1, day: '' }, /^field "day" must be a date/],
  ]
  const failed = await ask(
    runtime,
    refused.map(([data]) => ({ data })),
  )
  for (const [i, [, reason]] of refused.entries()) {
    t.match(failed[i], { index: i, code: 'ERR_ARGUMENT_INVALID', detail: reason })
  }
  const byName = await lookup(t, [stepOf(customers, { columns: [{ column: 'big', as: 'big' }] })])
  const [rounded] = await ask(byName, [{ data: { id: 2 ** 53 } }])
  t.match(rounded?.detail, /must be a string or a number within 2\^53, got 9007199254740992$/)
  const hostile = ['toString', '__proto__', '', '\ud800', 'x'.repeat(10 << 20), '#2', 'k', 'ada\0']
  const misses = await ask(byName, [
    ...hostile.map((id) => ({ data: { id } })),
    '{"data":{"__proto__":{"id":"ada"}}}',
    { data: { id: 'Zo\u00eb' } },
  ])
  for (const [i] of hostile.entries()) t.match(misses[i], { code: 'ERR_LOOKUP_MISSING' })
  t.ok(misses[4].detail.length < 200, 'no answer echoes 10 MB')
  t.match(misses.at(-2), { code: 'ERR_ARGUMENT_INVALID' }, 'only own fields count')
  t.strictSame(misses.at(-1).results, [{ data: { big: 5 } }], 'unicode forms are one')
})

t.test('no row, several rows: ERROR, IGNORE, NULL, one by one and in many', async (t) => {
  const bodies = [{ data: { id: 'nobody' } }, { data: { id: 'bob' } }, { data: { id: 'ada' } }]
  const columns = [{ column: 'age', as: 'age' }]
  const age = { data: { age: 36 } }
  const error = await lookup(t, [stepOf(customers, { columns })])
  const [missing, multiple, one] = await ask(error, bodies)
  t.match(missing, {
    code: 'ERR_LOOKUP_MISSING',
    detail: 'table customers has no row with id = "nobody"',
  })
  t.match(multiple, {
    code: 'ERR_LOOKUP_MULTIPLE',
    detail: 'table customers has 2 rows with id = "bob"',
  })
  t.strictSame(one.results, [age])
  const [many] = await ask(error, [{ items: [...bodies, { data: {} }, { dat: 1 }] }], 'multi')
  t.match(many.results, [
    { data: {}, ignored: true, ignoreReason: 'NO_LOOKUP_MATCH', error: { code: missing.code } },
    { data: {}, ignoreReason: 'MULTIPLE_LOOKUP_MATCHES', error: { code: multiple.code } },
    age,
    { ignoreReason: 'INVALID_ARGUMENT', error: { code: 'ERR_ARGUMENT_INVALID' } },
    { ignoreReason: 'INVALID_ARGUMENT', error: { code: 'ERR_BODY_INVALID' } },
  ])
  for (const rule of ['IGNORE', 'NULL'] as const) {
    const runtime = await lookup(t, [
      stepOf(customers, { columns, onMissing: rule, onMultiple: rule }),
    ])
    const expected =
      rule === 'NULL'
        ? [{ data: { age: null } }, { data: { age: null } }, age]
        : [
            { data: {}, ignored: true, ignoreReason: 'NO_LOOKUP_MATCH' },
            { data: {}, ignored: true, ignoreReason: 'MULTIPLE_LOOKUP_MATCHES' },
            age,
          ]
    const single = await ask(runtime, bodies)
    t.strictSame(
      single.map(({ results }) => results[0]),
      expected,
    )
    const [multi] = await ask(runtime, [{ items: bodies }], 'multi')
    t.strictSame(multi.results, expected)
  }
})

t.test('bodies that are none', async (t) => {
  const runtime = await lookup(t, [stepOf(customers)])
  const bodies = ['', '{', '[]', '{}', '{"data":[]}', '{"data":null}']
  for (const [i, answer] of (await ask(runtime, bodies)).entries()) {
    t.match(answer, { index: i, code: 'ERR_BODY_INVALID' }, `body ${i}`)
  }
  const items = ['{"items":{}}', '{}', { items: new Array(10_001).fill({}) }]
  for (const answer of await ask(runtime, items, 'multi')) {
    t.match(answer, { code: 'ERR_BODY_INVALID', detail: /"items"/ })
  }
  const [none] = await ask(runtime, [{ items: [] }], 'multi')
  t.strictSame(none.results, [])
})

const model = 'sum.onnx'
writeFileSync(join(directory, model), regressor(2))

async function enriched(t: Teardown, enrich: EnrichPlan): Promise<Runtime> {
  const plan = { ...endpoint(summing(model, 2)), enrich }
  const runtime = await openRuntime(plan, tableContext(directory, tables))
  t.teardown(() => runtime.release())
  return runtime
}

t.test('a model is given what its tables hold', async (t) => {
  const columns = [{ column: 'age', as: 'x1' }]
  const runtime = await enriched(t, { steps: [stepOf(customers, { columns })], dump: true })
  const bodies = [
    { features: { x0: 1, id: 'ada' } },
    { features: { x0: 2, id: 'ada', x1: 1_000 } },
    { features: { x0: 3, id: 'nobody' } },
    { features: { x0: 4, id: 'bob' } },
    { features: { x0: 5 } },
    { features: { x0: 'abc', id: 'ada' } },
    { feature: {} },
    { features: { x0: 6, id: 'ada' } },
  ]
  const answers = await ask(runtime, bodies)
  t.strictSame(answers[0].result, {
    prediction: 37,
    ignored: false,
    postEnrich: { x0: 1, id: 'ada', x1: 36 },
  })
  t.equal(answers[1].result.prediction, 38, 'the table wins over what the caller brought along')
  t.match(answers[2], { index: 2, code: 'ERR_LOOKUP_MISSING', detail: /id = "nobody"/ })
  t.match(answers[3], { index: 3, code: 'ERR_LOOKUP_MULTIPLE' })
  t.match(answers[4], { index: 4, code: 'ERR_FEATURE_INVALID', detail: /^feature "id" is missing/ })
  t.match(answers[5], { index: 5, code: 'ERR_FEATURE_INVALID', detail: /"x0"/ })
  t.match(answers[6], { index: 6, code: 'ERR_BODY_INVALID' })
  t.equal(answers[7].result.prediction, 42)
  const [multi] = await ask(runtime, [{ items: bodies }], 'multi')
  t.match(
    multi.results.map(({ prediction, ignoreReason }: Answered) => prediction ?? ignoreReason),
    [
      ...[37, 38, 'NO_LOOKUP_MATCH', 'MULTIPLE_LOOKUP_MATCHES'],
      ...['INVALID_FEATURE', 'INVALID_FEATURE', 'INVALID_FEATURE', 42],
    ],
  )
})

interface Answered {
  readonly prediction?: number
  readonly ignoreReason?: string
}

t.test('rows without a match are ignored, or have no value', async (t) => {
  const columns = [{ column: 'age', as: 'x1' }]
  const rules = { onMissing: 'IGNORE', onMultiple: 'NULL' } as const
  const steps = [stepOf(customers, { columns, ...rules })]
  const runtime = await enriched(t, { steps, dump: false })
  const bodies = ['nobody', null, 'bob', 'ada'].map((id) => ({ features: { x0: 1, id, x1: 5 } }))
  const [nobody, without, bob, ada] = await ask(runtime, bodies)
  t.strictSame(nobody.result, { ignored: true, ignoreReason: 'NO_LOOKUP_MATCH' })
  t.strictSame(
    without.result,
    {
      ...Object(nobody.result),
      ignoreDetail: 'feature "id" is null, table customers is asked by it',
    },
    'a key that is null is that of no row, and the caller is told so',
  )
  t.match(bob, { code: 'ERR_FEATURE_INVALID', detail: 'feature "x1" is missing' })
  t.strictSame(ada.result, { prediction: 37, ignored: false })
})

t.test('jobs that wait for look-ups at the same time get their own answers', async (t) => {
  const columns = [{ column: 'age', as: 'x1' }]
  const runtime = await enriched(t, { steps: [stepOf(customers, { columns })], dump: false })
  const asked = Array.from({ length: 20 }, (_, i) => i * 100)
  const answers = await Promise.all(
    asked.map((x0) => ask(runtime, [{ features: { x0, id: 'ada' } }])),
  )
  t.strictSame(
    answers.map(([one]) => one.result),
    asked.map((x0) => ({ prediction: x0 + 36, ignored: false })),
  )
})

t.test('speed of a thread, beside that of a model', async (t) => {
  const rounds = effort(2_000, 10_000)
  const runtime = await lookup(t, [stepOf(customers, { onMissing: 'NULL' })])
  const plain = await openRuntime(endpoint(summing(model, 2)), tableContext(directory))
  t.teardown(() => plain.release())
  const looked = jobOf(new Array(16).fill('{"data":{"id":"ada"}}'))
  const scored = jobOf(new Array(16).fill('{"features":{"x0":1,"x1":2}}'))
  const usOf = async (one: Runtime, job: typeof looked): Promise<number> => {
    for (let i = 0; i < rounds; i++) await one.run(job)
    const startMs = performance.now()
    for (let i = 0; i < rounds; i++) await one.run(job)
    return Math.round(((performance.now() - startMs) * 10_000) / rounds / 16) / 10
  }
  const lookupUs = await usOf(runtime, looked)
  const predictUs = await usOf(plain, scored)
  sayEffort({ rounds, rowsPerRun: 16, lookupUs, predictUs })
  t.ok(lookupUs < 100, 'microseconds, not milliseconds')
})
