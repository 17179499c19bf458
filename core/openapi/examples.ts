/**
 * Examples of a document: bodies that worked when the bundle was imported, so whoever sends one as
 * it stands gets an answer. Long ones are left out, a document is there to be read.
 */

import { isObject } from '../base/json.ts'
import type { EndpointPlan } from '../bundle/plan.ts'
import type { Example, Json } from './json.ts'

const EXAMPLES_MAX = 3
const CHARS_MAX = 8_192
const ROWS_OF_MULTI = 3

export function examplesOf(plan: EndpointPlan): readonly Example[] {
  const told = plan.examples ?? []
  if (told.length === 0) return plan.warmUp.slice(0, EXAMPLES_MAX).flatMap(unnamed)
  return told.slice(0, EXAMPLES_MAX).flatMap(({ name, body, answer }) => {
    const value = parsed(body)
    if (value === undefined) return []
    const answered = answer === undefined ? undefined : parsed(answer)
    return [{ name, value, ...(answered === undefined ? {} : { answer: answered }) }]
  })
}

function unnamed(body: string, index: number): Example[] {
  const value = parsed(body)
  return value === undefined ? [] : [{ name: `example ${index + 1}`, value }]
}

function parsed(text: string): unknown {
  return text.length > CHARS_MAX ? undefined : JSON.parse(text)
}

/** The rows of the others in one request. */
export function multiExample(examples: readonly Example[], part: 'features' | 'data'): Example[] {
  const items = examples.flatMap(({ value }) => {
    const row = isObject(value) ? value[part] : undefined
    return row === undefined ? [] : [{ [part]: row }]
  })
  if (items.length === 0) return []
  return [{ name: 'many rows', value: { items: items.slice(0, ROWS_OF_MULTI) } }]
}

/** Values for the query of a GET, which holds nothing but texts: those of the first example. */
export function queryValues(example: unknown): Json {
  if (!isObject(example)) return {}
  const scalars = Object.entries(example).filter(([, value]) =>
    ['string', 'number', 'boolean'].includes(typeof value),
  )
  return Object.fromEntries(scalars)
}
