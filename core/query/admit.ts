/**
 * From a chosen generation to a place in its lane: the gate, the body, the lane, and what ends
 * when the caller leaves on the way.
 *
 * The lease on the generation lasts from here until the answer, or until the caller has left.
 */

import { NOBODY, type Ticket } from '../auth/ticket.ts'
import type { WrongKeys } from '../auth/wrong-keys.ts'
import { AppError, toAppError } from '../base/errors.ts'
import { type Beside, Pending } from '../dispatch/pending.ts'
import type { Engine } from '../engine/engine.ts'
import type { Route, Target } from '../engine/routing.ts'
import type { Exchange } from '../http/exchange.ts'
import type { Recorder } from '../metrics/recorder.ts'
import { factsOf } from './facts.ts'
import { authorize } from './gate.ts'
import type { OnRefusal } from './refusal.ts'

export interface AdmitOptions {
  readonly engine: Pick<Engine, 'routing' | 'find' | 'scheduler'>
  readonly recorder: Recorder
  readonly wrongKeys: WrongKeys
  readonly bodyBytesMax: number
  /** Told of what no lane can tell of; absent: nobody asks. */
  readonly onRefusal?: OnRefusal
}

/** One request that has its target. */
interface Asked {
  readonly exchange: Exchange
  readonly route: Route
  readonly target: Target
  readonly beside: Beside
}

const NO_BYTES = new Uint8Array(0)

/** Answers, now or later; or says why the request goes no further, which is then to be answered. */
export function ask(
  exchange: Exchange,
  route: Route,
  target: Target | null,
  options: AdmitOptions,
): AppError | null {
  if (target === null) {
    return new AppError('ERR_NO_GENERATION', `switch "${route.serviceId}" to one`)
  }
  const authorization = exchange.header('authorization')
  const { generation } = target
  const known: Ticket | AppError | Promise<Ticket | AppError> = authorize(options, {
    generation,
    serviceId: route.serviceId,
    authorization,
  })
  if (known instanceof AppError) return options.wrongKeys.judge(known, exchange.address)
  const isLater = known instanceof Promise
  const { wantsRequest } = target.lane.options
  const facts = wantsRequest || exchange.method !== 'POST' ? factsOf(exchange, wantsRequest) : null
  const beside = {
    facts,
    ticket: isLater ? NOBODY : known,
    authorization: route.keepsAuthorization ? authorization : null,
  }
  const asked = { exchange, route, target, beside }
  if (isLater) admitLater(asked, known, options)
  else admit(asked, options)
  return null
}

function admit(asked: Asked, options: AdmitOptions): void {
  const { exchange, target, beside } = asked
  const { generation, lane } = target
  let pending: Pending | null = null
  generation.takeLease()
  exchange.onGone((refusal) => {
    if (refusal !== null) count(asked, refusal, options)
    if (pending !== null) return lane.gone(pending)
    beside.ticket?.settled()
    generation.endLease()
  })
  exchange.readBody(options.bodyBytesMax, (body) => {
    pending = enter(asked, body, options)
  })
}

/**
 * Whether the caller may ask is known only later, for keys of tokens are fetched: the body, which
 * must be read at once, waits for it. The caller may leave at any point.
 */
function admitLater(asked: Asked, known: Promise<Ticket | AppError>, options: AdmitOptions): void {
  const { exchange, target } = asked
  const { generation, lane } = target
  const ticket = known.catch(toAppError)
  let pending: Pending | null = null
  generation.takeLease()
  exchange.onGone((refusal) => {
    if (refusal !== null) count(asked, refusal, options)
    if (pending !== null) return lane.gone(pending)
    generation.endLease()
    void ticket.then((late) => {
      if (!(late instanceof AppError)) late.settled()
    })
  })
  exchange.readBody(options.bodyBytesMax, (body) => {
    void ticket.then((late) => {
      // Left in the meantime: all is settled above.
      if (exchange.done) return
      if (late instanceof AppError) {
        const error = options.wrongKeys.judge(late, exchange.address)
        exchange.replyError(error)
        options.recorder.service(asked.route.serviceId).answered(error.status)
        tell(asked, error, options)
        generation.endLease()
      } else {
        const beside = { ...asked.beside, ticket: late }
        pending = enter({ ...asked, beside }, body, options)
      }
    })
  })
}

/** Null when the lane does not take it: then it is answered, and nothing of it is left. */
function enter(asked: Asked, body: Uint8Array, options: AdmitOptions): Pending | null {
  const { exchange, target, beside } = asked
  const { generation, lane } = target
  // What a GET carries beside its query means nothing.
  const entered = lane.enter(exchange, exchange.method === 'POST' ? body : NO_BYTES, beside)
  if (entered instanceof Pending) {
    options.engine.scheduler.wake(lane)
    return entered
  }
  exchange.replyError(entered)
  count(asked, entered, options)
  beside.ticket?.settled()
  generation.endLease()
  return null
}

/** Refused within reach of its endpoint, and so one of its answers. */
function count(asked: Asked, error: AppError, options: AdmitOptions): void {
  asked.target.lane.options.observer.answered(error.status, 0)
  tell(asked, error, options)
}

function tell({ exchange, route, target, beside }: Asked, error: AppError, options: AdmitOptions) {
  const service = options.engine.routing.services.get(route.serviceId)
  if (options.onRefusal === undefined || service === undefined) return
  options.onRefusal({
    service,
    endpointId: route.endpointId,
    generationId: target.generation.desired.generationId,
    callerId: error.callerId ?? beside.ticket?.callerId ?? null,
    requestId: exchange.requestId,
    error,
  })
}
