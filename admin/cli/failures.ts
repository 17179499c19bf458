/**
 * How a command ends that does not succeed: one line for people, the node's own answer for
 * machines, and an exit code that scripts can tell apart.
 */

import { AppError, type ErrorCode, type Fault, messageOf } from '../../core/base/errors.ts'

/** Also told by `--help`. */
export const EXIT = { done: 0, failed: 1, usage: 2, unreachable: 3 } as const

interface FailureFacts {
  readonly exitCode: number
  readonly code?: ErrorCode
  readonly faults?: readonly Fault[]
  /** What the node said, as it said it. */
  readonly answer?: unknown
}

/** What machines are told of a failure that no node has described, by its exit code. */
const TYPES: Readonly<Record<number, string>> = {
  [EXIT.usage]: 'WrongUsage',
  [EXIT.unreachable]: 'NodeUnreachable',
}

export class CommandFailure extends AppError {
  readonly exitCode: number
  readonly answer: unknown
  /** Most failures of a command itself are in no table of the node. */
  readonly hasCode: boolean

  constructor(line: string, facts: FailureFacts) {
    super(facts.code ?? 'ERR_INTERNAL', line, facts.faults ?? [])
    this.exitCode = facts.exitCode
    this.answer = facts.answer
    this.hasCode = facts.code !== undefined
  }
}

/** The command cannot be done as it was asked for; nothing was tried. */
export function wrongUsage(line: string): CommandFailure {
  return new CommandFailure(line, { exitCode: EXIT.usage })
}

export function failed(line: string, faults: readonly Fault[] = []): CommandFailure {
  return new CommandFailure(line, { exitCode: EXIT.failed, faults })
}

/** What is printed with --json in place of an answer. */
export function failureJson(error: unknown): object {
  if (error instanceof CommandFailure && isObject(error.answer)) return error.answer
  const message = messageOf(error)
  const exitCode = error instanceof CommandFailure ? error.exitCode : EXIT.failed
  const isCoded = error instanceof CommandFailure ? error.hasCode : error instanceof AppError
  const faults = error instanceof AppError ? error.faults : []
  return {
    errorType: TYPES[exitCode] ?? 'CommandFailed',
    message,
    detailedMessage: message,
    ...(isCoded && error instanceof AppError ? { code: error.code } : {}),
    ...(faults.length > 0 ? { faults } : {}),
  }
}

/** Why a file cannot be read, without the names of system calls. */
export function whyUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return UNREADABLE[code] ?? messageOf(error)
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'it belongs to somebody else',
  EPERM: 'it belongs to somebody else',
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
