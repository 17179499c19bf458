/**
 * The child process that looks into a file for `switchyard bundle`: a model that may hang or end
 * the process when it is loaded, code that only its own interpreter can read, a sample of any size.
 * It answers one question and ends; time and memory are limited by the parent.
 */

import { nowMs } from '../../core/base/clock.ts'
import { AppError, messageOf } from '../../core/base/errors.ts'
import { shortReason } from '../forge/reasons.ts'
import type { DraftMessage, DraftRequest } from '../protocol.ts'
import { draft, type Say } from './draft.ts'
import { DraftRefused } from './refused.ts'

function send(message: DraftMessage): Promise<void> {
  return new Promise((resolve) => {
    // A parent that is gone needs no answer.
    if (process.send === undefined || !process.connected) resolve()
    else process.send(message, undefined, undefined, () => resolve())
  })
}

async function finish(message: DraftMessage): Promise<never> {
  await send(message)
  process.exit(0)
}

function refusal(error: unknown): DraftMessage {
  if (error instanceof DraftRefused) {
    return { kind: 'refused', code: 'ERR_BUNDLE_INVALID', reasons: error.reasons }
  }
  if (error instanceof AppError) {
    return { kind: 'refused', code: error.code, reasons: [error.detail ?? error.message] }
  }
  process.stderr.write(`draft: ${error instanceof Error ? error.stack : messageOf(error)}\n`)
  return { kind: 'refused', code: 'ERR_INTERNAL', reasons: [shortReason(error)] }
}

function fail(error: unknown): void {
  void finish(refusal(error))
}

const EVERY_MS = 100

/** What is told once for every row goes out a few times a second; what is new at once. */
function everyNow(): Say {
  let [told, toldMs] = ['', 0]
  return (label, done) => {
    const now = nowMs()
    if (label === told && now - toldMs < EVERY_MS) return
    told = label
    toldMs = now
    void send({ kind: 'progress', label, done })
  }
}

// Ctrl-C reaches the whole process group: only the parent's word, or its end, ends this process.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
process.on('disconnect', () => process.exit(0))
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
process.once('message', (request: DraftRequest) => {
  draft(request, everyNow()).then((made) => finish({ kind: 'drafted', draft: made }), fail)
})
