/**
 * Goal: an answer means that the change survives the loss of power. Method: the system calls of
 * control, traced for one operation at a time; what must be on disk before something else may
 * happen has been flushed before it: bytes, then names, then the move, then the record, then the
 * answer. No test can pull the plug often enough to find a missing flush; the order shows it.
 */

import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { compiled } from '../../bench/paths.ts'
import { bundleEntries, zip } from '../../bench/workloads/zip-writer.ts'
import { Client } from '../tools/client.ts'
import { sayEffort } from '../tools/effort.ts'
import { bundleNamed, type Operation, perform } from '../tools/history.ts'
import { freshHome, readyLine, startNode, startProcess, type TestNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import {
  answersIn,
  type Call,
  callsOn,
  flushesOf,
  tracedCommand,
  traceProcess,
  whyNoTrace,
  writesTo,
} from '../tools/syscalls.ts'

const skip = whyNoTrace() ?? false

/** A copy of the state follows a change within this time. */
const COPY_MS = 1_800

t.setTimeout(300_000)

/** All of the first have ended before any of the second begins. */
function inOrder(t: Test, ...steps: readonly (readonly [string, readonly Call[]])[]): void {
  for (const [name, calls] of steps) t.ok(calls.length > 0, `${name}: seen`, { steps })
  for (const [i, [name, calls]] of steps.entries()) {
    const [nextName, next] = steps[i + 1] ?? ['', []]
    if (next.length === 0) continue
    const end = Math.max(...calls.map(({ until }) => until))
    const begin = Math.min(...next.map(({ from }) => from))
    t.ok(end < begin, `${name}, then ${nextName}`, { calls, next })
  }
}

/** The state's own order: pages, flush, answer. */
function storedBeforeAnswer(t: Test, home: string, calls: readonly Call[]): void {
  const data = join(home, 'state', 'data.mdb')
  const flushes = flushesOf(calls, data)
  inOrder(
    t,
    ['pages of the state', writesTo(calls, data).slice(0, 1)],
    ['their flush', flushes.slice(0, 1)],
    ['the answer', answersIn(calls).slice(-1)],
  )
}

async function traced(t: Test, node: TestNode, task: () => Promise<unknown>): Promise<Call[]> {
  const trace = await traceProcess(t, node.pid)
  await task()
  return trace.end()
}

t.test('an import: files, folders, move, record, answer', { skip }, async (t) => {
  const node = await startNode(t)
  const client = new Client(node)
  await client.admin('POST', '/services', { serviceId: 's' })
  const [manifest, model] = bundleEntries(regressor(2), { id: 'p', model: 'deep/down/m.onnx' })
  const entries = [manifest, { ...model, name: 'deep/down/m.onnx' }]
  const bundle = zip(entries.map((entry) => ({ name: '', ...entry })))
  const calls = await traced(t, node, async () => {
    const { status, body } = await client.upload('s', 'g1', bundle)
    t.equal(status, 200, JSON.stringify(body))
  })

  const { home } = node
  const target = join(home, 'generations', 's', 'g1')
  const moves = callsOn(calls, /^rename/, target)
  const staged = /"([^"]+)"/.exec(moves[0]?.args ?? '')?.[1] ?? ''
  t.equal(dirname(staged), join(home, 'staging'), 'it was moved from staging')
  const at = (path: string): Call[] => flushesOf(calls, join(staged, path))
  t.ok(at('service.json').length > 0, 'the manifest was flushed')
  inOrder(
    t,
    ['bytes of the model', at('deep/down/m.onnx')],
    ['its folder', at('deep/down')],
    ['the folder above', at('deep')],
    ['the directory of the generation', flushesOf(calls, staged)],
    ['the move', moves],
    ['where it came to', flushesOf(calls, dirname(target))],
    ['where it came from', flushesOf(calls, join(home, 'staging'))],
    ['pages of the state', writesTo(calls, join(home, 'state', 'data.mdb')).slice(0, 1)],
  )
  inOrder(
    t,
    ['the folder of the service', callsOn(calls, /^mkdir/, dirname(target))],
    ['where it is', flushesOf(calls, join(home, 'generations'))],
    ['the move', moves],
  )
  storedBeforeAnswer(t, home, calls)
})

t.test('every other change: record, answer, and only then files go', { skip }, async (t) => {
  const node = await startNode(t)
  const client = new Client(node)
  await client.deploy('s', 'g1', bundleNamed('g1'))
  await client.upload('s', 'g2', bundleNamed('g2'))
  await client.deploy('t', 'g3', bundleNamed('g3'))
  const keyIds = new Map<string, string>()
  const operations: Operation[] = [
    { kind: 'switchGeneration', service: 's', generation: 'g2' },
    { kind: 'deleteGeneration', service: 's', generation: 'g1' },
    { kind: 'disableService', service: 's' },
    { kind: 'enableService', service: 's' },
    { kind: 'createService', service: 'u' },
    { kind: 'deleteService', service: 't' },
    { kind: 'createKey', label: 'k' },
    { kind: 'deleteKey', label: 'k' },
  ]
  const all = await traced(t, node, async () => {
    for (const operation of operations) {
      const { status, body } = await perform(client, operation, keyIds)
      t.ok(status < 300, `${operation.kind} ${JSON.stringify(body)}`)
      if (operation.kind === 'createKey') keyIds.set('k', body.id)
    }
    await sleep(COPY_MS)
  })
  copied(t, node.home, all)
  const answers = answersIn(all)
  t.equal(answers.length, operations.length, 'every answer was seen')
  sayEffort({ operations: operations.length, calls: all.length })
  for (const [i, operation] of operations.entries()) {
    const [after, until] = [answers[i - 1]?.from ?? -1, answers[i]?.from ?? -1]
    const calls = all.filter(({ from }) => from > after && from <= until)
    await t.test(operation.kind, async (t) => {
      storedBeforeAnswer(t, node.home, calls)
      const gone = removedFolder(node.home, operation)
      if (gone === null) return
      inOrder(
        t,
        ['the record', flushesOf(calls, join(node.home, 'state', 'data.mdb')).slice(0, 1)],
        ['its files', callsOn(calls, /^rename/, gone)],
      )
    })
  }
})

/** The newest copy of the state: its bytes, its name, where it is. */
function copied(t: Test, home: string, calls: readonly Call[]): void {
  const folder = join(home, 'copies')
  const unfinished = join(folder, 'unfinished')
  const named = callsOn(calls, /^rename/, unfinished).slice(-1)
  const [from, until] = [named[0]?.from ?? 0, named[0]?.until ?? 0]
  inOrder(
    t,
    ['bytes of a copy', flushesOf(calls, unfinished).filter((call) => call.from < from)],
    ['its name', named],
    [
      'where it is',
      flushesOf(calls, folder)
        .filter((call) => call.until > until)
        .slice(-1),
    ],
  )
}

function removedFolder(home: string, operation: Operation): string | null {
  const folder = join(home, 'generations')
  if (operation.kind === 'deleteService') return join(folder, operation.service)
  if (operation.kind !== 'deleteGeneration') return null
  return join(folder, operation.service, operation.generation)
}

t.test('a first start: folders and the first admin key, before it counts', { skip }, async (t) => {
  const home = join(freshHome(t), 'deeper')
  const { command, calls } = tracedCommand(t, [process.execPath, compiled('core/main.ts')])
  const started = startProcess(t, { home, env: { SWITCHYARD_ADMIN_KEY: '' } }, command)
  const { pid } = await readyLine(started)
  process.kill(pid, 'SIGTERM')
  await started.ended
  const all = calls()
  const key = join(home, 'first-admin-key')
  const made = ['state', 'generations', 'staging'].map((name) =>
    callsOn(all, /^mkdir/, join(home, name)),
  )
  t.same(
    made.map(({ length }) => length),
    [1, 1, 1],
  )
  const flushes = flushesOf(all, home)
  for (const [folder] of made) {
    t.ok(
      flushes.some(({ from }) => from > (folder?.until ?? Infinity)),
      'a folder is flushed',
    )
  }
  inOrder(
    t,
    ['the data directory', callsOn(all, /^mkdir/, home)],
    ['the one above', flushesOf(all, dirname(home)).slice(0, 1)],
    ['the folder of the state', made[0] ?? []],
  )
  const named = callsOn(all, /^rename/, key)
  const since = named[0]?.until ?? Infinity
  const data = join(home, 'state', 'data.mdb')
  inOrder(
    t,
    ['the bytes of the key', flushesOf(all, `${key}.new`)],
    ['its name', named],
    ['where it is', flushes.filter(({ from }) => from > since).slice(0, 1)],
    [
      'the record of the key',
      flushesOf(all, data)
        .filter(({ from }) => from > since)
        .slice(0, 1),
    ],
  )
})
