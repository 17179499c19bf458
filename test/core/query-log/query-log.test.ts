/**
 * Goal: the main thread never waits for the writer, whatever becomes of that; each line is in a
 * file or counted, and the file tells how many are missing.
 * Method: the real thread on real folders: undisturbed, on a full disk, where it may not write,
 * stuck in a system call, and dying of errors.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { compiled } from '../../../bench/paths.ts'
import { nowMs } from '../../../core/base/clock.ts'
import { AppError } from '../../../core/base/errors.ts'
import type { DesiredService, QueryLogPolicy } from '../../../core/channel/messages.ts'
import { QueryLog } from '../../../core/query-log/query-log.ts'
import { ALL, type Line, loggedLines, pendingOf } from '../../tools/logged.ts'
import { smallDisk, whyNoSmallDisk } from '../../tools/small-disk.ts'
import { until } from '../../tools/waiting.ts'

const MIB = 1024 * 1024
const ODD = new URL(`file://${compiled('test/tools/writer-child.ts')}`)
const LONG = `"${'x'.repeat(20_000)}"`

interface Wish {
  readonly home?: string
  readonly writer?: URL
}

function logging(t: Test, wish: Wish = {}) {
  const home = wish.home ?? mkdtempSync(join(tmpdir(), 'switchyard-query-log-'))
  if (wish.home === undefined) t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const directory = join(home, 'query-log')
  const said: string[] = []
  const say = (_: object, message: string) => void said.push(message)
  const logger = { info: say, warn: say, error: say, debug: say }
  const settings = { directory, fileBytesMax: 64 * MIB, totalBytesMax: 1024 * MIB }
  const { writer } = wish
  const log = new QueryLog({ settings, logger, ...(writer === undefined ? {} : { writer }) })
  t.teardown(() => log.close(1_000))
  const totals = { written: 0, dropped: 0 }
  const drain = () => {
    const [delta] = log.drain()
    totals.written += delta?.written ?? 0
    totals.dropped += delta?.dropped ?? 0
    return { ...totals, trouble: delta?.trouble ?? null }
  }
  const endpoint = (policy: QueryLogPolicy = ALL) => log.logOf(serviceOf(policy), 'v1', 'score')
  /** Records so many; each line says which it is. */
  const ask = (lines: number, answer = '1') => {
    const one = endpoint()
    for (let i = 0; i < lines; i++) one?.record(pendingOf({ body: `${i}` }), 200, answer)
  }
  const read = () => loggedLines(home, 'svc')
  return { log, directory, said, drain, endpoint, ask, read }
}

function serviceOf(queryLog: QueryLogPolicy): DesiredService {
  return { serviceId: 'svc', enabled: true, mapping: [], queryLog }
}

const droppedIn = (lines: readonly Line[]): number =>
  lines.reduce((sum, { dropped = 0 }) => sum + dropped, 0)
const queriesIn = (lines: readonly Line[]): Line[] => lines.filter((line) => 'status' in line)

/** Whoever opens the other end lets it go; renamed first, for it is to be met no more. */
function letGo(fifo: string): void {
  renameSync(fifo, `${fifo}-no-more`)
  writeFileSync(`${fifo}-no-more`, '')
}

t.test('off is nothing; what is on is written within a second, and all of it', async (t) => {
  const { log, drain, endpoint, ask, read } = logging(t)
  t.equal(endpoint({ mode: 'off', share: 0 }), null)
  t.equal(log.logOf({ serviceId: 'svc', enabled: true, mapping: [] }, 'v1', 'score'), null)
  ask(1)
  await until(() => read().length === 1)
  ask(30_000)
  log.refused({
    ...{ service: serviceOf(ALL), endpointId: 'none', generationId: null, callerId: null },
    ...{ requestId: 'r', error: new AppError('ERR_ENDPOINT_UNKNOWN') },
  })
  t.equal(await log.close(10_000), true)
  const lines = read()
  t.equal(lines.length, 30_002)
  t.same(
    lines.slice(1, -1).findIndex(({ request }: Line, i: number) => request !== i),
    -1,
    'in their order',
  )
  t.match(lines.at(-1), { endpoint: 'none', status: 404, requestId: 'r' })
  t.same(drain(), { written: 30_002, dropped: 0, trouble: null })
})

t.test('whoever waits for the thread finds it there, and all mended', async (t) => {
  const none = logging(t)
  t.equal(none.log.prepare([{ serviceId: 'svc', enabled: true, mapping: [] }]), null)
  await none.log.prepare([serviceOf(ALL)])
  t.equal(none.log.prepare([serviceOf(ALL)]), null, 'it is waited for once')
  none.ask(3)
  t.equal(await none.log.close(10_000), true)
  t.equal(none.read().length, 3)

  const home = mkdtempSync(join(tmpdir(), 'switchyard-query-log-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  mkdirSync(join(home, 'query-log', 'svc'), { recursive: true })
  const whole = '{"time":"2026-01-01T00:00:00.000Z","service":"svc","status":200}\n'
  const left = join(home, 'query-log', 'svc', '2026-01-01T00-00-00.000Z-99999999-1.jsonl')
  writeFileSync(left, `${whole}{"time":"2026-`)
  const some = logging(t, { home })
  await some.log.prepare([])
  t.equal(some.log.prepare([]), null)
  t.equal(some.read().length, 1)
})

t.test('a writer that is stuck in the system', async (t) => {
  const { log, directory, drain, ask, read } = logging(t, { writer: ODD })
  ask(1)
  await until(() => read().length === 1)
  const stuck = join(directory, 'stuck')
  t.equal(spawnSync('mkfifo', [stuck]).status, 0)
  const startMs = nowMs()
  ask(20_000, LONG)
  t.ok(nowMs() - startMs < 10_000, 'nobody waits')
  const { dropped } = drain()
  t.ok(dropped > 10_000, `${dropped} of 20,000 had no room`)
  t.equal(await log.close(50), false, 'it says that the thread cannot end')
  t.equal(drain().dropped, 20_000, 'and gives up all that was with it')
  letGo(stuck)
})

t.test('what was dropped stands in the file', async (t) => {
  const { log, directory, drain, ask, read } = logging(t, { writer: ODD })
  ask(1)
  await until(() => read().length === 1)
  const stuck = join(directory, 'stuck')
  spawnSync('mkfifo', [stuck])
  ask(5_000, LONG)
  const { dropped } = drain()
  t.ok(dropped > 1_000, `${dropped} dropped`)
  letGo(stuck)
  await log.flush(10_000)
  ask(1)
  t.equal(await log.close(10_000), true)
  const lines = read()
  t.equal(droppedIn(lines), dropped, 'the file says how many')
  t.equal(queriesIn(lines).length, 5_002 - dropped)
  t.same(drain(), { written: 5_002 - dropped, dropped, trouble: null })
})

t.test('a writer that dies is replaced', async (t) => {
  const { log, directory, said, drain, ask, read } = logging(t, { writer: ODD })
  ask(10)
  await until(() => read().length === 10)
  for (let death = 1; death <= 2; death++) {
    writeFileSync(join(directory, 'fails'), '')
    ask(1)
    await log.flush(10_000)
    await until(() => said.length === death)
    const before = queriesIn(read()).length
    await until(() => {
      ask(1)
      return queriesIn(read()).length > before
    })
  }
  t.equal(await log.close(10_000), true)
  const { written, dropped } = drain()
  t.equal(queriesIn(read()).length, written)
  t.ok(dropped >= 2, `${dropped} were with it`)
  t.equal(droppedIn(read()), dropped)
  t.same(new Set(said), new Set(['the writer of the query log has failed']))
})

t.test('where nothing can be written', async (t) => {
  const { log, directory, said, drain, ask, read } = logging(t)
  mkdirSync(dirname(directory), { recursive: true })
  writeFileSync(directory, 'a file in the place of the folder')
  ask(10)
  await log.flush(10_000)
  t.same(drain(), { written: 0, dropped: 10, trouble: 'ENOTDIR' })
  t.same(said, ['the query log cannot be written; lines are dropped'])
  ask(10)
  await log.flush(10_000)
  t.equal(said.length, 1, 'said once')
  rmSync(directory)
  await until(() => drain().trouble === null)
  t.equal(droppedIn(read()), 20, 'told without another query')
  t.same(said.slice(1), ['the query log is written again'])
})

t.test('a full disk', { skip: whyNoSmallDisk() ?? false }, async (t) => {
  const disk = smallDisk(t, 4 * MIB)
  const { log, drain, ask, read } = logging(t, { home: disk.path })
  ask(100)
  await log.flush(10_000)
  disk.keepFull()
  for (let i = 0; i < 50; i++) {
    ask(100, LONG)
    await log.flush(10_000)
  }
  const full = drain()
  t.equal(full.trouble, 'ENOSPC')
  t.equal(full.written + full.dropped, 5_100)
  t.equal(queriesIn(read()).length, full.written, 'no line is torn')
  disk.release()
  ask(7)
  await log.flush(10_000)
  await until(() => drain().trouble === null)
  t.equal(await log.close(10_000), true)
  const lines = read()
  t.equal(droppedIn(lines), full.dropped, 'the file says how many are missing')
  t.equal(queriesIn(lines).length, full.written + 7)
})
