/**
 * What code may learn of its request beside the body: made only where it is asked for.
 *
 * The key is among the headers, since code that calls its neighbours does so in its caller's name.
 * Whoever runs code that asks for headers trusts it with the keys of its callers.
 */

import type { RequestFacts } from '../../workers/protocol.ts'
import type { Exchange } from '../http/exchange.ts'

const NO_HEADERS = [] as const

/** Only before the handler's first await. */
export function factsOf(exchange: Exchange, withHeaders: boolean): RequestFacts {
  // A HEAD is run as the GET whose answer it describes.
  const method = exchange.method === 'HEAD' ? 'GET' : exchange.method
  const { path, query } = exchange
  return { method, path, query, headers: withHeaders ? exchange.headers() : NO_HEADERS }
}
