/**
 * The query API: from a request line to a place in a lane. Every step here runs on the main thread
 * for every query, so there is one look-up for the path and one for the key, and no parsing.
 */

import { existsSync } from 'node:fs'
import { WrongKeys } from '../auth/wrong-keys.ts'
import { AppError, Refusal } from '../base/errors.ts'
import { PATH_VERBS } from '../bundle/kinds.ts'
import {
  NOT_SUPPORTED,
  QUERY_BASE,
  type Route,
  targetOf,
  whyUnroutable,
} from '../engine/routing.ts'
import { refusedKind } from '../http/content.ts'
import type { Exchange } from '../http/exchange.ts'
import { type AdmitOptions, ask } from './admit.ts'
import { allowOrigin, answerPreflight, refuseCrossSite } from './cors.ts'

export interface QueryOptions extends AdmitOptions {
  /** While this file exists `/isAlive/` answers 503. */
  readonly notAliveFile: string
  readonly isStopping: () => boolean
  /** Answers what lies beside the endpoints of services; absent: nothing does. */
  readonly answerDocument?: AnswerDocument
}

/** False when the path is none of a document. It is decoded and holds no duplicate slashes. */
export type AnswerDocument = (exchange: Exchange, path: string, options: QueryOptions) => boolean

const ANY_METHOD = 'GET, HEAD, POST, OPTIONS'
const VERB_NAMES = new Set(
  Object.values(PATH_VERBS).flatMap((verbs) => verbs.map(([name]) => name)),
)

/** Makes the handler of the query listener. */
export function queryHandler(given: Omit<QueryOptions, 'wrongKeys'>): (exchange: Exchange) => void {
  const options: QueryOptions = { ...given, wrongKeys: new WrongKeys() }
  const { engine } = options
  return (exchange) => {
    const route = engine.routing.routes.get(exchange.rawPath)
    if (route === undefined) handleOther(exchange, options)
    else handleRoute(exchange, route, options)
  }
}

function handleRoute(exchange: Exchange, route: Route, options: QueryOptions): void {
  const { method } = exchange
  if (route.cors !== null) {
    if (method === 'OPTIONS' && answerPreflight(exchange, route.cors, methodsOf(route))) return
    allowOrigin(exchange, route.cors)
  }
  if (method === 'POST' && route.targets.length > 0) {
    const encoding = exchange.header('content-encoding')
    const refusal =
      refusedKind(exchange.header('content-type'), encoding) ??
      ask(exchange, route, targetOf(route.targets, Math.random), options)
    if (refusal !== null) refuse(exchange, route, refusal, options)
  } else if (route.forGet.length > 0 && (method === 'GET' || method === 'HEAD')) {
    const refusal =
      refuseCrossSite(exchange, route.cors) ??
      ask(exchange, route, targetOf(route.forGet, Math.random), options)
    if (refusal !== null) refuse(exchange, route, refusal, options)
  } else if (method === 'OPTIONS') {
    exchange.reply({ status: 204, headers: { Allow: methodsOf(route) } })
  } else {
    const allowed = { Allow: methodsOf(route) }
    const how = howToAsk(exchange.path, route)
    refuse(exchange, route, new Refusal('ERR_METHOD_NOT_ALLOWED', how, allowed), options)
  }
}

function methodsOf({ forGet, targets }: Route): string {
  if (targets.length === 0) return 'GET, HEAD, OPTIONS'
  return forGet.length > 0 ? 'GET, HEAD, POST, OPTIONS' : 'POST, OPTIONS'
}

function howToAsk(path: string, { forGet, targets }: Route): string {
  if (targets.length === 0) return 'use GET, with the features in the query'
  if (forGet.length > 0) return 'use POST or GET'
  const isFunction = /\/run\/?$/.test(path)
  return isFunction
    ? 'use POST; "get": true for it in service.json would allow GET too'
    : 'use POST'
}

/** Whom a query has named; both of a service that there is. */
interface Named {
  readonly serviceId: string
  readonly endpointId: string
}

function refuse(
  exchange: Exchange,
  { serviceId, endpointId }: Named,
  error: AppError,
  { engine, recorder, onRefusal }: QueryOptions,
): void {
  exchange.replyError(error)
  recorder.service(serviceId).answered(error.status)
  const service = engine.routing.services.get(serviceId)
  if (onRefusal === undefined || service === undefined) return
  const { requestId } = exchange
  const { callerId } = error
  onRefusal({ service, endpointId, generationId: null, callerId, requestId, error })
}

/** Everything but a query at its exact path. */
function handleOther(exchange: Exchange, options: QueryOptions): void {
  const path = decodedPath(exchange.path)
  if (path === '/isAlive' || path === '/isAlive/') {
    answerAlive(exchange, options)
    return
  }
  const parts = path?.split('/') ?? []
  const verb = parts[6] ?? ''
  const isWhole = parts.length === 7 || (parts.length === 8 && parts[7] === '')
  const isVerb = VERB_NAMES.has(verb) || NOT_SUPPORTED.has(verb)
  const isPublic = path?.startsWith(`${QUERY_BASE}/`) === true
  if (path !== null && isPublic && isWhole && isVerb) {
    const [, , , , serviceId = '', endpointId = ''] = parts
    handleQuery(exchange, { path, serviceId, endpointId, verb }, options)
  } else if (
    path === null ||
    !isPublic ||
    options.answerDocument?.(exchange, path, options) !== true
  )
    exchange.replyError(new AppError('ERR_PATH_UNKNOWN', whereElse(path)))
}

/** Of a path that leads nowhere: what it should have been. */
function whereElse(path: string | null): string {
  if (path !== null && /^\/(openapi|swagger|docs)/.test(path)) {
    const where = `${QUERY_BASE}/{service}/openapi.json and ${QUERY_BASE}/{service}/docs`
    return `each service has its own: GET ${where}; that of the node is on the admin port`
  }
  const isAdmin = path !== null && /^\/(admin|metrics)/.test(path)
  if (isAdmin) return 'this is the query port; the admin API has its own'
  const verbs = [...VERB_NAMES].join(', ')
  return `queries go to POST ${QUERY_BASE}/{service}/{endpoint}/{verb}, which is one of ${verbs}`
}

/** Encoded ids and trailing slashes are legal, only not on the fast path. */
function handleQuery(
  exchange: Exchange,
  asked: Named & { readonly path: string; readonly verb: string },
  options: QueryOptions,
): void {
  const { path, serviceId } = asked
  const { routing, find } = options.engine
  const route = routing.routeOf(path.replace(/\/$/, ''), serviceId)
  if (route !== undefined) {
    handleRoute(exchange, route, options)
    return
  }
  const service = routing.services.get(serviceId)
  if (service?.cors !== undefined) {
    // A page gets to see why it is refused only where the browser may ask at all.
    if (exchange.method === 'OPTIONS' && answerPreflight(exchange, service.cors, ANY_METHOD)) return
    allowOrigin(exchange, service.cors)
  }
  const error = whyUnroutable(routing, find, asked)
  if (service === undefined) exchange.replyError(error)
  else refuse(exchange, asked, error, options)
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
    exchange.replyError(new Refusal('ERR_METHOD_NOT_ALLOWED', 'use GET', { Allow: 'GET, HEAD' }))
  } else if (options.isStopping() || existsSync(options.notAliveFile)) {
    exchange.replyError(new AppError('ERR_STOPPING'))
  } else {
    exchange.replyJson('{"alive":true}')
  }
}
