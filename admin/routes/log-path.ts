/**
 * Paths as the log may have them. One operation takes a secret as part of its path, because clients
 * of the other dialect send it there; and people paste secrets in the place of ids.
 */

const AFTER_KEYS = /(?<!\/auth)\/keys\/[^/]+/gi
/** As secrets of ours begin; a short one would be no secret. */
const SECRET = /sk_[\w-]{16,}/g

export function pathForLog(path: string): string {
  return path.replaceAll(AFTER_KEYS, '/keys/(hidden)').replaceAll(SECRET, '(hidden)')
}
