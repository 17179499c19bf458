/** Who asks, once the gate has let a request in; kept until the request is answered or gone. */

export interface Ticket {
  /** For logs and counts: of a key, or what a token's issuer calls its bearer; null: nobody. */
  readonly callerId: string | null
  /** Exactly once, when the request leaves: a quota of concurrent requests counts it no more. */
  settled(): void
}

/** Of services that ask for no key: one for all, since nothing is allocated for a request. */
export const NOBODY: Ticket = Object.freeze({ callerId: null, settled: () => {} })
