/** Who may ask a service: what the schema of `authorization` cannot say. */

import type { Fault } from '../base/errors.ts'
import type { ManifestEnvelope } from './manifest.ts'
import { shown } from './sentences.ts'

type Authorization = ManifestEnvelope['authorization']

const OF_TOKENS = ['issuer', 'audiences', 'scopes'] as const

/** An issuer of tokens as far as a manifest may depend on it. */
export interface KnownIssuer {
  readonly name: string
  readonly audiences: readonly string[]
}

/** `issuers`: those that the node knows; undefined: whatever node it will be. */
export function authorizationFaults(
  authorization: Authorization,
  issuers: readonly KnownIssuer[] | undefined,
): Fault[] {
  if (authorization === undefined || typeof authorization === 'string') return []
  const { method, issuer, keys, audiences } = authorization
  if (method !== 'OAUTH2') {
    return OF_TOKENS.filter((key) => authorization[key] !== undefined).map((key) => ({
      path: `authorization.${key}`,
      reason: `${key} goes with "method": "OAUTH2", not with ${shown(method)}`,
    }))
  }
  const faults: Fault[] = []
  if (keys !== undefined) {
    const reason = 'keys open nothing where tokens are asked for; leave them out'
    faults.push({ path: 'authorization.keys', reason })
  }
  const path = 'authorization.issuer'
  if (issuer === undefined) {
    faults.push({ path, reason: 'issuer is required for "method": "OAUTH2"' })
    return faults
  }
  const found = issuers?.find(({ name }) => name === issuer)
  if (issuers !== undefined && found === undefined) {
    faults.push({ path, reason: `${shown(issuer)} is no issuer of this node; ${known(issuers)}` })
  }
  if (audiences === undefined && found?.audiences.length === 0) {
    const reason = `audiences is required, since the issuer ${shown(issuer)} has none of its own`
    faults.push({ path: 'authorization.audiences', reason })
  }
  return faults
}

function known(issuers: readonly KnownIssuer[]): string {
  return issuers.length === 0
    ? 'it has none: "issuers" in its config file is the place for them'
    : `it knows ${issuers.map(({ name }) => name).join(', ')}`
}
