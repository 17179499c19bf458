/**
 * Goal: programs written for Dataiku's API node work against this one. Method: its Python client,
 * unmodified, asks a node that serves one bundle with every endpoint type, and what its methods
 * return or raise is held against what the examples say. The client comes from a virtual
 * environment whose interpreter TEST_PYTHON names; `.ci/run` makes it.
 */

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ROOT } from '../../bench/paths.ts'
import { stickyChoice } from '../../core/engine/sticky.ts'
import { allTypesBundle } from '../tools/bundles.ts'
import { Client } from '../tools/client.ts'
import { BARE, dataiku, python, whyNoDataiku } from '../tools/dataiku.ts'
import { refused } from '../tools/dataiku-admin.ts'
import { startNode, type TestNode } from '../tools/node.ts'

const LIMIT_MS = 60_000

t.setTimeout(240_000)

const ENTRIES = [
  { generation: 'v1', proba: 0.6 },
  { generation: 'v2', proba: 0.4 },
]

/** Which generation answers, and methods that have no meaning here. */
function checkDispatch(t: Test, said: ReturnType<typeof JSON.parse>): void {
  const v2 = { apiContext: { serviceId: 'all', serviceGeneration: 'v2' } }
  t.match(said.predict_forced, { ...v2, result: { prediction: 'late' } })
  const both = [{ prediction: 'late' }, { prediction: 'on time' }]
  t.match(said.predict_forced_records, { ...v2, results: both })
  t.match(said.predict_unknown_generation, { raised: String, text: /"v9" is not loaded/ })
  const keys: { apiContext: { serviceGeneration: string } }[] = said.predict_keys
  const places = new Set(keys.map(({ apiContext }) => apiContext.serviceGeneration))
  const shares = ENTRIES.map(({ generation, proba }) => ({ generationId: generation, proba }))
  t.same([...places], [stickyChoice('customer 7', shares)])
  t.match(said.predict_unexplained, { raised: String, text: /explain/ })
  t.match(said.predict_not_explained, { result: { prediction: 'late' } })
  const unable = /no endpoint type of Switchyard computes/
  t.match(said.forecast, { raised: String, text: unable })
  t.match(said.predict_effect, { raised: String, text: unable })
  t.match(said.predict_effects, { raised: String, text: unable })
}

/** What data frames write for what they do not know is missing; code is given it as it is. */
async function checkBareTokens(t: Test, node: TestNode): Promise<void> {
  const calls = await dataiku(t).client('APINodeClient', [node.url, 'all'])
  const { nan, infinity } = BARE
  const told = (...step: [string, unknown[], object?]) => calls(step)
  refused(t, await told('run_function', ['quote'], { kg: nan, km: 1 }), /^CodeRaised: .*not nan$/)
  const most = { kg: infinity, km: 1 }
  refused(t, await told('run_function', ['quote'], most), /^CodeRaised: .*not inf$/)
  refused(t, await told('run_function', ['arrival'], { sent: nan, days: 1 }), /^CodeRaised: /)
  const ofNobody = await told('sql_query', ['orders', { customer: nan, since: nan }])
  t.same(ofNobody.returned.rows, [], 'null is no customer')
  const large = await told('sql_query', ['orders', { customer: infinity, since: nan }])
  refused(t, large, /^ArgumentInvalid: .*"customer": the number is too large$/)
  const none = /^ArgumentInvalid: .*field "id" is null/
  refused(t, await told('lookup_record', ['customer', { id: nan }]), none)
  const endless = await told('lookup_record', ['customer', { id: infinity }])
  refused(t, endless, /^ArgumentInvalid: .*"id" must be a string or a number .*, got Infinity$/)
  const two = [{ data: { id: nan } }, { data: { id: 'ada' } }]
  t.match((await told('lookup_records', ['customer', two])).returned.results, [
    { data: {}, ignored: true, error: { message: /"id" is null/ } },
    { data: { parcels: 48, region: 'west' } },
  ])
  const missing = /^FeatureInvalid: .*feature "kg" is missing$/
  for (const [endpoint, features] of [
    ['late-enriched-prediction', { kg: nan, destination: 'south' }],
    ['late-custom-prediction', { kg: nan, km: 9, express: nan }],
    ['hours', { km: 300, kg: nan, carrier: 'north' }],
  ] as const) {
    refused(t, await told('predict_record', [endpoint, features]), missing)
  }
  const nowhere = { kg: 12, destination: nan }
  t.match((await told('predict_record', ['late-enriched-prediction', nowhere])).returned.result, {
    ignored: true,
    ignoreReason: 'NO_LOOKUP_MATCH',
  })
}

t.test('the unmodified Python client', { skip: whyNoDataiku() }, async (t) => {
  const node = await startNode(t, { env: { SWITCHYARD_PYTHON: '/usr/bin/python3' } })
  const client = new Client(node)
  await client.deploy('all', 'v1', allTypesBundle('v1').archive)
  const imported = await client.upload('all', 'v2', allTypesBundle('v2').archive)
  t.equal(imported.status, 200, JSON.stringify(imported.body))
  const mapped = await client.admin('POST', '/services/all/actions/setMapping', {
    entries: ENTRIES,
  })
  t.equal(mapped.status, 200, JSON.stringify(mapped.body))
  const script = join(ROOT, 'test/interop/dataiku_client.py')
  // As its documentation writes the address: with a slash at the end.
  const asked = spawnSync(python, [script, `${node.url}/`, 'all'], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
  })
  t.equal(asked.status, 0, asked.stderr)
  const said = JSON.parse(asked.stdout)
  t.match(said.run_function, { response: { price: 10.41, currency: 'EUR' } })
  t.match(said.run_without_arguments, { raised: String, text: /kg/ })
  t.match(said.run_wrong_argument, { raised: String, text: /colour/ })
  t.match(said.run_raises, { raised: String, text: /ValueError: kg must be more than 0/ })
  t.match(said.run_r, { response: { arrives: '2026-12-01', weekday: 2 } })
  t.match(said.sql_query, {
    columns: [{ name: 'order_id' }, { name: 'ordered' }, { name: 'total' }],
    rows: [
      ['1003', '2026-09-14', '18.4'],
      ['1007', '2026-11-02', '240'],
    ],
  })
  t.match(said.sql_without_parameters, { raised: String, text: /customer/ })
  t.match(said.lookup_record, { data: { parcels: 48, region: 'west' } })
  t.match(said.lookup_records, {
    results: [{ data: { depot: 'W1', distance: 12.5 } }, { data: { depot: null, distance: null } }],
  })
  t.match(said.lookup_missing, { raised: String, text: /nobody/ })
  t.match(said.predict_record, { result: { prediction: 'late', ignored: false } })
  t.match(said.predict_records, {
    results: [{ prediction: 'late' }, { prediction: 'on time' }],
  })
  t.match(said.predict_python, { result: { prediction: 'late', ignored: false } })
  t.match(said.predict_python_records, {
    results: [{ prediction: 'late' }, { prediction: 'on time' }],
  })
  t.ok(Math.abs(said.predict_r.result.prediction - 12.9995) < 1e-3)
  t.match(said.predict_enriched, { result: { prediction: 'late' } })
  checkDispatch(t, said)
  t.match(said.predict_nan, { result: { prediction: 'late' } })
  await t.test('bare tokens', (t) => checkBareTokens(t, node))
})
