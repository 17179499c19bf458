/**
 * The listener of the query API: uWebSockets.js, or node:http where no binary of it loads for this
 * Node and platform, which is slower and therefore said loudly.
 */

import { AppError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { ServeConfig } from '../channel/messages.ts'
import { BodyBudget } from '../http/body-budget.ts'
import type { Handler } from '../http/exchange.ts'
import { NodeHttpServer } from '../http/node-http.ts'
import { Sheds } from '../http/sheds.ts'
import { UnreadAnswers } from '../http/unread-answers.ts'
import { loadUws, type UwsOptions, UwsServer } from '../http/uws.ts'
import type { HeldBytes, ShedCount } from '../metrics/delta.ts'

export interface QueryListener {
  readonly server: 'uws' | 'node'
  readonly port: number
  /** Requests that are not answered yet. */
  active(): number
  connections(): number
  held(): HeldBytes
  /** What was given up since the last call, so that such bytes stay in bounds. */
  drainSheds(): readonly ShedCount[]
  /**
   * No new connections; answers from now on close theirs, and what is idle is left to end by
   * itself, since a request may be on its way there. Can be called again.
   */
  leave(): void
  /** The same, and where the server can tell, connections that have nothing to wait for end now. */
  stop(drainMs: number): void
}

type Opened = Omit<QueryListener, 'held' | 'drainSheds'>

/** Throws, with a reason for people, when the port cannot be had. */
export async function openListener(
  config: ServeConfig,
  logger: Logger,
  handler: Handler,
): Promise<QueryListener> {
  const budget = new BodyBudget(config.bodyBytesTotalMax)
  const sheds = new Sheds(logger)
  const unread = new UnreadAnswers(config.unreadBytesMax, sheds)
  const options = { ...config, budget, unread, sheds, logger }
  const bounds = {
    held: () => ({ bodies: budget.usedBytes, answers: unread.usedBytes }),
    drainSheds: () => sheds.drain(),
  }
  const { uws, reason } = await loadUws()
  if (uws !== null) {
    return { ...bounds, ...(await openUws(new UwsServer(uws, options, handler), config)) }
  }
  logger.warn({ reason }, 'SLOW HTTP: no uWebSockets.js for this Node, queries run on node:http')
  return { ...bounds, ...(await openNode(options, handler)) }
}

async function openUws(server: UwsServer, config: ServeConfig): Promise<Opened> {
  const port = await server.listen()
  if (port === null) throw cannotListen(config, 'the port is taken')
  return {
    server: 'uws',
    port,
    active: () => server.active,
    connections: () => server.connections,
    leave: () => server.stopListening(),
    stop: () => server.stopListening(),
  }
}

async function openNode(options: UwsOptions, handler: Handler): Promise<Opened> {
  const shared = { ...options, shared: true }
  const server = await NodeHttpServer.listen(shared, handler).catch((error: unknown) => {
    throw cannotListen(options, messageOf(error))
  })
  return {
    server: 'node',
    port: server.port,
    active: () => server.active,
    connections: () => server.connections,
    leave: () => server.leave(),
    stop: (drainMs) => void server.close(drainMs),
  }
}

function cannotListen({ host, port }: UwsOptions | ServeConfig, why: string): AppError {
  return new AppError('ERR_LISTEN', `${host}:${port}: ${why}`)
}
