/**
 * Goal: whatever happens to the files of the state, the node starts with the last good state or
 * says by name what is wrong. It never dies of what it reads and never serves another state.
 * Method: a data directory with free, overflow and branch pages and three copies of three states.
 * Each trial damages a clone of it in a way chosen from a seed, often its copies too, opens it in a
 * child as control does, and compares every record; some trials start whole nodes.
 *
 * SEED=… repeats the choices of a run; DAMAGE=name tries one way only.
 */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Home } from '../../admin/store/home.ts'
import { openState } from '../../admin/store/opener.ts'
import type { StateRecord } from '../../admin/store/records.ts'
import { copyNames } from '../../admin/store/state-copy.ts'
import { compiled } from '../../bench/paths.ts'
import { SILENT } from '../../core/base/logger.ts'
import { temporaryDirectory } from '../tools/control-plane.ts'
import { damageCopy, damageStore, STORE_DAMAGES } from '../tools/damage.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { readyLine, startProcess } from '../tools/node.ts'
import type { OpenerReport } from '../tools/opener-child.ts'
import { endpoint, generationPlan, prediction } from '../tools/plans.ts'
import { type Random, randomOf } from '../tools/random.ts'

const TRIALS = effort(26, 100)
const NODES = effort(3, 30)
/** Trials beside each other, one for each of two cores. */
const LANES = 2
const SERVICES = 40
const KILLS = effort(5, 60)
const ONLY = process.env['DAMAGE']
const WAYS = ONLY === undefined ? STORE_DAMAGES : [ONLY]

const OPENER = compiled('test/tools/opener-child.ts')

interface Template {
  readonly home: string
  /** data.mdb as it was when the first copy was made. */
  readonly older: string
  /** Records at each copy, newest first; as JSON. */
  readonly states: readonly string[]
}

/** By service. */
function records(round: number): StateRecord[][] {
  return Array.from({ length: SERVICES }, (_, i): StateRecord[] => {
    const id = `s${i}`
    const model = `model-${'x'.repeat((i * 211) % 9_000)}.onnx`
    const plan = generationPlan([endpoint(prediction({ kind: 'RAW', model }))])
    const digest = { sha256: String(i).padStart(64, '0'), createdOn: round }
    const report = { forgedOn: 1, durationMs: 1, peakMemoryBytes: 1, runtime: 'test', files: 1 }
    return [
      { kind: 'service', record: { id, enabled: true, mapping: [], createdOn: round } },
      { kind: 'key', record: { id, label: id, allowedServices: [], lastUse: null, ...digest } },
      {
        kind: 'generation',
        record: {
          serviceId: id,
          id: `v${round}`,
          endpoints: [],
          plan,
          report: { ...report, unpackedBytes: 1, endpoints: [] },
          bytes: 1,
          sequence: i,
          ...digest,
        },
      },
    ]
  })
}

/** Three rounds of changes, each ended in order and so with a copy of its own. */
async function makeTemplate(t: Test): Promise<Template> {
  const root = temporaryDirectory(t)
  const path = join(root, 'home')
  const older = join(root, 'older.mdb')
  const states: string[] = []
  for (let round = 1; round <= 3; round += 1) {
    const home = await Home.open(path)
    const state = await openState({ home, logger: SILENT })
    const change = { actor: 'test', action: 'fill', before: null, after: { round } }
    for (const [i, puts] of records(round).entries()) {
      const removes = (records(round - 1)[i] ?? []).filter(({ kind }) => kind === 'generation')
      await state.store.commit({ ...change, puts, removes })
    }
    states.unshift(JSON.stringify(await state.store.load()))
    await state.close()
    await home.close()
    if (round === 1) cpSync(join(path, 'state', 'data.mdb'), older)
    const [copy = ''] = await copyNames(join(path, 'copies'))
    cpSync(join(path, 'copies', copy), join(root, 'copies', copy))
  }
  // A slow round was copied more than once.
  rmSync(join(path, 'copies'), { recursive: true })
  cpSync(join(root, 'copies'), join(path, 'copies'), { recursive: true })
  return { home: path, older, states }
}

interface Trial {
  readonly name: string
  readonly home: string
  /** The state of the newest copy that is good; null: none is. */
  readonly copied: string | null
  /** What a store that fell back holds itself: all that is left when no copy is good either. */
  readonly older: string | null
}

async function prepare(template: Template, root: string, i: number): Promise<Trial> {
  const random = randomOf(seed + i)
  const home = join(root, `trial-${i}`)
  cpSync(template.home, home, { recursive: true })
  const how = WAYS[i % WAYS.length] ?? ''
  const names = await copyNames(join(home, 'copies'))
  // Mostly none; then the newest, the two newest, all.
  const count = Math.max(0, random.below(7) - 3)
  const copies = names.slice(0, count).map((name) => damageCopy(join(home, 'copies', name), random))
  damageStore(how, { home, older: template.older, random })
  const name = `${i}: ${how}, copies: ${copies.join(', ') || 'good'}`
  const older = how === 'rolledBack' ? (template.states.at(-1) ?? null) : null
  return { name, home, copied: template.states[count] ?? null, older }
}

interface Ended {
  readonly code: number | string
  readonly output: string
  readonly complaint: string
}

function opened(home: string): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { encoding: 'utf8', maxBuffer: 2 ** 26, timeout: 120_000 } as const
    execFile(process.execPath, [OPENER, home], options, (error, output, complaint) => {
      resolve({ code: error === null ? 0 : (error.signal ?? error.code ?? -1), output, complaint })
    })
  })
}

/** What became of a trial: `intact`, `rebuilt`, `rebuilt from an older copy`, `refused`. */
function judge(t: Test, trial: Trial, newest: string, ended: Ended): string {
  if (ended.code !== 0) {
    t.fail(`${trial.name}: ended with ${ended.code}: ${ended.complaint}`)
    return 'died'
  }
  const report: OpenerReport = JSON.parse(ended.output)
  if (report.refused !== null) {
    t.match(
      report.refused,
      /data\.mdb: .+; no copy of it is good \(state-.+\); restore/,
      trial.name,
    )
    t.equal(trial.copied, null, `${trial.name}: refused although a copy is good`)
    t.notOk(report.refused.includes('\n'), 'one line')
    return 'refused'
  }
  const state = JSON.stringify(report.records)
  const isOlder = state !== newest
  const wanted = trial.copied ?? trial.older
  // Compared by hand: a difference would be printed, and it is long.
  if (isOlder) t.ok(state === wanted, `${trial.name}: the state of the newest good copy`)
  if (isOlder) t.ok(report.errors.length > 0, `${trial.name}: said loudly`)
  t.ok(report.lasts, `${trial.name}: can be written and opened again ${report.errors.join('; ')}`)
  if (!report.rebuilt) return 'intact'
  t.match(report.errors.join('\n'), /rebuilt from a copy .*"reason":".+"copy":"state-/, trial.name)
  return isOlder ? 'rebuilt from an older copy' : 'rebuilt'
}

const random: Random = randomOf()
const { seed } = random

let made: Promise<Template> | null = null
function template(): Promise<Template> {
  made ??= makeTemplate(t)
  return made
}

t.test('every way of damage', async (t) => {
  t.comment(`SEED=${seed}`)
  const whole = await template()
  const [newest = ''] = whole.states
  const root = temporaryDirectory(t)
  const outcomes: Record<string, number> = {}
  let next = 0
  const lane = async (): Promise<void> => {
    for (let i = next++; i < TRIALS; i = next++) {
      const trial = await prepare(whole, root, i)
      const outcome = judge(t, trial, newest, await opened(trial.home))
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      t.same(readdirSync(join(trial.home, 'staging')), [], `${trial.name}: ${outcome}`)
      rmSync(trial.home, { recursive: true })
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  if (ONLY === undefined) t.ok((outcomes['rebuilt'] ?? 0) > TRIALS / 4, JSON.stringify(outcomes))
  sayEffort({ seed, trials: TRIALS, ...outcomes })
})

/** Without what the opener itself has written. */
function withoutOurs(state: readonly StateRecord[]): string {
  return JSON.stringify(state.filter(({ record }) => !record.id.startsWith('after-')))
}

t.test('a start that is killed while it puts things right is no other damage', async (t) => {
  const whole = await template()
  const root = temporaryDirectory(t)
  let [slowestMs, died] = [0, 0]
  for (let i = 0; i <= KILLS; i += 1) {
    const home = join(root, `killed-${i}`)
    cpSync(whole.home, home, { recursive: true })
    const how = random.pick([
      'zeroed',
      'pageNoise',
      'missing',
      'noState',
      'rolledBack',
      'directory',
    ])
    damageStore(how, { home, older: whole.older, random })
    const startMs = performance.now()
    const child = spawn(process.execPath, [OPENER, home], { stdio: 'ignore', detached: true })
    // The first one is not killed: it tells how long they take.
    const timer = setTimeout(
      () => {
        // The child that reads the store too, as when a machine loses power.
        process.kill(-Number(child.pid), 'SIGKILL')
        died += 1
      },
      i === 0 ? 60_000 : slowestMs * random.next(),
    )
    await once(child, 'exit')
    clearTimeout(timer)
    slowestMs = Math.max(slowestMs, performance.now() - startMs)
    const { code, output, complaint } = await opened(home)
    t.equal(code, 0, complaint)
    const report: OpenerReport = JSON.parse(output || '{}')
    t.equal(report.refused, null, `${i}: ${how}`)
    t.equal(withoutOurs(report.records), whole.states[0], `${i}: ${how}`)
    rmSync(home, { recursive: true })
  }
  sayEffort({ seed, startsKilled: died })
})

t.test('whole nodes', async (t) => {
  const whole = await template()
  const root = temporaryDirectory(t)
  const outcomes: Record<string, number> = {}
  for (let i = 0; i < NODES; i += 1) {
    const trial = await prepare(whole, root, 1_000 + i * 7)
    const started = startProcess(t, { home: trial.home })
    const ready = await readyLine(started).catch(() => null)
    if (ready === null) {
      t.equal(await started.ended, 1, `${trial.name}: ended in order`)
      t.match(started.log(), /^switchyard: .+\n$/m, trial.name)
      t.equal(trial.copied, null, `${trial.name}: refused although a copy is good`)
    } else {
      const headers = { authorization: `Bearer ${started.adminKey}` }
      const answer = await fetch(`${ready.adminUrl}/admin/api/services`, { headers })
      const services: unknown[] = JSON.parse(await answer.text())
      t.equal(services.length, SERVICES, `${trial.name}: all services are there`)
      started.child.kill('SIGTERM')
      t.equal(await started.ended, 0, trial.name)
      const log = started.log()
      const aside = readdirSync(trial.home).some((name) => name.startsWith('state.damaged-'))
      if (aside) t.match(log, /the state has been rebuilt from a copy/, `${trial.name}: said`)
    }
    const outcome = ready === null ? 'refused' : 'served'
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    t.notOk(existsSync(join(trial.home, 'lock')), 'the directory is free again')
  }
  sayEffort({ seed, nodes: NODES, ...outcomes })
})

t.test('files that are open to others are closed to them', async (t) => {
  const { home, older } = await template()
  damageStore('openForAll', { home, older, random })
  const { code } = await opened(home)
  t.equal(code, 0)
  const modes = ['state', 'state/data.mdb', 'copies'].map(
    (name) => statSync(join(home, name)).mode & 0o077,
  )
  t.same(modes, [0, 0, 0])
})
