/**
 * Goal: a start opens only a store that is whole, or puts the newest good copy in its place; what
 * cannot be helped is said in one line that names the file, the fault and the cure.
 * Method: real stores in temporary directories, changed behind the node's back with LMDB itself.
 */

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { open } from 'lmdb'
import t, { type Test } from 'tap'
import { sealed } from '../../../admin/store/entries.ts'
import { Home } from '../../../admin/store/home.ts'
import { LmdbStore } from '../../../admin/store/lmdb-store.ts'
import { type OpenedState, openState } from '../../../admin/store/opener.ts'
import type { StateRecord } from '../../../admin/store/records.ts'
import { IN_VAIN_MAX } from '../../../admin/store/starts.ts'
import type { StateChange } from '../../../admin/store/state-store.ts'
import { askStoreChild } from '../../../admin/store/store-child.ts'
import type { Logger } from '../../../core/base/logger.ts'
import { temporaryDirectory } from '../../tools/control-plane.ts'

function service(id: string): StateRecord {
  return { kind: 'service', record: { id, enabled: true, mapping: [], createdOn: 1 } }
}

function change(puts: StateRecord[]): StateChange {
  return { actor: 'test', action: 'change', before: null, after: null, puts, removes: [] }
}

interface Opening {
  readonly state: OpenedState
  readonly errors: string[]
}

async function opening(path: string, use: (opening: Opening) => unknown): Promise<void> {
  const errors: string[] = []
  const error = (fields: object, text: string) => errors.push(`${text} ${JSON.stringify(fields)}`)
  const logger: Logger = { debug() {}, info() {}, warn() {}, error }
  const home = await Home.open(path)
  try {
    const state = await openState({ home, logger })
    try {
      await use({ state, errors })
    } finally {
      await state.close()
    }
  } finally {
    await home.close()
  }
}

async function ids(state: OpenedState): Promise<string[]> {
  return (await state.store.load()).map(({ record }) => record.id)
}

const template = join(temporaryDirectory(t), 'home')

/** A data directory with the services a, b and c, ended in order. */
async function made(t: Test): Promise<string> {
  if (!existsSync(template)) {
    await opening(template, async ({ state }) => {
      t.equal(state.isNew, true)
      for (const id of ['a', 'b', 'c']) await state.store.commit(change([service(id)]))
    })
  }
  const path = join(temporaryDirectory(t), 'home')
  cpSync(template, path, { recursive: true })
  return path
}

/** Behind the store's back: totals are not told. */
async function meddle(path: string, key: string, text: string | null): Promise<void> {
  const env = open<string, string>({ path: join(path, 'state'), encoding: 'string' })
  if (text === null) await env.remove(key)
  else await env.put(key, text)
  await env.close()
}

t.test('records that are missing, old, or of no shape are found', async (t) => {
  const later = { id: 'b', enabled: true, mapping: [], createdOn: 2 }
  const faults: readonly (readonly [string, string | null, RegExp])[] = [
    ['service/b', null, /the number of its records is 2, but should be 3/],
    ['service/b', sealed('service/b', later).text, /not those that were written last/],
    ['journal/0000000000000002', null, /the number of its journal is 2, but should be 3/],
    ['journal/0000000000000003', null, /the number of its journal is 2, but should be 3/],
    [
      'service/x',
      sealed('service/x', { id: 'x' }).text,
      /service\/x: enabled is not true or false/,
    ],
    ['service/y', sealed('service/y', { ...later, id: 'z' }).text, /record of another key/],
    ['thing/x', sealed('thing/x', {}).text, /thing\/x: no kind of record/],
    ['service/b', 'nonsense', /service\/b: the checksum does not match/],
    ['meta/totals', null, /meta\/totals: it is missing/],
    ['meta/format', sealed('meta/format', 0).text, /meta\/format: it is 0, this node reads 2/],
  ]
  for (const [key, text, reason] of faults) {
    const path = await made(t)
    await meddle(path, key, text)
    await opening(path, async ({ state, errors }) => {
      t.match(errors.join('\n'), reason, `${key}: named`)
      t.match([state.isRebuilt, state.mayBeOlder], [true, true])
      t.same(await ids(state), ['a', 'b', 'c'])
      const [newest] = await state.store.journal(1)
      t.match(newest, {
        actor: 'node',
        action: 'rebuildState',
        after: { copy: /^state-\d+\.json$/ },
      })
    })
  }
})

t.test('what was damaged is kept aside, three times at most', async (t) => {
  const path = await made(t)
  for (let i = 0; i < 5; i += 1) {
    await meddle(path, 'service/b', null)
    await opening(path, ({ state }) => t.equal(state.isRebuilt, true))
  }
  const aside = readdirSync(path).filter((name) => name.startsWith('state.damaged-'))
  t.equal(aside.length, 3)
  t.ok(existsSync(join(path, aside[0] ?? '', 'data.mdb')))
  await opening(path, ({ state, errors }) => {
    t.match([state.isRebuilt, errors], [false, []], 'once it is well it stays so')
    t.equal(state.mayBeOlder, true, 'files that it does not know are kept still')
  })
})

t.test('a store of before the totals gets them', async (t) => {
  const path = await made(t)
  await meddle(path, 'meta/totals', null)
  await meddle(path, 'meta/format', sealed('meta/format', 1).text)
  rmSync(join(path, 'copies'), { recursive: true })
  await opening(path, async ({ state }) => {
    t.match([state.isRebuilt, state.store.totals], [false, { records: 3, journal: 3, seq: 3 }])
    t.same(await ids(state), ['a', 'b', 'c'])
  })
  await meddle(path, 'service/b', null)
  await opening(path, ({ state }) => t.equal(state.isRebuilt, true, 'and is checked from then on'))
})

t.test('the store of a later version is left as it is, whatever copies there are', async (t) => {
  const path = await made(t)
  await meddle(path, 'meta/format', sealed('meta/format', 3).text)
  await meddle(path, 'service/b', sealed('service/b', { id: 'b', later: true }).text)
  const bytes = () => readFileSync(join(path, 'state', 'data.mdb'))
  const before = bytes()
  const reason = /data\.mdb cannot be checked: a later version wrote it \(format 3, /
  await t.rejects(
    opening(path, () => {}),
    { code: 'ERR_STORE_FAILED', message: reason },
  )
  t.ok(bytes().equals(before))
})

t.test('without a good copy the start says what is wrong and what to do', async (t) => {
  const path = await made(t)
  for (const name of readdirSync(join(path, 'copies'))) {
    writeFileSync(join(path, 'copies', name), '{}')
  }
  await meddle(path, 'service/b', null)
  const line = (reason: RegExp) => ({ code: 'ERR_STORE_DAMAGED', message: reason })
  const damaged = /^\S+\/data\.mdb: .+should be 3; no copy of it is good \(state-.+\); restore .+$/
  await t.rejects(
    opening(path, () => {}),
    line(damaged),
  )
  await t.rejects(
    opening(path, () => {}),
    line(damaged),
    'the second time too',
  )
  rmSync(join(path, 'copies'), { recursive: true })
  await t.rejects(
    opening(path, () => {}),
    line(/there is no copy of it; restore a back-up/),
  )
  rmSync(join(path, 'state'), { recursive: true })
  mkdirSync(join(path, 'generations', 's', 'g'), { recursive: true })
  await t.rejects(
    opening(path, () => {}),
    line(/it is missing, while .+generations is not empty/),
  )
  rmSync(join(path, 'generations', 's'), { recursive: true })
  await opening(path, ({ state }) => t.equal(state.isNew, true, 'nothing at all: a first start'))
})

t.test('a store that ends control every time is made anew, once', async (t) => {
  const path = await made(t)
  const { writes } = JSON.parse(readFileSync(newestCopy(path), 'utf8')).body
  const mark = (starts: number, isRebuilt: boolean) =>
    writeFileSync(join(path, 'starting'), JSON.stringify({ starts, writes, isRebuilt }))
  mark(IN_VAIN_MAX - 1, false)
  await opening(path, ({ state }) => t.equal(state.isRebuilt, false))
  t.notOk(existsSync(join(path, 'starting')), 'an end in order settles it')
  mark(IN_VAIN_MAX, true)
  await opening(path, ({ state }) => t.equal(state.isRebuilt, false, 'that did not help before'))
  mark(IN_VAIN_MAX, false)
  await opening(path, async ({ state, errors }) => {
    t.match(errors.join(), /the last 5 starts ended before they wrote anything/)
    t.same(await ids(state), ['a', 'b', 'c'])
    t.match(JSON.parse(readFileSync(join(path, 'starting'), 'utf8')), {
      starts: 1,
      isRebuilt: true,
    })
  })
})

function newestCopy(path: string): string {
  const names = readdirSync(join(path, 'copies')).filter((name) => name.startsWith('state-'))
  return join(path, 'copies', names.sort().at(-1) ?? '')
}

t.test('a store that fell back is found out', async (t) => {
  const path = await made(t)
  const before = join(temporaryDirectory(t), 'before.mdb')
  cpSync(join(path, 'state', 'data.mdb'), before)
  await opening(path, ({ state }) => state.store.commit(change([service('d')])))
  cpSync(before, join(path, 'state', 'data.mdb'))
  await opening(path, async ({ state, errors }) => {
    t.match(errors.join(), /it ends with change 3, its newest copy with 4/)
    t.same(await ids(state), ['a', 'b', 'c', 'd'])
  })
  cpSync(before, join(path, 'state', 'data.mdb'))
  for (const name of readdirSync(join(path, 'copies'))) {
    if (/[4-9]\.json$/.test(name)) writeFileSync(join(path, 'copies', name), '')
  }
  await opening(path, ({ state, errors }) => {
    t.match(errors.join(), /the state is older than a copy of it that is damaged/)
    t.equal(state.mayBeOlder, true)
  })
})

t.test('an unfinished first start is none', async (t) => {
  const path = join(temporaryDirectory(t), 'home')
  const home = await Home.open(path)
  const env = open<string, string>({ path: home.state, encoding: 'string' })
  await env.close()
  await home.close()
  await opening(path, ({ state, errors }) => t.match([state.isNew, errors], [true, []]))
  await opening(path, ({ state }) => t.equal(state.isNew, false))
  t.same(readdirSync(join(path, 'staging')), [])
})

t.test('a folder for copies that is none keeps nobody from starting', async (t) => {
  const path = await made(t)
  rmSync(join(path, 'copies'), { recursive: true })
  writeFileSync(join(path, 'copies'), '')
  await opening(path, async ({ state, errors }) => {
    await state.store.commit(change([service('d')]))
    t.match(errors, [/could not be copied.*EEXIST/])
    t.ok(state.copies.status().lastError)
  })
  rmSync(join(path, 'copies'))
  await opening(path, async ({ state, errors }) => {
    t.match([await ids(state), errors], [['a', 'b', 'c', 'd'], []])
  })
  t.ok(existsSync(join(path, 'copies', 'current')))
})

t.test('the store itself stays usable without its opener', async (t) => {
  const home = await Home.open(temporaryDirectory(t))
  const store = await LmdbStore.open(home.state)
  await store.commit(change([service('a')]))
  await store.touch([service('a')])
  t.match(store.totals, { records: 1, journal: 1, seq: 1, writes: 2 })
  await store.commit({ ...change([]), removes: [service('a'), service('never')] })
  t.match(store.totals, { records: 0, journal: 2, seq: 2, writes: 3 })
  await store.close()
  await home.close()
})

const CHILDREN = `/proc/self/task/${process.pid}/children`

/** Kills what this process starts while `work` is under way; returns how many. */
async function killing(times: number, work: () => Promise<unknown>): Promise<number> {
  const killed = new Set<number>()
  const timer = setInterval(() => {
    for (const pid of readFileSync(CHILDREN, 'utf8').trim().split(' ').map(Number)) {
      if (pid === 0 || killed.has(pid) || killed.size === times) continue
      process.kill(pid, 'SIGKILL')
      killed.add(pid)
    }
  }, 2)
  await work().finally(() => clearInterval(timer))
  return killed.size
}

const noChildren = existsSync(CHILDREN) ? false : 'the system does not tell the children'

t.test('a child killed by others says nothing of the store', { skip: noChildren }, async (t) => {
  const path = await made(t)
  const start = () => opening(path, () => t.fail('opened'))
  const line = /data\.mdb cannot be checked: .+killed from outside.+start again$/
  const refused = { code: 'ERR_STORE_FAILED', message: line }
  t.equal(await killing(Number.POSITIVE_INFINITY, () => t.rejects(start(), refused)), 2)
  const restart = () =>
    opening(path, async ({ state, errors }) => {
      t.match([state.isRebuilt, errors, await ids(state)], [false, [], ['a', 'b', 'c']])
    })
  t.equal(await killing(1, restart), 1, 'once is an accident, and it is asked again')
})

t.test('a child that takes too long, and one that cannot be started', async (t) => {
  const task = { kind: 'walk', directory: join(await made(t), 'state'), trial: null } as const
  t.match(await askStoreChild(task, 0, 1), { kind: 'damaged', reason: /does not come to an end/ })
  // More than the system takes for an argument: thrown at once, as want of memory is.
  const directory = 'x'.repeat(4 * 1024 * 1024)
  const unknown = { kind: 'unknown', reason: /no process can be started: spawn E2BIG/ }
  t.match(await askStoreChild({ ...task, directory }, 0), unknown)
  t.match(await askStoreChild(task, 0), { kind: 'ok', totals: { records: 3 } })
})
