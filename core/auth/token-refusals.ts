/**
 * Why a token opens nothing, in the words and headers of RFC 6750. The reasons help whoever holds
 * the token; they name nothing of what would open the door, but for the scopes, which the standard
 * wants to be told.
 */

import { type AppError, Refusal } from '../base/errors.ts'

const REASONS = {
  form: 'it is no JWT in compact form, or its key cannot be used',
  issuer: 'its issuer ("iss") is not the one of this service',
  algorithm: 'its algorithm ("alg") is not accepted: only signatures with a public key are',
  key: 'its issuer has no key for it ("kid" and "alg")',
  signature: 'its signature does not fit',
  expired: 'it has expired ("exp")',
  endless: 'it says not when it expires ("exp")',
  early: 'it is not valid yet ("nbf")',
  audience: 'it was made for another audience ("aud")',
  length: 'it is too long',
} as const

export type TokenFault = keyof typeof REASONS

const REALM = 'Bearer realm="switchyard"'

export function tokenRefusal(fault: TokenFault): AppError {
  const reason = REASONS[fault]
  // A quoted text of the standard holds no quotes.
  const description = reason.replaceAll('"', "'")
  const challenge = `${REALM}, error="invalid_token", error_description="${description}"`
  return new Refusal('ERR_TOKEN_INVALID', reason, { 'WWW-Authenticate': challenge })
}

/** The manifest lets through no scope with a quote or a blank. */
export function scopeRefusal(wanted: readonly string[], lacking: string): AppError {
  const challenge = `${REALM}, error="insufficient_scope", scope="${wanted.join(' ')}"`
  const reason = `the token lacks the scope "${lacking}"`
  return new Refusal('ERR_AUTH_FORBIDDEN', reason, { 'WWW-Authenticate': challenge })
}
