/**
 * A query listener, on uWebSockets.js unless told otherwise, whose handler does what request
 * headers ask: it echoes, holds its answer, throws, or sends a large one.
 */

import type { Test } from 'tap'
import { AppError, ERROR_TABLE } from '../../core/base/errors.ts'
import { SILENT } from '../../core/base/logger.ts'
import { BodyBudget } from '../../core/http/body-budget.ts'
import type { Exchange, Handler } from '../../core/http/exchange.ts'
import { NodeHttpServer } from '../../core/http/node-http.ts'
import { type ShedKind, Sheds } from '../../core/http/sheds.ts'
import { UnreadAnswers } from '../../core/http/unread-answers.ts'
import { loadUws, type UwsOptions, UwsServer } from '../../core/http/uws.ts'
import { post, RawClient } from './raw-http.ts'
import { until } from './waiting.ts'

export interface Listening {
  readonly port: number
  readonly budget: BodyBudget
  readonly unread: UnreadAnswers
  /** What was given up for too many bytes, since the last call. */
  drainSheds(): readonly (readonly [ShedKind, number])[]
  /** Exchanges whose answer is held back (`X-Hold`). */
  readonly held: Exchange[]
  readonly bodies: Uint8Array[]
  readonly paths: string[]
  readonly methods: string[]
  /** Callers that left before their answer. */
  gone(): number
  large(): number
  active(): number
  connections(): number
  close(): void
}

/** Both ways of carrying HTTP. */
export const SERVERS = ['uws', 'node'] as const

interface Settings {
  /** Default: uws. */
  readonly server?: (typeof SERVERS)[number]
  readonly limitBytes: number
  /** A named one is shared; default: any. */
  readonly port?: number
  readonly budgetBytes?: number
  readonly unreadBytes?: number
  readonly connectionsMax?: number
  /** Instead of the one that does what headers ask. */
  readonly handler?: Handler
}

export async function listening(settings: Settings): Promise<Listening> {
  const budget = new BodyBudget(settings.budgetBytes ?? 16_000_000)
  const sheds = new Sheds(SILENT)
  const unread = new UnreadAnswers(settings.unreadBytes ?? 64_000_000, sheds)
  const counts = { gone: 0, large: 0 }
  const seen = { held: [], bodies: [], paths: [], methods: [] } as Seen
  const options = {
    host: '127.0.0.1',
    port: settings.port ?? 0,
    tlsCert: null,
    tlsKey: null,
    strictHeaders: true,
    connectionsMax: settings.connectionsMax ?? 1_000,
    ...{ budget, unread, sheds },
    version: '1.2.3',
    logger: SILENT,
  }
  const byHeaders = (exchange: Exchange) => serve(exchange, settings.limitBytes, seen, counts)
  const handler = settings.handler ?? byHeaders
  const open = settings.server === 'node' ? openNode : openUws
  const server = await open(options, handler)
  const large = () => counts.large
  const drainSheds = () => sheds.drain()
  return { ...seen, ...server, budget, unread, drainSheds, gone: () => counts.gone, large }
}

type Opened = Pick<Listening, 'port' | 'active' | 'connections' | 'close'>

async function openUws(options: UwsOptions, handler: Handler): Promise<Opened> {
  // Read when the library loads, as the serving process sets it.
  process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = '16384'
  const { uws, reason } = await loadUws()
  if (uws === null) throw new Error(reason)
  const server = new UwsServer(uws, options, handler)
  const port = await server.listen()
  if (port === null) throw new Error('no port')
  const [active, connections] = [() => server.active, () => server.connections]
  return { port, active, connections, close: () => server.stopListening() }
}

async function openNode(options: UwsOptions, handler: Handler): Promise<Opened> {
  const server = await NodeHttpServer.listen(options, handler)
  const [active, connections] = [() => server.active, () => server.connections]
  return { port: server.port, active, connections, close: () => void server.close(0) }
}

type Seen = Pick<Listening, 'held' | 'bodies' | 'paths' | 'methods'>

function serve(
  exchange: Exchange,
  limitBytes: number,
  seen: Seen,
  counts: { gone: number; large: number },
): void {
  seen.paths.push(exchange.path)
  seen.methods.push(exchange.method)
  exchange.onGone(() => {
    counts.gone += 1
  })
  if (exchange.method !== 'POST') {
    exchange.reply({ status: 200, body: 'hello' })
    return
  }
  const asked = (name: string) => exchange.header(name)
  const [throws, error, status] = [asked('x-throw'), asked('x-error'), asked('x-status')]
  const [hold, large, extra] = [asked('x-hold'), Number(asked('x-large')), asked('x-header')]
  if (throws === 'now') throw new Error('on purpose')
  exchange.readBody(limitBytes, (body) => {
    seen.bodies.push(body)
    if (throws === 'later') throw new Error('on purpose')
    if (isCode(error)) exchange.replyError(new AppError(error))
    else if (status !== '') exchange.reply({ status: Number(status) })
    else if (hold !== '') seen.held.push(exchange)
    else if (large > 0) {
      counts.large += 1
      exchange.reply({ status: 200, body: Buffer.alloc(large, '0123456789') })
    } else if (extra !== '') {
      const headers = { 'X-Test': decodeURIComponent(extra) }
      exchange.reply({ status: 200, body: '{}', headers })
    } else exchange.reply({ status: 200, body })
  })
}

function isCode(text: string): text is keyof typeof ERROR_TABLE {
  return text in ERROR_TABLE
}

/** After whatever went before: the server answers, owes nothing and holds nothing. */
export async function healthy(t: Test, server: Listening): Promise<void> {
  const raw = new RawClient(server.port).send(post('still here'))
  const [answer] = await raw.answers()
  t.match(answer, { status: 200 })
  t.equal(answer?.body.toString(), 'still here')
  raw.destroy()
  await until(() => server.active() === 0)
  t.equal(server.budget.usedBytes, 0, 'no byte is held')
  t.equal(server.unread.usedBytes, 0, 'nor one of an answer')
}

/** Connections to a listener, all of which end with the test, and the listener with them. */
export function rawClients(t: Test, server: Listening): (port?: number) => RawClient {
  const clients: RawClient[] = []
  t.teardown(() => {
    for (const client of clients) client.destroy()
    server.close()
  })
  return (port = server.port) => {
    const made = new RawClient(port)
    clients.push(made)
    return made
  }
}
