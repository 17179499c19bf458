/**
 * The query API: from a request line to a place in a lane. Every step here runs on the main thread
 * for every prediction, so there is one look-up for the path and one for the key, and no parsing.
 */

import { existsSync } from 'node:fs'
import { digestOf, secretOf } from '../auth/credentials.ts'
import { AppError } from '../base/errors.ts'
import { Pending } from '../dispatch/lane.ts'
import type { Engine } from '../engine/engine.ts'
import type { Generation } from '../engine/generation.ts'
import { QUERY_BASE, type Route, type Target, targetOf, whyUnroutable } from '../engine/routing.ts'
import { refusedKind } from '../http/content.ts'
import type { Exchange } from '../http/exchange.ts'
import { failureAnswer } from '../http/failure.ts'
import type { Recorder } from '../metrics/recorder.ts'

// A newcomer's first mistakes; they tell a stranger nothing that is not in every manual.
const HOW_TO_SEND = 'send it as Authorization: Bearer KEY'
const WHICH_KEYS = 'keys of services are made by POST /admin/api/auth/keys; an admin key is none'

export interface QueryOptions {
  readonly engine: Engine
  readonly recorder: Recorder
  readonly bodyBytesMax: number
  /** While this file exists `/isAlive/` answers 503. */
  readonly notAliveFile: string
  readonly isStopping: () => boolean
}

/** Makes the handler of the query listener. */
export function queryHandler(options: QueryOptions): (exchange: Exchange) => void {
  const { engine } = options
  return (exchange) => {
    const route = engine.routing.routes.get(exchange.path)
    if (route === undefined || exchange.method !== 'POST') {
      handleOther(exchange, options)
      return
    }
    const refusal = predict(exchange, route, options)
    if (refusal !== null) refuse(exchange, route.serviceId, refusal, options)
  }
}

/** Brings a prediction into its lane, or says why not. */
function predict(exchange: Exchange, route: Route, options: QueryOptions): AppError | null {
  const encoding = exchange.header('content-encoding')
  const refused = refusedKind(exchange.header('content-type'), encoding)
  if (refused !== null) return refused
  const target = targetOf(route, Math.random)
  if (target === null)
    return new AppError('ERR_NO_GENERATION', `switch "${route.serviceId}" to one`)
  const authorization = exchange.header('authorization')
  const denied = authorize(options, target.generation, route.serviceId, authorization)
  if (denied !== null) return denied
  admit(exchange, target, options)
  return null
}

/**
 * Reads the body and enters the lane; the lease lasts until the answer or until the caller left.
 */
function admit(exchange: Exchange, target: Target, options: QueryOptions): void {
  const { generation, lane } = target
  let pending: Pending | null = null
  generation.takeLease()
  exchange.onGone((refusal) => {
    if (refusal !== null) lane.options.observer.answered(refusal.status, 0)
    if (pending === null) generation.endLease()
    else lane.settle(pending)
  })
  exchange.readBody(options.bodyBytesMax, (body) => {
    const entered = lane.enter(exchange, body)
    if (entered instanceof Pending) {
      pending = entered
      options.engine.scheduler.wake(lane)
      return
    }
    exchange.replyError(entered)
    lane.options.observer.answered(entered.status, 0)
    generation.endLease()
  })
}

/** Null when the caller may ask this generation. */
function authorize(
  { engine, recorder }: QueryOptions,
  generation: Generation,
  serviceId: string,
  authorization: string,
): AppError | null {
  if (generation.isPublic) return null
  const secret = secretOf(authorization)
  if (secret === null) return new AppError('ERR_AUTH_MISSING', HOW_TO_SEND)
  const digest = digestOf(secret)
  const grant = engine.routing.grants.get(digest)
  if (grant === undefined) {
    return generation.accepts(digest) ? null : new AppError('ERR_AUTH_UNKNOWN', WHICH_KEYS)
  }
  if (grant.services !== null && !grant.services.has(serviceId)) {
    return new AppError('ERR_AUTH_FORBIDDEN', `the key does not open "${serviceId}"`)
  }
  recorder.keyUsed(grant.keyId)
  return null
}

function refuse(
  exchange: Exchange,
  serviceId: string,
  error: AppError,
  options: QueryOptions,
): void {
  options.recorder.service(serviceId).answered(error.status)
  if (error.code === 'ERR_METHOD_NOT_ALLOWED') replyAllowed(exchange, error, 'POST, OPTIONS')
  else exchange.replyError(error)
}

function replyAllowed(exchange: Exchange, error: AppError, methods: string): void {
  exchange.reply(failureAnswer(error, { headers: { Allow: methods } }))
}

/** Everything but a prediction at its exact path. */
function handleOther(exchange: Exchange, options: QueryOptions): void {
  const path = decodedPath(exchange.path)
  if (path === '/isAlive' || path === '/isAlive/') {
    answerAlive(exchange, options)
    return
  }
  const parts = path?.split('/') ?? []
  const isWhole = parts.length === 7 || (parts.length === 8 && parts[7] === '')
  const isQuery = path?.startsWith(`${QUERY_BASE}/`) === true && isWhole
  if (!isQuery || path === null || !isVerb(parts[6])) {
    exchange.replyError(new AppError('ERR_PATH_UNKNOWN', whereElse(path)))
    return
  }
  handleQuery(exchange, { path, serviceId: parts[4] ?? '', endpointId: parts[5] ?? '' }, options)
}

/** Of a path that leads nowhere: what it should have been. */
function whereElse(path: string | null): string {
  const isAdmin = path !== null && /^\/(admin|metrics|openapi)/.test(path)
  if (isAdmin) return 'this is the query port; the admin API has its own'
  return `queries go to POST ${QUERY_BASE}/{service}/{endpoint}/predict or …/predict-multi`
}

interface Named {
  readonly path: string
  readonly serviceId: string
  readonly endpointId: string
}

function handleQuery(exchange: Exchange, named: Named, options: QueryOptions): void {
  const { serviceId } = named
  const error = tryRoute(exchange, named, options)
  if (error === null) return
  if (options.engine.routing.services.has(serviceId)) refuse(exchange, serviceId, error, options)
  else exchange.replyError(error)
}

/** Encoded ids and trailing slashes are legal, only not on the fast path. */
function tryRoute(exchange: Exchange, named: Named, options: QueryOptions): AppError | null {
  const { routing, find } = options.engine
  const route = routing.routes.get(named.path.replace(/\/$/, ''))
  if (route === undefined) return whyUnroutable(routing, find, named.serviceId, named.endpointId)
  if (exchange.method === 'POST') return predict(exchange, route, options)
  if (exchange.method !== 'OPTIONS') return new AppError('ERR_METHOD_NOT_ALLOWED', 'use POST')
  exchange.reply({ status: 204, headers: { Allow: 'POST, OPTIONS' } })
  return null
}

function isVerb(segment: string | undefined): boolean {
  return segment === 'predict' || segment === 'predict-multi'
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
