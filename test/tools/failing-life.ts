/** A life whose nodes are ended, or refused by their disk, at failpoints. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type Armed, FailpointFile } from './failpoint-file.ts'
import type { Kind, Operation } from './history.ts'
import { killAll, Life, type Strike, type Struck } from './life.ts'
import { remaining, type StartedProcess } from './node.ts'
import type { Random } from './random.ts'
import { until } from './waiting.ts'

/** A copy of the state follows a change within a second; a busy machine may need more. */
const AFTER_ANSWER_MS = 5_000
const START_MS = 60_000

export interface KillOptions {
  /** Armed beside the point. */
  readonly with?: readonly Armed[]
  /** The next starts die at these, one after the other. */
  readonly nextStarts?: readonly string[]
}

export class FailingLife {
  readonly life: Life
  readonly points: FailpointFile
  readonly #t: Test
  kills = 0

  constructor(t: Test, random: Random) {
    this.#t = t
    this.points = new FailpointFile(t)
    this.life = new Life(t, random, this.points.env)
  }

  /** Control kills itself at the point, inside an operation of this kind. */
  async killAt(point: string, kind: Kind, options: KillOptions = {}): Promise<void> {
    const operation = await this.life.choose(kind)
    // Whether it is removed at a change depends on its being there.
    if (point === 'copy.unmarked') await this.copied()
    const strike: Strike = async (struck) => {
      await this.#died(struck, point)
      for (const next of options.nextStarts ?? []) await this.dieInStart(next)
      return `killed at ${[point, ...(options.nextStarts ?? [])].join(', then at ')}`
    }
    this.points.arm(`${point} kill`, ...(options.with ?? []))
    await this.life.round([operation], strike)
  }

  /** Asked to stop, control kills itself at the point. */
  async killInStop(point: string): Promise<void> {
    this.points.arm(`${point} kill`)
    await this.life.round([], async (struck) => {
      struck.started.child.kill('SIGTERM')
      await this.#died(struck, point)
      return `killed at ${point}`
    })
  }

  /** All are killed, something happens to the data directory, and the next start dies too. */
  async killInStart(point: string, between: () => void): Promise<void> {
    await this.copied()
    await this.life.round([], async ({ started }) => {
      await killAll(started)
      between()
      await this.dieInStart(point)
      return `killed at ${point}`
    })
  }

  async dieInStart(point: string): Promise<void> {
    this.points.arm(`${point} kill`)
    await this.diedInStart(this.life.launch(), point)
  }

  /** Before it was ready. */
  async diedInStart(started: StartedProcess, point: string): Promise<void> {
    let ended = false
    void started.ended.then(() => {
      ended = true
    })
    await until(() => ended || started.stdout().includes('ready'), START_MS)
    await this.gone(started, point, ended ? START_MS : 0)
  }

  /** The step fails, and the node goes on. */
  async failAt(armed: Armed, kind: Kind): Promise<void> {
    const operation: Operation = await this.life.choose(kind)
    this.points.arm(armed)
    const { failure } = await this.life.refusedRound(operation, `${armed} in ${kind}`)
    if (failure !== null) this.#t.match(failure, /^50[037] \{/, `${armed} in ${kind}`)
    this.points.disarm()
  }

  /** Until the newest copy of the state holds all. */
  async copied(): Promise<void> {
    await until(() => existsSync(join(this.life.home, 'copies', 'current')), 20_000)
  }

  /** Control has ended at the point, and all others have left by themselves. */
  async gone(started: StartedProcess, point: string, limitMs: number): Promise<void> {
    const ended = started.ended.then(() => true)
    const isGone = await Promise.race([ended, sleep(limitMs, false, { ref: false })])
    this.#t.ok(isGone, `control ended at ${point}`)
    if (!isGone) await killAll(started)
    this.#t.same(await remaining(started), [], `nobody is left of the node that ended at ${point}`)
    this.points.disarm()
    this.kills += 1
  }

  async #died({ started, asked }: Struck, point: string): Promise<void> {
    const answered = Promise.all(asked.map(({ ended }) => ended))
    await Promise.race([started.ended, answered])
    await this.gone(started, point, asked.length > 0 ? AFTER_ANSWER_MS : START_MS)
  }
}
