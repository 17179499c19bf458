/**
 * Goal: a back-up of a node that goes on changing holds everything that was acknowledged before it
 * was asked for, and a node restored from it answers predictions and accepts the same keys; what is
 * damaged is named, and a restore may be interrupted anywhere.
 * Method: whole nodes and the commands as a person runs them, beside a stream of changes; files are
 * damaged byte by byte; restores are killed at random moments and run again. Commands run in this
 * process where only their answer is of interest.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import {
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { open } from 'lmdb'
import t from 'tap'
import { sealed } from '../../admin/store/entries.ts'
import { Home } from '../../admin/store/home.ts'
import { LmdbStore } from '../../admin/store/lmdb-store.ts'
import { compiled, ROOT } from '../../bench/paths.ts'
import { bundleOf, Client } from '../tools/client.ts'
import { runHere, shellOf } from '../tools/command-shell.ts'
import { temporaryDirectory } from '../tools/control-plane.ts'
import { effort, sayEffort } from '../tools/effort.ts'
import { freshHome, readyLine, startNode, startProcess } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { randomOf } from '../tools/random.ts'

const KILLS = effort(5, 40)
const ROW = { features: { f0: 1, f1: 2 } }

interface Run {
  readonly code: number | null
  readonly line: string
  readonly said: string
}

function command(args: readonly string[], home: string): ChildProcess {
  const env = { PATH: process.env['PATH'], SWITCHYARD_HOME: home }
  return spawn(process.execPath, [compiled('core/main.ts'), ...args], { env, stdio: 'pipe' })
}

async function run(home: string, ...args: string[]): Promise<Run> {
  const child = command(args, home)
  let [line, said] = ['', '']
  child.stdout?.on('data', (text) => {
    line += text
  })
  child.stderr?.on('data', (text) => {
    said += text
  })
  const [code] = await once(child, 'close')
  return { code, line, said }
}

/** As `run`, but not as a process of its own. */
async function runInside(home: string, ...args: string[]): Promise<Run> {
  const env = { PATH: process.env['PATH'], SWITCHYARD_HOME: home }
  const { code, stdout, stderr } = await runHere(shellOf(home, { env }), args)
  return { code, line: stdout, said: stderr }
}

/** Services that stay and generations that come and go, one after the other; returns how many. */
async function changing(client: Client, stop: AbortSignal): Promise<number[]> {
  const staying = async (): Promise<number> => {
    let count = 0
    for (; !stop.aborted; count += 1) {
      await client.admin('POST', '/services', { serviceId: `made-${count}` })
      await sleep(20)
    }
    return count
  }
  const passing = async (): Promise<number> => {
    let count = 0
    for (; !stop.aborted; count += 1) {
      await client.upload('passing', `v${count}`, bundleOf(regressor(2, count)))
      await client.admin('DELETE', `/services/passing/generations/v${count}`)
    }
    return count
  }
  return Promise.all([staying(), passing()])
}

async function services(client: Client): Promise<string[]> {
  const { body } = await client.admin('GET', '/services')
  return body.map(({ serviceId }: { serviceId: string }) => serviceId)
}

async function journalOf(path: string) {
  const home = await Home.open(path)
  const store = await LmdbStore.open(home.state)
  const journal = await store.journal(100_000)
  await store.close()
  await home.close()
  return journal
}

/** What lasts longer than one test. */
const t0 = t

/** A back-up of a node with a public service and one for keys; made once. */
let made: { home: string; target: string; key: string } | null = null

t.test('a back-up of a living node holds all that was acknowledged before', async (t) => {
  const node = await startNode(t, { home: freshHome(t0) })
  const client = new Client(node)
  await client.deploy('open', 'v1', bundleOf(regressor(2)))
  await client.deploy('closed', 'v1', bundleOf(regressor(2), {}, { authorization: 'API_KEYS' }))
  await client.admin('POST', '/services', { serviceId: 'passing' })
  const { body: key } = await client.admin('POST', '/auth/keys', { label: 'mine' })
  const stop = new AbortController()
  const stream = changing(client, stop.signal)
  for (let i = 0; i < effort(2, 10); i += 1) {
    const last = await client.admin('POST', '/services', { serviceId: `last-${i}` })
    t.equal(last.status, 200)
    const target = join(temporaryDirectory(t0), 'backup')
    const { code, line, said } = await run(node.home, 'backup', target)
    t.equal(code, 0, said)
    t.match(JSON.parse(line), { event: 'backup', directory: target, skipped: [] })
    t.equal(line.trim().split('\n').length, 1)
    t.match(said, /every file was read back and is right/)
    const { body } = JSON.parse(readFileSync(join(target, 'state.json'), 'utf8'))
    t.ok(body.records[`service/last-${i}`], 'what was acknowledged last is there')
    made = { home: node.home, target, key: key.key }
  }
  stop.abort()
  const [staying = 0, passing = 0] = await stream
  t.ok(staying > 2 && passing > 0, `beside ${staying} services and ${passing} generations`)
  t.equal(await node.stop(), 0)
})

function backedUp() {
  if (made === null) throw new TypeError('no back-up was made')
  return made
}

t.test('a restored node answers, accepts the keys, and keeps the journal', async (t) => {
  const { target, key } = backedUp()
  const home = freshHome(t)
  const { code, line, said } = await run(home, 'restore', target)
  t.equal(code, 0, said)
  t.match(JSON.parse(line), { event: 'restore', home, skipped: [] })
  const journal = await journalOf(home)
  t.match(journal[0], { actor: 'node', action: 'restore', seq: JSON.parse(line).seq + 1 })
  t.same(journal.at(-1)?.seq, 1, 'from the first change on')

  const node = await startNode(t, { home })
  const client = new Client(node)
  const { body } = JSON.parse(readFileSync(join(target, 'state.json'), 'utf8'))
  const kept = Object.keys(body.records).filter((name) => name.startsWith('service/'))
  t.same((await services(client)).sort(), kept.map((name) => name.slice(8)).sort())
  t.equal((await client.query('open/p/predict', ROW)).status, 200)
  const headers = { authorization: `Bearer ${key}` }
  t.equal((await client.query('closed/p/predict', ROW, headers)).status, 200)
  t.equal((await client.query('closed/p/predict', ROW)).status, 401)
  const { code: again, said: why } = await runInside(home, 'restore', target)
  t.match([again, why], [1, /holds a state already|is held by/])
  t.equal(await node.stop(), 0)
  t.notMatch(node.log(), /"level":50/)
})

/** All files below a directory, with their hashes. */
function contentOf(root: string): Record<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort()
  const files = names.filter((name) => statSync(join(root, name)).isFile())
  return Object.fromEntries(
    files.map((name) => [name, hash('sha256', readFileSync(join(root, name)))]),
  )
}

t.test('a node that is not running is backed up to its last change', async (t) => {
  const started = startProcess(t)
  const node = await readyLine(started)
  const client = new Client({ ...started, ...node, stop: async () => 0 })
  t.equal((await client.admin('POST', '/services', { serviceId: 'late' })).status, 200)
  started.child.kill('SIGKILL')
  await started.ended
  const target = join(temporaryDirectory(t), 'backup')
  // As a version before the totals would have left it.
  const env = open<string, string>({ path: join(started.home, 'state'), encoding: 'string' })
  await env.remove('meta/totals')
  await env.put('meta/format', sealed('meta/format', 1).text)
  await env.close()
  rmSync(join(started.home, 'copies'), { recursive: true })
  rmSync(join(started.home, 'lock'), { force: true })
  const before = contentOf(started.home)
  const { code, said } = await run(started.home, 'backup', target)
  t.equal(code, 0, said)
  t.same(contentOf(started.home), before, 'the data directory is as it was')
  t.same(readdirSync(target).sort(), ['backup.json', 'state.json'])
  t.match(readFileSync(join(target, 'state.json'), 'utf8'), /"service\/late"/)
})

t.test('a damaged model is named, and left out when that is asked for', async (t) => {
  const home = freshHome(t)
  cpSync(backedUp().home, home, { recursive: true, verbatimSymlinks: true })
  const model = join(home, 'generations/open/v1/model.onnx')
  flip(model)
  const target = join(temporaryDirectory(t), 'backup')
  const { code, line, said } = await runInside(home, 'backup', target)
  t.match([code, line], [1, ''])
  t.match(said, /^switchyard: generation open\/v1 is damaged: .+--skip-damaged$/m)
  t.notOk(existsSync(join(target, 'backup.json')), 'no back-up')
  rmSync(target, { recursive: true })
  const left = await run(home, 'backup', target, '--skip-damaged')
  t.match([left.code, JSON.parse(left.line).skipped], [0, ['open/v1']])

  const other = freshHome(t)
  t.equal((await runInside(other, 'restore', target)).code, 0)
  const node = await startNode(t, { home: other })
  const reply = await new Client(node).query('open/p/predict', ROW)
  t.equal(reply.status, 503, 'the service says that its files are missing')
  t.match(JSON.stringify(reply.body), /missing/)
  await node.stop()
})

/** One bit in the middle. */
function flip(path: string): void {
  const bytes = readFileSync(path)
  const at = bytes.length >> 1
  bytes[at] = (bytes[at] ?? 0) ^ 1
  writeFileSync(path, bytes)
}

t.test('a damaged back-up restores nothing', async (t) => {
  const { target } = backedUp()
  const damages: readonly (readonly [string, (path: string) => void, RegExp])[] = [
    ['backup.json', flip, /backup\.json: the checksum does not match/],
    ['backup.json', rmSync, /backup\.json: it cannot be read: this is no back-up/],
    ['state.json', flip, /state\.json: the checksum does not match/],
    ['state.json', rmSync, /state\.json: ENOENT/],
    ['generations/open/v1/model.onnx', flip, /generation open\/v1: model\.onnx is damaged/],
    ['generations/open/v1/model.onnx', rmSync, /generation open\/v1: model\.onnx is missing/],
    ['generations/open/v1/more', (path) => writeFileSync(path, ''), /more does not belong to it/],
  ]
  for (const [name, damage, reason] of damages) {
    const copy = join(temporaryDirectory(t), 'backup')
    cpSync(target, copy, { recursive: true })
    damage(join(copy, name))
    const home = freshHome(t)
    const { code, said } = await runInside(home, 'restore', copy)
    t.equal(code, 1, name)
    t.match(said, reason, name)
    t.equal(said.trim().split('\n').length, 1, 'one line')
    t.notOk(existsSync(home), `${name}: nothing was made`)
  }
})

t.test('a restore that is killed is run again', async (t) => {
  const { target } = backedUp()
  const { seed, below } = randomOf()
  const startedMs = performance.now()
  t.equal((await run(freshHome(t), 'restore', target)).code, 0)
  const wholeMs = performance.now() - startedMs
  let interrupted = 0
  for (let i = 0; i < KILLS; i += 1) {
    const home = freshHome(t)
    const child = command(['restore', target], home)
    // The second half, where it changes something; the first is spent on loading and reading.
    await sleep(wholeMs * (0.3 + below(70) / 100))
    child.kill('SIGKILL')
    const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode]
    if (code !== 0) interrupted += 1
    const again = await runInside(home, 'restore', target)
    const isDone = /holds a state already/.test(again.said)
    t.ok(again.code === 0 || isDone, `SEED=${seed} ${i}: ${again.said}`)
    t.same(readdirSync(join(home, 'generations/open/v1')).sort(), ['model.onnx', 'service.json'])
    t.equal((await journalOf(home))[0]?.action, 'restore')
    t.notOk(existsSync(join(home, 'restoring')))
  }
  sayEffort({ seed, restoresKilled: interrupted, of: KILLS })
})

const noRoot = process.geteuid?.() === 0 ? false : 'only root can give files away'

t.test('root keeps nobody from his data directory', { skip: noRoot }, async (t) => {
  const { target } = backedUp()
  const [folder, uid] = [temporaryDirectory(t), 12_345]
  chownSync(folder, uid, uid)
  const home = join(folder, 'of', 'mine')
  t.equal((await run(home, 'restore', target)).code, 0)
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  t.ok(names.includes('of/mine/state/data.mdb'))
  t.same([...new Set(names.map((name) => lstatSync(join(folder, name)).uid))], [uid])
  const started = startProcess(t, { home })
  t.equal(await started.ended, 1)
  t.match(started.log(), /belongs to user 12345, .+; start as that user, or take it over: chown/)
  t.equal((await run(home, 'backup', join(temporaryDirectory(t), 'backup'))).code, 0)
  const after = readdirSync(home, { recursive: true, encoding: 'utf8' })
  t.same(
    after.filter((name) => lstatSync(join(home, name)).uid === 0),
    [],
  )
})

t.test('files of a back-up are copies, and only the owner reads them', async () => {
  const { home, target } = backedUp()
  const name = 'generations/open/v1/model.onnx'
  const [one, other] = [statSync(join(home, name)), statSync(join(target, name))]
  t.not(one.ino, other.ino)
  t.equal(other.nlink, 1)
  for (const path of ['', 'backup.json', 'state.json', 'generations', name]) {
    t.equal(statSync(join(target, path)).mode & 0o077, 0, path)
  }
})

t.test('wrong usage', async (t) => {
  const { home, target } = backedUp()
  const link = join(temporaryDirectory(t), 'link')
  symlinkSync(home, link)
  const cases: readonly (readonly [string[], number, RegExp])[] = [
    [['backup'], 2, /missing required argument/],
    [['backup', 'a', 'b'], 2, /too many arguments/],
    [['restore', 'a', '--skip-damaged'], 2, /unknown option/],
    [['backup', target], 1, /is not empty/],
    [['backup', join(home, 'inside')], 1, /outside the data directory/],
    [['backup', join(link, 'in/side')], 1, /outside the data directory/],
    [['backup', join(home, 'inside'), '--home', link], 1, /outside the data directory/],
    [['backup', join(target, '../new'), '--home', join(home, 'none')], 1, /no data directory/],
    [['restore', home, '--home', join(target, '../new')], 1, /this is no back-up/],
    [['restore', target], 1, /holds a state already/],
  ]
  for (const [i, [args, code, reason]] of cases.entries()) {
    const result = await (i === 0 ? run : runInside)(home, ...args)
    t.equal(result.code, code, args.join(' '))
    t.match(result.said, reason, args.join(' '))
    t.equal(result.said.trim().split('\n').length, 1, 'one line')
  }
  const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  t.ok(statSync(join(ROOT, bin.switchyard)).mode & 0o100, 'npx can run it')
  const help = await run(home, '--help')
  t.match(help.line, /backup <directory> .+\n.*restore <directory>/)
  t.match((await runInside(home, 'restore', '--help')).line, /Usage: switchyard restore/)
})
