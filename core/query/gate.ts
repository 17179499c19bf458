/**
 * The gate: who may ask which generation. On the main thread for every query, so a key costs one
 * hash and one look-up, and nothing is allocated for it.
 */

import { digestOf, secretOf } from '../auth/credentials.ts'
import { NOBODY, type Ticket } from '../auth/ticket.ts'
import { AppError } from '../base/errors.ts'
import type { Engine } from '../engine/engine.ts'
import type { Held } from '../engine/routing.ts'
import type { Recorder } from '../metrics/recorder.ts'

// A newcomer's first mistakes; they tell a stranger nothing that is not in every manual.
const HOW_TO_SEND = 'send it as Authorization: Bearer KEY'
const WHICH_KEYS = 'keys of services are made by POST /admin/api/auth/keys; an admin key is none'

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

/** The ticket must be settled when the request leaves. */
export function authorize(
  { engine, recorder }: GateOptions,
  { generation, serviceId, authorization }: Question,
): Ticket | AppError {
  if (generation.isPublic) return NOBODY
  const secret = secretOf(authorization)
  if (secret === null) return new AppError('ERR_AUTH_MISSING', HOW_TO_SEND)
  const digest = digestOf(secret)
  const grant = engine.routing.grants.get(digest)
  if (grant === undefined) {
    return generation.accepts(digest) ? NOBODY : new AppError('ERR_AUTH_UNKNOWN', WHICH_KEYS)
  }
  if (grant.services !== null && !grant.services.has(serviceId)) {
    return new AppError('ERR_AUTH_FORBIDDEN', `the key does not open "${serviceId}"`)
  }
  recorder.keyUsed(grant.keyId)
  return grant.ticket
}
