/** From a request of a function to the arguments of the call: its body, or the query of a GET. */

import { isObject } from '../../core/base/json.ts'
import { parseBody } from '../bodies.ts'
import type { RequestFacts } from '../protocol.ts'
import { NOT_UTF8, parametersOf } from '../query.ts'
import { namedList, R_NA, TextRefused, toR } from './to-r.ts'
import type { RValue } from './xdr.ts'

export type Arguments =
  | { readonly kind: 'arguments'; readonly values: RValue }
  | { readonly kind: 'refused'; readonly reason: string; readonly isBody: boolean }

/** R has its own meaning for `...` and `..1`, and none for the empty name. */
const RESERVED = /^(?:\.\.(?:\.|\d+)|)$/

export function argumentsOf(body: Uint8Array, facts: RequestFacts | undefined): Arguments {
  if (facts !== undefined && facts.method !== 'POST') return ofQuery(facts.query)
  // A client that has no arguments sends no body at all.
  const parsed = body.length === 0 ? ({ kind: 'value', value: {} } as const) : parseBody(body)
  if (parsed.kind === 'refused') return { kind: 'refused', reason: parsed.reason, isBody: true }
  if (isObject(parsed.value)) return named(parsed.value, false)
  const reason = 'the body must be an object, argument to value'
  return { kind: 'refused', reason, isBody: true }
}

/** Values are texts; a name that comes more than once is a vector of them. */
function ofQuery(query: string): Arguments {
  const parameters = parametersOf(query)
  if (parameters === null) return refused(NOT_UTF8)
  const entries = [...new Set(parameters.keys())].map((name) => {
    const values = parameters.getAll(name)
    return [name, values.length === 1 ? values[0] : values] as const
  })
  return named(Object.fromEntries(entries), false)
}

/** `isRow`: null is a value that is missing in the data, so it is NA and not NULL. */
export function named(given: Readonly<Record<string, unknown>>, isRow: boolean): Arguments {
  const entries: [string, RValue][] = []
  for (const [name, value] of Object.entries(given)) {
    const quoted = JSON.stringify(name)
    if (RESERVED.test(name)) return refused(`${quoted} cannot be the name of an argument`)
    try {
      entries.push([name, isRow && value === null ? R_NA : toR(value)])
    } catch (error) {
      if (!(error instanceof TextRefused)) throw error
      return refused(`${quoted} ${error.message}`)
    }
  }
  try {
    return { kind: 'arguments', values: namedList(entries) }
  } catch (error) {
    if (!(error instanceof TextRefused)) throw error
    return refused(`a name ${error.message}`)
  }
}

function refused(reason: string): Arguments {
  return { kind: 'refused', reason, isBody: false }
}
