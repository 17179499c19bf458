/**
 * Turns what ajv says about JSON into sentences for the person who wrote it: each names the field,
 * what is allowed and what was found, and a misspelt key gets the nearest known one.
 */

import type { ErrorObject } from 'ajv'
import type { Fault } from '../base/errors.ts'
import { ID_PATTERN, ID_RULE } from '../base/ids.ts'
import { isObject } from '../base/json.ts'
import {
  FUNCTION_PATTERN,
  NAME_PATTERN,
  SCOPE_PATTERN,
  SETTING_PATTERN,
  TABLE_FROM,
  TABLE_NAME,
} from './patterns.ts'

/** What is judged, when that is a part of a file. */
export interface Judged {
  /** What it is called where it is wrong as a whole. */
  readonly whole: string
  /** Its path in the file; '' for the file itself. */
  readonly base: string
  /** Whose keys these are, such as the type of an endpoint; '' when there is but one. */
  readonly owner: string
  /** More about a key that the owner does not have; null: nothing is known. */
  readonly elsewhere: (key: string) => string | null
}

/** `/endpoints/0/id` -> `endpoints[0].id`; '' stands for the whole file. */
function pathOf(pointer: string, base: string): string {
  let path = base
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    path = /^\d+$/.test(key) ? `${path}[${key}]` : join(path, key)
  }
  return path
}

export function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

/** One fault per mistake: what ajv says of the branches of a union is told by the union alone. */
export function faultsOf(
  errors: readonly ErrorObject[],
  whole = 'service.json',
  part: Partial<Judged> = {},
): Fault[] {
  const judged = { base: '', owner: '', elsewhere: () => null, ...part, whole }
  const unions = errors.filter((error) => error.keyword === 'anyOf')
  const constants = errors.filter((error) => error.keyword === 'const')
  const told = errors.filter(
    (error) =>
      !unions.some((union) => isTold(error, union)) &&
      !constants.some((constant) => isImplied(error, constant)),
  )
  const faults = told.map((error) => faultOf(error, judged))
  const seen = new Set<string>()
  return faults.filter(({ path, reason }) => {
    const key = `${path}\n${reason}`
    const fresh = !seen.has(key)
    seen.add(key)
    return fresh
  })
}

/**
 * True when `union` speaks for `error`. An object in a union that knows one kind of object is
 * judged by that branch, so its own errors stay and the union is silent.
 */
function isTold(error: ErrorObject, union: ErrorObject): boolean {
  if (error === union) return isObject(union.data) && hasObjectBranch(union)
  if (error.instancePath === union.instancePath) {
    const branch = error.schemaPath.startsWith(union.schemaPath)
    return branch && (!isObject(union.data) || isPlain(error.keyword))
  }
  return false
}

/** What is not the constant is told once; its type need not be told too. */
function isImplied(error: ErrorObject, constant: ErrorObject): boolean {
  return error.keyword === 'type' && error.instancePath === constant.instancePath
}

function isPlain(keyword: string): boolean {
  return keyword === 'const' || keyword === 'type'
}

function hasObjectBranch(union: ErrorObject): boolean {
  return branchesOf(union).some((branch) => get(branch, 'type') === 'object')
}

function faultOf(error: ErrorObject, judged: Judged): Fault {
  const path = pathOf(error.instancePath, judged.base)
  const params: unknown = error.params
  const isWhole = error.instancePath === ''
  if (error.keyword === 'required') {
    const key = String(get(params, 'missingProperty'))
    const owner = isWhole && judged.owner !== '' ? ` for ${judged.owner}` : ''
    return { path: join(path, key), reason: `${key} is required${owner}` }
  }
  if (error.keyword === 'additionalProperties') {
    const key = String(get(params, 'additionalProperty'))
    const elsewhere = isWhole ? judged.elsewhere(key) : null
    const reason = elsewhere ?? unknownKey(key, get(error.parentSchema, 'properties'))
    return { path: join(path, key), reason }
  }
  const name = isWhole ? judged.whole : (path.split('.').at(-1) ?? path)
  return { path, reason: `${name} ${ruleOf(error)}` }
}

function ruleOf(error: ErrorObject): string {
  const limit = get(error.params, 'limit')
  switch (error.keyword) {
    case 'type':
      return `must be ${typeName(error.schema)}, not ${shown(error.data)}`
    case 'const':
      return `must be ${JSON.stringify(error.schema)}, not ${shown(error.data)}`
    case 'anyOf':
      return `must be ${allowed(error)}, not ${shown(error.data)}`
    case 'pattern':
      return `must be ${patternRule(error.schema)}, not ${shown(error.data)}`
    case 'minLength':
      return limit === 1 ? 'must not be empty' : `must have at least ${limit} characters`
    case 'maxLength':
      return `must have at most ${limit} characters`
    case 'minItems':
      return `must have at least ${limit} ${limit === 1 ? 'entry' : 'entries'}`
    case 'maxItems':
      return `must have at most ${limit} entries`
    case 'minimum':
      return `must be ${limit} or more, not ${shown(error.data)}`
    case 'maximum':
      return `must be ${limit} or less, not ${shown(error.data)}`
    default:
      return error.message ?? `breaks the rule ${error.keyword}`
  }
}

/** What a text must be, in words; the one pattern that is not here is that of a digest. */
const PATTERN_RULES: ReadonlyMap<unknown, string> = new Map([
  [ID_PATTERN, ID_RULE],
  [SETTING_PATTERN, '1 to 63 letters, digits, "_" or "-", no digit or "-" first'],
  [SCOPE_PATTERN, 'one scope: printable ASCII without blanks, quotes and backslashes'],
  [NAME_PATTERN, 'a name of letters, digits, "_" and "." that starts with no digit'],
  [FUNCTION_PATTERN, 'a name of letters, digits, "_" and "." that starts with a letter'],
  [TABLE_NAME, 'a name of up to 63 letters, digits and "_" that starts with no digit'],
  [TABLE_FROM, 'the name of a table, with its schema in front where it needs one'],
])

function patternRule(pattern: unknown): string {
  return PATTERN_RULES.get(pattern) ?? '64 hexadecimal digits in lower case'
}

function allowed(union: ErrorObject): string {
  const names = branchesOf(union).map((branch) => {
    const literal = get(branch, 'const')
    return literal === undefined ? typeName(get(branch, 'type')) : JSON.stringify(literal)
  })
  return oneOf(names)
}

/** `a, b or c`. */
export function oneOf(names: readonly string[]): string {
  const last = names.at(-1) ?? ''
  return names.length < 2 ? last : `${names.slice(0, -1).join(', ')} or ${last}`
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
}

function typeName(type: unknown): string {
  return TYPE_NAMES[String(type)] ?? String(type)
}

/** A value as JSON, short enough for a message. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (isObject(value)) return 'an object'
  // JSON has no word for infinity: it would be called null.
  if (typeof value === 'number') return String(value)
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

function unknownKey(key: string, properties: unknown): string {
  const known = isObject(properties) ? Object.keys(properties) : []
  const near = nearest(key, known)
  if (near !== null) return `${shown(key)} is no known key; did you mean "${near}"?`
  return `${shown(key)} is no known key; known are ${known.join(', ')}`
}

/** The name that needs the fewest edits, when these are few beside its length; else null. */
export function nearest(name: string, known: readonly string[]): string | null {
  const wanted = name.slice(0, 100).toLowerCase()
  let best: string | null = null
  let bestEdits = Math.max(1, Math.floor(wanted.length / 3)) + 1
  for (const candidate of known) {
    const edits = distance(wanted, candidate.toLowerCase())
    if (edits < bestEdits) {
      best = candidate
      bestEdits = edits
    }
  }
  return best
}

/** Levenshtein's distance with two rows. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

function branchesOf(union: ErrorObject): readonly unknown[] {
  return Array.isArray(union.schema) ? union.schema : []
}

function get(value: unknown, key: string): unknown {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
}
