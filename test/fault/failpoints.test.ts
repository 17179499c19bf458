/**
 * Goal: whatever step of a change the node ends in, nothing that was acknowledged is lost, what was
 * not is done wholly or not at all, and nothing is left over: no file, no row, no process. Method:
 * named points stand between the steps (core/base/failpoints.ts). At each of them control kills
 * itself in the middle of a random operation; the others must leave by themselves, and a node
 * starts again and must be where a pure model of the acknowledged history leads. At some the disk
 * is full instead, or a write fails without saying whether it was done: then the node goes on, and
 * what it says of itself is still so after a restart.
 *
 * A quick run takes a third of the points by chance. SEED=… repeats the choices of a run; EFFORT=2
 * and more take all points, EFFORT=25 makes more than 1,000 kills.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FormStore } from '../../admin/store/form-store.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import { compiled, ROOT } from '../../bench/paths.ts'
import { FAILPOINTS_ENV } from '../../core/base/failpoints.ts'
import { effortLevel, sayEffort, scaled } from '../tools/effort.ts'
import { FailingLife } from '../tools/failing-life.ts'
import { FailpointFile, failpointsInSources } from '../tools/failpoint-file.ts'
import { bundleNamed, type Kind } from '../tools/history.ts'
import { freshHome, readyLine, remaining, startProcess } from '../tools/node.ts'
import { type Random, randomOf } from '../tools/random.ts'
import { KINDS } from '../tools/random-kills.ts'

const points = failpointsInSources()
const names = points.map(({ name }) => name)
const reached = new Set<string>()
/** A start follows each kill, which makes this the longest test: a quick run tries a part of it. */
const QUICK_SHARE = 1 / 3

const DELETES: readonly Kind[] = ['deleteGeneration', 'deleteService']
const MAPPINGS: readonly Kind[] = ['switchGeneration', 'setMapping']
/** Points of operations by how their names begin, and in which kinds they are reached. */
const REACHED_IN: readonly (readonly [RegExp, readonly Kind[]])[] = [
  // Those of staged and placed files are met in starts().
  [/^(upload\.|move\.|import\.(forged|flushed)$)/, ['importGeneration']],
  [/^discard\./, DELETES],
  [/^delete\./, ['deleteGeneration']],
  [/^service\./, ['deleteService']],
  [/^mapping\./, MAPPINGS],
  [/^(commit|copy|answer)\./, [...new Set(KINDS)]],
]
/** Of a first start, in its order: each start gets a step further. */
const FIRST_START = [
  ...['folder.made', 'home.locked', 'lock.aside', 'state.staged', 'state.flushed'],
  ...['start.counted', 'write.unnamed', 'write.named', 'admin-key.kept', 'reserve.written'],
]
/** What a data directory may hold; of a store that was damaged its remains too. */
const IN_HOME = new RegExp(
  `^(${[
    'copies',
    'compiled',
    'first-admin-key',
    'generations',
    'query-log',
    'reserve',
    'run',
    'staging',
    'starting',
    'state',
    String.raw`state\.damaged-.*`,
  ].join('|')})$`,
)

t.setTimeout(scaled(300_000))

t.test('the points stand where nobody pays for them, and nobody is offered them', async (t) => {
  t.equal(new Set(names).size, names.length, 'each name in one place')
  t.ok(names.length >= 40, `${names.length} points`)
  const outside = points.filter(({ path }) => !path.startsWith('admin/'))
  t.same(outside, [], 'none where queries are answered')
  for (const file of ['README.md', 'CHANGELOG.md', 'package.json', 'core/config/options.ts']) {
    t.notMatch(readFileSync(join(ROOT, file), 'utf8'), FAILPOINTS_ENV, file)
  }
})

t.test('killed at each point', async (t) => {
  const random = randomOf()
  sayEffort({ seed: random.seed })
  const all = chosenPoints(random)
  const middle = Math.ceil(all.length / 2)
  // Two beside each other, one for each of two cores.
  const lives = await Promise.all([
    aLife(t, randomOf(random.seed), all.slice(0, middle), [starts, stops, uncertain]),
    aLife(t, randomOf(random.seed + 1), all.slice(middle), [
      (failing) => repairs(t, failing),
      (failing, random) => firstStart(t, failing, random),
      (failing) => seldom(t, failing),
    ]),
  ])
  const kills = lives.reduce((sum, one) => sum + one.kills, 0)
  const undecided = lives.map(({ life }) => life.undecided)
  const done = undecided.reduce((sum, one) => sum + one.done, 0)
  const notDone = undecided.reduce((sum, one) => sum + one.notDone, 0)
  sayEffort({ kills, points: names.length, done, notDone, seed: random.seed })
})

t.test('every point was reached', async (t) => {
  const missed = names.filter((name) => !reached.has(name))
  if (effortLevel() > 1) t.same(missed, [])
  else t.ok(reached.size >= 10, `not this time: ${missed.join(', ')}`)
})

/** Of operations: each that REACHED_IN knows, in a quick run some of them. */
function chosenPoints(random: Random): string[] {
  const all = names.filter((name) => REACHED_IN.some(([pattern]) => pattern.test(name)))
  if (effortLevel() > 1) return all
  return all.filter(() => random.next() < QUICK_SHARE)
}

async function aLife(
  t: Test,
  random: Random,
  own: readonly string[],
  parts: readonly ((failing: FailingLife, random: Random) => Promise<void>)[],
): Promise<FailingLife> {
  const failing = new FailingLife(t, random)
  await failing.life.begin()
  for (let pass = 0; pass < effortLevel(); pass += 1) {
    for (const point of own) {
      const kinds = REACHED_IN.find(([pattern]) => pattern.test(point))?.[1] ?? []
      await failing.killAt(point, random.pick(kinds))
    }
    const more = effortLevel() > 1 ? parts : [random.pick(parts)]
    for (const part of more) await part(failing, random)
    // Few services, so that starts stay short.
    while (Object.keys(failing.life.state.services).length > 5) {
      await failing.life.perform('deleteService')
    }
  }
  await failing.life.end()
  inHome(t, failing.life.home)
  for (const name of failing.points.reached()) reached.add(name)
  return failing
}

function inHome(t: Test, home: string): void {
  const unknown = readdirSync(home).filter((name) => name !== 'lock' && !IN_HOME.test(name))
  t.same(unknown, [], 'nothing else lies in the data directory')
}

/** A start that is killed while it puts in order what another kill has left. */
async function starts(failing: FailingLife): Promise<void> {
  await failing.killAt('import.staged', 'importGeneration', { nextStarts: ['recover.staging'] })
  await failing.killAt('import.placed', 'importGeneration', { nextStarts: ['recover.orphan'] })
  const damage = (): void => {
    const file = openSync(join(failing.life.home, 'state', 'data.mdb'), 'r+')
    writeSync(file, Buffer.alloc(16_384), 0, 16_384, 0)
  }
  for (const point of ['rebuild.aside', 'rebuild.emptied', 'state.named']) {
    await failing.killInStart(point, damage)
  }
}

async function stops(failing: FailingLife, random: Random): Promise<void> {
  for (const point of ['close.copied', 'close.stored', 'keys.touched']) {
    await failing.life.perform(random.pick(['createKey', 'createService', 'disableService']))
    await failing.life.perform('createKey')
    // Used, so that there is something to write down.
    await failing.life.settle([], point)
    await failing.killInStop(point)
  }
}

/** What fails may be done or not, and is the same to the node, its callers and the next start. */
async function uncertain(failing: FailingLife, random: Random): Promise<void> {
  const { life } = failing
  for (const kind of ['importGeneration', ...DELETES, ...MAPPINGS, 'deleteKey'] as const) {
    await failing.failAt(`commit.visible ${random.pick(['throw', 'enospc'] as const)}`, kind)
  }
  for (const kind of ['createService', random.pick(MAPPINGS)] as const) {
    await failing.failAt('commit.begin enospc', kind)
  }
  const first = random.pick(['upload.received', 'import.staged', 'import.flushed'])
  for (const point of [first, random.pick(['move.ready', 'move.renamed'])]) {
    await failing.failAt(`${point} enospc`, 'importGeneration')
  }
  await failing.failAt('commit.visible delay', 'switchGeneration')
  await failing.failAt('discard.aside enospc', 'deleteGeneration')
  for (const point of ['copy.flushed', 'copy.named'] as const) {
    await failing.failAt(`${point} enospc`, 'createKey')
  }
  await life.stop()
  await life.start()
  await life.settle([], 'after what failed')
  life.checkDisk('after what failed')
}

/** Files that were lost are imported again; and an import that has no room takes its files away. */
async function repairs(t: Test, failing: FailingLife): Promise<void> {
  const { life } = failing
  const lines = ['commit.begin enospc'] as const
  await failing.killAt('import.dropped', 'importGeneration', { with: lines })
  await life.perform('importGeneration')
  const operation = await life.choose('switchGeneration')
  if (operation.kind !== 'switchGeneration') throw new Error('it is a switch')
  const { service, generation } = operation
  const upload = () => {
    const { client } = life.running()
    return client.upload(service, generation, bundleNamed(generation))
  }
  const folder = join(life.home, 'generations', service, generation)
  await life.stop()
  rmSync(join(folder, 'service.json'))
  for (const point of ['import.discarded', 'import.repaired']) {
    await life.start()
    failing.points.arm(`${point} kill`)
    await upload().catch(() => null)
    await failing.gone(life.running().started, point, 5_000)
    t.equal(existsSync(folder), point === 'import.repaired')
    if (point === 'import.discarded') continue
    await life.start()
    t.equal((await upload()).status, 200, 'the same again is no other')
    await life.settle([], point)
    life.checkDisk(point)
  }
}

/** A directory that nobody has used: each start dies a step later, and the last one is whole. */
async function firstStart(t: Test, failing: FailingLife, random: Random): Promise<void> {
  const home = freshHome(t)
  const env = { ...failing.points.env, SWITCHYARD_ADMIN_KEY: '' }
  const twice = random.pick(['commit.begin', 'commit.visible', 'commit.durable'])
  for (const point of [...FIRST_START, twice]) {
    failing.points.arm(`${point} kill`)
    await failing.diedInStart(startProcess(t, { home, env }), point)
  }
  const started = startProcess(t, { home, env })
  const { adminUrl } = await readyLine(started)
  const key = readFileSync(join(home, 'first-admin-key'), 'utf8').trim()
  const headers = { authorization: `Bearer ${key}` }
  const { status } = await fetch(`${adminUrl}/admin/api/keys`, { headers })
  t.equal(status, 200, 'the key in the file opens the node')
  started.child.kill('SIGTERM')
  t.equal(await started.ended, 0)
  t.same(await remaining(started), [])
  t.same(readdirSync(join(home, 'staging')), [])
  inHome(t, home)
}

/** What a node does once in a thousand changes, or once a model. */
async function seldom(t: Test, failing: FailingLife): Promise<void> {
  const points = new FailpointFile(t)
  for (const [point, task] of [
    ['append.written', 'trim'],
    ['trim.exported', 'trim'],
    ['form.noted', 'note'],
    ['form.aside', 'drop'],
  ] as const) {
    const home = freshHome(t)
    points.arm(`${point} kill`)
    const first = aChild(home, points, task)
    t.equal(await first.ended, 'SIGKILL', point)
    failing.kills += 1
    points.disarm()
    const second = aChild(home, points, task)
    t.equal(await second.ended, 0, `${task} after a kill at ${point}`)
    if (task === 'trim')
      await checkJournal(t, home, [...first.acknowledged, ...second.acknowledged])
    else
      t.equal((await new FormStore(join(home, 'compiled')).list()).length, task === 'note' ? 1 : 0)
  }
  for (const name of points.reached()) reached.add(name)
}

function aChild(home: string, points: FailpointFile, task: string) {
  const acknowledged: number[] = []
  const entry = compiled('test/tools/failpoint-child.ts')
  const child: ChildProcess = fork(entry, [home, points.path, task])
  child.on('message', (seq) => acknowledged.push(Number(seq)))
  const ended = once(child, 'exit').then(([code, signal]) => signal ?? code)
  return { acknowledged, ended }
}

/** Each change that was acknowledged is in the journal, or in the file of the older ones. */
async function checkJournal(t: Test, home: string, seqs: readonly number[]): Promise<void> {
  const state = join(home, 'state')
  const store = await LmdbStore.open(state)
  const kept = (await store.journal(100)).map(({ seq }) => seq)
  await store.close()
  const lines = readFileSync(join(state, 'journal.jsonl'), 'utf8').trimEnd().split('\n')
  const known = new Set([...kept, ...lines.map((line): number => JSON.parse(line).seq)])
  t.same(
    seqs.filter((seq) => !known.has(seq)),
    [],
    'no entry is lost',
  )
}
