/**
 * From a slab to the lines of each service, in the writer's thread.
 *
 * Heads are filled in where they stand, so that ordinary lines, one behind the other, are one piece
 * of memory to write. A body that a worker has parsed is JSON, but for two things: line ends
 * between its values, and bare NaN. The slab is searched for them as a whole, which costs next to
 * nothing; lines that must be looked at are made anew.
 *
 * What a caller has sent stands inside `request`, so no key of its own can pass for one of ours.
 */

import type { LinesMessage, Source } from './protocol.ts'
import {
  FACT,
  FLAG,
  headTemplate,
  KEY_ANSWER,
  KEY_QUERY,
  KEY_REQUEST,
  LINE_END_BYTES,
  millisecondsLength,
  statusAt,
  TIME_AT,
} from './slab.ts'
import { SlabLines } from './slab-lines.ts'
import { PartReader } from './text.ts'

const ZERO = 48
const POINT = 46
const LOOKED_AT = FLAG.checkRequest | FLAG.checkAnswer | FLAG.requestCut | FLAG.answerCut

/** Whole lines of one service, in order. */
export interface Chunk {
  readonly serviceId: string
  readonly pieces: Uint8Array[]
  lines: number
  bytes: number
}

interface Head {
  readonly serviceId: string
  readonly template: Buffer
  readonly templateBytes: number
  readonly statusAt: number
  /** What the template says at the moment. */
  timeMs: number
  status: number
}

export class Composer {
  readonly #heads = new Map<number, Head>()
  readonly #reader = new PartReader()

  /** They are views of the slab, mostly. */
  chunks(message: LinesMessage): Chunk[] {
    const { count, baseMs } = message
    this.#learn(message)
    const lines = new SlabLines(message)
    let source = -1
    let head: Head | undefined
    for (let i = 0; i < count; i++) {
      const next = lines.fact(i, FACT.source)
      if (next !== source) head = this.#heads.get(next)
      source = next
      if (head !== undefined) fillHead(lines, i, head, baseMs)
    }
    lines.hideKeys()
    lines.findBareTokens()
    const anew = new Map<number, Buffer>()
    for (let i = 0; i < count; i++) {
      if ((lines.fact(i, FACT.flags) & LOOKED_AT) !== 0) anew.set(i, this.#lineAnew(lines, i))
    }
    lines.endEach()
    return this.#gather(lines, anew)
  }

  #learn({ sources, forget }: LinesMessage): void {
    if (forget) this.#heads.clear()
    for (const [id, source] of sources) this.#heads.set(id, headOf(source))
  }

  /** Neighbours of one source become one piece. */
  #gather(lines: SlabLines, anew: ReadonlyMap<number, Buffer>): Chunk[] {
    const chunks = new Map<string, Chunk>()
    let i = 0
    while (i < lines.count) {
      const first = i
      const source = lines.fact(first, FACT.source)
      const serviceId = this.#heads.get(source)?.serviceId ?? ''
      const made = anew.get(i)
      i += 1
      if (made === undefined) {
        while (i < lines.count && lines.fact(i, FACT.source) === source && !anew.has(i)) i += 1
      }
      const piece = made ?? lines.bytes.subarray(lines.fact(first, FACT.start), lines.endOf(i - 1))
      const chunk = chunks.get(serviceId) ?? { serviceId, pieces: [], lines: 0, bytes: 0 }
      chunks.set(serviceId, chunk)
      chunk.pieces.push(piece)
      chunk.lines += i - first
      chunk.bytes += piece.byteLength
    }
    return [...chunks.values()]
  }

  #lineAnew(lines: SlabLines, i: number): Buffer {
    const flags = lines.fact(i, FACT.flags)
    const request = lines.fact(i, FACT.request)
    const tail = lines.fact(i, FACT.tail)
    const key = (flags & FLAG.isQuery) === 0 ? KEY_REQUEST : KEY_QUERY
    const hasRequest = (flags & FLAG.hasRequest) !== 0
    const headEnd = hasRequest ? request - key.length : request
    let line = lines.text(lines.fact(i, FACT.start), headEnd)
    if ((flags & (FLAG.checkRequest | FLAG.requestCut)) === 0) line += lines.text(headEnd, tail)
    else line += this.#part('request', lines.bytes.subarray(request, tail), lines.cut(i, 'request'))
    const end = lines.endOf(i) - LINE_END_BYTES
    if ((flags & (FLAG.checkAnswer | FLAG.answerCut)) === 0) line += lines.text(tail, end)
    else {
      const answer = lines.bytes.subarray(tail + KEY_ANSWER.length, end)
      line += this.#part('answer', answer, lines.cut(i, 'answer'))
    }
    // What stood in the slab as it came may hold line ends; texts made here hold none.
    return Buffer.from(`${line.replace(/[\r\n]/g, ' ')}}\n`)
  }

  /** `wholeBytes` null: these are all. */
  #part(name: 'request' | 'answer', bytes: Uint8Array, wholeBytes: number | null): string {
    if (wholeBytes === null) {
      const json = this.#reader.json(bytes)
      if (json !== null) return `,"${name}":${json}`
    }
    const text = `,"${name}Text":${JSON.stringify(this.#reader.text(bytes))}`
    if (wholeBytes === null) return text
    return `${text},"${name}Bytes":${wholeBytes},"truncated":true`
  }
}

function headOf(source: Source): Head {
  const template = headTemplate(source)
  const { serviceId } = source
  const templateBytes = template.byteLength
  const changing = { timeMs: -1, status: -1 }
  return { serviceId, template, templateBytes, statusAt: statusAt(template), ...changing }
}

function fillHead(lines: SlabLines, i: number, head: Head, baseMs: number): void {
  const { template } = head
  const timeMs = baseMs + lines.fact(i, FACT.afterMs)
  if (timeMs !== head.timeMs) {
    template.write(new Date(timeMs).toISOString(), TIME_AT, 'latin1')
    head.timeMs = timeMs
  }
  const status = lines.fact(i, FACT.status)
  if (status !== head.status) {
    template.write(String(status), head.statusAt, 'latin1')
    head.status = status
  }
  const start = lines.fact(i, FACT.start)
  const { bytes } = lines
  bytes.set(template, start)
  const totalUs = lines.fact(i, FACT.totalUs)
  const digitsEnd = start + head.templateBytes + millisecondsLength(totalUs)
  writeMilliseconds(bytes, digitsEnd, totalUs)
  const flags = lines.fact(i, FACT.flags)
  if ((flags & FLAG.hasAnswer) !== 0) setShort(bytes, lines.fact(i, FACT.tail), KEY_ANSWER)
  if ((flags & FLAG.hasRequest) === 0) return
  setShort(bytes, digitsEnd, (flags & FLAG.isQuery) === 0 ? KEY_REQUEST : KEY_QUERY)
}

/** For a few bytes a loop takes a third of what a call of set() does. */
function setShort(bytes: Uint8Array, at: number, key: readonly number[]): void {
  for (let i = 0; i < key.length; i++) bytes[at + i] = key[i] ?? 0
}

/** Three decimals, from the last digit to the first. */
function writeMilliseconds(bytes: Uint8Array, end: number, us: number): void {
  let left = us
  let at = end
  for (let digit = 0; digit < 4 || left > 0; digit++) {
    if (digit === 3) {
      at -= 1
      bytes[at] = POINT
    }
    at -= 1
    bytes[at] = ZERO + (left % 10)
    left = Math.floor(left / 10)
  }
}
