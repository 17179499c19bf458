/**
 * Where a secret stands in a request, and the form in which secrets are kept and compared.
 *
 * Only digests are ever stored or looked up: a lookup by digest tells an attacker's clock nothing
 * about the secret, so no comparison in constant time is needed. Used for every prediction, hence
 * the one-shot hash and no regular expression.
 */

import { hash } from 'node:crypto'

/** Longer ones are no keys of ours; refusing them bounds the work that a stranger can cause. */
const AUTHORIZATION_CHARS_MAX = 1_024

/** SHA-256 of a secret, lower-case hex. */
export function digestOf(secret: string): string {
  return hash('sha256', secret, 'hex')
}

/** The key in `Bearer KEY` or in Basic `KEY:`; null when the header holds none. */
export function secretOf(authorizationHeader: string): string | null {
  if (authorizationHeader.length > AUTHORIZATION_CHARS_MAX) return null
  const space = authorizationHeader.indexOf(' ')
  if (space === 6 && isScheme(authorizationHeader, 'bearer')) {
    return orNull(authorizationHeader.slice(7))
  }
  if (space === 5 && isScheme(authorizationHeader, 'basic')) {
    return userOf(authorizationHeader.slice(6))
  }
  return null
}

/** The token in `Bearer TOKEN`: unlike keys, tokens are no user names. */
export function tokenOf(authorizationHeader: string): string | null {
  if (authorizationHeader.indexOf(' ') !== 6 || !isScheme(authorizationHeader, 'bearer'))
    return null
  return orNull(authorizationHeader.slice(7))
}

/** Schemes are compared without case, as HTTP wants. */
function isScheme(header: string, scheme: string): boolean {
  for (let index = 0; index < scheme.length; index += 1) {
    if ((header.charCodeAt(index) | 0x20) !== scheme.charCodeAt(index)) return false
  }
  return true
}

/** The user name is the key; clients send an empty password, and what stands there is ignored. */
function userOf(base64: string): string | null {
  const pair = Buffer.from(base64, 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  return colon < 0 ? null : orNull(pair.slice(0, colon))
}

function orNull(secret: string): string | null {
  return secret === '' ? null : secret
}
