/**
 * Which pages of other origins may read the answers of a service (CORS), and which may ask at all
 * by a mere link or image. An operator opens a service to origins; without that no page is told
 * anything, as ever.
 *
 * Credentials are never allowed: a browser then adds no cookie and no stored password of its own,
 * so a page can only send a key that it knows.
 */

import { AppError } from '../base/errors.ts'
import type { CorsPolicy } from '../channel/messages.ts'
import type { Exchange, HeaderLine } from '../http/exchange.ts'

/** Browsers keep a preflight's answer so long; an origin that is taken out may ask until then. */
const MAX_AGE_S = '600'
const REQUEST_HEADERS = 'authorization, content-type'
/** What a page may read beside the body: how to go on after a refusal, and whose answer it is. */
const EXPOSED = 'Retry-After, WWW-Authenticate, DSS-API-Version, DSS-Version'
/** Of functions: the operator's word goes, so lines of their own code are left out. */
const NOT_OF_CODE: readonly HeaderLine[] = [
  'Access-Control-Allow-Origin',
  'Access-Control-Allow-Credentials',
  'Access-Control-Allow-Methods',
  'Access-Control-Allow-Headers',
  'Access-Control-Expose-Headers',
  'Access-Control-Max-Age',
].map((name) => [name, ''])
const VARY: HeaderLine = ['Vary', 'Origin']

/** The lines of each policy are made once: there are few origins and many requests. */
interface Lines {
  /** Of every origin. */
  readonly any: readonly HeaderLine[] | null
  readonly byOrigin: ReadonlyMap<string, readonly HeaderLine[]>
  /** For pages that may not read, and for programs. */
  readonly none: readonly HeaderLine[]
}

const known = new WeakMap<CorsPolicy, Lines>()

function linesOf(policy: CorsPolicy): Lines {
  const found = known.get(policy)
  if (found !== undefined) return found
  const isAny = policy.origins.includes('*')
  const made: Lines = {
    any: isAny ? allowing('*') : null,
    byOrigin: new Map(policy.origins.map((origin) => [origin, [...allowing(origin), VARY]])),
    none: [...NOT_OF_CODE, VARY],
  }
  known.set(policy, made)
  return made
}

function allowing(origin: string): readonly HeaderLine[] {
  return NOT_OF_CODE.map(([name, value]) => {
    if (name === 'Access-Control-Allow-Origin') return [name, origin]
    return [name, name === 'Access-Control-Expose-Headers' ? EXPOSED : value]
  })
}

function allowedLines(policy: CorsPolicy, origin: string): readonly HeaderLine[] | null {
  const { any, byOrigin } = linesOf(policy)
  return any ?? byOrigin.get(origin) ?? null
}

/** Tells the browser, on whatever answer comes, whether the page that asks may read it. */
export function allowOrigin(exchange: Exchange, policy: CorsPolicy): void {
  const lines = allowedLines(policy, exchange.header('origin'))
  exchange.addHeaders(lines ?? linesOf(policy).none)
}

/**
 * Answers a browser that asks, before a page's request, whether it may send it: without a key, for
 * browsers send none here. False when it is no such question.
 */
export function answerPreflight(exchange: Exchange, policy: CorsPolicy, methods: string): boolean {
  const origin = exchange.header('origin')
  if (origin === '' || exchange.header('access-control-request-method') === '') return false
  const allowed = allowedLines(policy, origin)
  const answer: Record<string, string> = { Allow: methods, Vary: 'Origin' }
  if (allowed !== null) {
    Object.assign(answer, {
      'Access-Control-Allow-Origin': linesOf(policy).any === null ? origin : '*',
      'Access-Control-Allow-Methods': methods,
      'Access-Control-Allow-Headers': REQUEST_HEADERS,
      'Access-Control-Max-Age': MAX_AGE_S,
    })
  }
  exchange.reply({ status: 204, headers: answer })
  return true
}

/**
 * A GET can be caused by any page, with an image or a link, and runs code all the same. Browsers
 * say where it comes from: from another site only for the origins of the policy. Programs say
 * nothing and are not concerned.
 */
export function refuseCrossSite(exchange: Exchange, policy: CorsPolicy | null): AppError | null {
  if (exchange.header('sec-fetch-site') !== 'cross-site') return null
  if (policy !== null && allowedLines(policy, exchange.header('origin')) !== null) return null
  const detail = 'a page of another site may not GET here; the service can allow its origin (CORS)'
  return new AppError('ERR_ORIGIN_FORBIDDEN', detail)
}
