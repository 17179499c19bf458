/**
 * Goal: a thread that loads lets others go first, and is as they are when it has loaded; nowhere
 * is a thread slowed down for good.
 *
 * Method: facts as kernels state them; what this very system lets a process do is found by a child
 * that tries; a pool loads while the nice values of all threads of this process are watched.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { SILENT } from '../../core/base/logger.ts'
import { TELEMETRY } from '../../core/config/telemetry.ts'
import { Pool } from '../../core/engine/pool.ts'
import { mayReturnTo, type ThreadFacts, yieldToOthers } from '../../workers/priority.ts'
import { denseModel } from '../tools/dense-model.ts'
import { endpoint, generationPlan, prediction } from '../tools/plans.ts'
import { NO_RUNTIMES } from '../tools/runtimes.ts'

// As serving processes do: else ONNX Runtime starts a thread of its own at the first load.
process.env[TELEMETRY.name] = TELEMETRY.off
const skip = existsSync('/proc/thread-self') ? false : 'only Linux has priorities of threads'
const LOADING = 10

const NOBODY: ThreadFacts = {
  status: 'Name:\tnode\nCapEff:\t0000000000000000\n',
  limits: 'Max nice priority         0                    0                    \n',
  uidMap: '         0          0 4294967295\n',
}
const ROOT: ThreadFacts = { ...NOBODY, status: 'CapEff:\t000001ffffffffff\n' }
const nicely = (soft: string): ThreadFacts => ({
  ...NOBODY,
  limits: `Max nice priority         ${soft.padEnd(20)} 40                   \n`,
})

t.test('who may come back to a nice value', async (t) => {
  t.notOk(mayReturnTo(0, NOBODY))
  t.ok(mayReturnTo(0, ROOT))
  t.notOk(mayReturnTo(0, { ...ROOT, status: 'CapEff:\t00000000a80425fb\n' }), 'as Docker starts it')
  t.notOk(mayReturnTo(0, { ...ROOT, uidMap: '0 100000 65536\n' }), 'root of a namespace only')
  t.ok(mayReturnTo(0, nicely('20')))
  t.notOk(mayReturnTo(0, nicely('19')))
  t.ok(mayReturnTo(5, nicely('15')), 'who is nice already needs less')
  t.ok(mayReturnTo(0, nicely('unlimited')))
  t.notOk(mayReturnTo(0, { status: '', limits: '', uidMap: '' }), 'nothing is known')
})

/** What the kernel says when it is asked, of a process that ends after it. */
function mayHere(): boolean {
  const tried = `const os = require('os'), before = os.getPriority(); os.setPriority(before + 1)
    try { os.setPriority(before); console.log('may') } catch { console.log('may not') }`
  return execFileSync(process.execPath, ['-e', tried], { encoding: 'utf8' }).trim() === 'may'
}

function nices(): number[] {
  return readdirSync('/proc/self/task').flatMap((id) => {
    try {
      return getPriority(Number(id))
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}

t.test('it is known what this system lets a thread do', { skip }, async (t) => {
  const before = getPriority()
  const fact = (name: string): string => readFileSync(`/proc/self/${name}`, 'latin1')
  const facts = { status: fact('status'), limits: fact('limits'), uidMap: fact('uid_map') }
  t.equal(mayReturnTo(before, facts), mayHere())
  const restore = await yieldToOthers()
  t.equal(getPriority(), mayHere() ? LOADING : before)
  t.equal(restore(), null)
  t.equal(getPriority(), before)
})

t.test('threads of a pool, while they load and after', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'switchyard-priority-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'model.onnx'), denseModel({ width: 800, layers: 3, seed: 1 }))
  const inputs = [{ shape: [null, 10], datatype: 'float32', name: 'x0', features: [] }] as const
  const plan = generationPlan([endpoint(prediction({ kind: 'RAW', model: 'model.onnx', inputs }))])
  const before = getPriority()
  const seen = new Set<number>()
  const watching = new AbortController()
  const watched = (async () => {
    while (!watching.signal.aborted) {
      for (const nice of nices()) seen.add(nice)
      await sleep(1)
    }
  })()
  const names = { serviceId: 's', generationId: 'g', directory, plan, settings: NO_RUNTIMES }
  const pool = await Pool.start({
    setup: { ...names, pool: 'cpu' },
    threads: 2,
    logger: SILENT,
    onThread: () => {},
    onDown: () => {},
  })
  watching.abort()
  await watched
  t.equal(seen.has(LOADING), mayHere())
  t.same(new Set(nices()), new Set([before]), 'all are as before')
  await pool.close()
})
