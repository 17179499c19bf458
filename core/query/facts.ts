/** What a function may learn of its request beside the body: made only where it is asked for. */

import type { RequestFacts } from '../../workers/protocol.ts'
import type { Exchange } from '../http/exchange.ts'

/** Secrets of the node: a key may open other services than the one whose code would read it. */
const KEY_HEADERS = ['authorization', 'proxy-authorization']
const NO_HEADERS = [] as const

export interface Wanted {
  readonly headers: boolean
  /** The node has looked at the key, so it is not the code's to see. */
  readonly hidesKey: boolean
}

/** Only before the handler's first await. */
export function factsOf(exchange: Exchange, wanted: Wanted): RequestFacts {
  // A HEAD is run as the GET whose answer it describes.
  const method = exchange.method === 'HEAD' ? 'GET' : exchange.method
  const { path, query } = exchange
  return { method, path, query, headers: wanted.headers ? headersOf(exchange, wanted) : NO_HEADERS }
}

function headersOf(exchange: Exchange, { hidesKey }: Wanted): RequestFacts['headers'] {
  const lines = exchange.headers()
  return hidesKey ? lines.filter(([name]) => !KEY_HEADERS.includes(name)) : lines
}
