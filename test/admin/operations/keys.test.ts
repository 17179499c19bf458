/**
 * Goal: a key works until its delete is acknowledged, its secret is shown once, and its last use
 * is kept. Method: as operations.test.ts.
 */

import t, { type Test } from 'tap'
import { digestOf } from '../../../core/auth/credentials.ts'
import {
  type ControlPlane,
  openControlPlane,
  temporaryDirectory,
} from '../../tools/control-plane.ts'

async function openPlane(t: Test, directory = temporaryDirectory(t)): Promise<ControlPlane> {
  const plane = await openControlPlane(directory)
  t.teardown(() => plane.close())
  return plane
}

t.test('keys', async (t) => {
  const plane = await openPlane(t)
  const { operations, store } = plane
  await operations.createService('s', 'me')
  const allowedServices = ['s', 'later']
  const created = await operations.createKey({ label: 'app', allowedServices }, 'me')
  t.match(created, { label: 'app', allowedServices, unknownServices: ['later'] })
  t.same(plane.serving.published.at(-1)?.keys, [
    { id: created.id, sha256: digestOf(created.key), allowedServices },
  ])
  const shown = JSON.stringify([operations.listKeys(), operations.getKey(created.id)])
  const journal = JSON.stringify(await store.journal(100))
  for (const secret of [created.key, digestOf(created.key)]) {
    t.notOk(shown.includes(secret), 'neither list nor get shows it')
    t.notOk(journal.includes(secret), 'nor the journal')
  }
  t.throws(() => operations.verifyAdmin(`Bearer ${created.key}`), { code: 'ERR_AUTH_FORBIDDEN' })
  await operations.deleteKey(created.id, 'me')
  t.same(plane.serving.published.at(-1)?.keys, [])
  t.throws(() => operations.getKey(created.id), { code: 'ERR_KEY_UNKNOWN' })
  await t.rejects(operations.deleteKey(created.id, 'me'), { code: 'ERR_KEY_UNKNOWN' })
})

t.test('admin keys', async (t) => {
  const directory = temporaryDirectory(t)
  const plane = await openControlPlane(directory)
  const { operations } = plane
  t.throws(() => operations.verifyAdmin('Bearer x'), { code: 'ERR_AUTH_UNKNOWN' }, 'closed')
  const secret = await operations.ensureAdminKey(null)
  t.match(secret, /^sk_.{43}$/)
  t.equal(operations.verifyAdmin(`Bearer ${secret}`), 'first')
  t.equal(await operations.ensureAdminKey(null), null, 'shown once')
  t.throws(() => operations.verifyAdmin(''), { code: 'ERR_AUTH_MISSING' })
  t.throws(() => operations.verifyAdmin('Bearer'), { code: 'ERR_AUTH_MISSING' })
  t.throws(() => operations.verifyAdmin(`Bearer ${secret}x`), { code: 'ERR_AUTH_UNKNOWN' })
  await t.rejects(operations.ensureAdminKey('short'), { code: 'ERR_PARAMETER_INVALID' })
  await operations.ensureAdminKey('a'.repeat(24))
  await plane.close()

  const again = await openPlane(t, directory)
  t.equal(again.operations.verifyAdmin(`Bearer ${secret}`), 'first')
  t.equal(again.operations.verifyAdmin(`Bearer ${'a'.repeat(24)}`), 'env')
  await again.operations.ensureAdminKey('b'.repeat(24))
  t.equal(again.operations.verifyAdmin(`Bearer ${'b'.repeat(24)}`), 'env')
  const replaced = { code: 'ERR_AUTH_UNKNOWN' }
  t.throws(() => again.operations.verifyAdmin(`Bearer ${'a'.repeat(24)}`), replaced)
})

t.test('the last use of a key is kept over a restart, and is no change of anybody', async (t) => {
  const directory = temporaryDirectory(t)
  const plane = await openControlPlane(directory)
  const { operations, metrics, store } = plane
  const newKey = (label: string) => operations.createKey({ label, allowedServices: [] }, 'me')
  const used = await newKey('used')
  const idle = await newKey('idle')
  const deleted = await newKey('deleted')
  t.equal(operations.getKey(used.id).lastUse, null)
  const startMs = Date.now()
  const usedKeys = [used.id, deleted.id]
  metrics.add({ endpoints: [], services: [], usedKeys, activeRequests: 0, connections: 0 }, 1)
  const { lastUse } = operations.getKey(used.id)
  t.ok(lastUse !== null && lastUse >= startMs)
  await operations.deleteKey(deleted.id, 'me')
  const changes = (await store.journal(100)).length
  await plane.close()
  const again = await openControlPlane(directory)
  t.teardown(() => again.close())
  t.equal(again.operations.getKey(used.id).lastUse, lastUse)
  t.equal(again.operations.getKey(idle.id).lastUse, null)
  t.equal(again.operations.listKeys().length, 2, 'a deleted key does not come back')
  t.equal((await again.store.journal(100)).length, changes)
})
