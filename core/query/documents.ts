/**
 * What a service tells of itself on the query port: its OpenAPI documents, behind the same key as
 * its endpoints, and the page that shows one. Written by a thread when first asked for, and kept as
 * long as the generation.
 */

import { AppError } from '../base/errors.ts'
import { type AnyPlan, readPlan } from '../bundle/late-plan.ts'
import type { DesiredService } from '../channel/messages.ts'
import { type Held, QUERY_BASE, whyUnroutable } from '../engine/routing.ts'
import type { Exchange } from '../http/exchange.ts'
import { failureAnswer } from '../http/failure.ts'
import { docsPage } from '../openapi/page.ts'
import { pageFile } from '../openapi/page-files.ts'
import type { WrittenDocuments } from '../openapi/writer-protocol.ts'
import { writeDocuments } from '../openapi/writing.ts'
import { allowOrigin, answerPreflight } from './cors.ts'
import { authorize } from './gate.ts'
import type { AnswerDocument, QueryOptions } from './handler.ts'

const METHODS = { Allow: 'GET, HEAD, OPTIONS' }

type Options = Pick<QueryOptions, 'engine' | 'recorder' | 'wrongKeys'>

interface Asked {
  readonly service: DesiredService
  /** `openapi.json`, `swagger`, or `docs` and what lies below it. */
  readonly what: string
  /** As it was asked for, decoded. */
  readonly path: string
}

/** For queryHandler(). */
export const answerDocument: AnswerDocument = (exchange, path, options) => {
  const [serviceId = '', ...rest] = path.slice(QUERY_BASE.length + 1).split('/')
  const what = rest.join('/').replace(/\/$/, '')
  if (!/^(openapi\.json|swagger|docs(\/[^/]+)?)$/.test(what)) return false
  const service = options.engine.routing.services.get(serviceId)
  if (service === undefined) exchange.replyError(new AppError('ERR_SERVICE_UNKNOWN', serviceId))
  else answer(exchange, { service, what, path }, options)
  return true
}

function answer(exchange: Exchange, asked: Asked, options: Options): void {
  const { method } = exchange
  const { service, what } = asked
  const { cors } = service
  if (cors !== undefined) {
    if (method === 'OPTIONS' && answerPreflight(exchange, cors, METHODS.Allow)) return
    allowOrigin(exchange, cors)
  }
  if (method === 'OPTIONS') {
    exchange.reply({ status: 204, headers: METHODS })
  } else if (method !== 'GET' && method !== 'HEAD') {
    const error = new AppError('ERR_METHOD_NOT_ALLOWED', 'use GET')
    exchange.reply(failureAnswer(error, { headers: METHODS }))
  } else if (what === 'docs') {
    answerPage(exchange, asked, options)
  } else if (what.startsWith('docs/')) {
    answerFile(exchange, what.slice('docs/'.length))
  } else {
    answerService(exchange, asked, options)
  }
}

/** Open to everybody: it holds nothing of the service but its name, and what opens it. */
function answerPage(exchange: Exchange, { service, path }: Asked, options: Options): void {
  const { serviceId } = service
  const title = `${serviceId}: API`
  const generation = mainGeneration(service, options)
  const needsKey = generation !== null && !generation.isPublic
  const keyName = generation?.token == null ? 'Key' : 'Token'
  const { html, headers } = docsPage({ title, keyName, needsKey, path })
  exchange.reply({ status: 200, body: html, contentType: 'text/html; charset=utf-8', headers })
}

function answerFile(exchange: Exchange, name: string): void {
  const found = pageFile(name, {
    acceptEncoding: exchange.header('accept-encoding'),
    ifNoneMatch: exchange.header('if-none-match'),
  })
  if (found === null) {
    exchange.replyError(new AppError('ERR_PATH_UNKNOWN', 'the page has no such file'))
    return
  }
  found.then(
    (file) => exchange.reply(file),
    () => exchange.replyError(new AppError('ERR_INTERNAL')),
  )
}

/** Of the generation that answers most. */
function answerService(exchange: Exchange, { service, what }: Asked, options: Options): void {
  const { serviceId } = service
  const generation = mainGeneration(service, options)
  if (generation === null) {
    const { routing, find } = options.engine
    exchange.replyError(whyUnroutable(routing, find, { serviceId, endpointId: '' }))
    return
  }
  const authorization = exchange.header('authorization')
  const told = (ticket: Awaited<ReturnType<typeof authorize>>): void => {
    if (ticket instanceof AppError) {
      exchange.replyError(options.wrongKeys.judge(ticket, exchange.address))
      return
    }
    ticket.settled()
    const headers = { 'Cache-Control': 'no-cache' }
    documentsOf(generation).then(
      ({ openapi, swagger }) =>
        exchange.reply({ status: 200, body: what === 'swagger' ? swagger : openapi, headers }),
      () => exchange.replyError(new AppError('ERR_INTERNAL')),
    )
  }
  const ticket = authorize(options, { generation, serviceId, authorization })
  if (!(ticket instanceof Promise)) told(ticket)
  else ticket.then(told, () => exchange.replyError(new AppError('ERR_INTERNAL')))
}

function mainGeneration(service: DesiredService, { engine }: Options): Held | null {
  if (!service.enabled) return null
  const byShare = service.mapping.toSorted((a, b) => b.proba - a.proba)
  const held = byShare.map(({ generationId }) => engine.find(service.serviceId, generationId))
  return held.find((generation) => generation?.serves === true) ?? null
}

const kept = new WeakMap<AnyPlan, Promise<WrittenDocuments>>()

/** Everybody who asks meanwhile waits for the same thread. */
function documentsOf({ desired }: Held): Promise<WrittenDocuments> {
  const { serviceId, generationId, plan } = desired
  const found = kept.get(plan)
  if (found !== undefined) return found
  const basePath = `${QUERY_BASE}/${serviceId}`
  const written = writeDocuments({ serviceId, generationId, plan: readPlan(plan), basePath })
  kept.set(plan, written)
  // What it failed of, memory for one, may be over the next time.
  written.catch(() => kept.delete(plan))
  return written
}
