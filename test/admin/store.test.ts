/**
 * Goal: what the store has acknowledged is there after a reopening and after kill -9, whole; what
 * is damaged is noticed and named; two nodes never share a data directory.
 * Method: real LMDB in temporary directories; a child process that writes until it is killed.
 */

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { open } from 'lmdb'
import t from 'tap'
import { canonicalJson, seal, unseal } from '../../admin/store/envelope.ts'
import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import type { ServiceRecord, StateRecord } from '../../admin/store/records.ts'
import type { StateChange } from '../../admin/store/state-store.ts'
import { compiled } from '../../bench/paths.ts'
import { temporaryDirectory } from '../tools/control-plane.ts'
import { until } from '../tools/waiting.ts'

const WRITER = compiled('test/tools/store-child.ts')

function service(id: string, createdOn = 1): StateRecord {
  return { kind: 'service', record: { id, enabled: true, mapping: [], createdOn } }
}

function change(puts: StateRecord[], removes: StateRecord[] = []): StateChange {
  return { actor: 'test', action: 'change', before: null, after: null, puts, removes }
}

async function killedWriter(directory: string, acks: number): Promise<number> {
  const child: ChildProcess = fork(WRITER, [directory])
  let acknowledged = 0
  child.on('message', (count: number) => {
    acknowledged = count
    if (count >= acks) child.kill('SIGKILL')
  })
  await once(child, 'exit')
  return acknowledged
}

t.test('an envelope proves its value', async (t) => {
  t.equal(canonicalJson({ b: [{ d: 1, c: 2 }], a: 'é' }), '{"a":"é","b":[{"c":2,"d":1}]}')
  const text = seal('service/a', { id: 'a', label: 'lone \ud800' })
  t.same(unseal('service/a', text), { id: 'a', label: 'lone \ud800' })
  const damaged = { code: 'ERR_STORE_DAMAGED', message: /service\/a/ }
  t.throws(() => unseal('service/a', text.replace('"a"', '"b"')), damaged)
  t.throws(() => unseal('service/a', ''), damaged)
  t.throws(() => unseal('service/b', text), { code: 'ERR_STORE_DAMAGED' }, 'of another key')
})

t.test('records and journal survive a reopening', async (t) => {
  const home = await Home.open(temporaryDirectory(t))
  const store = await LmdbStore.open(home.state)
  t.same(await store.load(), [])
  await store.commit({ ...change([service('a'), service('b')]), after: { made: 2 } })
  await store.commit(change([service('c')], [service('a')]))
  await store.close()
  await t.rejects(store.commit(change([service('d')])), { code: 'ERR_STOPPING' })

  const again = await LmdbStore.open(home.state)
  t.same(
    (await again.load()).map(({ record }) => record.id),
    ['b', 'c'],
  )
  const entry = await again.commit(change([]))
  t.same(
    (await again.journal(10)).map(({ seq, after }) => [seq, after]),
    [
      [3, null],
      [2, null],
      [1, { made: 2 }],
    ],
  )
  t.equal(entry.seq, 3, 'numbers go on where they ended')
  await again.close()
  await home.close()
})

t.test('only the owner can read it', async (t) => {
  const home = await Home.open(temporaryDirectory(t))
  const store = await LmdbStore.open(home.state)
  await store.commit(change([service('a')]))
  const modes = readdirSync(home.state).map((name) => statSync(join(home.state, name)).mode)
  t.ok(modes.length > 0 && modes.every((mode) => (mode & 0o077) === 0))
  t.equal(statSync(home.generations).mode & 0o777, 0o700)
  await store.close()
  await home.close()
})

t.test('a damaged value is named and not served', async (t) => {
  const home = await Home.open(temporaryDirectory(t))
  const store = await LmdbStore.open(home.state)
  await store.commit(change([service('good'), service('bad')]))
  await store.close()

  const env = open<string, string>({ path: home.state, encoding: 'string' })
  const stored = env.get('service/bad') ?? ''
  await env.put('service/bad', stored.replace('"enabled":true', '"enabled":null'))
  await env.close()
  const again = await LmdbStore.open(home.state)
  await t.rejects(again.load(), { code: 'ERR_STORE_DAMAGED', message: /service\/bad/ })
  await again.close()
  await home.close()
})

t.test('one node per data directory', async (t) => {
  const directory = temporaryDirectory(t)
  const home = await Home.open(directory)
  const message = new RegExp(`process ${process.pid}`)
  await t.rejects(Home.open(directory), { code: 'ERR_STORE_LOCKED', message })
  await home.close()

  // Left behind by a crash: the process id lives, but it is another process by now.
  symlinkSync(`${process.pid} another boot/1`, join(directory, 'lock'))
  const second = await Home.open(directory)
  await second.close()
  writeFileSync(join(directory, 'lock'), 'nonsense')
  const third = await Home.open(directory)
  await third.close()
  mkdirSync(join(directory, 'lock', 'more'), { recursive: true })
  const fourth = await Home.open(directory)
  await fourth.close()
  // A signal to process 0 always arrives: it means the sender's own group.
  symlinkSync('0 ', join(directory, 'lock'))
  const fifth = await Home.open(directory)
  await fifth.close()
  t.same(readdirSync(directory).sort(), ['generations', 'staging', 'state'], 'nothing is left')
})

const noProc = !existsSync('/proc/self/status')

t.test(
  'an ended node that its parent has not noticed holds nothing',
  { skip: noProc },
  async (t) => {
    const directory = temporaryDirectory(t)
    // A shell that has become another program waits for no child: one that ends now stays a zombie.
    const script = '(read _ <&3) & echo $!; exec sleep 60 3<&-'
    const shell = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit', 'pipe'] })
    t.teardown(() => shell.kill('SIGKILL'))
    const [, said, , child] = shell.stdio
    if (!(said instanceof Readable && child instanceof Writable)) throw new Error('no streams')
    const pid = Number((await once(said, 'data'))[0])
    await until(() => readFileSync(`/proc/${shell.pid}/comm`, 'utf8') === 'sleep\n')
    child.end()
    await until(() => /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
    symlinkSync(`${pid} `, join(directory, 'lock'))
    await (await Home.open(directory)).close()
  },
)

t.test('kill -9 loses nothing that was acknowledged and mixes nothing', async (t) => {
  const directory = temporaryDirectory(t)
  for (const acks of [20, 55, 90]) {
    const acknowledged = await killedWriter(directory, acks)
    const home = await Home.open(directory)
    const store = await LmdbStore.open(home.state)
    const [left, right] = (await store.load()).map(({ record }) => record as ServiceRecord)
    t.equal(left?.createdOn, right?.createdOn, 'a change is whole')
    t.ok(Number(left?.createdOn) >= acknowledged, `${left?.createdOn} of ${acknowledged}`)
    await store.close()
    await home.close()
  }
})

t.test('the journal keeps its newest entries and exports the others', async (t) => {
  const home = await Home.open(temporaryDirectory(t))
  const store = await LmdbStore.open(home.state, 200)
  for (let i = 1; i <= 250; i += 1) await store.commit({ ...change([]), after: i })
  const kept = await store.journal(1_000)
  t.match([kept.length, kept[0]?.after, kept.at(-1)?.after], [200, 250, 51])
  const lines = readFileSync(join(home.state, 'journal.jsonl'), 'utf8').trim().split('\n')
  t.same(
    lines.map((line) => JSON.parse(line).seq),
    Array.from({ length: 50 }, (_, i) => i + 1),
  )
  t.equal(statSync(join(home.state, 'journal.jsonl')).mode & 0o777, 0o600)
  await store.close()
  await home.close()
})
