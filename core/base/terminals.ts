/**
 * Knows whether a terminal was closed under a process. Node sets its terminals back when it exits
 * and aborts when one of them is gone; with threads around such an abort may never end, so whoever
 * exits asks here first.
 */

import { isatty } from 'node:tty'

const STANDARD = [0, 1, 2]

export class Terminals {
  readonly #found = STANDARD.filter((descriptor) => isatty(descriptor))

  /** True when one that was there at the start is closed by now. */
  get lost(): boolean {
    return this.#found.some((descriptor) => !isatty(descriptor))
  }
}
