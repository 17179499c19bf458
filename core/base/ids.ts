/**
 * Identifiers. A path on disk is only ever built from ids that match ID_PATTERN, so no id can name
 * a file outside its folder; nothing is "cleaned".
 */

import { randomBytes } from 'node:crypto'

export const ID_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'
const ID = new RegExp(ID_PATTERN)

/** What an id may look like, for messages. */
export const ID_RULE =
  '1 to 128 characters, letters, digits, ".", "_" or "-", starting with a letter or digit'

/** `actions` is a path segment of the admin API, so no generation may be called that. */
export function isGenerationId(id: string): boolean {
  return ID.test(id) && id !== 'actions'
}

export function isServiceId(id: string): boolean {
  return ID.test(id)
}

/** Names one generation on the node. */
export interface GenerationRef {
  readonly serviceId: string
  readonly generationId: string
}

/** Ids hold no slash, so no two generations share a key. */
export function refKey({ serviceId, generationId }: GenerationRef): string {
  return `${serviceId}/${generationId}`
}

/** `sk_` and 32 random bytes, base64url: a secret that is shown once. */
export function newSecret(): string {
  return `sk_${randomBytes(32).toString('base64url')}`
}

/** A short public id for keys. */
export function newId(): string {
  return randomBytes(9).toString('base64url').replace(/^[-_]/, 'x')
}

let requestCount = 0
const requestPrefix = randomBytes(6).toString('hex')

/** Unique across restarts: a random prefix of the process and a counter. */
export function newRequestId(): string {
  requestCount += 1
  return `${requestPrefix}-${requestCount.toString(36)}`
}
