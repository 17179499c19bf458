/**
 * Goal: less than a second after a change the whole state is in a file that proves itself; a
 * back-up can see whether it has all; a disk that takes nothing is told of once.
 * Method: real files, a source of snapshots that the test holds, and one state of 10,000
 * generations for what it costs.
 */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { freshCopy } from '../../../admin/cli/fresh-copy.ts'
import { type Sealed, sealed, sealedEntry, sealedRecord } from '../../../admin/store/entries.ts'
import { canonicalJson } from '../../../admin/store/envelope.ts'
import { Home } from '../../../admin/store/home.ts'
import { LmdbStore } from '../../../admin/store/lmdb-store.ts'
import { COPY_JOURNAL_MAX, Mirror, type Snapshot } from '../../../admin/store/mirror.ts'
import { type CopyStatus, StateCopies } from '../../../admin/store/state-copies.ts'
import { copiesFolder, copyPieces, parseCopy, readCopy } from '../../../admin/store/state-copy.ts'
import { EMPTY_TOTALS } from '../../../admin/store/totals.ts'
import type { Logger } from '../../../core/base/logger.ts'
import { openControlPlane, temporaryDirectory } from '../../tools/control-plane.ts'
import { least, until } from '../../tools/waiting.ts'

/** The longest turn of the event loop that copying may take. */
const TURN_MS = 250

function entry(seq: number): Sealed {
  const nothing = { before: null, after: null }
  return sealedEntry({ seq, time: seq, actor: 'test', action: 'change', ...nothing })
}

function service(i: number): Sealed {
  const record = { id: `s${i}`, enabled: true, mapping: [], createdOn: i }
  return sealedRecord({ kind: 'service', record })
}

/** A store of which only the memory is real. */
class Source {
  readonly mirror = new Mirror()
  #seq = 0

  constructor() {
    this.mirror.fill(EMPTY_TOTALS, [], [])
  }

  change(puts: readonly Sealed[] = []): void {
    this.#seq += 1
    const change = { puts: [...puts, entry(this.#seq)], removes: [], seq: this.#seq }
    this.mirror.apply(change, this.mirror.totalsAfter(change))
  }

  snapshot(): Snapshot {
    return this.mirror.snapshot()
  }
}

interface Setting {
  readonly root: string
  readonly source: Source
  readonly copies: StateCopies
  readonly said: string[]
  /** As the store does for each write. */
  change(puts?: readonly Sealed[]): Promise<void>
  names(): string[]
}

async function setting(t: Test): Promise<Setting> {
  const root = temporaryDirectory(t)
  const source = new Source()
  const said: string[] = []
  const say = (_fields: object, message: string) => said.push(message)
  const logger: Logger = { debug() {}, info: say, warn: say, error: say }
  const copies = await StateCopies.open({ root, source, logger, isCurrent: false })
  t.teardown(() => copies.close())
  const change = async (puts: readonly Sealed[] = []): Promise<void> => {
    await copies.changing()
    source.change(puts)
    copies.changed()
  }
  const names = (): string[] => readdirSync(copiesFolder(root)).sort()
  return { root, source, copies, said, change, names }
}

t.test('a copy follows each change, three are kept, none is open to others', async (t) => {
  const { root, copies, change, names } = await setting(t)
  await until(() => names().includes('current'))
  for (let i = 1; i <= 5; i += 1) {
    await change([service(i)])
    t.notOk(names().includes('current'), 'the mark is gone before the change is acknowledged')
    await until(() => names().includes('current'))
    t.equal(copies.status().behindMs, 0)
  }
  const kept = [3, 4, 5].map((seq) => `state-00000000000${seq}.json`)
  t.same(names(), ['current', ...kept])
  const path = join(copiesFolder(root), 'state-000000000005.json')
  t.equal(statSync(path).mode & 0o777, 0o600)
  const text = readFileSync(path, 'utf8')
  const { body } = JSON.parse(text)
  t.ok(text.startsWith(`{"body":${canonicalJson(body)},"checksum":"`), 'canonical, once')
  t.match(body, { format: 2, seq: 5, writes: 5, records: { 'service/s1': { id: 's1' } } })
  t.equal(body.journal.length, 5)
})

t.test('while changes go on, copies are made all the same', async (t) => {
  const { copies, change, names } = await setting(t)
  let worstMs = 0
  const endMs = performance.now() + 4_000
  while (performance.now() < endMs) {
    await change()
    worstMs = Math.max(worstMs, copies.status().behindMs)
    await sleep(20)
  }
  t.ok(worstMs < 3_000, `a second behind, and on a busy machine ${Math.round(worstMs)} ms`)
  t.ok(names().length >= 3)
})

t.test('a change that comes while the copy is written stays visible as missing', async (t) => {
  const { root, source, copies, change } = await setting(t)
  await copies.close()
  for (let i = 0; i < 200; i += 1) {
    const again = await StateCopies.open({
      root,
      source,
      logger: { debug() {}, info() {}, warn() {}, error() {} },
      isCurrent: i % 2 === 0,
    })
    again.changed()
    const closing = again.close()
    await sleep(i % 7 === 0 ? 1 : 0)
    await again.changing()
    source.change()
    t.notOk(readdirSync(copiesFolder(root)).includes('current'), `${i}`)
    again.changed()
    await closing
    await again.close()
  }
  await change()
})

t.test('a disk that takes nothing is told of once, and tried again', async (t) => {
  const { root, copies, said, change } = await setting(t)
  await change()
  await until(() => existsSync(join(copiesFolder(root), 'current')))
  rmSync(copiesFolder(root), { recursive: true })
  writeFileSync(copiesFolder(root), 'a file where the folder was')
  await change()
  await until(() => copies.status().lastError !== null)
  t.match(copies.status(), { lastError: /EEXIST|ENOTDIR/ })
  t.ok(copies.status().behindMs > 0)
  await change()
  await copies.close()
  t.equal(said.filter((text) => text.includes('could not be copied')).length, 1)
  rmSync(copiesFolder(root))
  mkdirSync(copiesFolder(root))
  await copies.close()
  t.match(said.at(-1), /work again/)
  t.same(copies.status(), { behindMs: 0, lastError: null })
})

t.test('a copy that is not whole, or of another shape, is none', async (t) => {
  const source = new Source()
  source.change([service(1)])
  const good = [...copyPieces(source.snapshot(), 7)].join('')
  t.match(parseCopy(good), { kind: 'good', copy: { seq: 1, savedOn: 7 } })
  for (let i = 0; i < good.length; i += 1) {
    const char = good[i] === 'x' ? 'y' : 'x'
    const changed = good.slice(0, i) + char + good.slice(i + 1)
    if (parseCopy(changed).kind !== 'bad') t.fail(`character ${i}: ${char}`)
    if (parseCopy(good.slice(0, i)).kind !== 'bad') t.fail(`cut at ${i}`)
  }
  const wrong = new Source()
  wrong.change([sealed('service/s1', { id: 's1' })])
  t.match(parseCopy([...copyPieces(wrong.snapshot(), 7)].join('')), {
    reason: /service\/s1: enabled/,
  })
  const orphan = new Source()
  orphan.change([sealed('generation/s/v', {})])
  t.match(parseCopy([...copyPieces(orphan.snapshot(), 7)].join('')), { reason: /generation\/s\/v/ })
  t.match(await readCopy(join(temporaryDirectory(t), 'none')), { kind: 'bad', reason: /ENOENT/ })
})

t.test('health tells of copies that are a minute late, and why', async (t) => {
  let status: CopyStatus = { behindMs: 0, lastError: null }
  const copies = { status: () => status }
  const plane = await openControlPlane(temporaryDirectory(t), { copies })
  t.teardown(() => plane.close())
  t.match(plane.operations.health(), { status: 'HEALTHY' })
  status = { behindMs: 59_000, lastError: 'ENOSPC' }
  t.match(plane.operations.health(), { status: 'HEALTHY' })
  status = { behindMs: 61_000, lastError: 'ENOSPC' }
  const causes = ['the newest copy of the state is 61 s behind: ENOSPC']
  t.match(plane.operations.health(), { status: 'DEGRADED', details: { causes } })
})

t.test('a back-up of a node that changes and makes no copies holds all of it', async (t) => {
  const home = await Home.open(temporaryDirectory(t))
  const store = await LmdbStore.open(home.state)
  const stop = new AbortController()
  let made = 0
  const changing = async (): Promise<void> => {
    for (; !stop.signal.aborted; made += 1) {
      const record = { id: `s${made}`, enabled: true, mapping: [], createdOn: made }
      const nothing = { before: null, after: null, removes: [] }
      const puts = [{ kind: 'service', record } as const]
      await store.commit({ actor: 'test', action: 'change', ...nothing, puts })
      await sleep(5)
    }
  }
  const changes = changing()
  for (let i = 0; i < 4; i += 1) {
    const scratch = join(temporaryDirectory(t), 'reading')
    const acknowledged = made
    const said: string[] = []
    const say = (line: string) => void said.push(line)
    const text = await freshCopy({ root: home.root, scratch, say, waitMs: 50 })
    const reading = parseCopy(text)
    t.equal(reading.kind, 'good')
    t.ok(reading.kind === 'good' && reading.copy.seq >= acknowledged, `${acknowledged} changes`)
    t.match(said, [/^the node has not copied its state .+ its store is read instead$/])
    t.notOk(existsSync(scratch))
  }
  stop.abort()
  await changes
  // What cannot be proved whole is not handed out.
  const path = join(home.state, 'data.mdb')
  const bytes = readFileSync(path)
  writeFileSync(path, Buffer.concat([bytes.subarray(0, 8192), Buffer.alloc(bytes.length - 8192)]))
  const scratch = join(temporaryDirectory(t), 'reading')
  const damaged = freshCopy({ root: home.root, scratch, say: () => {}, waitMs: 50 })
  await t.rejects(damaged, {
    code: 'ERR_STORE_FAILED',
    message: /copies of its store were no good/,
  })
  writeFileSync(path, bytes)
  await store.close()
  await home.close()
})

t.test('10,000 records of 3 kB do not hold up the event loop; the journal is cut', async (t) => {
  const { root, source, copies, change, names } = await setting(t)
  const text = 'x'.repeat(3_000)
  for (let i = 0; i < 10_000; i += 1) {
    source.change([sealed(`generation/s/v${i}`, { id: `v${i}`, text })])
  }
  const worstMs = await least(TURN_MS, async () => {
    const delay = monitorEventLoopDelay({ resolution: 5 })
    delay.enable()
    await change()
    await until(() => names().includes('current'))
    delay.disable()
    return Math.round(delay.max / 1e6)
  })
  const path = join(copiesFolder(root), names().at(-1) ?? '')
  t.ok(statSync(path).size > 30_000_000)
  t.ok(worstMs < TURN_MS, `longest turn of the loop: ${worstMs} ms`)
  t.comment(`10,000 records: longest turn of the event loop ${worstMs} ms`)
  t.equal(JSON.parse(readFileSync(path, 'utf8')).body.journal.length, COPY_JOURNAL_MAX)
  t.equal(copies.status().behindMs, 0)
})
