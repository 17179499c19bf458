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
import { effort, sayEffort } from '../tools/effort.ts'
import { bundleNamed, generationsOf, generationsOnDisk, stateOf } from '../tools/history.ts'
import { KINDS, Life, ROW, ROW_SUM } from '../tools/life.ts'
import { freshHome, readyLine, remaining, startProcess } from '../tools/node.ts'
import { randomOf } from '../tools/random.ts'

const KILLS = effort(20, 200)
/** Nodes that live and die beside each other, one for each of two cores. */
const LIVES = 2
const CONTROL_KILLS = effort(2, 10)

t.setTimeout(600_000)

t.test('kill -9 of the whole node at any moment', async (t) => {
  const random = randomOf()
  const startMs = nowMs()
  sayEffort({ kills: KILLS, seed: random.seed })
  const lives = Array.from({ length: LIVES }, (_, i) => new Life(t, randomOf(random.seed + i)))
  await Promise.all(
    lives.map(async (life, i) => {
      await life.begin()
      for (let kill = i; kill < KILLS; kill += LIVES) {
        await life.round(KINDS[Math.floor(kill / LIVES) % KINDS.length] ?? 'createKey')
      }
      await life.end()
    }),
  )
  const counts = lives.map(({ undecided }) => undecided)
  const done = counts.reduce((sum, one) => sum + one.done, 0)
  const notDone = counts.reduce((sum, one) => sum + one.notDone, 0)
  sayEffort({ kills: KILLS, unanswered: done + notDone, done, notDone, seed: random.seed })
  t.ok(notDone > 0, 'operations were met under way')
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
