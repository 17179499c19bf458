/**
 * The query listener on uWebSockets.js, and the one place that registers its routes: a handler that
 * throws, or returns without an answer, would end the process. The guards here make up for a parser
 * that accepts ambiguous lengths and encodings (request smuggling).
 */

import type { HttpRequest, HttpResponse, TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import { AppError, messageOf, toAppError } from '../base/errors.ts'
import { newRequestId } from '../base/ids.ts'
import type { Logger } from '../base/logger.ts'
import type { BodyBudget } from './body-budget.ts'
import type { Handler } from './exchange.ts'
import { failureAnswer } from './failure.ts'
import { HeaderScan } from './header-scan.ts'
import { API_VERSION } from './product-headers.ts'
import type { Sheds } from './sheds.ts'
import type { UnreadAnswers } from './unread-answers.ts'
import { newUwsContext, type UwsContext, UwsExchange } from './uws-exchange.ts'

type Uws = typeof import('uWebSockets.js')

/** Null, with a reason, where no binary of uWebSockets.js loads for this Node and platform. */
export async function loadUws(): Promise<{ uws: Uws | null; reason: string }> {
  try {
    return { uws: await import('uWebSockets.js'), reason: '' }
  } catch (error) {
    return { uws: null, reason: messageOf(error).split('\n')[0] ?? '' }
  }
}

export interface UwsOptions {
  readonly host: string
  readonly port: number
  readonly tlsCert: string | null
  readonly tlsKey: string | null
  readonly strictHeaders: boolean
  readonly connectionsMax: number
  readonly budget: BodyBudget
  readonly unread: UnreadAnswers
  readonly sheds: Sheds
  readonly version: string
  readonly logger: Logger
}

export class UwsServer {
  readonly #uws: Uws
  readonly #options: UwsOptions
  readonly #handler: Handler
  readonly #context: UwsContext
  #socket: us_listen_socket | null = null
  #connections = 0

  constructor(uws: Uws, options: UwsOptions, handler: Handler) {
    this.#uws = uws
    this.#options = options
    this.#handler = handler
    const onThrow = (error: unknown, exchange: UwsExchange) => this.#threw(error, exchange)
    this.#context = newUwsContext({
      budget: options.budget,
      unread: options.unread,
      sheds: options.sheds,
      headers: { 'DSS-API-Version': API_VERSION, 'DSS-Version': options.version },
      scan: options.strictHeaders ? new HeaderScan() : null,
      onThrow,
    })
  }

  get connections(): number {
    return this.#connections
  }

  /** Requests that are not answered yet. */
  get active(): number {
    return this.#context.active
  }

  /**
   * The port, or null when it cannot be had. A port that was named is shared with all listeners of
   * the same user that share it too: other serving processes, and the one that takes over. That no
   * stranger is among them is for control to see to, before the first process listens.
   */
  listen(): Promise<number | null> {
    const { host, port } = this.#options
    const app = this.#newApp()
    app.filter((res, count) => this.#count(res, count))
    app.post('/*', (res, req) => this.#route(res, req, 'POST'))
    app.any('/*', (res, req) => this.#route(res, req, req.getCaseSensitiveMethod()))
    return new Promise((resolve) => {
      app.listen(host, port, (socket) => {
        this.#socket = socket || null
        if (socket) this.#context.looks.start()
        resolve(socket ? this.#uws.us_socket_local_port(socket) : null)
      })
    })
  }

  /**
   * No new connections; answers from now on close theirs. In this order, within one turn: a caller
   * that is told to come back must not meet this listener again.
   */
  stopListening(): void {
    if (this.#socket !== null) this.#uws.us_listen_socket_close(this.#socket)
    this.#socket = null
    this.#context.closing = true
  }

  #newApp(): TemplatedApp {
    const { tlsCert, tlsKey } = this.#options
    if (tlsCert === null || tlsKey === null) return this.#uws.App()
    return this.#uws.SSLApp({ cert_file_name: tlsCert, key_file_name: tlsKey })
  }

  #count(res: HttpResponse, count: number): void {
    this.#connections += count
    if (count > 0 && this.#connections > this.#options.connectionsMax) res.close()
  }

  #route(res: HttpResponse, req: HttpRequest, method: string): void {
    const { scan } = this.#context
    const exchange = new UwsExchange(res, req, method, this.#context)
    try {
      scan?.read(req)
      if (scan?.isAmbiguous === true) {
        refuseLater(exchange)
      } else {
        this.#handler(exchange)
      }
    } catch (error) {
      this.#threw(error, exchange)
    }
    exchange.leaveHandler()
  }

  #threw(error: unknown, exchange: UwsExchange): void {
    const requestId = newRequestId()
    const { path } = exchange
    this.#options.logger.error({ err: error, requestId, path }, 'a query handler threw')
    exchange.reply(failureAnswer(toAppError(error), { requestId }))
  }
}

/**
 * Not now: the parser would go on in the bytes at hand and forget that the connection is to close,
 * so a second request hidden there would be answered. While this one waits it closes instead.
 *
 * And not by setImmediate(): that is behind the native library's own end of a loop turn. libuv has
 * freed its half of a connection that is closed there when the library looks at it a turn later,
 * and the library's half is never freed (uSockets, us_poll_free in libuv.c; seen: 260 bytes each).
 */
function refuseLater(exchange: UwsExchange): void {
  const error = new AppError('ERR_REQUEST_INVALID', 'ambiguous length or encoding')
  setTimeout(() => exchange.refuse(error), 0)
}
