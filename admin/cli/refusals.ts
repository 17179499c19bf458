/** From an error object of the node to the one line, and the list of faults, that people read. */

import { ERROR_TABLE, type ErrorCode, type Fault } from '../../core/base/errors.ts'
import { CommandFailure, EXIT } from './failures.ts'
import { fieldOf, recordOf, textOf } from './fields.ts'

interface Refused {
  readonly status: number
  readonly body: unknown
}

export function refusalOf({ status, body }: Refused): CommandFailure {
  const fields = recordOf(body)
  const said = textOf(fields['detailedMessage']) ?? textOf(fields['message'])
  const plain = typeof body === 'string' && body !== '' ? `: ${body.slice(0, 300)}` : ''
  const code = codeOf(fields['code'])
  const line = `${said ?? `the node answered ${status}${plain}`}${hint(status, code)}`
  const faults = faultsOf(fields['faults'])
  return new CommandFailure(line, {
    exitCode: EXIT.failed,
    faults,
    answer: body,
    ...(code === null ? {} : { code }),
  })
}

/** What the line does not say already. */
export function faultLines(faults: readonly Fault[]): string[] {
  return faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`))
}

function hint(status: number, code: ErrorCode | null): string {
  if (code === 'ERR_AUTH_MISSING') {
    return ' (SWITCHYARD_CLI_KEY, --key-file or a profile gives the admin key; predict has its own)'
  }
  if (status === 404 && code === 'ERR_PATH_UNKNOWN') return ' (is it the port of this API?)'
  return ''
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
