/**
 * JSON by chance, near to something that would be right: the shape of a good body with parts of it
 * replaced, renamed, doubled, left out or nested, and then often told in JSON that is none.
 */

import type { Random } from '../random.ts'
import { changed } from './bytes.ts'

type Json = ReturnType<typeof JSON.parse>

/** Names that mean something to JavaScript, to a database, or to nobody. */
const NAMES = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'length', ''],
  ...['features', 'items', 'data', 'dispatch', 'explanations', 'context', 'shape', '\0', 'a.b'],
  ...["'; DROP TABLE orders; --", '$ref', '%s', '\u202e', 'é', '0', '-1'],
]

/** Numbers as text, since not all of them are JSON's or fit a double. */
const NUMBERS = [
  ...['0', '-0', '1e400', '-1e400', '1e-400', '9007199254740993', '-9223372036854775809', '1.5'],
  ...['18446744073709551616', `0.${'1'.repeat(2_000)}`, `${'9'.repeat(400)}`, '1E+2', '5e-324'],
]
const NO_JSON = ['NaN', 'Infinity', '-Infinity', 'undefined', '0x10', '1.', '.5', '+1', "'a'", '01']
const STRINGS = [
  ...['', ' ', 'ada', '2026-09-01', '2026-13-45', '275760-09-14', 'true', 'null', '1,5', '١٢'],
  ...[
    '\ud800',
    '\udfff\ud800',
    '\0',
    '\u2028',
    "'; DROP TABLE orders; --",
    '%',
    '../../etc/passwd',
  ],
  ...['a'.repeat(70_000), `${'a'.repeat(5_000)}!`, 'é'.normalize('NFD'), '🦖'.repeat(300)],
]

/** A value that stands for itself in the text: a number, or what is no JSON. */
class Verbatim {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export interface FuzzBody {
  readonly bytes: Buffer
  /** No reader, however tolerant, may take it for JSON. */
  readonly isBroken: boolean
}

export function bodyNear(random: Random, good: Json): FuzzBody {
  let value = good
  for (let left = random.below(4); left > 0; left -= 1) value = altered(random, value)
  const text = textOf(random, value)
  if (random.next() < 0.7) return { bytes: Buffer.from(text), isBroken: false }
  return misspelled(random, text)
}

function altered(random: Random, value: Json): Json {
  const isInner = typeof value === 'object' && value !== null && !(value instanceof Verbatim)
  if (!isInner || random.next() < 0.2) return other(random, value)
  if (Array.isArray(value)) return alteredList(random, value)
  const entries = value instanceof Members ? [...value.entries] : Object.entries(value)
  const at = random.below(entries.length)
  const chance = random.next()
  if (entries.length === 0 || chance < 0.2) entries.push([random.pick(NAMES), other(random, value)])
  else if (chance < 0.35) entries.splice(at, 1)
  else if (chance < 0.45) entries[at] = [random.pick(NAMES), entries[at]?.[1]]
  else entries[at] = [entries[at]?.[0] ?? '', altered(random, entries[at]?.[1])]
  // Not of fromEntries(): a name twice shall stay twice.
  return new Members(entries)
}

function alteredList(random: Random, list: Json[]): Json[] {
  const copy = [...list]
  const at = random.below(list.length)
  const chance = random.next()
  if (list.length === 0 || chance < 0.2) copy.push(other(random, list))
  else if (chance < 0.35) copy.splice(at, 1)
  else if (chance < 0.45) copy.push(...Array.from({ length: random.below(200) }, () => list[at]))
  else copy[at] = altered(random, list[at])
  return copy
}

/** An object with its members in order, each as often as it is there. */
class Members {
  readonly entries: readonly (readonly [string, Json])[]
  constructor(entries: readonly (readonly [string, Json])[]) {
    this.entries = entries
  }
}

function other(random: Random, value: Json): Json {
  const kinds: (() => Json)[] = [
    () => new Verbatim(random.pick(NUMBERS)),
    () => random.pick(STRINGS),
    () => null,
    () => random.next() < 0.5,
    () => [],
    () => ({}),
    () => [value, value],
    () => ({ [random.pick(NAMES)]: value }),
    () => nested(random.pick([60, 63, 64, 65, 200, 5_000])),
    () => Array.from({ length: random.below(2_000) }, (_, i) => i),
    () => Object.fromEntries(Array.from({ length: random.below(500) }, (_, i) => [`k${i}`, i])),
    () => ({ shape: [random.pick([0, 1, 2, -1, 1.5, 1e9, 2 ** 53])], data: [1, 2, 'x', null] }),
    () => new Verbatim(random.pick(NO_JSON)),
  ]
  return random.pick(kinds)()
}

function nested(depth: number): Verbatim {
  return new Verbatim(`${'['.repeat(depth)}1${']'.repeat(depth)}`)
}

function textOf(random: Random, value: Json): string {
  if (value instanceof Verbatim) return value.text
  if (value instanceof Members) return membersText(random, value.entries)
  if (Array.isArray(value)) return `[${value.map((one) => textOf(random, one)).join(',')}]`
  if (typeof value === 'object' && value !== null) return membersText(random, Object.entries(value))
  return JSON.stringify(value) ?? 'null'
}

function membersText(random: Random, entries: Members['entries']): string {
  const parts = entries.map(([name, one]) => `${JSON.stringify(name)}:${textOf(random, one)}`)
  const [first] = parts
  if (first !== undefined && random.next() < 0.05) parts.push(first)
  return `{${parts.join(random.next() < 0.1 ? ' ,\n\t' : ',')}}`
}

const WRONG: readonly ((random: Random, text: string) => FuzzBody)[] = [
  // A proper beginning of an object is none; of `1` or `""` it might be.
  (random, text) => ({
    bytes: Buffer.from(text).subarray(0, random.below(Math.max(1, Buffer.byteLength(text)))),
    isBroken: text.startsWith('{'),
  }),
  (_, text) => ({ bytes: Buffer.from(`${text},`), isBroken: true }),
  (_, text) => ({ bytes: Buffer.from(`${text}${text}`), isBroken: text.startsWith('{') }),
  (_, text) => ({ bytes: Buffer.from(`/* a */${text}`), isBroken: true }),
  (_, text) => ({ bytes: Buffer.from(`\ufeff${text}`), isBroken: false }),
  (_, text) => ({ bytes: Buffer.from(text, 'utf16le'), isBroken: true }),
  (_, text) => ({ bytes: Buffer.from(`[${text}`), isBroken: true }),
  (random, text) => ({ bytes: changed(random, Buffer.from(text), 3), isBroken: false }),
  (random, text) => {
    const at = text.indexOf('"') + 1
    const bad = random.pick([[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]])
    const [before, after] = [text.slice(0, at), text.slice(at)].map((part) => Buffer.from(part))
    const parts = [before ?? Buffer.alloc(0), Buffer.from(bad), after ?? Buffer.alloc(0)]
    return { bytes: Buffer.concat(parts), isBroken: true }
  },
]

function misspelled(random: Random, text: string): FuzzBody {
  return random.pick(WRONG)(random, text)
}
