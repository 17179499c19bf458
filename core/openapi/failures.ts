/** How a request can fail: one response of the document for each status. */

import { type Json, ref } from './json.ts'

const TRY_AGAIN = {
  headers: {
    'Retry-After': { description: 'Seconds to wait.', schema: { type: 'integer', minimum: 0 } },
  },
}

interface Failure {
  readonly status: number
  readonly description: string
  readonly more?: Json
}

/** By name of the component. */
const FAILURES: Readonly<Record<string, Failure>> = {
  BadRequest: { status: 400, description: 'The request does not fit; the answer names the field.' },
  Unauthorized: { status: 401, description: 'No key or token, or none that is known.' },
  Forbidden: { status: 403, description: 'The key or token does not open this service.' },
  NotFound: { status: 404, description: 'No such endpoint, or no such generation.' },
  TooSlow: { status: 408, description: 'The body stopped coming.' },
  TooLarge: { status: 413, description: 'The body is over the limit.' },
  WrongType: { status: 415, description: 'The body is of a type that cannot be read.' },
  NoSingleRow: { status: 422, description: 'A table has no row with this key, or several.' },
  Busy: { status: 429, description: 'Too many requests wait.', more: TRY_AGAIN },
  Failed: { status: 500, description: 'The model, the code or the database failed.' },
  Unavailable: { status: 503, description: 'Not ready; try again.', more: TRY_AGAIN },
  Late: { status: 504, description: 'The answer was not ready in time.' },
}

export interface Asking {
  /** No key is asked for. */
  readonly isPublic: boolean
  readonly hasBody: boolean
  /** Tables are asked. */
  readonly looksUp: boolean
}

/** By status: references to the responses of components. */
export function failuresOf({ isPublic, hasBody, looksUp }: Asking): Json {
  const left = new Set<number>()
  if (isPublic) for (const status of [401, 403]) left.add(status)
  if (!hasBody) for (const status of [408, 413, 415]) left.add(status)
  if (!looksUp) left.add(422)
  const rows = Object.entries(FAILURES).filter(([, { status }]) => !left.has(status))
  return Object.fromEntries(
    rows.map(([name, { status }]) => [status, { $ref: `#/components/responses/${name}` }]),
  )
}

export const RESPONSES: Readonly<Record<string, Json>> = Object.fromEntries(
  Object.entries(FAILURES).map(([name, { description, more }]) => [
    name,
    { description, ...more, content: { 'application/json': { schema: ref('Error') } } },
  ]),
)
