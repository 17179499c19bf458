/**
 * One request on uWebSockets.js as an Exchange.
 *
 * Rules of the native library that live here and nowhere else: `req` is dead after the handler
 * returns, `res` is dead after onAborted or end, a body chunk is dead after its callback, and
 * header values are sent as they are given.
 */

import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
// Not the global of that name, whose getter is called for each use.
import { Buffer } from 'node:buffer'
import { STATUS_CODES } from 'node:http'
import { assert } from '../base/assert.ts'
import { AppError } from '../base/errors.ts'
import { newRequestId } from '../base/ids.ts'
import { LIMITS } from '../config/limits.ts'
import type { BodyBudget } from './body-budget.ts'
import type { Answer, Exchange, HeaderLine, RawReply } from './exchange.ts'
import { endsConnection, type FailureAnswer, failureAnswer } from './failure.ts'
import type { HeaderScan } from './header-scan.ts'
import { AT_ONCE_CHARS, Looks } from './looks.ts'
import { isBodiless, safeHeaders, withAdded } from './raw-reply.ts'
import type { Sheds } from './sheds.ts'
import type { Unread, UnreadAnswers } from './unread-answers.ts'

interface UwsSettings {
  readonly budget: BodyBudget
  readonly unread: UnreadAnswers
  readonly sheds: Sheds
  /** Written on every answer. */
  readonly headers: Readonly<Record<string, string>>
  /** Null: framing is not checked, and each header costs a native call. */
  readonly scan: HeaderScan | null
  /** A route threw; an exception that reaches the native library ends the process. */
  readonly onThrow: (error: unknown, exchange: UwsExchange) => void
}

/** What all exchanges of one listener share. */
export interface UwsContext extends UwsSettings {
  /**
   * Value of Content-Type of a JSON answer, with the headers of every answer behind it: values go
   * out as they are given, so one native call writes all lines.
   */
  readonly jsonHead: string
  readonly looks: Looks
  /** While draining every answer closes its connection. */
  closing: boolean
  /** Requests that are not answered yet, or whose large answer is still being sent. */
  active: number
}

export function newUwsContext(settings: UwsSettings): UwsContext {
  const lines = Object.entries(settings.headers).map(
    ([name, value]) => `${safeValue(name)}: ${safeValue(value)}`,
  )
  const jsonHead = ['application/json', ...lines].join('\r\n')
  return { ...settings, jsonHead, looks: new Looks(), closing: false, active: 0 }
}

/** Only end() can close: the same of an answer that is the last of its connection. */
const LAST_CHARS = LIMITS.answerBytesLast / 4

const NO_LINES: readonly HeaderLine[] = []

/** First size of the buffer of a body that comes in pieces, unless less is declared. */
const PIECES_BYTES_MIN = 4_096

export class UwsExchange implements Exchange {
  readonly method: string
  readonly rawPath: string
  #req: HttpRequest | null
  readonly #res: HttpResponse
  readonly #context: UwsContext
  #done = false
  #bodyBytes = 0
  #gone: ((refusal: AppError | null) => void) | null = null
  #sending = false
  /** Of a large answer that was not taken at once. */
  #unread: Unread | null = null
  #added: readonly HeaderLine[] = NO_LINES
  #requestId: string | null = null

  constructor(res: HttpResponse, req: HttpRequest, method: string, context: UwsContext) {
    this.#res = res
    this.#req = req
    this.#context = context
    this.method = method
    this.rawPath = req.getUrl()
    context.active += 1
    res.onAborted(() => this.#aborted())
  }

  get path(): string {
    return this.rawPath.replace(/\/{2,}/g, '/')
  }

  get done(): boolean {
    return this.#done
  }

  get requestId(): string | null {
    return this.#requestId
  }

  get address(): string {
    return Buffer.from(this.#res.getRemoteAddressAsText()).toString()
  }

  get query(): string {
    return this.#request().getQuery() ?? ''
  }

  header(nameInLowerCase: string): string {
    const req = this.#request()
    return this.#context.scan?.value(nameInLowerCase) ?? req.getHeader(nameInLowerCase)
  }

  headers(): HeaderLine[] {
    const lines: HeaderLine[] = []
    this.#request().forEach((name, value) => {
      lines.push([name, value])
    })
    return lines
  }

  /** Called by the listener when the handler has returned: `req` must not be touched again. */
  leaveHandler(): void {
    this.#req = null
  }

  onGone(callback: (refusal: AppError | null) => void): void {
    this.#gone = callback
  }

  addHeaders(lines: readonly HeaderLine[]): void {
    this.#added = lines
  }

  readBody(limitBytes: number, done: (body: Uint8Array) => void): void {
    const { scan } = this.#context
    const declaredBytes = scan?.contentBytes ?? Number(this.header('content-length'))
    if (declaredBytes > limitBytes) {
      this.#refuseBody('ERR_BODY_TOO_LARGE', `at most ${limitBytes} bytes`)
      return
    }
    const bytesMax = declaredBytes > 0 ? declaredBytes : limitBytes
    let body: Buffer | null = null
    let size = 0
    this.#res.onData((chunk, isLast) => {
      if (this.#done) return
      const at = size
      size += chunk.byteLength
      if (size > limitBytes) {
        this.#refuseBody('ERR_BODY_TOO_LARGE', `at most ${limitBytes} bytes`)
        return
      }
      // The chunk's memory is the socket's: what is to stay must be copied now.
      if (body === null || body.length < size) {
        const room = isLast ? size : roomFor(size, bytesMax)
        if (!this.#take(room)) return
        body = grown(body, at, room)
      }
      body.set(new Uint8Array(chunk), at)
      if (isLast) this.#handOver(body.length === size ? body : body.subarray(0, size), done)
    })
  }

  reply(answer: Answer): void {
    const { status, body, contentType = 'application/json', headers } = answer
    const lines = headers === undefined ? NO_LINES : Object.entries(headers)
    this.#send(status, body ?? '', body === undefined ? '' : contentType, lines)
  }

  /** The answer of nearly every request, so it takes the short way: two native calls. */
  replyJson(json: string | Uint8Array): void {
    const isPlain = this.method === 'POST' && this.#added === NO_LINES
    if (!isPlain || json.length > this.#context.looks.atOnceChars) {
      this.#send(200, json, 'application/json', NO_LINES)
    } else if (!this.#done) {
      this.#finish()
      corked.res = this.#res
      corked.head = this.#context.jsonHead
      corked.body = json
      corked.close = this.#context.closing
      this.#res.cork(writeCorked)
    }
  }

  replyRaw({ status, headers, body }: RawReply): void {
    const { contentType, lines } = safeHeaders(headers)
    if (isBodiless(status)) this.#send(status, '', '', lines)
    else this.#send(status, body, contentType, lines)
  }

  replyError(error: AppError): void {
    this.reply(this.#failure(error))
  }

  /** Answers and closes: what follows on this connection cannot be trusted. */
  refuse(error: AppError): void {
    if (this.#done) return
    const { status, body, headers } = this.#failure(error)
    this.#finish()
    this.#res.cork(() => {
      this.#writeHead(status, 'application/json', Object.entries(headers))
      this.#res.end(body, true)
    })
  }

  #failure(error: AppError): FailureAnswer {
    const requestId = newRequestId()
    this.#requestId = requestId
    return failureAnswer(error, { requestId })
  }

  #request(): HttpRequest {
    assert(this.#req !== null, 'a request is read before its handler returns')
    return this.#req
  }

  /** Of the budget goes what the buffer takes, which is more than what has come so far. */
  #take(bytes: number): boolean {
    if (!this.#context.budget.tryTake(bytes - this.#bodyBytes)) {
      this.#context.sheds.count('body')
      this.#refuseBody('ERR_BUDGET_FULL', null)
      return false
    }
    this.#bodyBytes = bytes
    return true
  }

  #handOver(body: Uint8Array, done: (body: Uint8Array) => void): void {
    try {
      done(body)
    } catch (error) {
      this.#context.onThrow(error, this)
    }
  }

  #refuseBody(code: 'ERR_BODY_TOO_LARGE' | 'ERR_BUDGET_FULL', detail: string | null): void {
    const gone = this.#gone
    const error = new AppError(code, detail)
    this.refuse(error)
    gone?.(error)
  }

  #aborted(): void {
    if (this.#sending) this.#sent()
    if (this.#done) return
    const gone = this.#gone
    this.#finish()
    gone?.(null)
  }

  #finish(): void {
    this.#done = true
    this.#gone = null
    this.#context.active -= 1
    this.#context.budget.release(this.#bodyBytes)
    this.#bodyBytes = 0
  }

  #send(
    status: number,
    body: string | Uint8Array,
    contentType: string,
    lines: readonly HeaderLine[],
  ): void {
    if (this.#done) return
    if (body.length > AT_ONCE_CHARS && !this.#hasRoom(body)) {
      this.replyError(new AppError('ERR_BUDGET_FULL', 'too many answers wait for their readers'))
      return
    }
    this.#finish()
    const close = this.#context.closing || endsConnection(status)
    let isTaken = true
    this.#res.cork(() => {
      this.#writeHead(status, contentType, lines)
      if (status === 204 || status === 304) {
        // With an argument, even undefined, it writes a length, which a 204 must not have.
        if (close) this.#res.writeHeader('Connection', 'close')
        this.#res.endWithoutBody()
      } else if (this.method === 'HEAD') {
        this.#res.endWithoutBody(Buffer.byteLength(body), close)
      } else if (body.length > (close ? LAST_CHARS : AT_ONCE_CHARS)) {
        this.#sendLarge(body)
      } else if (close) {
        this.#res.end(body, true)
      } else {
        isTaken = this.#sendLooking(body)
      }
    })
    if (!isTaken) this.#res.close()
  }

  #writeHead(status: number, contentType: string, lines: readonly HeaderLine[]): void {
    const res = this.#res
    if (status !== 200) res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`)
    if (contentType !== '') res.writeHeader('Content-Type', encoded(contentType))
    for (const [name, value] of Object.entries(this.#context.headers)) res.writeHeader(name, value)
    for (const [name, value] of withAdded(lines, this.#added)) {
      res.writeHeader(safeValue(name), encoded(value))
    }
  }

  /** Hands over what the socket takes, and the rest when it asks: nothing is buffered natively. */
  #sendLarge(body: string | Uint8Array): void {
    const res = this.#res
    if (this.#context.closing) res.writeHeader('Connection', 'close')
    this.#sending = true
    this.#context.active += 1
    // 0: all of it. Only what has to wait is made into bytes.
    const [, atOnce] = res.tryEnd(body, 0)
    if (atOnce) this.#sent()
    else this.#sendOn(typeof body === 'string' ? Buffer.from(body) : body)
  }

  #sendOn(bytes: Uint8Array): void {
    const res = this.#res
    const { unread } = this.#context
    const held = unread.hold(bytes.byteLength, () => void res.close())
    this.#unread = held
    res.onWritable((offset) => {
      const [ok, finished] = res.tryEnd(bytes.subarray(offset), bytes.byteLength)
      if (finished) this.#sent()
      else unread.moved(held)
      return ok
    })
  }

  /** As end(), but false when an earlier answer still waits though its caller has asked again. */
  #sendLooking(body: string | Uint8Array): boolean {
    const { looks, sheds } = this.#context
    const [, isTaken] = this.#res.tryEnd(body, 0)
    looks.looked(!isTaken)
    if (!isTaken) sheds.count('reader')
    return isTaken
  }

  #hasRoom(body: string | Uint8Array): boolean {
    return this.method === 'HEAD' || this.#context.unread.makeRoom(Buffer.byteLength(body))
  }

  /** The whole answer is with the socket, or its reader has gone. */
  #sent(): void {
    this.#sending = false
    this.#context.active -= 1
    if (this.#unread !== null) this.#context.unread.release(this.#unread)
    this.#unread = null
  }
}

/** What writeCorked() writes: cork() calls back at once, so one object serves all answers. */
const corked: {
  res: HttpResponse | null
  head: string
  body: string | Uint8Array
  close: boolean
} = {
  res: null,
  head: '',
  body: '',
  close: false,
}

function writeCorked(): void {
  const { res, head, body, close } = corked
  corked.res = null
  res?.writeHeader('Content-Type', head)
  res?.end(body, close)
}

/** Twice what is there, so that a body of many pieces is copied a few times only. */
function roomFor(size: number, bytesMax: number): number {
  return Math.max(size, Math.min(bytesMax, Math.max(2 * size, PIECES_BYTES_MIN)))
}

/** A copy of the first `used` bytes with room for `size`. */
function grown(body: Buffer | null, used: number, size: number): Buffer {
  const next = Buffer.allocUnsafe(size)
  body?.copy(next, 0, 0, used)
  return next
}

/** Refuses what could end a header line: uWebSockets.js sends values unchecked. */
function safeValue(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
  assert(!/[\x00-\x1f\x7f]|[^\x00-\xff]/.test(value), 'a header value holds no control character')
  return value
}

/** A text would be sent as UTF-8; a header is one byte a character, on either adapter. */
function encoded(value: string): string | Buffer {
  return /^[\x20-\x7e]*$/.test(value) ? value : Buffer.from(safeValue(value), 'latin1')
}
