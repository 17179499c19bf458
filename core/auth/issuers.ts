/**
 * The issuers of this node, and whether a token that one of them has made opens a service. What a
 * service asks of tokens (audience, scopes) is compared for every request: it costs nothing beside
 * the signature, and the same token may be shown to several services.
 */

import { AppError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { TokenPlan } from '../bundle/plan.ts'
import type { RuntimeStatus } from '../children/spec.ts'
import type { IssuerSettings } from '../config/issuers.ts'
import { Issuer, type Token } from './issuer.ts'
import type { KeyTimes } from './key-cache.ts'
import type { Ticket } from './ticket.ts'
import { scopeRefusal, tokenRefusal } from './token-refusals.ts'

export interface IssuersOptions {
  readonly settings: readonly IssuerSettings[]
  readonly logger: Logger
  readonly times?: KeyTimes
  /** An issuer has gone down or has come back. */
  readonly onChange: () => void
}

/** A promise: the token is new here. */
export type Admission = Ticket | AppError | Promise<Ticket | AppError>

/** Of one generation: what its bundle asks of tokens. */
export interface TokenGate {
  admit(token: string): Admission
  status(): RuntimeStatus
}

export class Issuers {
  readonly #byName: ReadonlyMap<string, Issuer>

  constructor({ settings, ...shared }: IssuersOptions) {
    this.#byName = new Map(
      settings.map((one) => [one.name, new Issuer({ ...shared, settings: one })]),
    )
  }

  gateOf(plan: TokenPlan): TokenGate {
    return {
      admit: (token) => this.#admit(token, plan),
      status: () => this.#status(plan.issuer),
    }
  }

  /** At once, unless the token is new: then its signature is checked off this thread. */
  #admit(token: string, plan: TokenPlan): Admission {
    const issuer = this.#byName.get(plan.issuer)
    if (issuer === undefined) return new AppError('ERR_ISSUER_DOWN', notConfigured(plan.issuer))
    const found = issuer.check(token)
    if (found instanceof Promise) return found.then((late) => judge(late, plan, issuer.settings))
    return judge(found, plan, issuer.settings)
  }

  /** For health: of the issuer that a generation depends on. */
  #status(name: string): RuntimeStatus {
    const issuer = this.#byName.get(name)
    const detail =
      issuer === undefined ? notConfigured(name) : issuer.isDown ? 'its keys cannot be fetched' : ''
    return { subject: `issuer ${name}`, up: detail === '', detail, busy: 0, size: 0 }
  }
}

function notConfigured(name: string): string {
  return `"${name}" is not among the issuers in the configuration of this node`
}

function judge(
  found: Token | AppError,
  plan: TokenPlan,
  settings: IssuerSettings,
): Ticket | AppError {
  if (found instanceof AppError) return found
  const audiences = plan.audiences.length > 0 ? plan.audiences : settings.audiences
  if (!overlap(found.audiences, audiences)) return tokenRefusal('audience')
  for (const scope of plan.scopes) {
    if (!found.scopes.has(scope)) return scopeRefusal(plan.scopes, scope)
  }
  return found.ticket
}

function overlap(some: readonly string[], others: readonly string[]): boolean {
  for (const one of some) if (others.includes(one)) return true
  return false
}
