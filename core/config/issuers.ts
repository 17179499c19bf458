/**
 * Issuers of tokens (OpenID Connect providers and the like) that services may name: in the node's
 * configuration only, since whoever names the URL of the keys decides who gets in.
 */

/** A key of a JWK Set. */
export type Jwk = Readonly<Record<string, unknown>>

export interface IssuerSettings {
  /** What bundles call it. */
  readonly name: string
  /** Must equal the token's `iss`. */
  readonly issuer: string
  /** https URL of a JWK Set (RFC 7517); null: `keys`. */
  readonly jwksUrl: string | null
  /** Keys of a JWK Set that the configuration holds; null: `jwksUrl`. */
  readonly keys: readonly Jwk[] | null
  /** Accepted in `aud` where a service names none; empty: a service must name one. */
  readonly audiences: readonly string[]
  /** Claim that names the caller in logs and quotas, `sub` for one. */
  readonly clientIdClaim: string
  /** How far clocks may differ. */
  readonly clockToleranceS: number
  /** The URL may lead to a private or loopback address. */
  readonly allowPrivate: boolean
}
