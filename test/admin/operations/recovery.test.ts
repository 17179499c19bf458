/**
 * Goal: whatever lies in the data directory, a start gets by, names it, and never removes or serves
 * the wrong thing. Method: a control plane is closed, its directory is tampered with, and another
 * one is opened on it; what it says and what it does is looked at.
 */

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openOperations } from '../../../admin/operations/operations.ts'
import { Home } from '../../../admin/store/home.ts'
import { LmdbStore } from '../../../admin/store/lmdb-store.ts'
import type { Logger } from '../../../core/base/logger.ts'
import { MetricsStore } from '../../../core/metrics/store.ts'
import {
  type ControlPlane,
  MemoryServing,
  openControlPlane,
  temporaryDirectory,
  upload,
} from '../../tools/control-plane.ts'
import { MemoryForge } from '../../tools/memory-forge.ts'
import { until } from '../../tools/waiting.ts'

const V1 = { serviceId: 's', generationId: 'v1' }

/** Keeps what is said. */
function listening() {
  const said: string[] = []
  const note = (fields: object, message: string): void => {
    said.push(`${message} ${JSON.stringify(fields)}`)
  }
  const logger: Logger = { debug: note, info: note, warn: note, error: note }
  return { said, logger }
}

async function populated(t: Test): Promise<ControlPlane> {
  const plane = await openControlPlane(temporaryDirectory(t))
  await plane.operations.createService('s', 'me')
  for (const name of ['v1', 'v2']) await upload(plane, name, { content: `the model of ${name}` })
  await plane.operations.switchTo(V1, 'me')
  return plane
}

async function reopened(t: Test, directory: string) {
  const { said, logger } = listening()
  const plane = await openControlPlane(directory, { logger })
  t.teardown(() => plane.close())
  return { plane, said }
}

/** The files are read when somebody says so, not at the start. */
async function openUnchecked(directory: string) {
  const home = await Home.open(directory)
  const store = await LmdbStore.open(home.state)
  const { said, logger } = listening()
  const parties = { serving: new MemoryServing(), forge: new MemoryForge() }
  const operations = await openOperations({
    ...{ home, store, logger, ...parties, metrics: new MetricsStore() },
    bytesCheckedAtStart: 0,
  })
  const close = async (): Promise<void> => {
    try {
      await operations.close()
    } finally {
      await store.close()
      await home.close()
    }
  }
  return { operations, said, close }
}

function names(t: Test, said: readonly string[], ...texts: readonly string[]): void {
  for (const text of texts) {
    t.ok(
      said.some((line) => line.includes(text)),
      `the log names ${text}`,
      { said },
    )
  }
}

t.test('what others put there is named and left alone', async (t) => {
  const before = await populated(t)
  const { generations, staging } = before.home
  await before.close()
  writeFileSync(join(generations, 'notes.txt'), 'of somebody')
  mkdirSync(join(generations, 'lost+found', 'deep'), { recursive: true })
  symlinkSync('/nowhere', join(generations, 'link'))
  writeFileSync(join(generations, 's', '.DS_Store'), '')
  symlinkSync(before.directory, join(generations, 's', 'v9'))
  symlinkSync(before.directory, join(staging, 'link'))
  mkdirSync(join(generations, 'closed', 'v1'), { recursive: true })
  chmodSync(join(generations, 'closed'), 0)

  const { plane, said } = await reopened(t, before.directory)
  names(t, said, 'notes.txt', 'lost+found', '.DS_Store', 's/v9', 'closed', '"link"')
  t.same(readdirSync(staging), [], 'a link in staging goes, what it leads to stays')
  t.ok(existsSync(join(generations, 'lost+found', 'deep')))
  t.ok(lstatSync(join(generations, 's', 'v9')).isSymbolicLink())
  t.equal(readFileSync(join(generations, 'notes.txt'), 'utf8'), 'of somebody')
  t.equal(plane.operations.getGeneration(V1).reason, null, 'the generations are as they were')
  names(t, said, 'the data directory is in order {"services":1,"generations":2,"keys":0')
  if (existsSync(join(generations, 'closed'))) chmodSync(join(generations, 'closed'), 0o700)
})

t.test('files that are not those of the import are not used, and why is told', async (t) => {
  const before = await populated(t)
  await upload(before, 'v3', { content: 'the model of v3' })
  await before.close()
  const model = (name: string) => join(before.home.directoryOf('s', name), 'model.onnx')
  const bytes = readFileSync(model('v1'))
  bytes[3] = (bytes[3] ?? 0) ^ 1
  writeFileSync(model('v1'), bytes)
  writeFileSync(model('v2'), 'short')
  rmSync(model('v3'))
  mkdirSync(model('v3'))

  const { plane, said } = await reopened(t, before.directory)
  const { operations } = plane
  t.match(operations.getGeneration(V1), { state: 'failed', reason: /not those of the bundle/ })
  const v2 = operations.getGeneration({ ...V1, generationId: 'v2' })
  t.match(v2, { state: 'failed', reason: /have 5 bytes, 15 were imported/ })
  t.equal(operations.getGeneration({ ...V1, generationId: 'v3' }).state, 'failed')
  names(t, said, '"quarantined":2')
  t.equal(operations.health().status, 'UNHEALTHY')
  await upload(plane, 'v1', { content: 'the model of v1' })
  await until(() => operations.getGeneration(V1).state === 'active')
  t.equal(operations.health().status, 'HEALTHY', 'the bundle repairs it')
})

t.test('damage that is found while the model is in memory is told, and it serves on', async (t) => {
  const before = await populated(t)
  await before.close()
  const path = join(before.home.directoryOf('s', 'v1'), 'model.onnx')
  const good = readFileSync(path)
  const bad = Buffer.from(good)
  bad[0] = (bad[0] ?? 0) ^ 1
  const { operations, said, close } = await openUnchecked(before.directory)
  t.teardown(close)
  await until(() => operations.getGeneration(V1).state === 'active')
  writeFileSync(path, bad)
  operations.checkContents()
  await until(() => said.some((line) => line.includes('damaged')))
  names(t, said, 'it serves from memory')
  t.match(operations.getGeneration(V1), { state: 'active', reason: /import the bundle again/ })
  t.match(operations.health(), { status: 'DEGRADED' })
  await upload({ ...before, operations }, 'v1', { content: good.toString() })
  t.equal(readFileSync(path, 'utf8'), good.toString(), 'the files are good again')
  t.equal(operations.health().status, 'HEALTHY')
})

t.test('a file that cannot be read is damage too, and ends nothing', async (t) => {
  const before = await populated(t)
  await before.close()
  // A directory that passes for a file of the same size, until somebody reads it.
  for (const name of ['v1', 'v2']) {
    const path = join(before.home.directoryOf('s', name), 'model.onnx')
    rmSync(path)
    symlinkSync('../'.repeat(5), path)
  }
  const unchecked = await openUnchecked(before.directory)
  unchecked.operations.checkContents()
  await until(() => unchecked.said.filter((line) => line.includes('EISDIR')).length === 2)
  await unchecked.close()

  const { operations } = (await reopened(t, before.directory)).plane
  const reason = /its files cannot be read: EISDIR/
  t.match(operations.getGeneration(V1), { state: 'failed', reason })
  await upload({ ...before, operations }, 'v1', { content: 'the model of v1' })
  await until(() => operations.getGeneration(V1).state === 'active')
})

t.test('a stop in the middle of the check is no failure', async (t) => {
  const before = await populated(t)
  await before.close()
  const { operations, close } = await openUnchecked(before.directory)
  operations.checkContents()
  await t.resolves(close())
  t.equal(operations.getGeneration(V1).reason, null)
})

t.test('what an empty or older state does not know is kept aside', async (t) => {
  const before = await populated(t)
  await before.close()
  rmSync(before.home.state, { recursive: true })
  const { said } = await reopened(t, before.directory)
  t.same(readdirSync(before.home.generations), [])
  const kept = join(before.directory, 'unknown', 's')
  t.equal(readdirSync(kept).length, 2)
  names(t, said, 'kept aside', '"keptAside":2')
})

t.test('the bundle of a generation that failed to load leaves whole files in place', async (t) => {
  const before = await populated(t)
  t.teardown(() => before.close())
  const { operations, serving, home } = before
  serving.crash('s/v1', 'no memory')
  const { ino } = lstatSync(home.directoryOf('s', 'v1'))
  await upload(before, 'v1', { content: 'the model of v1' })
  await sleep(10)
  t.equal(lstatSync(home.directoryOf('s', 'v1')).ino, ino, 'nothing was taken away')
  t.equal(operations.listGenerations('s').length, 2)
})
