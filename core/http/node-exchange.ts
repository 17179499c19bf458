/**
 * One exchange over node:http(s): the request, its bounded body or its stream, and the one answer.
 *
 * An answer that is given before the whole body has arrived is a trap of HTTP/1.1: closing at once
 * makes the kernel reset the connection, and the caller never reads why it was refused. So what
 * still arrives is thrown away for a moment, and only then the connection is cut.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { assert } from '../base/assert.ts'
import { AppError } from '../base/errors.ts'
import { newRequestId } from '../base/ids.ts'
import type { BodyBudget } from './body-budget.ts'
import type { Answer, Exchange, HeaderLine, RawReply } from './exchange.ts'
import { endsConnection, failureAnswer } from './failure.ts'
import { isBodiless, safeHeaders, withAdded } from './raw-reply.ts'

/** How long the rest of a refused body is read, so that the caller gets to see the answer. */
const LINGER_MS = 2_000

/** What the exchanges of one listener share. */
export interface NodeExchangeContext {
  readonly budget: BodyBudget
  readonly headers: Readonly<Record<string, string>>
  /** Most time for a whole bounded body. */
  readonly bodyMs: number
  /** Most silence inside a streamed body, which may take as long as it needs. */
  readonly streamIdleMs: number
  /** Most time in which a reader takes nothing of his answer. */
  readonly sendIdleMs: number
  /** True once the listener closes: every answer is the last one of its connection. */
  closing: boolean
}

/** An exchange whose body may also be read as a stream, for uploads of any size. */
export interface StreamingExchange extends Exchange {
  /** Instead of readBody; the same rule: once, and before the handler's first await. */
  bodyStream(): Readable
}

export class NodeExchange implements StreamingExchange {
  /** HEAD arrives here as GET; node:http keeps the body of its answer back. */
  readonly method: string
  readonly path: string
  readonly rawPath: string
  readonly query: string
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #context: NodeExchangeContext
  readonly #expectsContinue: boolean
  #answered = false
  #gone = false
  #bodyTaken = false
  #heldBytes = 0
  #onGone: ((refusal: AppError | null) => void) | null = null
  #bodyTimer: NodeJS.Timeout | null = null
  #added: readonly HeaderLine[] = []
  #requestId: string | null = null

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    context: NodeExchangeContext,
    expectsContinue: boolean,
  ) {
    this.#request = request
    this.#response = response
    this.#context = context
    this.#expectsContinue = expectsContinue
    const target = (request.url ?? '/').replace(/^https?:\/\/[^/?]*/i, '')
    const mark = target.indexOf('?')
    const path = mark < 0 ? target : target.slice(0, mark)
    this.method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET')
    this.path = path.replace(/\/{2,}/g, '/') || '/'
    this.rawPath = this.path
    this.query = mark < 0 ? '' : target.slice(mark + 1)
    response.on('close', () => this.#closed())
    // An upload that breaks off also emits 'error' here; 'close' above says all we need to know.
    request.on('error', () => {})
  }

  get done(): boolean {
    return this.#answered || this.#gone
  }

  get address(): string {
    return this.#request.socket.remoteAddress ?? ''
  }

  get requestId(): string | null {
    return this.#requestId
  }

  header(nameInLowerCase: string): string {
    const value = this.#request.headers[nameInLowerCase]
    if (value === undefined) return ''
    return typeof value === 'string' ? value : value.join(', ')
  }

  headers(): HeaderLine[] {
    const { rawHeaders } = this.#request
    const lines: HeaderLine[] = []
    for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
      lines.push([(rawHeaders[at] ?? '').toLowerCase(), rawHeaders[at + 1] ?? ''])
    }
    return lines
  }

  addHeaders(lines: readonly HeaderLine[]): void {
    this.#added = lines
  }

  readBody(limitBytes: number, done: (body: Uint8Array) => void): void {
    this.#takeBody()
    const declared = Number(this.header('content-length') || 0)
    if (declared > limitBytes) {
      this.#refuseSize(limitBytes)
    } else if (this.#hold(declared)) {
      this.#bodyTimer = setTimeout(() => this.#tooSlow(), this.#context.bodyMs)
      this.#collect(limitBytes, done)
    } else {
      this.#refuse(new AppError('ERR_BUDGET_FULL'))
    }
  }

  bodyStream(): Readable {
    this.#takeBody()
    const { socket } = this.#request
    // With nobody listening for 'timeout', node:http destroys the socket: the upload has ended.
    socket.setTimeout(this.#context.streamIdleMs)
    this.#request.once('end', () => socket.setTimeout(0))
    return this.#request
  }

  reply(answer: Answer): void {
    if (!this.#begin()) return
    this.#response.writeHead(answer.status, this.#headersOf(answer))
    this.#finish(answer.body)
  }

  replyJson(json: string | Uint8Array): void {
    this.reply({ status: 200, body: json })
  }

  replyRaw({ status, headers, body }: RawReply): void {
    if (!this.#begin()) return
    const safe = safeHeaders(headers)
    const { contentType } = safe
    const lines = withAdded(safe.lines, this.#added)
    const answer = isBodiless(status) ? { status } : { status, body, contentType }
    // Each of its own lines stands alone, and comes instead of ours of that name.
    const theirs = new Set(lines.map(([name]) => name.toLowerCase()))
    const ours = Object.entries(this.#headersOf(answer))
    const kept = ours.filter(([name]) => !theirs.has(name.toLowerCase()))
    this.#response.writeHead(status, [...kept, ...lines].flat().map(String))
    this.#finish(answer.body)
  }

  replyError(error: AppError): void {
    const requestId = newRequestId()
    this.#requestId = requestId
    this.reply(failureAnswer(error, { requestId }))
  }

  onGone(callback: (refusal: AppError | null) => void): void {
    if (this.#gone) callback(null)
    else this.#onGone = callback
  }

  /** False when there is nobody to answer: the caller left, which is expected, so no assertion. */
  #begin(): boolean {
    assert(!this.#answered, 'an exchange is answered once')
    this.#answered = true
    this.#letGo()
    if (this.#gone) return false
    if (!this.#request.complete) this.#linger()
    return true
  }

  /** Who takes nothing of a long answer for a while is given up: node:http would wait for ever. */
  #finish(body: string | Uint8Array | undefined): void {
    this.#response.end(body)
    const { socket } = this.#request
    if (socket.writableLength > 0) socket.setTimeout(this.#context.sendIdleMs)
  }

  #takeBody(): void {
    assert(!this.#bodyTaken, 'a body is read once')
    this.#bodyTaken = true
    if (this.#expectsContinue) this.#response.writeContinue()
  }

  #collect(limitBytes: number, done: (body: Uint8Array) => void): void {
    const chunks: Buffer[] = []
    let receivedBytes = 0
    this.#request.on('data', (chunk: Buffer) => {
      receivedBytes += chunk.length
      if (this.done || !this.#fits(receivedBytes, limitBytes)) return
      chunks.push(chunk)
    })
    this.#request.once('end', () => {
      if (this.#bodyTimer !== null) clearTimeout(this.#bodyTimer)
      if (this.done) return
      const [only] = chunks
      done(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks))
    })
  }

  /** A body of declared length was held as a whole; a chunked one is held as it comes. */
  #fits(receivedBytes: number, limitBytes: number): boolean {
    if (receivedBytes > limitBytes) {
      this.#refuseSize(limitBytes)
      return false
    }
    if (this.#hold(Math.max(0, receivedBytes - this.#heldBytes))) return true
    this.#refuse(new AppError('ERR_BUDGET_FULL'))
    return false
  }

  #hold(bytes: number): boolean {
    if (!this.#context.budget.tryTake(bytes)) return false
    this.#heldBytes += bytes
    return true
  }

  #letGo(): void {
    if (this.#bodyTimer !== null) clearTimeout(this.#bodyTimer)
    this.#context.budget.release(this.#heldBytes)
    this.#heldBytes = 0
  }

  #refuseSize(limitBytes: number): void {
    this.#refuse(new AppError('ERR_BODY_TOO_LARGE', `at most ${limitBytes} bytes`))
  }

  /** The route will never get its body, so it is told as if the caller had left. */
  #refuse(error: AppError): void {
    this.replyError(error)
    this.#onGone?.(error)
  }

  #tooSlow(): void {
    if (!this.done) this.#refuse(new AppError('ERR_REQUEST_TIMEOUT'))
  }

  #headersOf(answer: Answer): Record<string, string | number> {
    const headers: Record<string, string | number> = { ...this.#context.headers }
    if (answer.body !== undefined) {
      headers['Content-Type'] = answer.contentType ?? 'application/json'
      headers['Content-Length'] = Buffer.byteLength(answer.body)
    } else if (answer.status !== 204 && answer.status !== 304) {
      headers['Content-Length'] = 0
    }
    const close = this.#context.closing || endsConnection(answer.status)
    if (close) headers['Connection'] = 'close'
    return Object.assign(headers, answer.headers, Object.fromEntries(withAdded([], this.#added)))
  }

  #linger(): void {
    const { socket } = this.#request
    this.#request.unpipe()
    this.#request.resume()
    const timer = setTimeout(() => socket.destroy(), LINGER_MS)
    this.#request.once('end', () => clearTimeout(timer))
    this.#request.once('close', () => clearTimeout(timer))
  }

  #closed(): void {
    if (this.#answered || this.#gone) return
    this.#gone = true
    this.#letGo()
    this.#onGone?.(null)
  }
}
