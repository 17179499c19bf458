/**
 * One connection on which a hostile caller sends what it pleases, in one piece or in many, and
 * stays for the answer, closes its half, or leaves; and what every answer must look like, whatever
 * was asked: a documented status, JSON that fits it, and no header line that the caller has made.
 */

import { connect, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { ERROR_TABLE } from '../../../core/base/errors.ts'
import type { Random } from '../random.ts'
import { EVIL } from './requests.ts'

export type Manner = 'whole' | 'pieces' | 'half' | 'leave'

export interface Visit {
  readonly bytes: Buffer
  readonly manner: Manner
  /** Where it is cut; for `pieces`. */
  readonly cuts: readonly number[]
  /** How long the caller waits for the first answer, and for the end where it must come. */
  readonly waitMs: number
  /** Waits for the end of the connection, not for the first answer only. */
  readonly untilEnd: boolean
}

export interface Visited {
  readonly received: Buffer
  readonly closed: boolean
}

export interface Seen {
  readonly status: number
  readonly head: string
  readonly body: string
}

export function manneredVisit(random: Random, bytes: Buffer, waitMs: number): Visit {
  const chance = random.next()
  const manner =
    chance < 0.55 ? 'whole' : chance < 0.85 ? 'pieces' : chance < 0.92 ? 'half' : 'leave'
  const pieces = manner === 'pieces' ? 1 + random.below(4) : 0
  const cuts = Array.from({ length: pieces }, () => random.below(bytes.length + 1))
  return { bytes, manner, cuts: cuts.sort((a, b) => a - b), waitMs, untilEnd: false }
}

export async function visit(port: number, asked: Visit): Promise<Visited> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  const chunks: Buffer[] = []
  let closed = false
  let wake = (): void => {}
  const end = (): void => {
    closed = true
    wake()
  }
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    if (!asked.untilEnd && isWhole(Buffer.concat(chunks))) wake()
  })
  socket.on('error', end).on('end', end).on('close', end)
  const done = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, asked.waitMs)
    wake = () => {
      clearTimeout(timer)
      resolve()
    }
  })
  await say(socket, asked)
  if (asked.manner !== 'leave') await done
  else wake()
  if (asked.manner === 'leave') socket.resetAndDestroy()
  else socket.destroy()
  return { received: Buffer.concat(chunks), closed }
}

async function say(socket: Socket, { bytes, manner, cuts }: Visit): Promise<void> {
  let from = 0
  for (const cut of cuts) {
    socket.write(bytes.subarray(from, cut))
    from = cut
    await turn()
  }
  if (manner === 'half') socket.end(bytes.subarray(from))
  else socket.write(bytes.subarray(from))
  if (manner === 'leave') await turn()
}

function isWhole(received: Buffer): boolean {
  const headEnd = received.indexOf('\r\n\r\n')
  if (headEnd < 0) return false
  return received.length >= headEnd + 4 + lengthOf(received.toString('latin1', 0, headEnd))
}

function lengthOf(head: string): number {
  return Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
}

/** Node's own answer to a request without a host: nothing, in chunks. */
const NO_CHUNKS = '0\r\n\r\n'

/** The answers one after the other; a last one that was cut off has the body that came. */
export function answersIn(received: Buffer, mayBeHead: boolean): Seen[] {
  const found: Seen[] = []
  let rest = received
  while (rest.length > 0) {
    const headEnd = rest.indexOf('\r\n\r\n')
    if (headEnd < 0) break
    const head = rest.toString('latin1', 0, headEnd)
    const after = rest.subarray(headEnd + 4)
    const isBare = mayBeHead && (after.length === 0 || after.toString('latin1', 0, 5) === 'HTTP/')
    const isChunked = /\r\ntransfer-encoding:/i.test(head)
    const body = after.subarray(0, isBare || isChunked ? 0 : lengthOf(head))
    found.push({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]), head, body: `${body}` })
    rest = after.subarray(isChunked ? NO_CHUNKS.length : body.length)
  }
  return found
}

/** Of the HTTP parser itself; they have no body. 100 is only on the way to another. */
const BARE = [100, 400, 431, 505]
const TABLE: ReadonlySet<number> = new Set(Object.values(ERROR_TABLE).map(({ status }) => status))

/** What is wrong with an answer; null: nothing. */
export function faultOf({ status, head, body }: Seen, isWholeBody: boolean): string | null {
  if (
    head
      .toLowerCase()
      .split('\r\n')
      .some((line) => line.startsWith(EVIL))
  ) {
    return 'a header of the caller is in the answer'
  }
  if (body === '') {
    const isKnown = BARE.includes(status) || status === 200 || status === 204 || TABLE.has(status)
    return isKnown ? null : `status ${status}`
  }
  if (status === 200) return null
  if (!TABLE.has(status)) return `status ${status} with a body`
  return isWholeBody ? errorFault(status, body) : null
}

function errorFault(status: number, text: string): string | null {
  const body = parsed(text)
  const row = Object.entries(ERROR_TABLE).find(([code]) => code === body?.['code'])
  if (row === undefined) return `no error that README knows: ${text.slice(0, 300)}`
  if (row[1].status !== status) return `${row[0]} with status ${status}`
  if (row[0] === 'ERR_INTERNAL') return 'an internal error'
  return typeof body?.['requestId'] === 'string' ? null : 'an error without an id'
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
