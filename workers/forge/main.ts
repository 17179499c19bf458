/**
 * The child process that meets a new bundle first. Its models may hang, exhaust memory or end the
 * process, so it does one bundle and ends; time and memory are limited by the parent. Whatever goes
 * wrong in here crosses the border as a message, never as an exception.
 */

import { AppError, messageOf } from '../../core/base/errors.ts'
import type { ForgeMessage, ForgeRequest } from '../protocol.ts'
import { forge } from './forge.ts'
import { noSpace } from './no-space.ts'
import { shortReason } from './reasons.ts'

function send(message: ForgeMessage): Promise<void> {
  return new Promise((resolve) => {
    // A parent that is gone needs no answer.
    if (process.send === undefined || !process.connected) resolve()
    else process.send(message, undefined, undefined, () => resolve())
  })
}

async function finish(message: ForgeMessage): Promise<never> {
  await send(message)
  process.exit(0)
}

function internal(error: unknown): ForgeMessage {
  if (error instanceof AppError) {
    return { kind: 'refused', code: error.code, detail: error.message, faults: error.faults }
  }
  process.stderr.write(`forge: ${error instanceof Error ? error.stack : messageOf(error)}\n`)
  const code = noSpace(error) ? 'ERR_DISK_FULL' : 'ERR_INTERNAL'
  return { kind: 'refused', code, detail: shortReason(error), faults: [] }
}

function fail(error: unknown): void {
  void finish(internal(error))
}

// Ctrl-C reaches the whole process group: only the parent's word, or its end, ends this process.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
process.on('disconnect', () => process.exit(0))
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
process.once('message', (request: ForgeRequest) => {
  forge(request, (message) => void send(message)).then(finish, fail)
})
