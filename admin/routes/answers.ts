/** The few forms of answer that the admin API gives. */

import type { Answer } from '../../core/http/exchange.ts'

export function json(value: unknown): Answer {
  return { status: 200, body: JSON.stringify(value) }
}

/** Clients of the other dialect parse the answer of an action, so it is never empty. */
export function done(more: object = {}): Answer {
  return json({ ok: true, ...more })
}

export const NO_CONTENT: Answer = { status: 204 }
