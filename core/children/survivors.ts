/**
 * Ends what a child has left behind. A process that detaches itself leaves the group of the child
 * that started it, but not the environment that it inherited, and there it is found by its mark.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { markOf, processIds, signal } from './processes.ts'

/** What forks as fast as it is killed is found in the next round. */
const ROUNDS_MAX = 50
const PAUSE_MS = 5

/** SIGKILL for all whose mark starts with one of these; settles when a look finds none. */
async function killMarked(marks: readonly string[]): Promise<number> {
  let killed = 0
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const found = await killOnce(marks)
    killed += found
    if (found === 0) return killed
    await sleep(PAUSE_MS)
  }
  return killed
}

async function killOnce(marks: readonly string[]): Promise<number> {
  let found = 0
  for (const pid of await processIds()) {
    const mark = await markOf(pid)
    if (mark === null || !marks.some((one) => mark.startsWith(one))) continue
    if (signal(pid, 'SIGKILL')) found += 1
  }
  return found
}

/** One look at all processes serves all children that have ended meanwhile. */
export class Sweeper {
  #waiting: { readonly mark: string; readonly done: () => void }[] = []
  #runs = false

  sweep(mark: string): Promise<void> {
    return new Promise((done) => {
      this.#waiting.push({ mark, done })
      if (!this.#runs) void this.#run()
    })
  }

  async #run(): Promise<void> {
    this.#runs = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      await killMarked(batch.map((one) => one.mark)).catch(() => 0)
      for (const one of batch) one.done()
    }
    this.#runs = false
  }
}
