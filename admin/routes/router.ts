/**
 * Finds the route of a method and a path. Trailing slashes are tolerated and never redirected,
 * because clients turn a redirected POST into a GET.
 */

import { AppError } from '../../core/base/errors.ts'
import { ROUTES, type Route } from './table.ts'

export type Params = Readonly<Record<string, string>>

export type Match =
  | { readonly kind: 'route'; readonly route: Route; readonly params: Params }
  /** The path exists, the method does not; `allow` lists those that do. */
  | { readonly kind: 'method'; readonly allow: readonly string[] }
  | { readonly kind: 'none' }

interface Pattern {
  readonly route: Route
  readonly segments: readonly string[]
}

export class Router {
  readonly #patterns: readonly Pattern[]

  constructor() {
    this.#patterns = ROUTES.map((route) => ({ route, segments: segmentsOf(route.path) }))
  }

  find(method: string, path: string): Match {
    const segments = segmentsOf(path)
    const samePath = this.#patterns.filter((pattern) => fits(pattern.segments, segments))
    if (samePath.length === 0) return { kind: 'none' }
    const pattern = samePath.find(({ route }) => route.method === method)
    if (pattern === undefined) return { kind: 'method', allow: allowed(samePath) }
    return { kind: 'route', route: pattern.route, params: paramsOf(pattern.segments, segments) }
  }
}

function segmentsOf(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '')
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  if (pattern.length !== segments.length) return false
  return pattern.every((part, index) => part.startsWith('{') || part === segments[index])
}

function allowed(patterns: readonly Pattern[]): string[] {
  const methods: string[] = patterns.map(({ route }) => route.method)
  return [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS']
}

function paramsOf(pattern: readonly string[], segments: readonly string[]): Params {
  const pairs = pattern.flatMap((part, index) =>
    part.startsWith('{') ? [[part.slice(1, -1), decoded(segments[index] ?? '')] as const] : [],
  )
  return Object.fromEntries(pairs)
}

/** Decoded once, as clients encode once; what it names is looked up, never used as a path. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw new AppError('ERR_REQUEST_INVALID', 'the path is not valid percent-encoding')
  }
}
