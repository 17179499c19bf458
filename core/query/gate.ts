/**
 * The gate: who may ask which generation. On the main thread for every query, so a key costs one
 * hash and one look-up, and nothing is allocated for it; a token that is known costs the same.
 *
 * A service asks for keys or for tokens, never for either: where tokens are asked for a key opens
 * nothing, since whoever chose an issuer wants it to know everybody who gets in.
 */

import { digestOf, secretOf, tokenOf } from '../auth/credentials.ts'
import type { Admission, TokenGate } from '../auth/issuers.ts'
import { quotaRefusal } from '../auth/quotas.ts'
import { NOBODY, type Ticket } from '../auth/ticket.ts'
import { tokenRefusal } from '../auth/token-refusals.ts'
import { AppError } from '../base/errors.ts'
import { LIMITS } from '../config/limits.ts'
import type { Engine } from '../engine/engine.ts'
import type { Grant, Held } from '../engine/routing.ts'
import type { Recorder } from '../metrics/recorder.ts'

// A newcomer's first mistakes; they tell a stranger nothing that is not in every manual.
const HOW_TO_SEND = 'send it as Authorization: Bearer KEY'
const WHICH_KEYS = 'keys of services are made by POST /admin/api/auth/keys; an admin key is none'
const HOW_TO_SEND_TOKEN = 'this service asks for a token (JWT): Authorization: Bearer TOKEN'

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
 * leaves. A promise only for a token that is new here.
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
  const retryAfterS = found.meter.enter()
  return retryAfterS === 0 ? found.ticket : quotaRefusal(found.keyId, retryAfterS)
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
  return grant
}

function admitToken(authorization: string, gate: TokenGate): Admission {
  const token = tokenOf(authorization)
  if (token === null) return new AppError('ERR_AUTH_MISSING', HOW_TO_SEND_TOKEN)
  if (token.length > LIMITS.tokenCharsMax) return tokenRefusal('length')
  return gate.admit(token)
}
