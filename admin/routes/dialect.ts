/**
 * Two kinds of programs ask the same paths and expect two forms of answer. Those of the other
 * dialect send their key by Basic authentication and cannot do otherwise; the documented way here
 * is Bearer.
 */

import type { StreamingExchange } from '../../core/http/node-exchange.ts'

/** Only before the first await, as with all headers. */
export function isOtherDialect(exchange: StreamingExchange): boolean {
  return /^basic /i.test(exchange.header('authorization'))
}
