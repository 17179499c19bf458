/**
 * Query-log lines in a test: made by the real main-thread side and the real composer, with the
 * border between their threads crossed as it is crossed in a node; or read back from files.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { nowMs } from '../../core/base/clock.ts'
import type { AppError } from '../../core/base/errors.ts'
import type { QueryLogPolicy } from '../../core/channel/messages.ts'
import { type Beside, type Caller, Pending } from '../../core/dispatch/pending.ts'
import { Composer } from '../../core/query-log/compose.ts'
import { EndpointLog } from '../../core/query-log/endpoint-log.ts'
import { Outbox, ServiceCount } from '../../core/query-log/outbox.ts'
import type { LinesMessage, Source } from '../../core/query-log/protocol.ts'

export const ALL: QueryLogPolicy = { mode: 'all', share: 1 }

/** Parsed JSON of any form. */
export type Line = ReturnType<typeof JSON.parse>

const SUBJECT = { serviceId: 'svc', endpointId: 'score', generationId: 'v1' }
const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export interface Logged {
  readonly body?: Uint8Array | string
  readonly beside?: Beside
  readonly status?: number
  readonly answer: string | Uint8Array | AppError
  readonly requestId?: string
}

/** A request as a lane holds it when it is answered. */
export function pendingOf({ body = '', beside = {}, requestId }: Omit<Logged, 'answer'>): Pending {
  const caller: Caller = {
    done: false,
    requestId: requestId ?? null,
    replyJson: () => {},
    replyRaw: () => {},
    replyError: () => {},
  }
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const pending = new Pending(caller, bytes, beside, null)
  pending.endedMs = nowMs()
  return pending
}

/** One endpoint's log, and the lines that it has led to. */
export function linesMade(policy = ALL, subject: Omit<Source, 'callerId'> = SUBJECT) {
  const composer = new Composer()
  const count = new ServiceCount(subject.serviceId)
  const pieces: Uint8Array[] = []
  const outbox: Outbox = new Outbox({
    counts: new Map([[subject.serviceId, count]]),
    post: (message, transfer) => {
      if (message.kind === 'lines') take(structuredClone(message, { transfer: [...transfer] }))
      return true
    },
  })
  const take = (message: LinesMessage): void => {
    const chunks = composer.chunks(message)
    for (const chunk of chunks) pieces.push(...chunk.pieces.map((piece) => Buffer.from(piece)))
    const written = chunks.map(({ serviceId, lines }) => [serviceId, lines] as const)
    outbox.returned({ kind: 'done', buffer: message.buffer, written, lost: [] })
  }
  const log = new EndpointLog({ outbox, count, policy, subject })
  const record = (logged: Logged): void => {
    const { status = 200, answer } = logged
    log.record(pendingOf(logged), status, answer)
  }
  const text = (): string => {
    outbox.post()
    return STRICT_UTF8.decode(Buffer.concat(pieces.splice(0)))
  }
  return { log, count, outbox, record, text, lines: () => linesOf(text()) }
}

/** Throws where a line is no JSON object, or the last one is not whole. */
export function linesOf(text: string): Line[] {
  if (text === '') return []
  if (!text.endsWith('\n')) throw new Error(`a torn line: ${JSON.stringify(text.slice(-200))}`)
  return text.slice(0, -1).split('\n').map(lineOf)
}

function lineOf(text: string): Line {
  try {
    const line: Line = JSON.parse(text)
    if (typeof line?.time === 'string' && typeof line.service === 'string') return line
  } catch {
    // Said below.
  }
  throw new Error(`no line of a query log: ${JSON.stringify(text.slice(0, 500))}`)
}

export interface LogFileText {
  readonly name: string
  readonly bytes: Buffer
}

/** Of one service, oldest first; none where there is no folder. */
export function logFiles(home: string, serviceId: string): LogFileText[] {
  const folder = join(home, 'query-log', serviceId)
  try {
    return readdirSync(folder)
      .sort()
      .map((name) => ({ name, bytes: readFileSync(join(folder, name)) }))
  } catch {
    return []
  }
}

/** Of all files of a service; strict about UTF-8, JSON and line ends. */
export function loggedLines(home: string, serviceId: string): Line[] {
  return logFiles(home, serviceId).flatMap(({ bytes }) => linesOf(STRICT_UTF8.decode(bytes)))
}

/**
 * The same while a process writes: Linux shows others of an append what is copied so far, page by
 * page, so what stands behind the last line end is left out.
 */
export function linesSoFar(home: string, serviceId: string): Line[] {
  return logFiles(home, serviceId).flatMap(({ bytes }) =>
    linesOf(STRICT_UTF8.decode(bytes.subarray(0, bytes.lastIndexOf('\n') + 1))),
  )
}
