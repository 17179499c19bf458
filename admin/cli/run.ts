/**
 * Runs the command that the arguments name, and turns whatever becomes of it into an exit code and
 * a line. Knows no process: the composition root gives it the world.
 */

import { AppError } from '../../core/base/errors.ts'
import { ApiClient } from './client.ts'
import type { CommandRow, Shell } from './command.ts'
import { adminTarget } from './connection.ts'
import { CommandFailure, EXIT, failureJson, wrongUsage } from './failures.ts'
import { Output } from './output.ts'
import { type Chosen, overviewText, readCommandLine } from './program.ts'
import { faultLines } from './refusals.ts'

export interface CommandLine {
  readonly rows: readonly CommandRow[]
  readonly argv: readonly string[]
  readonly shell: Shell
}

/** The exit code. */
export async function runCommandLine({ rows, argv, shell }: CommandLine): Promise<number> {
  const [first, second] = argv
  if (argv.length === 1 && (first === '--help' || first === '-h' || first === 'help')) {
    shell.out(overviewText(rows))
    return EXIT.done
  }
  // `help services create` and `services help`, as other programs have them.
  if (first === 'help') return runCommandLine({ rows, shell, argv: [...argv.slice(1), '--help'] })
  const isGroup = rows.some(({ name }) => name.startsWith(`${first} `))
  if (first !== undefined && isGroup && second === 'help' && argv.length === 2) {
    return runCommandLine({ rows, shell, argv: [first, '--help'] })
  }
  // What there is not has no help either.
  const isKnown = rows.some(({ name }) => name === first || name.startsWith(`${first} `))
  const asked = isKnown ? argv : argv.filter((word) => word !== '--help' && word !== '-h')
  const reading = readCommandLine(rows, asked)
  switch (reading.kind) {
    case 'print':
      shell.out(reading.text)
      return EXIT.done
    case 'wrong': {
      const wrong = wrongUsage(`${reading.line}; see ${reading.help}`)
      return tellFailure(new Output(shell, argv.includes('--json')), wrong)
    }
    case 'run':
      return run(shell, reading.chosen)
  }
}

async function run(shell: Shell, { row, args, flags }: Chosen): Promise<number> {
  const output = new Output(shell, flags.isSet('json'))
  try {
    const admin = async (): Promise<ApiClient> => new ApiClient(await adminTarget(shell, flags))
    await row.run({ shell, args, flags, output, admin })
    return EXIT.done
  } catch (error) {
    return tellFailure(output, error)
  }
}

/** The exit code. */
function tellFailure(output: Output, error: unknown): number {
  const isListed = error instanceof AppError && error.faults.length > 1
  output.say(reasonOf(error), isListed ? faultLines(error.faults) : [])
  if (output.isJson && !output.hasAnswered) output.answer(failureJson(error), () => '')
  return error instanceof CommandFailure ? error.exitCode : EXIT.failed
}

/** One line for what the world caused; the rest is a bug and keeps its stack. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const isOfTheWorld = error instanceof AppError || 'syscall' in error
  const text = isOfTheWorld ? error.message : (error.stack ?? error.message)
  return isOfTheWorld ? text.replace(/\s*\n\s*/g, ' ') : text
}
