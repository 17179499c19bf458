/** Asks before something goes that does not come back: a person at a terminal, never a script. */

import { createInterface } from 'node:readline'
import type { Call, OptionRow } from './command.ts'
import { failed } from './failures.ts'

export const YES_OPTION: OptionRow = {
  name: '--yes',
  about: 'do not ask first; without a terminal nobody is asked',
}

/** Throws when the answer is not yes. */
export async function confirm(call: Call, question: () => Promise<string>): Promise<void> {
  const { shell, flags } = call
  if (shell.ask === null || flags.isSet('yes')) return
  if (!(await shell.ask(`${await question()} [y/N] `))) throw failed('nothing was deleted')
}

/** One line of it; whoever says nothing says no. */
export async function askedOf(input: NodeJS.ReadableStream): Promise<boolean> {
  const lines = createInterface({ input })
  for await (const line of lines) {
    lines.close()
    return /^\s*y(es)?\s*$/i.test(line)
  }
  return false
}
