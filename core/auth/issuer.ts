/**
 * One issuer of tokens: says whether a token (JWT) is its own and good, and remembers it until it
 * expires, so that only the first request of a token waits for a signature to be checked.
 *
 * Only algorithms with a public key are taken: whoever can check a signature must not be able to
 * make one, and a public key must never be taken for a shared secret (confusion of algorithms).
 */

import {
  createLocalJWKSet,
  decodeJwt,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose'
import { wallMs } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { IssuerSettings, Jwk } from '../config/issuers.ts'
import { LIMITS } from '../config/limits.ts'
import { digestOf } from './credentials.ts'
import { KEY_TIMES, KeyCache, type KeyTimes } from './key-cache.ts'
import type { Ticket } from './ticket.ts'
import { tokenRefusal } from './token-refusals.ts'

const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
]
/** Names of callers go to logs. */
const CALLER_CHARS_MAX = 256

/** A token that is good, and what it says of its bearer. */
export interface Token {
  readonly ticket: Ticket
  /** Wall clock. */
  readonly endsOn: number
  readonly audiences: readonly string[]
  readonly scopes: ReadonlySet<string>
}

export interface IssuerOptions {
  readonly settings: IssuerSettings
  readonly logger: Logger
  readonly times?: KeyTimes
  /** It has gone down or has come back. */
  readonly onChange: () => void
}

export class Issuer {
  readonly settings: IssuerSettings
  readonly #keys: KeyCache
  #select: JWTVerifyGetKey | null = null
  /** Good tokens by digest: those asked for lately, and those of before, which go first. */
  #recent = new Map<string, Token>()
  #older = new Map<string, Token>()
  readonly #checking = new Map<string, Promise<Token | AppError>>()

  constructor({ settings, logger, times = KEY_TIMES, onChange }: IssuerOptions) {
    this.settings = settings
    const onKeys = (keys: readonly Jwk[]) => this.#useKeys(keys)
    this.#keys = new KeyCache({ settings, times, logger, onKeys, onChange })
  }

  get isDown(): boolean {
    return this.#keys.isDown
  }

  /** At once for a token that is known. */
  check(token: string): Token | AppError | Promise<Token | AppError> {
    const digest = digestOf(token)
    const known = this.#keys.look() ? this.#known(digest) : undefined
    if (known === undefined) return this.#checkOnce(digest, token)
    return known.endsOn > wallMs() ? known : tokenRefusal('expired')
  }

  #known(digest: string): Token | undefined {
    const recent = this.#recent.get(digest)
    if (recent !== undefined) return recent
    const older = this.#older.get(digest)
    if (older !== undefined) this.#remember(digest, older)
    return older
  }

  /** Two halves in turn: what nobody asked for while one of them filled is forgotten. */
  #remember(digest: string, token: Token): void {
    if (this.#recent.size >= LIMITS.tokensMax / 2) {
      this.#older = this.#recent
      this.#recent = new Map()
    }
    this.#recent.set(digest, token)
  }

  /** Requests with the same new token wait for one check. */
  #checkOnce(digest: string, token: string): Promise<Token | AppError> {
    const running = this.#checking.get(digest)
    if (running !== undefined) return running
    const check = this.#check(digest, token).finally(() => this.#checking.delete(digest))
    this.#checking.set(digest, check)
    return check
  }

  async #check(digest: string, token: string): Promise<Token | AppError> {
    try {
      // Before the keys: those of somebody else are no reason to ask the issuer for more of them.
      if (decodeJwt(token).iss !== this.settings.issuer) return tokenRefusal('issuer')
      await this.#keys.ready()
      const { payload, select } = await this.#verify(token)
      const good = this.#tokenOf(payload)
      // The keys may have changed while this one was at work: then it is good for this request.
      if (select === this.#select) this.#remember(digest, good)
      return good
    } catch (error) {
      return error instanceof AppError ? error : refusalOf(error)
    }
  }

  async #verify(token: string) {
    const first = this.#selected()
    try {
      return { payload: await this.#verifyWith(token, first), select: first }
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
      await this.#keys.refetch()
      const second = this.#selected()
      if (second === first) throw error
      return { payload: await this.#verifyWith(token, second), select: second }
    }
  }

  async #verifyWith(token: string, select: JWTVerifyGetKey): Promise<JWTPayload> {
    const { issuer, clockToleranceS: clockTolerance } = this.settings
    const rules = { algorithms: ALGORITHMS, issuer, clockTolerance, requiredClaims: ['exp'] }
    try {
      return (await jwtVerify(token, select, rules)).payload
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error
      // A token without a key id, of an issuer with several keys: one of them must fit.
      for await (const key of error) {
        const verified = await jwtVerify(token, key, rules).catch(unlessOtherKey)
        if (verified !== null) return verified.payload
      }
      throw new errors.JWSSignatureVerificationFailed()
    }
  }

  #selected(): JWTVerifyGetKey {
    if (this.#select === null) throw new AppError('ERR_ISSUER_DOWN', this.settings.name)
    return this.#select
  }

  /** What was good by keys that are withdrawn must show itself again. */
  #useKeys(keys: readonly Jwk[]): void {
    this.#select = keys.length === 0 ? null : createLocalJWKSet({ keys: keys.map(jwkOf) })
    this.#recent = new Map()
    this.#older = new Map()
  }

  #tokenOf(payload: JWTPayload): Token {
    const { clientIdClaim, clockToleranceS } = this.settings
    const caller = payload[clientIdClaim]
    const callerId = typeof caller === 'string' ? caller.slice(0, CALLER_CHARS_MAX) : null
    return {
      ticket: Object.freeze({ callerId, settled: () => {} }),
      endsOn: ((payload.exp ?? 0) + clockToleranceS) * 1000,
      audiences: textsOf(payload.aud, false),
      scopes: new Set([...textsOf(payload['scope'], true), ...textsOf(payload['scp'], true)]),
    }
  }
}

/** The type wants to know the kind of key; whether a key is one is for the library to say. */
function jwkOf(key: Jwk): Jwk & { kty: string } {
  return { ...key, kty: String(key['kty']) }
}

function unlessOtherKey(error: unknown): null {
  if (error instanceof errors.JWSSignatureVerificationFailed) return null
  throw error
}

/** `"a b"` or `["a", "b"]`: issuers write scopes either way, audiences alone or as a list. */
function textsOf(value: unknown, isSplit: boolean): readonly string[] {
  if (typeof value === 'string')
    return isSplit ? value.split(' ').filter((one) => one !== '') : [value]
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
}

/** What is wrong with it, without a word of what it holds or of what would be right. */
function refusalOf(error: unknown): AppError {
  if (error instanceof errors.JWTExpired) return tokenRefusal('expired')
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'exp') return tokenRefusal('endless')
    return tokenRefusal(error.claim === 'nbf' ? 'early' : 'issuer')
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return tokenRefusal('algorithm')
  if (error instanceof errors.JWKSNoMatchingKey) return tokenRefusal('key')
  if (error instanceof errors.JWSSignatureVerificationFailed) return tokenRefusal('signature')
  return tokenRefusal('form')
}
