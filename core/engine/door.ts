/** Whom a generation lets in; made of its plan when somebody knocks first. */

import type { Issuers, TokenGate } from '../auth/issuers.ts'
import type { GenerationPlan } from '../bundle/plan.ts'

export interface Door {
  readonly isPublic: boolean
  /** Of keys that travel in the bundle. */
  readonly digests: ReadonlySet<string>
  /** Judges tokens; null where keys, or nothing, are asked for. */
  readonly token: TokenGate | null
}

export function doorOf({ authorization }: GenerationPlan, issuers: Issuers): Door {
  const { method, keys, token } = authorization
  return {
    isPublic: method === 'PUBLIC',
    digests: new Set(keys.map(({ sha256 }) => sha256)),
    token: token === undefined ? null : issuers.gateOf(token),
  }
}
