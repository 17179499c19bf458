/**
 * Composition root of the commands that are run instead of the node. stdout carries one JSON line
 * at the end, stderr what a person wants to see meanwhile and the reason of a failure.
 */

import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { AppError } from '../../core/base/errors.ts'
import { type CommandCall, readCommand } from './arguments.ts'
import { backup } from './backup.ts'
import { restore } from './restore.ts'

const FAILED = 1
const WRONG_USAGE = 2

export async function runCommand(): Promise<void> {
  const reading = readCommand({
    argv: process.argv.slice(2),
    env: process.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    cores: availableParallelism(),
    version: '',
  })
  switch (reading.kind) {
    case 'print':
      process.stdout.write(reading.text)
      return
    case 'wrong':
      say(reading.line)
      process.exitCode = WRONG_USAGE
      return
    case 'run':
      await run(reading.call)
  }
}

async function run(call: CommandCall): Promise<void> {
  // Digests of keys and models are nobody else's business.
  process.umask(0o077)
  try {
    const { directory, home, skipDamaged } = call
    const summary =
      call.command === 'backup'
        ? await backup({ home, target: directory, skipDamaged, say })
        : await restore({ home, source: directory, say })
    process.stdout.write(`${JSON.stringify({ event: call.command, ...summary })}\n`)
  } catch (error) {
    say(reasonOf(error))
    process.exitCode = FAILED
  }
}

function say(line: string): void {
  process.stderr.write(`switchyard: ${line}\n`)
}

/** One line for what the world caused; the rest is a bug and keeps its stack. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const isOfTheWorld = error instanceof AppError || 'syscall' in error
  return isOfTheWorld ? error.message : (error.stack ?? error.message)
}
