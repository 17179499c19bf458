/**
 * What a child writes to standard output and error, as log lines. It is always read, so that a
 * child that prints without end is never blocked for long, but only so many lines are kept, and
 * only so many bytes a second are read at all.
 */

import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { RuntimeLog } from '../runtime.ts'

const KIB = 1024
const LINE_BYTES_MAX = 4 * KIB
const LINES_PER_S = 200
const BYTES_PER_S = 256 * KIB
/** Beyond, the reader itself would be the load. */
const READ_BYTES_PER_S = 64 * KIB * KIB
const TAIL_BYTES_MAX = 8 * KIB
const TAIL_LINES_MAX = 20
const SECOND_MS = 1_000
const NEWLINE = 10

export interface OutputOptions {
  readonly stream: Readable
  /** For the log: whose lines these are. */
  readonly child: string
  readonly log: RuntimeLog
}

export class Output {
  readonly #stream: Readable
  readonly #child: string
  readonly #log: RuntimeLog
  #decoder = new StringDecoder('utf8')
  #line = ''
  #isCut = false
  #tail: Buffer = Buffer.alloc(0)
  /** Of the current second; it starts with the first byte, so silence needs no timer. */
  #second: NodeJS.Timeout | null = null
  #lines = 0
  #bytes = 0
  #read = 0
  /** Bytes that nobody will see, until that is told. */
  #dropped = 0
  #ended: () => void = () => {}
  /** Settles when nobody can write any more: the child and all that it started. */
  readonly ended: Promise<void>

  constructor({ stream, child, log }: OutputOptions) {
    this.#stream = stream
    this.#child = child
    this.#log = log
    this.ended = new Promise((resolve) => {
      this.#ended = resolve
    })
    stream.on('error', () => {})
    stream.on('close', () => this.#finish())
    stream.on('data', (chunk: Buffer) => this.#take(chunk))
  }

  /** The last lines, whether they were logged or not. */
  tail(): readonly string[] {
    const lines = this.#tail.toString('utf8').split('\n').map(clean)
    return lines.filter((line) => line !== '').slice(-TAIL_LINES_MAX)
  }

  #take(chunk: Buffer): void {
    this.#second ??= setTimeout(() => this.#nextSecond(), SECOND_MS).unref()
    this.#remember(chunk)
    this.#read += chunk.length
    if (this.#read > READ_BYTES_PER_S) this.#stream.pause()
    let start = 0
    while (start < chunk.length) {
      if (this.#isOver()) {
        this.#drop(chunk.subarray(start))
        return
      }
      const newline = chunk.indexOf(NEWLINE, start)
      const end = newline < 0 ? chunk.length : newline
      this.#append(chunk, start, end)
      if (newline >= 0) this.#endLine()
      start = end + 1
    }
  }

  #append(chunk: Buffer, start: number, end: number): void {
    const room = LINE_BYTES_MAX - this.#line.length
    const taken = Math.min(end - start, Math.max(0, room))
    if (taken > 0) this.#line += this.#decoder.write(chunk.subarray(start, start + taken))
    this.#bytes += taken
    this.#dropped += end - start - taken
    if (taken < end - start) this.#isCut = true
  }

  /** At no cost for each line: there may be millions of them. */
  #drop(rest: Buffer): void {
    this.#dropped += rest.length
    // Half a character before the gap is not the start of what comes behind it.
    this.#decoder.end()
    const newline = rest.lastIndexOf(NEWLINE)
    if (newline >= 0) this.#line = ''
    this.#isCut = newline < rest.length - 1
  }

  #endLine(): void {
    const text = clean(this.#line + this.#decoder.end())
    if (text !== '') {
      this.#lines += 1
      this.#log('info', { child: this.#child }, this.#isCut ? `${text} ...` : text)
    }
    this.#line = ''
    this.#isCut = false
  }

  #isOver(): boolean {
    return this.#lines >= LINES_PER_S || this.#bytes >= BYTES_PER_S
  }

  #remember(chunk: Buffer): void {
    if (chunk.length >= TAIL_BYTES_MAX) {
      this.#tail = Buffer.from(chunk.subarray(chunk.length - TAIL_BYTES_MAX))
      return
    }
    const kept = Math.max(0, this.#tail.length + chunk.length - TAIL_BYTES_MAX)
    this.#tail = Buffer.concat([this.#tail.subarray(kept), chunk])
  }

  #nextSecond(): void {
    this.#second = null
    this.#lines = 0
    this.#bytes = 0
    this.#read = 0
    this.#tellDropped()
    this.#stream.resume()
  }

  #finish(): void {
    if (this.#second !== null) clearTimeout(this.#second)
    this.#second = null
    if (this.#line !== '') this.#endLine()
    this.#tellDropped()
    this.#ended()
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return
    const fields = { child: this.#child, bytes: this.#dropped }
    this.#dropped = 0
    this.#log('warn', fields, 'output beyond the limits was dropped')
  }
}

function clean(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}
