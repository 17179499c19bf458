/**
 * The child process that compiles one model. What ONNX Runtime writes may end the process that runs
 * it first, so nobody else is in this one. It does one model and ends.
 */

import { shortReason } from '../forge/reasons.ts'
import type { CompileMessage, CompileRequest } from '../protocol.ts'
import { compileModel } from './compile.ts'

function send(message: CompileMessage): Promise<void> {
  return new Promise((resolve) => {
    // A parent that is gone needs no answer.
    if (process.send === undefined || !process.connected) resolve()
    else process.send(message, undefined, undefined, () => resolve())
  })
}

async function finish(message: CompileMessage): Promise<never> {
  await send(message)
  process.exit(0)
}

function fail(error: unknown): void {
  void finish({ kind: 'original', reason: shortReason(error), lasting: true })
}

// Only the parent's word, or its end, ends this process.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
process.on('disconnect', () => process.exit(0))
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
process.once('message', (request: CompileRequest) => {
  compileModel(request, (step) => void send({ kind: 'step', step })).then(finish, fail)
})
