/**
 * Goal: every operation does what it says, in any order and beside each other, and what it refused
 * has changed nothing. Method: real store and files; the serving process and the forge are
 * in-memory parties of the same contracts, so that loads can be slow or fail on purpose.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { DesiredState } from '../../core/channel/messages.ts'
import {
  type ControlPlane,
  type ControlPlaneOptions,
  openControlPlane,
  temporaryDirectory,
  upload,
} from '../tools/control-plane.ts'
import { until } from '../tools/waiting.ts'

const V1 = { serviceId: 's', generationId: 'v1' }
const V2 = { serviceId: 's', generationId: 'v2' }

async function openPlane(t: Test, options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const plane = await openControlPlane(options.directory ?? temporaryDirectory(t), options)
  t.teardown(() => plane.close())
  return plane
}

/** A service `s` with the generations v1 (active) and v2. */
async function deployed(t: Test, options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const plane = await openPlane(t, options)
  await plane.operations.createService('s', 'me')
  await upload(plane, 'v1', { content: 'one' })
  await upload(plane, 'v2', { content: 'two' })
  await plane.operations.switchTo(V1, 'me')
  return plane
}

function lastPublished(plane: ControlPlane): DesiredState {
  const state = plane.serving.published.at(-1)
  if (state === undefined) throw new TypeError('nothing was published')
  return state
}

function held(plane: ControlPlane): string[] {
  return lastPublished(plane)
    .generations.map(({ serviceId, generationId }) => `${serviceId}/${generationId}`)
    .sort()
}

function active(plane: ControlPlane): string | undefined {
  return plane.operations.getService('s').activeGeneration
}

t.test('services', async (t) => {
  const { operations, serving } = await openPlane(t)
  t.same(await operations.createService('s', 'me'), {
    serviceId: 's',
    enabled: true,
    generationCount: 0,
  })
  await t.rejects(operations.createService('s', 'me'), { code: 'ERR_SERVICE_EXISTS' })
  await t.rejects(operations.createService('../s', 'me'), { code: 'ERR_PARAMETER_INVALID' })
  t.match(operations.getService('s'), { endpoints: [], mapping: { entries: [] } })
  t.throws(() => operations.getService('none'), { code: 'ERR_SERVICE_UNKNOWN' })
  await operations.disableService('s', 'me')
  t.equal(operations.getService('s').enabled, false)
  await operations.enableService('s', 'me')
  t.equal(operations.getService('s').enabled, true, 'without a generation too')
  await operations.deleteService('s', 'me')
  t.same(operations.listServices(), [])
  t.same(serving.published.at(-1)?.services, [])
  await t.rejects(operations.deleteService('s', 'me'), { code: 'ERR_SERVICE_UNKNOWN' })
})

t.test('import', async (t) => {
  const plane = await openPlane(t)
  const { operations, home } = plane
  const unknown = { code: 'ERR_SERVICE_UNKNOWN' }
  await t.rejects(upload(plane, 'v1', { content: 'one' }), unknown)
  await operations.createService('s', 'me')

  const first = await upload(plane, 'v1', { content: 'one' })
  t.match(first, { generationId: 'v1', active: false, createdOn: Number })
  t.ok(existsSync(join(home.directoryOf('s', 'v1'), 'model.onnx')))
  t.match(operations.getGeneration(V1), { state: 'imported', bytes: 3, sequence: 1 })
  t.same(await upload(plane, 'v1', { content: 'one' }), first, 'the same content again')
  await t.rejects(upload(plane, 'v1', { content: 'other' }), { code: 'ERR_GENERATION_EXISTS' })
  t.equal((await upload(plane, 'x', { generationId: 'v9' })).generationId, 'v9')

  const faults = [{ path: 'endpoints[0].id', reason: 'is missing' }]
  const refuse = { code: 'ERR_BUNDLE_INVALID', detail: 'one fault', faults } as const
  await t.rejects(upload(plane, 'v3', { refuse }), { code: 'ERR_BUNDLE_INVALID', faults })
  await t.rejects(upload(plane, 'actions', {}), { code: 'ERR_PARAMETER_INVALID' })
  await t.rejects(upload(plane, 'ä b', {}), { message: /generationId=/ })
  t.same(readdirSync(home.staging), [], 'nothing is left in staging')
  t.equal(operations.listGenerations('s').length, 2)
})

t.test('imports beside other operations', async (t) => {
  const plane = await openPlane(t)
  const { operations, forge } = plane
  await operations.createService('s', 'me')
  let openGate = (): void => {}
  forge.gate = new Promise((resolve) => {
    openGate = resolve
  })
  const both = [upload(plane, 'v1', { content: 'a' }), upload(plane, 'v1x', { content: 'b' })]
  const phases = () => operations.getService('s').imports.map(({ phase }) => phase)
  await until(() => phases().join() === 'loading,waiting')
  t.match(operations.getGeneration(V1), { state: 'importing', phase: 'loading', active: false })
  t.same(operations.listGenerations('s'), [])
  t.equal(forge.requests.length, 1, 'one forge at a time')
  await t.rejects(operations.deleteGeneration(V1, 'me'), { code: 'ERR_GENERATION_BUSY' })
  await t.rejects(operations.deleteService('s', 'me'), { code: 'ERR_GENERATION_BUSY' })
  openGate()
  await Promise.all(both)
  t.equal(operations.listGenerations('s').length, 2)

  const same = [upload(plane, 'w', { content: 'a' }), upload(plane, 'w', { content: 'a' })]
  const [left, right] = await Promise.all(same)
  t.same(left, right, 'the same bytes twice at once are one generation')
})

t.test('a generation that fails for its damaged files is repaired by its bundle', async (t) => {
  const plane = await deployed(t)
  const file = join(plane.home.directoryOf('s', 'v1'), 'model.onnx')
  writeFileSync(file, 'damaged')
  await upload(plane, 'v1', { content: 'one' })
  t.equal(readFileSync(file, 'utf8'), 'damaged', 'what serves is left alone')
  plane.serving.crash('s/v1', 'no model')
  const revision = lastPublished(plane).revision
  await upload(plane, 'v1', { content: 'one' })
  t.equal(readFileSync(file, 'utf8'), 'one')
  t.ok(lastPublished(plane).revision > revision, 'serving is told, and so tries again')
})

t.test('switch and rollback', async (t) => {
  const plane = await deployed(t)
  const { operations, serving, store } = plane
  t.equal(active(plane), 'v1')
  t.match(operations.getGeneration(V1), { active: true, state: 'active', preloaded: true })
  await operations.switchTo(V2, 'me')
  t.equal(active(plane), 'v2')
  t.same(held(plane), ['s/v1', 's/v2'], 'the previous one stays warm')
  const [entry] = await store.journal(1)
  t.match(entry, {
    actor: 'me',
    action: 'switchGeneration',
    before: { mapping: [{ generationId: 'v1' }] },
    after: { mapping: [{ generationId: 'v2' }] },
  })

  // Going back never waits for a load that is under way, even of another service.
  await operations.createService('slow', 'me')
  await upload(plane, 'big', {}, 'slow')
  serving.loadMs.set('slow/big', 2_000)
  const big = { serviceId: 'slow', generationId: 'big' }
  const slow = operations.switchTo(big, 'me')
  await sleep(20)
  await operations.switchTo(V1, 'me')
  t.equal(serving.stateOf('slow/big'), 'loading', 'a switch to a warm generation is quick')
  t.equal(active(plane), 'v1')
  await t.rejects(operations.deleteGeneration(big, 'me'), { code: 'ERR_GENERATION_BUSY' })
  await t.rejects(operations.deleteService('slow', 'me'), { code: 'ERR_GENERATION_BUSY' })
  await slow
  t.equal(operations.getService('slow').activeGeneration, 'big')

  const unknown = { code: 'ERR_GENERATION_UNKNOWN' }
  await t.rejects(operations.switchTo({ ...V1, generationId: 'none' }, 'me'), unknown)
})

t.test('a slow switch never undoes a later one', async (t) => {
  const plane = await deployed(t)
  const { operations, serving } = plane
  serving.loadMs.set('s/v2', 2_000)
  const slow = operations.switchTo(V2, 'me')
  await sleep(20)
  await operations.switchTo(V1, 'me')
  await t.rejects(slow, { code: 'ERR_SWITCH_OVERTAKEN' })
  t.equal(active(plane), 'v1')
})

t.test('a load that fails changes nothing and can be tried again', async (t) => {
  const plane = await deployed(t)
  const { operations, serving } = plane
  serving.failures.set('s/v2', 'no such operator')
  const failed = { code: 'ERR_LOAD_FAILED', status: 422, message: /no such operator/ }
  await t.rejects(operations.switchTo(V2, 'me'), failed)
  await t.rejects(operations.preloadGeneration(V2), failed)
  t.equal(active(plane), 'v1')
  t.same(held(plane), ['s/v1'])
  t.equal(operations.health().status, 'HEALTHY')
  serving.failures.clear()
  await operations.switchTo(V2, 'me')
  t.equal(active(plane), 'v2')
})

t.test('a generation that crashes while its switch waits for its turn is not mapped', async (t) => {
  const plane = await deployed(t)
  const { operations, serving } = plane
  // So that neither has to be held first, for which it would wait before its turn.
  for (const ref of [V1, V2]) await operations.preloadGeneration(ref)
  serving.stalled = true
  const before = operations.enableService('s', 'me')
  const switching = operations.switchTo(V2, 'me')
  const refused = t.rejects(switching, { code: 'ERR_LOAD_FAILED', message: /v2: again/ })
  await sleep(10)
  serving.crash('s/v2', 'crashed')
  serving.failures.set('s/v2', 'again')
  serving.resume()
  await before
  await refused
  t.equal(active(plane), 'v1')
})

t.test('what serving does not apply in time is committed all the same', async (t) => {
  const plane = await deployed(t)
  await plane.operations.preloadGeneration(V2)
  plane.serving.stalled = true
  const pending = { code: 'ERR_APPLY_PENDING', status: 503 }
  await t.rejects(plane.operations.switchTo(V2, 'me'), pending)
  t.equal(active(plane), 'v2')
  plane.serving.resume()
  t.equal(plane.serving.stateOf('s/v2'), 'active')
})

t.test('preload, unload and delete', async (t) => {
  const plane = await deployed(t, { keepPreviousMs: 30 })
  const { operations, home } = plane
  await operations.preloadGeneration(V2)
  t.match(operations.getGeneration(V2), { preloaded: true, state: 'warm', active: false })
  await operations.unloadGeneration(V2)
  t.match(operations.getGeneration(V2), { preloaded: false, state: 'imported' })
  const isActive = { code: 'ERR_GENERATION_ACTIVE', status: 409 }
  await t.rejects(operations.unloadGeneration(V1), isActive)
  await t.rejects(operations.deleteGeneration(V1, 'me'), isActive)
  await operations.switchTo(V2, 'me')
  // Kept for its time and no longer.
  await until(() => held(plane).join() === 's/v2')
  await operations.deleteGeneration(V1, 'me')
  t.throws(() => operations.getGeneration(V1), { code: 'ERR_GENERATION_UNKNOWN' })
  t.notOk(existsSync(home.directoryOf('s', 'v1')))
  await operations.deleteService('s', 'me')
  t.notOk(existsSync(home.folderOf('s')))
  t.same(readdirSync(home.staging), [])
})

t.test('an unload does not wait for what is preloaded again behind its back', async (t) => {
  const plane = await deployed(t)
  const { operations, serving } = plane
  await operations.preloadGeneration(V2)
  const startMs = performance.now()
  const unloaded = operations.unloadGeneration(V2)
  while (serving.stateOf('s/v2') === 'warm') await sleep(1)
  await operations.preloadGeneration(V2)
  await unloaded
  t.ok(performance.now() - startMs < 3_000, 'or it would hold up all changes of its service')
  t.same(held(plane), ['s/v1', 's/v2'])
})

t.test('disable and enable', async (t) => {
  const plane = await deployed(t, { keepPreviousMs: 10 })
  const { operations, serving } = plane
  await operations.disableService('s', 'me')
  // A disabled service takes no memory.
  await until(() => serving.stateOf('s/v1') === undefined)
  t.same(held(plane), [])
  t.equal(operations.health().status, 'HEALTHY')
  serving.failures.set('s/v1', 'broken')
  await t.rejects(operations.enableService('s', 'me'), { code: 'ERR_LOAD_FAILED' })
  t.equal(operations.getService('s').enabled, false)
  serving.failures.clear()
  await operations.switchTo(V2, 'me')
  t.equal(operations.getService('s').enabled, false, 'a switch does not enable')
  await operations.enableService('s', 'me')
  t.equal(serving.stateOf('s/v2'), 'active')
})

t.test('pairs of operations at once leave a state that a serial order explains', async (t) => {
  const plane = await deployed(t)
  const { operations } = plane
  const pairs = [
    () => [operations.switchTo(V2, 'a'), operations.deleteGeneration(V2, 'b')],
    () => [operations.deleteGeneration(V2, 'b'), operations.switchTo(V2, 'a')],
    () => [operations.deleteGeneration(V2, 'b'), operations.preloadGeneration(V2)],
    () => [operations.deleteGeneration(V2, 'b'), operations.deleteGeneration(V2, 'a')],
    () => [operations.switchTo(V2, 'a'), operations.disableService('s', 'b')],
    () => [operations.switchTo(V2, 'a'), operations.switchTo(V1, 'b')],
  ]
  for (const pair of pairs) {
    await upload(plane, 'v2', { content: 'two' })
    await operations.enableService('s', 'me')
    await operations.switchTo(V1, 'me')
    await operations.unloadGeneration(V2)
    const outcomes = await Promise.allSettled(pair())
    t.ok(
      outcomes.some(({ status }) => status === 'fulfilled'),
      'one of two wins',
    )
    const mapped = lastPublished(plane).services[0]?.mapping[0]?.generationId
    t.equal(mapped, active(plane), 'what is published is what is committed')
    t.ok(operations.listGenerations('s').some(({ generationId }) => generationId === mapped))
  }
})

t.test('a start puts the data directory in order', async (t) => {
  const directory = temporaryDirectory(t)
  const before = await openControlPlane(directory)
  await before.operations.createService('s', 'me')
  for (const name of ['v1', 'v2', 'v3']) await upload(before, name, { content: name })
  await before.operations.switchTo(V1, 'me')
  await before.close()
  writeFileSync(join(before.home.staging, 'upload-1'), 'half')
  mkdirSync(join(before.home.generations, 's', 'orphan'))
  mkdirSync(join(before.home.generations, 'nobody', 'v1'), { recursive: true })
  rmSync(before.home.directoryOf('s', 'v1'), { recursive: true })
  rmSync(join(before.home.directoryOf('s', 'v2'), 'model.onnx'))

  const said: string[] = []
  const note = (fields: object, message: string) => {
    said.push(`${message} ${JSON.stringify(fields)}`)
  }
  const logger = { debug: note, info: note, warn: note, error: note }
  const plane = await openPlane(t, { directory, logger })
  const { operations, home } = plane
  t.same(readdirSync(home.staging), [])
  t.same(readdirSync(home.generations), ['s'])
  t.same(readdirSync(join(home.generations, 's')).sort(), ['v2', 'v3'])
  for (const name of ['upload-1', 'orphan', 'nobody', '"v1"', 'model.onnx']) {
    t.ok(
      said.some((line) => line.includes(name)),
      `the log names ${name}`,
    )
  }

  t.match(operations.getGeneration(V1), {
    state: 'failed',
    reason: /missing on disk/,
    active: true,
  })
  t.match(operations.health(), { status: 'UNHEALTHY', details: { services: { s: {} } } })
  t.same(lastPublished(plane).services[0]?.mapping, [])
  await t.rejects(operations.switchTo(V2, 'me'), { code: 'ERR_LOAD_FAILED' })
  await upload(plane, 'v1', { content: 'v1' })
  await until(() => operations.getGeneration(V1).state === 'active')
  t.match(operations.getGeneration(V1), { state: 'active', reason: null }, 'healed by an import')
  t.equal(operations.health().status, 'HEALTHY')
  await operations.deleteGeneration(V2, 'me')
  t.equal(operations.listGenerations('s').length, 2)
})

t.test('health names service and cause', async (t) => {
  const plane = await deployed(t)
  const { operations, serving } = plane
  t.match(operations.health(), { status: 'HEALTHY', details: { causes: [] } })
  serving.running = false
  t.match(operations.health(), { status: 'UNHEALTHY', details: { causes: [/serving process/] } })
  serving.running = true
  await operations.createService('other', 'me')
  await upload(plane, 'w', {}, 'other')
  await operations.switchTo({ serviceId: 'other', generationId: 'w' }, 'me')
  serving.crash('other/w', 'boom')
  const degraded = { status: 'DEGRADED', details: { causes: ['other: w failed: boom'] } }
  t.match(operations.health(), degraded, 'one of two services')
  serving.threadsLost.set('s/v1', 1)
  const lost = 's: v1: 1 of 1 threads are lost'
  const unhealthy = { status: 'UNHEALTHY', details: { causes: ['other: w failed: boom', lost] } }
  t.match(operations.health(), unhealthy, 'nothing can be answered any more')
  serving.threadsLost.clear()
  await operations.disableService('other', 'me')
  t.equal(operations.health().status, 'HEALTHY', 'a disabled service is not ill')
})

t.test('an endpoint that does harm: health says how to get it back, and these do', async (t) => {
  const plane = await deployed(t)
  const { operations, serving } = plane
  const endpoint = { serviceId: 's', endpointId: 'e', cause: 'hangs' } as const
  const stop = (generationId: string): void => {
    serving.stopped = [{ ...endpoint, generationId }]
  }
  stop('v1')
  const why = 's: v1: endpoint e is stopped, its runs do not end; switch to v1 again to run it, '
  const causes = [`${why}or import a better generation`]
  t.match(operations.health(), { status: 'DEGRADED', details: { causes } })
  await operations.switchTo(V1, 'me')
  t.match(operations.health(), { status: 'HEALTHY', details: { serving: { stopped: [] } } })
  stop('v1')
  await operations.enableService('s', 'me')
  t.same(serving.stopped, [], 'switched on again')
  stop('v2')
  t.equal(operations.health().status, 'HEALTHY', 'nobody calls that one')
  await operations.preloadGeneration(V2)
  t.same(serving.stopped, [], 'loaded again')
  stop('v2')
  await operations.deleteGeneration(V2, 'me')
  t.same(serving.stopped, [], 'its name may come again')
})
