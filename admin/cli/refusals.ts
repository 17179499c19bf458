/** From an error object of the node to the one line, and the list of faults, that people read. */

import { ERROR_TABLE, type ErrorCode, type Fault } from '../../core/base/errors.ts'
import type { Target } from './connection.ts'
import { CommandFailure, EXIT } from './failures.ts'
import { fieldOf, recordOf, textOf } from './fields.ts'

type Asked = Pick<Target, 'api'>

interface Refused {
  readonly status: number
  readonly body: unknown
}

export function refusalOf({ status, body }: Refused, { api }: Asked): CommandFailure {
  const fields = recordOf(body)
  const faults = faultsOf(fields['faults'])
  const message = textOf(fields['message'])
  const detailed = textOf(fields['detailedMessage']) ?? message
  // Each has a line of its own below.
  const isCounted = faults.length > 1 && message !== null
  const said = isCounted ? `${message}: ${faults.length} faults` : detailed
  const plain = typeof body === 'string' && body !== '' ? `: ${body.slice(0, 300)}` : ''
  const code = codeOf(fields['code'])
  const line = `${said ?? `${api} API: the answer is ${status}${plain}`}${hint(api, code)}`
  return new CommandFailure(line, {
    exitCode: EXIT.failed,
    faults,
    answer: body,
    ...(code === null ? {} : { code }),
  })
}

/** A line each; most reasons name the place already. */
export function faultLines(faults: readonly Fault[]): string[] {
  return faults.map(({ path, reason }) => {
    return path === '' || reason.startsWith(path) ? reason : `${path}: ${reason}`
  })
}

const KEY_HINTS = {
  admin: 'the admin key comes from --key-file, SWITCHYARD_CLI_KEY or a profile',
  query:
    'the key of the service comes from --query-key-file, SWITCHYARD_CLI_QUERY_KEY or a profile',
} as const

function hint(api: Target['api'], code: ErrorCode | null): string {
  const isOfKeys = code === 'ERR_AUTH_MISSING' || code === 'ERR_AUTH_UNKNOWN'
  return isOfKeys ? ` (${KEY_HINTS[api]})` : ''
}

function codeOf(value: unknown): ErrorCode | null {
  return typeof value === 'string' && isCode(value) ? value : null
}

function isCode(value: string): value is ErrorCode {
  return Object.hasOwn(ERROR_TABLE, value)
}

function faultsOf(value: unknown): Fault[] {
  if (!Array.isArray(value)) return []
  return value.map((one) => ({
    path: textOf(fieldOf(one, 'path')) ?? '',
    reason: textOf(fieldOf(one, 'reason')) ?? '',
  }))
}
