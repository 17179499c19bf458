/**
 * A slab: the lines of many queries in one buffer, made half on either side of a thread's border.
 *
 * The main thread copies bodies and answers to where they will stand in their lines, and leaves
 * room before each for the head, which is as long as it must be; the writer fills it in. So every
 * byte is copied once, and a slab of ordinary lines is written to its file as it is.
 */

import type { Source } from './protocol.ts'

const KIB = 1024

/**
 * Bytes of lines; behind them come the facts. To hand a slab over and to write it costs the same
 * for any size: a line adds 0.8 to 1.3 µs of CPU so, 1.4 to 1.9 µs with half of it and no less
 * with twice as much.
 */
export const SLAB_LINE_BYTES = 512 * KIB
const SLAB_LINES_MAX = 4_096

/** What is noted of a line, as 32-bit numbers side by side. */
export const FACTS = 10
export const FACT = {
  source: 0,
  status: 1,
  flags: 2,
  totalUs: 3,
  /** From the time of the slab. */
  afterMs: 4,
  /** Where the head starts, where the request starts and ends, and where the line ends. */
  start: 5,
  request: 6,
  tail: 7,
  /** Lengths of body and answer before they were cut; of lines that are cut. */
  requestBytes: 8,
  answerBytes: 9,
} as const

export const FLAG = {
  /** Nobody has proven that the body is JSON. */
  checkRequest: 1,
  checkAnswer: 2,
  requestCut: 4,
  answerCut: 8,
  /** The arguments came in the URL. */
  isQuery: 16,
  hasRequest: 32,
  hasAnswer: 64,
} as const

/** More of a body or of an answer is not kept. */
const PART_BYTES_MAX = 64 * KIB
/** Six bytes are what one character can become in a JSON string. */
const QUERY_CHARACTERS_MAX = PART_BYTES_MAX / 6
/** Where others look for a key: here it means nothing, so it can only be sent by mistake. */
const SECRET_ARGUMENT =
  /((?:^|&)(?:access_token|authorization|api[-_]?key|client_secret|password|secret|token)=)[^&]+/gi
/** Of an id that a caller can choose freely. */
const ID_CHARACTERS_MAX = 256

const KEY_TOTAL = ',"totalMs":'
export const KEY_REQUEST = [...Buffer.from(',"request":')]
export const KEY_QUERY = [...Buffer.from(',"query":')]
export const KEY_ANSWER = [...Buffer.from(',"answer":')]
/** What ends a line: a brace, and a line feed when all others in the slab have been looked for. */
export const LINE_END_BYTES = 2
const BRACE = 125
const BLANK = 32
const KEYS_BYTES = KEY_REQUEST.length + KEY_ANSWER.length + LINE_END_BYTES

/** Where the time stands in a head. */
export const TIME_AT = '{"time":"'.length
const NO_TIME = '0000-00-00T00:00:00.000Z'
const STATUS_CHARACTERS = 3

/** The head of a line up to the number of milliseconds, with places for time and status. */
export function headTemplate(source: Source): Buffer {
  const { serviceId, endpointId, generationId, callerId } = source
  const members = [
    `{"time":"${NO_TIME}"`,
    member('service', serviceId),
    member('endpoint', endpointId),
    member('generation', generationId),
    member('key', callerId),
    `"status":${'0'.repeat(STATUS_CHARACTERS)}`,
  ]
  const text = members.filter((one) => one !== '').join(',')
  return Buffer.from(text + KEY_TOTAL)
}

function member(name: string, id: string | null): string {
  return id === null ? '' : `"${name}":${JSON.stringify(shortId(id))}`
}

/** What is kept of an id. */
export function shortId<Id extends string | null>(id: Id): string | Id {
  return id === null ? id : id.slice(0, ID_CHARACTERS_MAX)
}

/** Where the status stands in a template. */
export function statusAt(template: Uint8Array): number {
  return template.byteLength - KEY_TOTAL.length - STATUS_CHARACTERS
}

/** Characters of a time in milliseconds with three decimals. */
export function millisecondsLength(us: number): number {
  if (us < 10_000) return 5
  if (us < 100_000) return 6
  if (us < 1_000_000) return 7
  return us < 10_000_000 ? 8 : String(Math.floor(us / 1_000)).length + 4
}

/** What write() calls when it has looked at its arguments, which takes as long as to write. */
interface Utf8Buffer extends Buffer {
  utf8Write(text: string, at: number, bytesMax: number): number
}

/** The side that fills. */
export class Slab {
  readonly buffer: ArrayBuffer
  readonly #bytes: Utf8Buffer
  readonly #facts: Uint32Array
  #wallMs = 0
  #openedMs = 0
  #used = 0
  #count = 0
  /** Of the line that is being filled. */
  #at = 0
  #flags = 0
  #firstFact = 0

  constructor(buffer = new ArrayBuffer(SLAB_LINE_BYTES + SLAB_LINES_MAX * FACTS * 4)) {
    this.buffer = buffer
    this.#bytes = Buffer.from(buffer, 0, SLAB_LINE_BYTES) as Utf8Buffer
    this.#facts = factsOf(buffer)
  }

  get count(): number {
    return this.#count
  }

  get usedBytes(): number {
    return this.#used
  }

  /** What the times of its lines count from. */
  get baseMs(): number {
    return this.#wallMs
  }

  hasRoom(bytes: number): boolean {
    return this.#used + bytes <= SLAB_LINE_BYTES && this.#count < SLAB_LINES_MAX
  }

  /** Makes it ready for lines from now on, which is a moment on either clock. */
  open(wallMs: number, nowMs: number): void {
    this.#wallMs = wallMs
    this.#openedMs = nowMs
    this.#used = 0
    this.#count = 0
    this.#firstFact = 0
  }

  /** Begins a line whose head takes so many bytes, less the key of the request. */
  begin(headBytes: number): void {
    this.#at = this.#used + headBytes
    this.#flags = 0
  }

  request(body: Uint8Array, byteLength: number, isProven: boolean): void {
    this.#flags |= isProven ? FLAG.hasRequest : FLAG.hasRequest | FLAG.checkRequest
    this.#at += KEY_REQUEST.length
    this.#note(FACT.request, this.#at)
    if (byteLength <= PART_BYTES_MAX) {
      this.#bytes.set(body, this.#at)
      this.#at += byteLength
      return
    }
    this.#bytes.set(body.subarray(0, PART_BYTES_MAX), this.#at)
    this.#at += PART_BYTES_MAX
    this.#flags |= FLAG.requestCut
    this.#note(FACT.requestBytes, byteLength)
  }

  /** Arguments of a GET, of `queryJson`. */
  query(json: string): void {
    this.#flags |= FLAG.hasRequest | FLAG.isQuery
    this.#at += KEY_QUERY.length
    this.#note(FACT.request, this.#at)
    this.#at += this.#bytes.write(json, this.#at)
  }

  noRequest(): void {
    this.#note(FACT.request, this.#at)
  }

  /** An answer is JSON where this program has encoded it; where code of a bundle has, anything. */
  answer(answer: string | Uint8Array): void {
    this.#note(FACT.tail, this.#at)
    this.#flags |= FLAG.hasAnswer
    this.#at += KEY_ANSWER.length
    if (typeof answer === 'string') this.#textAnswer(answer)
    else {
      this.#flags |= FLAG.checkAnswer
      this.#note(FACT.answerBytes, answer.byteLength)
      const kept = answer.subarray(0, PART_BYTES_MAX)
      if (kept.byteLength < answer.byteLength) this.#flags |= FLAG.answerCut
      this.#bytes.set(kept, this.#at)
      this.#at += kept.byteLength
    }
  }

  /** Members in the place of an answer, as JSON that opens with a comma. */
  members(json: string): void {
    this.#note(FACT.tail, this.#at)
    this.#at += this.#bytes.write(json, this.#at)
  }

  end(source: number, status: number, totalUs: number, nowMs: number): void {
    // Two stores: a call of set() takes longer.
    this.#bytes[this.#at] = BRACE
    this.#bytes[this.#at + 1] = BLANK
    this.#at += LINE_END_BYTES
    this.#note(FACT.source, source)
    this.#note(FACT.status, status)
    this.#note(FACT.flags, this.#flags)
    this.#note(FACT.totalUs, totalUs)
    // An answer may have been given before the slab of its line was opened.
    this.#note(FACT.afterMs, Math.max(0, nowMs - this.#openedMs))
    this.#note(FACT.start, this.#used)
    this.#used = this.#at
    this.#count += 1
    this.#firstFact += FACTS
  }

  #textAnswer(answer: string): void {
    if (answer.length * 3 <= PART_BYTES_MAX) {
      this.#at += this.#bytes.utf8Write(answer, this.#at, SLAB_LINE_BYTES - this.#at)
      return
    }
    const bytes = Buffer.byteLength(answer)
    if (bytes > PART_BYTES_MAX) this.#flags |= FLAG.answerCut
    this.#note(FACT.answerBytes, bytes)
    // Writes whole characters only.
    this.#at += this.#bytes.write(answer, this.#at, PART_BYTES_MAX)
  }

  #note(fact: number, value: number): void {
    this.#facts[this.#firstFact + fact] = value
  }
}

export function factsOf(buffer: ArrayBuffer): Uint32Array {
  return new Uint32Array(buffer, SLAB_LINE_BYTES, SLAB_LINES_MAX * FACTS)
}

/** Arguments as they came in the URL, but for what people use to send keys as. */
export function queryJson(query: string): string {
  const shown = query.replace(SECRET_ARGUMENT, '$1(hidden)')
  const json = JSON.stringify(shown)
  // No URL is that long, unless nearly all of it must be escaped.
  const fits = Buffer.byteLength(json) <= PART_BYTES_MAX
  return fits ? json : JSON.stringify(shown.slice(0, QUERY_CHARACTERS_MAX))
}

/** Room that a line needs at most, its head aside. */
export function roomFor(bodyBytes: number, answerLength: number): number {
  const body = Math.min(bodyBytes, PART_BYTES_MAX + 2)
  return body + Math.min(3 * answerLength, PART_BYTES_MAX) + KEYS_BYTES
}
