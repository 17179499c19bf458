/**
 * How a command ends that does not succeed: one line for people, the node's own answer for
 * machines, and an exit code that scripts can tell apart.
 */

import { AppError, type ErrorCode, type Fault } from '../../core/base/errors.ts'

/** Also told by `--help`. */
export const EXIT = { done: 0, failed: 1, usage: 2, unreachable: 3 } as const

interface FailureFacts {
  readonly exitCode: number
  readonly code?: ErrorCode
  readonly faults?: readonly Fault[]
  /** What the node said, as it said it. */
  readonly answer?: unknown
}

export class CommandFailure extends AppError {
  readonly exitCode: number
  readonly answer: unknown

  constructor(line: string, facts: FailureFacts) {
    super(facts.code ?? 'ERR_INTERNAL', line, facts.faults ?? [])
    this.exitCode = facts.exitCode
    this.answer = facts.answer
  }
}

/** The command cannot be done as it was asked for; nothing was tried. */
export function wrongUsage(line: string): CommandFailure {
  return new CommandFailure(line, { exitCode: EXIT.usage, code: 'ERR_PARAMETER_INVALID' })
}

export function failed(line: string, faults: readonly Fault[] = []): CommandFailure {
  return new CommandFailure(line, { exitCode: EXIT.failed, faults })
}

/** What is printed with --json in place of an answer. */
export function failureJson(error: unknown): object {
  if (error instanceof CommandFailure && isObject(error.answer)) return error.answer
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof AppError ? error.code : 'ERR_INTERNAL'
  const faults = error instanceof AppError ? error.faults : []
  return {
    errorType: 'CommandFailed',
    message,
    detailedMessage: message,
    code,
    ...(faults.length > 0 ? { faults } : {}),
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
