/**
 * What `switchyard backup` and `switchyard restore` are told. The data directory comes from the
 * same settings as that of the node, so that both speak of the same one.
 */

import { Command, CommanderError } from 'commander'
import { type ConfigSources, readConfig } from '../../core/config/config.ts'

export interface CommandCall {
  readonly command: 'backup' | 'restore'
  /** The back-up, as it was written. */
  readonly directory: string
  readonly home: string
  readonly skipDamaged: boolean
}

export type CommandReading =
  | { readonly kind: 'run'; readonly call: CommandCall }
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'wrong'; readonly line: string }

interface Flags {
  readonly home?: string
  readonly config?: string
  readonly skipDamaged?: boolean
}

export function readCommand(sources: ConfigSources): CommandReading {
  const parsed = parse(sources.argv)
  if (parsed.kind !== 'parsed') return parsed
  const { command, directory, flags } = parsed
  const argv = (['home', 'config'] as const).flatMap((name) => {
    const value = flags[name]
    return value === undefined ? [] : [`--${name}`, value]
  })
  const reading = readConfig({ ...sources, argv })
  if (reading.kind !== 'run') return reading
  const { home } = reading.config
  const skipDamaged = flags.skipDamaged === true
  return { kind: 'run', call: { command, directory, home, skipDamaged } }
}

type Parsed =
  | Exclude<CommandReading, { kind: 'run' }>
  | {
      readonly kind: 'parsed'
      readonly command: CommandCall['command']
      readonly directory: string
      readonly flags: Flags
    }

function parse(argv: readonly string[]): Parsed {
  let written = ''
  const write = (text: string): void => {
    written += text
  }
  let parsed: Parsed = { kind: 'wrong', line: 'backup or restore, and a directory' }
  const program = new Command('switchyard')
  const add = (command: CommandCall['command'], about: string): Command =>
    program
      .command(command)
      .description(about)
      .argument('<directory>', 'where the back-up is')
      .option('--home <text>', 'data directory (SWITCHYARD_HOME, default: ./data)')
      .option('--config <text>', 'JSON file with settings, as for the node (SWITCHYARD_CONFIG)')
      .helpOption('--help', 'print this text')
      .allowExcessArguments(false)
      .exitOverride()
      .configureOutput({ writeOut: write, writeErr: write })
      .action((directory: string, flags: Flags) => {
        parsed = { kind: 'parsed', command, directory, flags }
      })
  add(
    'backup',
    'Copies state and bundles of a node, running or not, into a new directory. ' +
      'The data directory stays as it is.',
  ).option('--skip-damaged', 'leave out generations whose files are damaged, and say which')
  add(
    'restore',
    'Makes a new data directory out of a back-up; the node must not run. Run by root, it gives ' +
      'the files to the owner of the directory, or of the one above a new one.',
  )
  try {
    program.exitOverride().parse(argv, { from: 'user' })
    return parsed
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return { kind: 'print', text: written }
    const line = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ')
    return { kind: 'wrong', line }
  }
}
