/**
 * The gate: who may ask which generation. On the main thread for every query, so a key costs one
 * hash and two look-ups, and nothing is allocated for it; a token that is known costs the same.
 *
 * A service asks for keys or for tokens, never for either: where tokens are asked for a key opens
 * nothing, since whoever chose an issuer wants it to know everybody who gets in.
 */

import { digestOf, secretOf, tokenOf } from '../auth/credentials.ts'
import type { Admission, TokenGate } from '../auth/issuers.ts'
import { KnownHeaders } from '../auth/known-headers.ts'
import { type KeyMeter, quotaRefusal } from '../auth/quotas.ts'
import { NOBODY, type Ticket } from '../auth/ticket.ts'
import { tokenRefusal } from '../auth/token-refusals.ts'
import { AppError, Refusal } from '../base/errors.ts'
import { LIMITS } from '../config/limits.ts'
import type { Engine } from '../engine/engine.ts'
import type { Grant, Held } from '../engine/routing.ts'
import type { Recorder } from '../metrics/recorder.ts'

// A newcomer's first mistakes; they tell a stranger nothing that is not in every manual.
const HOW_TO_SEND = 'send it as Authorization: Bearer KEY'
const WHICH_KEYS = 'keys of services are made by POST /admin/api/auth/keys; an admin key is none'
const HOW_TO_SEND_TOKEN = 'this service asks for a token (JWT): Authorization: Bearer TOKEN'

/** Of all keys that have opened something; what they open is looked up for each request. */
const headers = new KnownHeaders()

export interface GateOptions {
  readonly engine: Pick<Engine, 'routing'>
  readonly recorder: Pick<Recorder, 'keyUsed'>
}

export interface Question {
  readonly generation: Held
  readonly serviceId: string
  /** The header as it came; '' when absent. */
  readonly authorization: string
}

/**
 * Lets a request in, which counts for the quota of its key; the ticket must be settled when it
 * leaves. A promise only for a token that is new here, and over the share of a quota.
 */
export function authorize(options: GateOptions, question: Question): Admission {
  const { generation, authorization } = question
  if (generation.isPublic) return NOBODY
  if (generation.token !== null) return admitToken(authorization, generation.token)
  const found = keyOf(options, question)
  if (found instanceof AppError) return found
  if (found === null) return NOBODY
  options.recorder.keyUsed(found.keyId)
  if (found.meter === null) return found.ticket
  return found.meter.enter() ? found.meter : enterLater(found.meter)
}

/** Over the share of this process: what others can do without may let it in all the same. */
function enterLater(meter: KeyMeter): Admission {
  const refusal = () => quotaRefusal(meter.callerId, meter.retryAfterS())
  const later = meter.enterLater()
  return later === null ? refusal() : later.then((isIn) => (isIn ? meter : refusal()))
}

/**
 * Whether a request that is let in already may go on to another generation, which may ask for
 * something else: it keeps the ticket that it has and counts for no quota once more.
 */
export function mayVisit(
  options: GateOptions,
  question: Question,
): AppError | null | Promise<AppError | null> {
  const { generation, authorization } = question
  if (generation.isPublic) return null
  if (generation.token === null) {
    const found = keyOf(options, question)
    return found instanceof AppError ? found : null
  }
  const found = admitToken(authorization, generation.token)
  return found instanceof Promise ? found.then(errorOf) : errorOf(found)
}

function errorOf(found: Ticket | AppError): AppError | null {
  return found instanceof AppError ? found : null
}

/** What the key may do; null for a key that travels in the bundle and opens this service alone. */
function keyOf(
  { engine }: GateOptions,
  { generation, serviceId, authorization }: Question,
): Grant | AppError | null {
  const known = headers.digestOf(authorization)
  const digest = known ?? digestIn(authorization)
  if (digest === null) return new AppError('ERR_AUTH_MISSING', HOW_TO_SEND)
  const grant = engine.routing.grants.get(digest)
  if (grant === undefined && !generation.accepts(digest)) {
    return new AppError('ERR_AUTH_UNKNOWN', WHICH_KEYS)
  }
  if (known === null) headers.remember(authorization, digest)
  if (grant === undefined) return null
  if (grant.services !== null && !grant.services.has(serviceId)) {
    const detail = `the key does not open "${serviceId}"`
    return new Refusal('ERR_AUTH_FORBIDDEN', detail, {}, grant.keyId)
  }
  return grant
}

function digestIn(authorization: string): string | null {
  const secret = secretOf(authorization)
  return secret === null ? null : digestOf(secret)
}

function admitToken(authorization: string, gate: TokenGate): Admission {
  const token = tokenOf(authorization)
  if (token === null) return new AppError('ERR_AUTH_MISSING', HOW_TO_SEND_TOKEN)
  if (token.length > LIMITS.tokenCharsMax) return tokenRefusal('length')
  return gate.admit(token)
}
