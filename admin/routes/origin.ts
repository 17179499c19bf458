/**
 * Keeps other web pages out: a browser that knows an admin key must not use it for a page that its
 * user merely looks at. Programs send none of these headers and are not concerned.
 */

import { AppError } from '../../core/base/errors.ts'

export interface OriginHeaders {
  readonly origin: string
  readonly host: string
  readonly fetchSite: string
}

export function requireOwnOrigin({ origin, host, fetchSite }: OriginHeaders): void {
  if (fetchSite === 'cross-site') throw new AppError('ERR_ORIGIN_FORBIDDEN')
  if (origin === '' || hostOf(origin) === host.toLowerCase()) return
  throw new AppError('ERR_ORIGIN_FORBIDDEN', origin.slice(0, 128))
}

/** Host and port of an origin as a Host header has them; '' for `null` and for nonsense. */
function hostOf(origin: string): string {
  const match = /^https?:\/\/([^/?#]+)$/i.exec(origin)
  return match?.[1]?.toLowerCase() ?? ''
}
