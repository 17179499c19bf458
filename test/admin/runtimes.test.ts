/**
 * Goal: control knows what the machine offers to endpoints that are no ONNX model, says so in
 * health without a secret, and keeps no process of a generation that nobody calls.
 *
 * Method: the real operations over a serving process in memory; interpreters are scripts of the
 * test that say a version, or fail, or never end.
 */

import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { openRunDirectory } from '../../admin/run-directory.ts'
import { RuntimeProbe } from '../../admin/runtimes.ts'
import type { ConnectionSettings } from '../../core/config/runtimes.ts'
import {
  type ControlPlane,
  type ControlPlaneOptions,
  openControlPlane,
  temporaryDirectory,
  upload,
} from '../tools/control-plane.ts'
import { NO_RUNTIMES } from '../tools/runtimes.ts'
import { until } from '../tools/waiting.ts'

const REFS = ['v1', 'v2', 'v3'].map((generationId) => ({ serviceId: 's', generationId }))
const [V1, V2, V3] = REFS as [(typeof REFS)[0], (typeof REFS)[0], (typeof REFS)[0]]

/** A service whose v1 and v3 have child processes; v1 is active. */
async function deployed(t: Test, options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const plane = await openControlPlane(temporaryDirectory(t), options)
  t.teardown(() => plane.close())
  await plane.operations.createService('s', 'me')
  await upload(plane, 'v1', { content: 'one', children: true })
  await upload(plane, 'v2', { content: 'two' })
  await upload(plane, 'v3', { content: 'three', children: true })
  await plane.operations.switchTo(V1, 'me')
  return plane
}

t.test('a generation with children is not kept when it is replaced', async (t) => {
  const { operations, serving } = await deployed(t)
  const held = () =>
    serving.published
      .at(-1)
      ?.generations.map(({ generationId }) => generationId)
      .sort()
  await operations.switchTo(V2, 'me')
  t.same(held(), ['v2'])
  await until(() => serving.stateOf('s/v1') === undefined)
  await operations.preloadGeneration(V3)
  await operations.switchTo(V3, 'me')
  t.same(held(), ['v2', 'v3'], 'one without them is')
  await operations.switchTo(V2, 'me')
  t.same(held(), ['v2'], 'nor is one that was loaded by hand before it was active')
  await operations.switchTo(V3, 'me')
  await operations.disableService('s', 'me')
  t.same(held(), ['v2'], 'nor while its service is disabled')
  await operations.switchTo(V1, 'me')
  t.same(held(), ['v2'])
  await operations.enableService('s', 'me')
  t.same(held(), ['v1', 'v2'])
})

t.test('health tells what is down, and what there is', async (t) => {
  const python = { path: '/usr/bin/python3', version: '3.11.2' }
  const view = () => ({ python, r: null, connections: ['crm', 'idle'] })
  const told: string[] = []
  const { operations, serving } = await deployed(t, {
    runtimes: { view, causes: () => told },
  })
  const status = { subject: 'connection crm', up: true, detail: '', busy: 0, size: 8 }
  serving.runtimes.set('s/v1', [status])
  t.match(operations.health(), { status: 'HEALTHY' })
  t.same(operations.health().details.runtimes, {
    python,
    r: null,
    connections: { crm: { up: true }, idle: { up: null } },
  })
  serving.runtimes.set('s/v1', [{ ...status, up: false, detail: 'connection refused' }])
  const health = operations.health()
  t.match(health, { status: 'DEGRADED' })
  t.match(health.details.causes, ['s: v1: connection crm is down; the log has the reason'])
  t.match(health.details.runtimes?.connections, { crm: { up: false } })
  await operations.switchTo(V2, 'me')
  t.match(operations.health(), { status: 'HEALTHY' }, 'nobody calls what needs it')
  told.push('--python /wrong: there is no such program')
  t.match(operations.health(), { status: 'DEGRADED', details: { causes: told } })
})

t.test('versions are asked for once, and not waited for', async (t) => {
  const folder = temporaryDirectory(t)
  const script = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, `#!/bin/sh\n${text}\n`)
    chmodSync(path, 0o700)
    return path
  }
  const python = script('python3', 'echo "Python 3.11.2"; echo once >> "$COUNT"')
  const rscript = script('Rscript', 'echo "Rscript (R) version 4.2.2 (2022-10-31)" >&2')
  const environment = { COUNT: join(folder, 'count') }
  const secret = 'database password'
  const connection: ConnectionSettings = {
    ...{ name: 'crm', kind: 'postgresql', host: 'db', port: 5432, database: 'd', user: 'u' },
    ...{ password: secret, poolSize: 8, connectMs: 1, tls: 'off', ca: null, services: null },
  }
  const settings = { ...NO_RUNTIMES, python, rscript, environment, connections: [connection] }
  const probe = new RuntimeProbe(settings)
  t.same(probe.view().python, { path: python, version: null }, 'not known yet')
  await probe.done
  t.same(probe.view(), {
    python: { path: python, version: '3.11.2' },
    r: { path: rscript, version: '4.2.2' },
    connections: ['crm'],
  })
  t.notMatch(JSON.stringify(probe.view()), secret)
  t.equal(statSync(join(folder, 'count')).size, 'once\n'.length)
  const none = new RuntimeProbe({ ...NO_RUNTIMES, rscript: join(folder, 'absent') })
  await none.done
  t.same(none.view(), { python: null, r: null, connections: [] })
})

t.test('an interpreter that never answers is no use', async (t) => {
  const path = join(temporaryDirectory(t), 'python3')
  writeFileSync(path, '#!/bin/sh\nexec sleep 60\n')
  chmodSync(path, 0o700)
  const environment = { PATH: process.env['PATH'] ?? '' }
  const probe = new RuntimeProbe(
    { ...NO_RUNTIMES, python: path, environment },
    {
      limitMs: 200,
      named: { python: path, rscript: null },
    },
  )
  const startMs = performance.now()
  const alive = setInterval(() => {}, 1_000)
  await probe.done
  clearInterval(alive)
  t.ok(performance.now() - startMs < 30_000)
  t.equal(probe.view().python, null)
  t.same(probe.causes(), [`--python ${path}: it did not say its version in time`])
})

t.test('an interpreter that was named and does not run is told', async (t) => {
  const folder = temporaryDirectory(t)
  const plain = join(folder, 'plain')
  writeFileSync(plain, 'no program')
  const failing = join(folder, 'failing')
  writeFileSync(failing, '#!/bin/sh\nexit 3\n')
  chmodSync(failing, 0o700)
  for (const [python, name, reason] of [
    [join(folder, 'absent'), join(folder, 'absent'), 'there is no such program'],
    [join(failing, 'x'), join(failing, 'x'), 'there is no such program'],
    [null, 'python9', 'there is no such program on the path'],
    [plain, plain, 'it cannot be executed'],
    [failing, failing, 'it ended with code 3 when asked for its version'],
  ] as const) {
    const settings = { ...NO_RUNTIMES, python }
    const probe = new RuntimeProbe(settings, { named: { python: name, rscript: null } })
    const said: unknown[] = []
    const note = (fields: object, text: string) => void said.push([fields, text])
    await probe.tell({ debug: note, info: note, warn: note, error: note })
    const none = { python: null, r: null, connections: 0 }
    t.same(said, [
      [none, 'interpreters and databases'],
      [{ reason: `--python ${name}: ${reason}` }, 'AN INTERPRETER DOES NOT RUN'],
    ])
    const unnamed = new RuntimeProbe(settings)
    await unnamed.done
    t.same(unnamed.causes(), [], 'the one of the path may be missing')
  }
})

t.test('the folder for children is private, empty, and gone at the end', async (t) => {
  const home = temporaryDirectory(t)
  mkdirSync(join(home, 'run', 'left'), { recursive: true })
  const run = openRunDirectory(home)
  t.equal(run.path, join(home, 'run'))
  t.same(readdirSync(run.path), [])
  t.equal(statSync(run.path).mode & 0o777, 0o700)
  run.discard()
  t.notOk(existsSync(run.path))
  const deep = join(home, 'x'.repeat(100))
  mkdirSync(deep)
  const short = openRunDirectory(deep)
  t.ok(join(short.path, `${'s'.repeat(16)}.sock`).length < 104, 'a socket fits')
  t.equal(statSync(short.path).mode & 0o777, 0o700)
  t.not(dirname(short.path), deep)
  short.discard()
  t.notOk(existsSync(short.path))
})
