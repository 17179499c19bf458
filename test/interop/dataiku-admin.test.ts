/**
 * Goal: operators' programs written for Dataiku's API node work against this one. Method: every
 * method of its APINodeAdminClient, unmodified, against a whole node; what it returns, prints or
 * raises is looked at, and then what it has changed: answers of queries, keys that open or do not,
 * files that are there or gone.
 */

import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../tools/client.ts'
import { BARE, type Calls, whyNoDataiku } from '../tools/dataiku.ts'
import {
  adminSetup,
  answered,
  archive,
  imported,
  NOTHING,
  refused,
  type Setup,
} from '../tools/dataiku-admin.ts'
import { until } from '../tools/waiting.ts'

t.setTimeout(240_000)

async function services(t: Test, { admin, queries }: Setup): Promise<void> {
  t.same(await admin(['list_services']), { returned: [], printed: '' })
  t.same(await admin(['create_service', ['s1']]), NOTHING)
  refused(t, await admin(['create_service', ['s1']]), /^ServiceExists: .*exists already: s1$/)
  refused(t, await admin(['create_service', ['../s']]), /^ParameterInvalid: .*serviceId/)
  await admin(['create_service', ['s2']])
  const list = (await admin(['list_services'])).returned
  t.match(list, [
    { serviceId: 's1', enabled: true },
    { serviceId: 's2', enabled: true },
  ])
  const asked = await queries('s1')
  t.match(await answered(asked), /^NoGeneration: .*switch "s1" to one/)
  t.same(await admin(['service', ['s2']], ['delete']), NOTHING)
  t.same(
    (await admin(['list_services'])).returned.map((one: { serviceId: string }) => one.serviceId),
    ['s1'],
  )
  refused(t, await admin(['service', ['s2']], ['delete']), /^ServiceUnknown: .*: s2$/)
  t.match(await answered(await queries('s2')), /^ServiceUnknown: /)
  const newest = await admin(['service', ['s1']], ['switch_to_newest'])
  refused(t, newest, /^GenerationUnknown: .*s1 has none yet; import one first/)
  t.same(await admin(['service', ['s1']], ['delete']), NOTHING)
}

async function switches(t: Test, { node, queries, folder }: Setup, service: Calls): Promise<void> {
  const asked = await queries('s')
  t.same(await service(['switch_to_newest']), {
    returned: { ok: true, generation: 'a1' },
    printed: '',
  })
  t.equal(await answered(asked), 3, 'neither by name nor by number: the one that came last')
  t.same(await service(['switch_to_single_generation', ['v9']]), NOTHING)
  t.equal(await answered(asked), 1)
  t.same(await service(['disable']), NOTHING)
  t.match(await answered(asked), /^ServiceDisabled: the service is disabled: s$/)
  t.same(await service(['disable']), NOTHING, 'twice')
  t.same(await service(['enable']), NOTHING)
  t.equal(await answered(asked), 1)
  for (const step of [
    ['switch_to_newest'],
    ['switch_to_single_generation', ['a1']],
    ['set_generations_mapping', [{ entries: [{ generation: 'a1', proba: 1 }] }]],
  ] as const) {
    await service(['disable'])
    await service(step)
    t.equal(await answered(asked), 3, `${step[0]} enables the service`)
  }
  const unknown = /^GenerationUnknown: .*none/
  refused(t, await service(['switch_to_single_generation', ['none']]), unknown)
  refused(t, await service(['preload_generation', ['none']]), unknown)

  await service(['import_generation_from_archive', [archive(folder, 'v11', 11)]])
  rmSync(join(node.home, 'generations/s/v11/model.onnx'))
  refused(t, await service(['switch_to_newest']), /^LoadFailed: /)
  t.equal(await answered(asked), 3, 'the one before answers on')
  refused(t, await service(['preload_generation', ['v11']]), /^LoadFailed: /)
  t.same(await service(['preload_generation', ['v10']]), NOTHING)
  const shown = (await service(['list_generations'])).returned
  t.match(shown, [
    { generation: 'v9', active: false },
    { generation: 'v10', active: false, preloaded: true },
    { generation: 'a1', active: true, proba: 1, preloaded: true },
    { generation: 'v11', active: false, preloaded: false },
  ])
  t.equal(await answered(asked, { forced_generation: 'v10' }), 2, 'what is preloaded answers')
}

async function mappings(t: Test, { node, queries }: Setup, service: Calls): Promise<void> {
  const asked = await queries('s')
  const map = (entries: readonly object[]) => service(['set_generations_mapping', [{ entries }]])
  // The second entry is as the text of their manual spells it.
  const entries = [
    { generation: 'v9', proba: 0.25 },
    { generations: 'a1', proba: 0.75 },
  ]
  t.same(await map(entries), NOTHING)
  const shown = (await service(['list_generations'])).returned
  t.match(shown, [
    { generation: 'v9', active: true, proba: 0.25, preloaded: true },
    { generation: 'v10', active: false, proba: 0 },
    { generation: 'a1', active: true, proba: 0.75, preloaded: true },
    { generation: 'v11', active: false, proba: 0 },
  ])
  const client = new Client(node)
  t.same((await client.admin('GET', '/services/s/generations')).body, shown, 'in the other form')
  const { body } = await client.admin('GET', '/services/s')
  t.match(body, { activeGeneration: 'a1' }, 'the one with the largest share')
  t.same(body.mapping.entries, [
    { generation: 'v9', proba: 0.25 },
    { generation: 'a1', proba: 0.75 },
  ])
  const pools: { generationId: string; state: string }[] = body.pools
  const active = pools.filter(({ state }) => state === 'active')
  t.same(active.map(({ generationId }) => generationId).sort(), ['a1', 'v9'], 'a pool each')
  const seen = new Set<number | string>()
  await until(async () => seen.add(await answered(asked)).size === 2)
  t.same([...seen].sort(), [1, 3])
  await wrongMappings(t, service)
  t.same((await service(['list_generations'])).returned, shown, 'nothing has changed')
  const three = ['v9', 'v10', 'a1'].map((generation, i) => ({ generation, proba: (i + 1) / 6 }))
  t.same(await map(three), NOTHING, 'thirds sum to 1 well enough')
}

async function wrongMappings(t: Test, service: Calls): Promise<void> {
  const half = { generation: 'v9', proba: 0.5 }
  const one = (proba: unknown) => [half, { generation: 'v10', proba }]
  for (const [entries, text] of [
    [one(0.4), /^MappingInvalid: .*must sum to 1, and sum to 0\.9$/],
    [one(0.6), /^MappingInvalid: .*must sum to 1, and sum to 1\.1$/],
    [one(0), /^MappingInvalid: .*entries\[1\] "v10": proba is 0/],
    [one(-0.5), /^MappingInvalid: .*entries\[1\] "v10": proba is -0\.5/],
    [one('0.5'), /^ParameterInvalid: .*entries\[1\]: proba must be a number/],
    [one(BARE.nan), /^BodyInvalid: /],
    [[{ generation: 'x', proba: 1 }], /^MappingInvalid: .*"x": the service has no such gener/],
    [[{ proba: 1 }], /^MappingInvalid: .*entries\[0\]: "generation" is missing/],
    [[half, half], /^MappingInvalid: .*entries\[1\] "v9": it is there twice/],
    [[], /^ParameterInvalid: .*entries/],
  ] as const) {
    refused(t, await service(['set_generations_mapping', [{ entries }]]), text)
  }
  // An empty object is sent as no body at all.
  refused(t, await service(['set_generations_mapping', [{}]]), /^ParameterInvalid: .*entries/)
}

async function metrics(t: Test, { admin, queries }: Setup): Promise<void> {
  const count = async () => (await admin(['get_metrics'])).returned.serviceMetrics.s.requestCount
  const asked = await queries('s')
  const before = await count()
  for (let i = 0; i < 3; i++) await answered(asked)
  t.equal((await count()) - before, 3)
}

async function cleaning(t: Test, setup: Setup, service: Calls): Promise<void> {
  const { node, admin, queries } = setup
  const isThere = (path: string) => existsSync(join(node.home, 'generations', path))
  await service(['switch_to_single_generation', ['a1']])
  await service(['switch_to_single_generation', ['v9']])
  await service(['preload_generation', ['v10']])
  const off = await imported(setup, 'off', ['v1'])
  await off(['switch_to_newest'])
  await off(['disable'])
  for (const path of ['s/v11', 'off/v1']) t.ok(isThere(path), path)
  const { returned, printed } = await admin(['clean_unused_services_and_generations'])
  t.equal(returned, null)
  t.match(JSON.parse(printed), {
    ok: true,
    services: ['off'],
    generations: [{ serviceId: 's', generationId: 'v11' }],
    environments: [],
    kept: [
      { serviceId: 's', generationId: 'v10', reason: /preloaded/ },
      { serviceId: 's', generationId: 'a1', reason: /rollback/ },
    ],
  })
  for (const path of ['s/v11', 'off']) t.notOk(isThere(path), `${path} is gone`)
  for (const path of ['s/v9', 's/v10', 's/a1']) t.ok(isThere(path), path)
  const listed: { generation: string }[] = (await service(['list_generations'])).returned
  t.same(
    listed.map(({ generation }) => generation),
    ['v9', 'v10', 'a1'],
  )
  t.equal(await answered(await queries('s')), 1, 'it answers on')
  t.match(await answered(await queries('off')), /^ServiceUnknown: /)
  refused(t, await off(['list_generations']), /^ServiceUnknown: /)
}

t.test('the unmodified admin client', { skip: whyNoDataiku() }, async (t) => {
  const setup = await adminSetup(t)
  await t.test('services', (t) => services(t, setup))
  const service = await imported(setup, 's', ['v9', 'v10', 'a1'])
  await t.test('switches, preloads, on and off', (t) => switches(t, setup, service))
  await t.test('mappings', (t) => mappings(t, setup, service))
  await t.test('metrics', (t) => metrics(t, setup))
  await t.test('cleaning', (t) => cleaning(t, setup, service))
})
