/** Settings of the node for commands that do a part of its work, some from options of theirs. */

import { readFileSync } from 'node:fs'
import { type Config, readConfig } from '../../core/config/config.ts'
import type { Shell } from './command.ts'
import { wrongUsage } from './failures.ts'
import type { Flags } from './flags.ts'

/** `names`: options of the command that are the node's too. */
export function nodeSettings(shell: Shell, flags: Flags, names: readonly string[]): Config {
  const argv = names.flatMap((name) => {
    const value = flags.text(name)
    return value === null ? [] : [`--${name}`, value]
  })
  const { env, cores, version } = shell
  const readFile = (path: string): string => readFileSync(path, 'utf8')
  const reading = readConfig({ argv, env, readFile, cores, version })
  if (reading.kind === 'run') return reading.config
  throw wrongUsage(reading.kind === 'wrong' ? reading.line : 'these settings run nothing')
}
