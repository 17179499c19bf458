/**
 * What a service tells of itself on the query port: its OpenAPI documents, behind the same key as
 * its endpoints, and the page that shows one. Made when first asked for, and kept as long as the
 * generation: no prediction ever waits for more than that once.
 */

import { AppError } from '../base/errors.ts'
import type { GenerationPlan } from '../bundle/plan.ts'
import type { DesiredService } from '../channel/messages.ts'
import { type Held, QUERY_BASE, whyUnroutable } from '../engine/routing.ts'
import type { Exchange } from '../http/exchange.ts'
import { failureAnswer } from '../http/failure.ts'
import { serviceDocument } from '../openapi/document.ts'
import { docsPage } from '../openapi/page.ts'
import { pageFile } from '../openapi/page-files.ts'
import { swaggerOf } from '../openapi/swagger.ts'
import { allowOrigin, answerPreflight } from './cors.ts'
import { authorize } from './gate.ts'
import type { AnswerDocument, QueryOptions } from './handler.ts'

const METHODS = { Allow: 'GET, HEAD, OPTIONS' }

type Options = Pick<QueryOptions, 'engine' | 'recorder'>

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
    answerPage(exchange, asked)
  } else if (what.startsWith('docs/')) {
    answerFile(exchange, what.slice('docs/'.length))
  } else {
    answerService(exchange, asked, options)
  }
}

/** Open to everybody: it holds nothing of the service but the name that was asked for. */
function answerPage(exchange: Exchange, { service, path }: Asked): void {
  const { serviceId } = service
  const title = `${serviceId}: API`
  const { html, headers } = docsPage({ title, keyName: `Key of ${serviceId}`, path })
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
      exchange.replyError(ticket)
      return
    }
    ticket.settled()
    const { openapi, swagger } = documentsOf(generation)
    const headers = { 'Cache-Control': 'no-cache' }
    exchange.reply({ status: 200, body: what === 'swagger' ? swagger() : openapi(), headers })
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

interface Documents {
  readonly openapi: () => string
  readonly swagger: () => string
}

const kept = new WeakMap<GenerationPlan, Documents>()

function documentsOf({ desired }: Held): Documents {
  const { serviceId, generationId, plan } = desired
  const documents = kept.get(plan) ?? newDocuments({ serviceId, generationId, plan })
  kept.set(plan, documents)
  return documents
}

function newDocuments(of: Pick<Held['desired'], 'serviceId' | 'generationId' | 'plan'>): Documents {
  const newest = () => serviceDocument({ ...of, basePath: `${QUERY_BASE}/${of.serviceId}` })
  return {
    openapi: once(() => JSON.stringify(newest())),
    swagger: once(() => JSON.stringify(swaggerOf(newest()))),
  }
}

function once(make: () => string): () => string {
  let made: string | null = null
  return () => {
    made ??= make()
    return made
  }
}
