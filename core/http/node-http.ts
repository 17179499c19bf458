/**
 * HTTP by node:http(s): the admin API, and queries where no uWebSockets.js binary loads.
 *
 * Node's parser refuses what is ambiguous (two lengths, length beside chunks); what it would let
 * pass and we do not is refused here. Every refusal is a JSON object, as clients expect.
 */

import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import { Server } from 'node:net'
import type { Duplex } from 'node:stream'
import { assert } from '../base/assert.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { newRequestId } from '../base/ids.ts'
import type { Logger } from '../base/logger.ts'
import { LIMITS } from '../config/limits.ts'
import type { BodyBudget } from './body-budget.ts'
import { failureAnswer } from './failure.ts'
import { NodeExchange, type NodeExchangeContext, type StreamingExchange } from './node-exchange.ts'
import { HANDSHAKE_MS, logRefusals, secureContextOf, type TlsMaterial, tlsOf } from './node-tls.ts'
import { productHeaders } from './product-headers.ts'

const HEADERS_MS = 10_000
const KEEP_ALIVE_MS = 10_000
const BODY_MS = 30_000
/** Whoever reads a stream watches its caller; this ends what is left of a dead connection. */
const STREAM_IDLE_MS = 5 * 60_000
/** How often node:http looks for connections whose headers take too long. */
const CHECK_MS = 1_000

export interface NodeHttpOptions {
  readonly host: string
  /** 0 picks one. */
  readonly port: number
  /** Paths of PEM files; null: plain HTTP. */
  readonly tlsCert: string | null
  readonly tlsKey: string | null
  /**
   * Several processes may listen on the port. Only where Node can (22.12 and 23.1 on Linux);
   * elsewhere the port is had once the process before has left it.
   */
  readonly shared?: boolean
  /** In the place of the files, where they were read and checked already. */
  readonly tls?: TlsMaterial | null
  /** How long a handshake may be silent. */
  readonly handshakeMs?: number
  /** How long a reader may take nothing of his answer; default `idleMs` of the limits. */
  readonly sendIdleMs?: number
  readonly connectionsMax: number
  readonly budget: BodyBudget
  readonly version: string
  readonly logger: Logger
}

export type StreamingHandler = (exchange: StreamingExchange) => void

export class NodeHttpServer {
  readonly #server: http.Server
  readonly #context: NodeExchangeContext
  readonly #logger: Logger
  readonly #handler: StreamingHandler
  /** Open connections and how many of their requests wait for an answer. */
  readonly #connections = new Map<Duplex, number>()
  /** Below TLS, so with those whose handshake has not come to its end. */
  readonly #sockets = new Set<Duplex>()
  /** Connections that were let in by what is no longer true; each ends with its answer. */
  readonly #outdated = new WeakSet<Duplex>()
  /** Connections with a request that has two readings: nothing behind it is looked at. */
  readonly #distrusted = new WeakSet<Duplex>()
  #tls: TlsMaterial | null

  private constructor(options: NodeHttpOptions, handler: StreamingHandler) {
    this.#logger = options.logger
    this.#handler = handler
    this.#context = {
      budget: options.budget,
      headers: productHeaders(options.version),
      bodyMs: BODY_MS,
      streamIdleMs: STREAM_IDLE_MS,
      sendIdleMs: options.sendIdleMs ?? LIMITS.idleMs,
      closing: false,
    }
    this.#tls = options.tls ?? tlsOf(options)
    this.#server = createServer(this.#tls, options)
    this.#server.maxConnections = options.connectionsMax
    this.#wire(this.#tls === null ? 'connection' : 'secureConnection')
  }

  /** Rejects with the system's error (EADDRINUSE and the like) when the port cannot be had. */
  static async listen(
    options: NodeHttpOptions,
    handler: StreamingHandler,
  ): Promise<NodeHttpServer> {
    const listener = new NodeHttpServer(options, handler)
    await new Promise<void>((resolve, reject) => {
      listener.#server.once('error', reject)
      listener.#server.listen(placeOf(options), () => {
        listener.#server.off('error', reject)
        resolve()
      })
    })
    return listener
  }

  get port(): number {
    const address = this.#server.address()
    assert(address !== null && typeof address === 'object', 'a listener has a port')
    return address.port
  }

  get connections(): number {
    return this.#connections.size
  }

  /** Requests that are not answered yet. */
  get active(): number {
    let waiting = 0
    for (const requests of this.#connections.values()) waiting += requests
    return waiting
  }

  /**
   * Stops accepting; every answer from now on is the last of its connection. Idle connections stay
   * until their time is up, for a request may be on its way: http's own close() would end them.
   */
  leave(): void {
    Server.prototype.close.call(this.#server)
    this.#context.closing = true
  }

  /**
   * For connections from now on; those that are open go on, unless other authorities now say who
   * may connect: then they end as soon as nothing waits on them.
   */
  secure(tls: TlsMaterial): void {
    assert(this.#server instanceof https.Server, 'a plain listener stays plain')
    this.#server.setSecureContext(secureContextOf(tls))
    const isOtherCa = tls.clientCa !== this.#tls?.clientCa
    this.#tls = tls
    if (!isOtherCa) return
    for (const [socket, waiting] of this.#connections) {
      this.#outdated.add(socket)
      if (waiting === 0) socket.destroy()
    }
  }

  /** Stops accepting, lets requests under way be answered for `drainMs`, then cuts the rest. */
  async close(drainMs: number): Promise<void> {
    this.#context.closing = true
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const [socket, waiting] of this.#connections) if (waiting === 0) socket.destroy()
    const timer = setTimeout(() => {
      this.#server.closeAllConnections()
      for (const socket of this.#sockets) socket.destroy()
    }, drainMs)
    await closed
    clearTimeout(timer)
  }

  #wire(connectionEvent: 'connection' | 'secureConnection'): void {
    this.#server.on('connection', (socket: Duplex) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#server.on(connectionEvent, (socket: Duplex) => {
      this.#connections.set(socket, 0)
      socket.on('close', () => this.#connections.delete(socket))
    })
    this.#server.on('request', (request, response) => this.#serve(request, response, false))
    this.#server.on('checkContinue', (request, response) => this.#serve(request, response, true))
    // Who expects something else gets an ordinary answer, as from uWebSockets.js.
    this.#server.on('checkExpectation', (request, response) =>
      this.#serve(request, response, false),
    )
    this.#server.on('clientError', (error, socket) => this.#refuseBytes(error, socket))
    this.#server.on('error', (error) => this.#logger.error({ err: error }, 'the listener failed'))
  }

  #serve(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    // The parser hands over all that came in one piece, also behind an answer that is the last.
    if (this.#distrusted.has(request.socket)) return
    this.#count(request.socket, 1)
    response.once('close', () => this.#count(request.socket, -1))
    const exchange = new NodeExchange(request, response, this.#context, expectsContinue)
    const coding = exchange.header('transfer-encoding')
    if (coding !== '' && coding !== 'chunked') {
      this.#distrusted.add(request.socket)
      const error = new AppError('ERR_REQUEST_INVALID', 'Transfer-Encoding must be chunked')
      exchange.reply(failureAnswer(error, { headers: { Connection: 'close' } }))
      return
    }
    try {
      this.#handler(exchange)
    } catch (error) {
      const requestId = newRequestId()
      const { path } = exchange
      this.#logger.error({ err: error, requestId, path }, 'the handler of a request threw')
      if (!exchange.done) exchange.reply(failureAnswer(new AppError('ERR_INTERNAL'), { requestId }))
    }
  }

  #count(socket: Duplex, change: 1 | -1): void {
    const waiting = this.#connections.get(socket)
    if (waiting === undefined) return
    this.#connections.set(socket, waiting + change)
    if (waiting + change === 0 && this.#outdated.has(socket)) {
      socket.end(() => socket.destroy())
    }
  }

  /** What the parser refused has no exchange, so its answer is written by hand. */
  #refuseBytes(error: Error, socket: Duplex): void {
    const code = 'code' in error ? String(error.code) : ''
    // Of a handshake: what is written before its end waits for it, and so would the end.
    const isOfTls = code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')
    if (!socket.writable || code === 'ECONNRESET' || isOfTls) {
      socket.destroy()
      return
    }
    if (this.#distrusted.has(socket)) {
      socket.end(() => socket.destroy())
      return
    }
    const { status, body } = failureAnswer(refusalOf(code, error))
    const headers = Object.entries(this.#context.headers).map(
      ([name, value]) => `${name}: ${value}`,
    )
    const head = [
      `HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? 'Refused'}`,
      ...headers,
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
    ]
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
  }
}

function refusalOf(code: string, error: Error): AppError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new AppError('ERR_REQUEST_TIMEOUT')
  if (code === 'HPE_HEADER_OVERFLOW') return new AppError('ERR_HEADERS_TOO_LARGE')
  return new AppError('ERR_REQUEST_INVALID', messageOf(error).slice(0, 200))
}

/** Older versions of Node do not know `reusePort` and pass over it; other systems refuse it. */
function placeOf({ host, port, shared = false }: NodeHttpOptions) {
  return { host, port, exclusive: true, reusePort: shared && process.platform === 'linux' }
}

function createServer(tls: TlsMaterial | null, options: NodeHttpOptions): http.Server {
  const settings = {
    headersTimeout: HEADERS_MS,
    // Uploads may take hours; each way of reading a body has its own limit instead.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CHECK_MS,
    // Two Authorization headers become one that is no known key, instead of "the first wins".
    joinDuplicateHeaders: true,
  }
  if (tls === null) return http.createServer(settings)
  const server = https.createServer({
    ...settings,
    ...secureContextOf(tls),
    handshakeTimeout: options.handshakeMs ?? HANDSHAKE_MS,
    requestCert: tls.clientCa !== null,
    rejectUnauthorized: tls.clientCa !== null,
  })
  if (tls.clientCa !== null) logRefusals(server, options.logger)
  return server
}
