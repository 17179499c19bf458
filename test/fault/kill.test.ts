/**
 * Goal: kill -9 of the whole node at any moment of any change loses nothing that was acknowledged
 * and leaves nothing half-done; and when only control is killed, the others leave by themselves.
 * Method: a driver outside keeps what was acknowledged and what was pending. All processes get
 * SIGKILL at a random moment of the operation's own duration, the node starts again on the same
 * data directory, and must be exactly where the acknowledged operations led, the pending ones done
 * or not done: in what it says, in what answers queries, on disk, and in its journal.
 *
 * SEED=… repeats the choices of a run.
 */

import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { nowMs } from '../../core/base/clock.ts'
import { Client } from '../tools/client.ts'
import { effort, effortLevel, sayEffort, scaled } from '../tools/effort.ts'
import {
  bundleNamed,
  generationsOf,
  generationsOnDisk,
  type Kind,
  stateOf,
} from '../tools/history.ts'
import { Life, ROW, ROW_SUM } from '../tools/life.ts'
import { freshHome, readyLine, remaining, startProcess } from '../tools/node.ts'
import { randomOf } from '../tools/random.ts'
import { KINDS, randomKill } from '../tools/random-kills.ts'

const KILLS = effortLevel() === 1 ? 6 : scaled(20)
/** Nodes that live and die beside each other, one for each of two cores. */
const LIVES = 2
const CONTROL_KILLS = effort(1, 10)

t.setTimeout(scaled(600_000))

/** What one of the lives is killed in: it goes on in the list where the one before it ends. */
function kindsOf(life: number): Kind[] {
  const kills = Math.ceil((KILLS - life) / LIVES)
  return Array.from(
    { length: kills },
    (_, i) => KINDS[(life * kills + i) % KINDS.length] ?? 'createKey',
  )
}

t.test('kill -9 of the whole node at any moment', async (t) => {
  const random = randomOf()
  const startMs = nowMs()
  sayEffort({ kills: KILLS, seed: random.seed })
  const randoms = Array.from({ length: LIVES }, (_, i) => randomOf(random.seed + i))
  const lives = await Promise.all(
    randoms.map(async (own, i) => {
      const life = new Life(t, own)
      const kinds = kindsOf(i)
      await life.begin(kinds)
      for (const kind of kinds) await randomKill(life, own, kind)
      await life.end()
      return life
    }),
  )
  const counts = lives.map(({ undecided }) => undecided)
  const done = counts.reduce((sum, one) => sum + one.done, 0)
  const notDone = counts.reduce((sum, one) => sum + one.notDone, 0)
  sayEffort({ kills: KILLS, unanswered: done + notDone, done, notDone, seed: random.seed })
  t.ok(done + notDone > 0, 'operations were met under way')
  t.comment(`${KILLS} kills in ${Math.round((nowMs() - startMs) / 1000)} s`)
})

t.test('kill -9 of control alone: the others leave, and a start at once works', async (t) => {
  const random = randomOf()
  const home = freshHome(t)
  const adminKey = randomBytes(18).toString('hex')
  const env = { SWITCHYARD_ADMIN_KEY: adminKey }
  let started = startProcess(t, { home, env })
  let ready = await readyLine(started)
  const args = ['--port', new URL(ready.url).port]
  const clientOf = () =>
    new Client({ ...ready, adminKey, home, log: started.log, stop: async () => 0 })
  await clientOf().deploy('s', 'g2', bundleNamed('g2'))
  for (let round = 1; round <= CONTROL_KILLS; round += 1) {
    const upload = clientOf().upload('s', `g${round + 2}`, bundleNamed(`g${round + 2}`))
    upload.catch(() => {})
    await sleep(random.below(300))
    const before = started
    before.child.kill('SIGKILL')
    const left = remaining(before)
    started = startProcess(t, { home, env, args })
    ready = await readyLine(started)
    t.same(await left, [], 'nobody of before is left after two seconds')
    const { status, body } = await clientOf().query('s/p/predict', ROW)
    t.equal(status, 200)
    t.equal(body.result.prediction, 2 * ROW_SUM)
    t.same(readdirSync(join(home, 'staging')), [])
    t.same(generationsOnDisk(home), generationsOf(await stateOf(clientOf())))
  }
})
