/**
 * The admin port: one request in, its route, its key, its body, one answer out. Whatever a handler
 * throws becomes an answer here, and only here.
 */

import { WrongKeys } from '../../core/auth/wrong-keys.ts'
import { nowMs } from '../../core/base/clock.ts'
import { AppError, toAppError } from '../../core/base/errors.ts'
import { failpoint } from '../../core/base/failpoints.ts'
import { newRequestId } from '../../core/base/ids.ts'
import { LIMITS } from '../../core/config/limits.ts'
import { refusedKind } from '../../core/http/content.ts'
import type { Answer } from '../../core/http/exchange.ts'
import { failureAnswer } from '../../core/http/failure.ts'
import type { StreamingExchange } from '../../core/http/node-exchange.ts'
import type { StreamingHandler } from '../../core/http/node-http.ts'
import * as actions from './actions.ts'
import * as adminKeys from './admin-keys.ts'
import type { AdminApiOptions, Call, CallHandler } from './call.ts'
import * as cleaning from './cleaning.ts'
import * as docs from './docs.ts'
import * as generations from './generations.ts'
import * as keys from './keys.ts'
import { pathForLog } from './log-path.ts'
import * as node from './node.ts'
import { requireOwnOrigin } from './origin.ts'
import { type Params, Router } from './router.ts'
import * as services from './services.ts'
import type { OperationId, Route } from './table.ts'

const HANDLERS: Readonly<Record<OperationId, CallHandler>> = {
  ...actions,
  ...services,
  ...generations,
  ...keys,
  ...adminKeys,
  ...cleaning,
  ...node,
  ...docs,
}

const NO_BODY = new Uint8Array(0)
const WHERE_ELSE =
  'this is the admin port: GET /openapi.json lists its paths; queries have their own'

export function createAdminApi(api: AdminApiOptions): StreamingHandler {
  const router = new Router()
  const wrongKeys = new WrongKeys()
  return (exchange) => {
    const startedMs = nowMs()
    const finish = (answer: Answer, actor: string): void => {
      logAnswer(api, exchange, { status: answer.status, actor, ms: nowMs() - startedMs })
      if (!exchange.done) exchange.reply(answer)
    }
    try {
      const match = router.find(exchange.method, exchange.path)
      if (match.kind === 'none') throw new AppError('ERR_PATH_UNKNOWN', WHERE_ELSE)
      if (match.kind === 'method') finish(otherMethod(exchange.method, match.allow), '')
      else serve(api, { exchange, route: match.route, params: match.params }, finish)
    } catch (error) {
      finish(failureOf(api, exchange, wrongKeys.judge(error, exchange.address)), '')
    }
  }
}

interface Routed {
  readonly exchange: StreamingExchange
  readonly route: Route
  readonly params: Params
}

type Finish = (answer: Answer, actor: string) => void

/** Synchronous up to the handler: headers and body can only be asked for before the first await. */
function serve(api: AdminApiOptions, routed: Routed, finish: Finish): void {
  const { exchange, route, params } = routed
  const actor = authorize(api, exchange, route)
  const run = (body: Uint8Array): void => {
    handle({ api, exchange, params, actor, body }, route).then(
      (answer) => {
        finish(answer, actor)
        if (route.method !== 'GET') void failpoint('answer.sent')
      },
      (error: unknown) => finish(failureOf(api, exchange, error), actor),
    )
  }
  if (route.body === 'json') {
    const encoding = exchange.header('content-encoding')
    const refused = refusedKind(exchange.header('content-type'), encoding)
    if (refused !== null) throw refused
    exchange.readBody(LIMITS.adminBodyBytesMax, run)
  } else {
    run(NO_BODY)
  }
}

/** Async so that what a handler throws at once and what it throws later are the same. */
async function handle(call: Call, route: Route): Promise<Answer> {
  const answer = await HANDLERS[route.operation](call)
  if (route.method !== 'GET') await failpoint('answer.ready')
  return answer
}

/** The id of the admin key; throws 401 or 403. */
function authorize(api: AdminApiOptions, exchange: StreamingExchange, route: Route): string {
  const isOpen = route.needs === 'metrics-key' && api.metricsPublic
  if (route.needs === 'nothing' || isOpen) return ''
  requireOwnOrigin({
    origin: exchange.header('origin'),
    host: exchange.header('host'),
    fetchSite: exchange.header('sec-fetch-site'),
  })
  return api.operations.verifyAdmin(exchange.header('authorization'))
}

function otherMethod(method: string, allow: readonly string[]): Answer {
  const headers = { Allow: allow.join(', ') }
  if (method === 'OPTIONS') return { status: 204, headers }
  return failureAnswer(new AppError('ERR_METHOD_NOT_ALLOWED', `use ${allow.join(' or ')}`), {
    headers,
  })
}

function failureOf(api: AdminApiOptions, exchange: StreamingExchange, thrown: unknown): Answer {
  const { method } = exchange
  const path = pathForLog(exchange.path)
  const requestId = newRequestId()
  if (!(thrown instanceof AppError)) {
    api.logger.error({ err: thrown, requestId, method, path }, 'an admin request met a bug')
  }
  return failureAnswer(toAppError(thrown), { requestId })
}

interface Outcome {
  readonly status: number
  readonly actor: string
  readonly ms: number
}

/** Who changed what, and how it ended; looking is logged only when it fails on our side. */
function logAnswer(api: AdminApiOptions, exchange: StreamingExchange, outcome: Outcome): void {
  const { method } = exchange
  const path = pathForLog(exchange.path)
  const fields = { method, path, ...outcome, ms: Math.round(outcome.ms) }
  if (outcome.status >= 500) api.logger.warn(fields, 'admin request failed')
  else if (method === 'GET') api.logger.debug(fields, 'admin request')
  else api.logger.info(fields, 'admin request')
}
