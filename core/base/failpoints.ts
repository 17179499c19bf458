/**
 * Named points between two steps of a change, at which the project's own tests end this process,
 * let the step fail as on a full disk, or hold it up. Nobody else has a use for them.
 *
 * They are asleep unless the environment names a file when control starts; then `failpoint` is one
 * comparison, and none stands where queries are answered. The file holds lines of `POINT ACTION
 * [SKIP]` and is read at every point that is reached, so that a test can arm a node that runs. Each
 * line acts once, after it was passed SKIP times. What is reached is written down beside the file.
 */

import { appendFileSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Names the file; read by the composition root of control. */
export const FAILPOINTS_ENV = 'SWITCHYARD_FAILPOINTS'

const DELAY_MS = 300

interface Armed {
  readonly point: string
  readonly action: string
  /** How often it is still passed; below zero: it has acted. */
  skip: number
}

class Failpoints {
  readonly #path: string
  #text = ''
  #armed: Armed[] = []

  constructor(path: string) {
    this.#path = path
  }

  reach(point: string): Promise<void> | undefined {
    const action = this.#actionAt(point)
    appendFileSync(`${this.#path}.reached`, `${point} ${action ?? 'passed'}\n`)
    switch (action) {
      case 'kill':
        process.kill(process.pid, 'SIGKILL')
        return
      case 'throw':
        throw new Error(`the failpoint ${point}`)
      case 'enospc':
        throw noSpace(point)
      case 'delay':
        return sleep(DELAY_MS)
      default:
        return
    }
  }

  #actionAt(point: string): string | null {
    const text = readFileSync(this.#path, 'utf8')
    if (text !== this.#text) this.#arm(text)
    const found = this.#armed.find((one) => one.point === point && one.skip >= 0)
    if (found === undefined) return null
    found.skip -= 1
    return found.skip < 0 ? found.action : null
  }

  #arm(text: string): void {
    this.#text = text
    this.#armed = text.split('\n').flatMap((line) => {
      const [point = '', action = '', skip = '0'] = line.split(' ')
      return action === '' ? [] : [{ point, action, skip: Number(skip) }]
    })
  }
}

/** As the file system throws it. */
function noSpace(point: string): Error {
  const error = new Error(`ENOSPC: no space left on device, failpoint ${point}`)
  return Object.assign(error, { code: 'ENOSPC', syscall: 'write' })
}

let failpoints: Failpoints | null = null

export function armFailpoints(path: string): void {
  failpoints = new Failpoints(path)
}

/** Each name stands in one place of the sources. */
export function failpoint(name: string): Promise<void> | undefined {
  return failpoints?.reach(name)
}
