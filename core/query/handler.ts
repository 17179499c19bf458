/**
 * The query API: from a request line to a place in a lane. Every step here runs on the main thread
 * for every query, so there is one look-up for the path and one for the key, and no parsing.
 */

import { existsSync } from 'node:fs'
import type { Ticket } from '../auth/ticket.ts'
import { AppError } from '../base/errors.ts'
import { PATH_VERBS } from '../bundle/kinds.ts'
import { Pending } from '../dispatch/lane.ts'
import type { Engine } from '../engine/engine.ts'
import { QUERY_BASE, type Route, type Target, targetOf, whyUnroutable } from '../engine/routing.ts'
import { refusedKind } from '../http/content.ts'
import type { Exchange } from '../http/exchange.ts'
import { failureAnswer } from '../http/failure.ts'
import type { Recorder } from '../metrics/recorder.ts'
import { factsOf } from './facts.ts'
import { authorize } from './gate.ts'

export interface QueryOptions {
  readonly engine: Pick<Engine, 'routing' | 'find' | 'scheduler'>
  readonly recorder: Recorder
  readonly bodyBytesMax: number
  /** While this file exists `/isAlive/` answers 503. */
  readonly notAliveFile: string
  readonly isStopping: () => boolean
}

const NO_BYTES = new Uint8Array(0)
const VERB_NAMES = new Set(
  Object.values(PATH_VERBS).flatMap((verbs) => verbs.map(([name]) => name)),
)

/** Makes the handler of the query listener. */
export function queryHandler(options: QueryOptions): (exchange: Exchange) => void {
  const { engine } = options
  return (exchange) => {
    const route = engine.routing.routes.get(exchange.path)
    if (route === undefined) handleOther(exchange, options)
    else handleRoute(exchange, route, options)
  }
}

function handleRoute(exchange: Exchange, route: Route, options: QueryOptions): void {
  const { method } = exchange
  if (method === 'POST') {
    const refusal = ask(exchange, route, options)
    if (refusal !== null) refuse(exchange, route.serviceId, refusal, options)
  } else if (route.forGet.length > 0 && (method === 'GET' || method === 'HEAD')) {
    const target = targetOf(route.forGet, Math.random)
    const refusal = askOne(exchange, route, target, options)
    if (refusal !== null) refuse(exchange, route.serviceId, refusal, options)
  } else if (method === 'OPTIONS') {
    exchange.reply({ status: 204, headers: { Allow: methodsOf(route) } })
  } else {
    const error = new AppError('ERR_METHOD_NOT_ALLOWED', howToAsk(exchange.path, route))
    options.recorder.service(route.serviceId).answered(error.status)
    replyAllowed(exchange, error, methodsOf(route))
  }
}

function methodsOf({ forGet }: Route): string {
  return forGet.length > 0 ? 'GET, HEAD, POST, OPTIONS' : 'POST, OPTIONS'
}

function howToAsk(path: string, { forGet }: Route): string {
  if (forGet.length > 0) return 'use POST or GET'
  const isFunction = /\/run\/?$/.test(path)
  return isFunction
    ? 'use POST; "get": true for it in service.json would allow GET too'
    : 'use POST'
}

/** Brings a POST into its lane, or says why not. */
function ask(exchange: Exchange, route: Route, options: QueryOptions): AppError | null {
  const encoding = exchange.header('content-encoding')
  const refused = refusedKind(exchange.header('content-type'), encoding)
  if (refused !== null) return refused
  return askOne(exchange, route, targetOf(route.targets, Math.random), options)
}

function askOne(
  exchange: Exchange,
  route: Route,
  target: Target | null,
  options: QueryOptions,
): AppError | null {
  if (target === null)
    return new AppError('ERR_NO_GENERATION', `switch "${route.serviceId}" to one`)
  const ticket = authorize(options, {
    generation: target.generation,
    serviceId: route.serviceId,
    authorization: exchange.header('authorization'),
  })
  if (ticket instanceof AppError) return ticket
  admit(exchange, { target, ticket }, options)
  return null
}

interface Admitted {
  readonly target: Target
  readonly ticket: Ticket
}

/**
 * Reads the body and enters the lane; the lease lasts until the answer or until the caller left.
 */
function admit(exchange: Exchange, { target, ticket }: Admitted, options: QueryOptions): void {
  const { generation, lane } = target
  const { wantsRequest } = lane.options
  const isPost = exchange.method === 'POST'
  const facts = wantsRequest || !isPost ? factsOf(exchange, wantsRequest) : null
  let pending: Pending | null = null
  generation.takeLease()
  exchange.onGone((refusal) => {
    if (refusal !== null) lane.options.observer.answered(refusal.status, 0)
    if (pending === null) {
      ticket.settled()
      generation.endLease()
    } else lane.settle(pending)
  })
  exchange.readBody(options.bodyBytesMax, (body) => {
    // What a GET carries beside its query means nothing.
    const entered = lane.enter(exchange, isPost ? body : NO_BYTES, { facts, ticket })
    if (entered instanceof Pending) {
      pending = entered
      options.engine.scheduler.wake(lane)
      return
    }
    exchange.replyError(entered)
    lane.options.observer.answered(entered.status, 0)
    ticket.settled()
    generation.endLease()
  })
}

function refuse(
  exchange: Exchange,
  serviceId: string,
  error: AppError,
  options: QueryOptions,
): void {
  options.recorder.service(serviceId).answered(error.status)
  exchange.replyError(error)
}

function replyAllowed(exchange: Exchange, error: AppError, methods: string): void {
  exchange.reply(failureAnswer(error, { headers: { Allow: methods } }))
}

/** Everything but a query at its exact path. */
function handleOther(exchange: Exchange, options: QueryOptions): void {
  const path = decodedPath(exchange.path)
  if (path === '/isAlive' || path === '/isAlive/') {
    answerAlive(exchange, options)
    return
  }
  const parts = path?.split('/') ?? []
  const isWhole = parts.length === 7 || (parts.length === 8 && parts[7] === '')
  const isQuery = path?.startsWith(`${QUERY_BASE}/`) === true && isWhole
  if (!isQuery || path === null || !VERB_NAMES.has(parts[6] ?? '')) {
    exchange.replyError(new AppError('ERR_PATH_UNKNOWN', whereElse(path)))
    return
  }
  handleQuery(exchange, { path, serviceId: parts[4] ?? '', endpointId: parts[5] ?? '' }, options)
}

/** Of a path that leads nowhere: what it should have been. */
function whereElse(path: string | null): string {
  const isAdmin = path !== null && /^\/(admin|metrics|openapi)/.test(path)
  if (isAdmin) return 'this is the query port; the admin API has its own'
  const verbs = [...VERB_NAMES].join(', ')
  return `queries go to POST ${QUERY_BASE}/{service}/{endpoint}/{verb}, which is one of ${verbs}`
}

interface Named {
  readonly path: string
  readonly serviceId: string
  readonly endpointId: string
}

/** Encoded ids and trailing slashes are legal, only not on the fast path. */
function handleQuery(exchange: Exchange, named: Named, options: QueryOptions): void {
  const { path, serviceId, endpointId } = named
  const { routing, find } = options.engine
  const route = routing.routes.get(path.replace(/\/$/, ''))
  if (route !== undefined) {
    handleRoute(exchange, route, options)
    return
  }
  const error = whyUnroutable(routing, find, serviceId, endpointId)
  if (routing.services.has(serviceId)) refuse(exchange, serviceId, error, options)
  else exchange.replyError(error)
}

/** Segments are decoded once; null when they cannot be, or when one holds a slash then. */
function decodedPath(path: string): string | null {
  try {
    const segments = path.split('/').map((segment) => decodeURIComponent(segment))
    return segments.some((segment) => segment.includes('/')) ? null : segments.join('/')
  } catch {
    return null
  }
}

function answerAlive(exchange: Exchange, options: QueryOptions): void {
  if (exchange.method !== 'GET' && exchange.method !== 'HEAD') {
    replyAllowed(exchange, new AppError('ERR_METHOD_NOT_ALLOWED', 'use GET'), 'GET, HEAD')
  } else if (options.isStopping() || existsSync(options.notAliveFile)) {
    exchange.replyError(new AppError('ERR_STOPPING'))
  } else {
    exchange.replyJson('{"alive":true}')
  }
}
