/**
 * R's values as its own serialization carries them (format version 2, XDR: big-endian), so that
 * base R is enough on the other side and NA, NULL and every double are exact.
 */

export interface Vector {
  readonly attributes: Attributes
}

export type Attributes = ReadonlyMap<string, RValue>

export type RValue =
  | { readonly kind: 'null' }
  /** 0, 1, or NA_INTEGER. */
  | (Vector & { readonly kind: 'logical'; readonly values: Int32Array })
  | (Vector & { readonly kind: 'integer'; readonly values: Int32Array })
  /** NA is a NaN with a mark: see isNa(). */
  | (Vector & { readonly kind: 'double'; readonly values: Float64Array })
  /** null is NA. */
  | (Vector & { readonly kind: 'string'; readonly values: readonly (string | null)[] })
  | (Vector & { readonly kind: 'raw'; readonly values: Uint8Array })
  | (Vector & { readonly kind: 'list'; readonly values: readonly RValue[] })
  /** Something that is no data, such as a formula; only legal where nobody looks at it. */
  | { readonly kind: 'opaque'; readonly what: string }

export const NO_ATTRIBUTES: Attributes = new Map()
export const R_NULL: RValue = { kind: 'null' }
export const NA_INTEGER = -(2 ** 31)

/** Numbers of the types of items, as "R Internals" lists them. */
export const TYPE = {
  symbol: 1,
  pairlist: 2,
  closure: 3,
  environment: 4,
  promise: 5,
  language: 6,
  special: 7,
  builtin: 8,
  char: 9,
  logical: 10,
  integer: 13,
  double: 14,
  complex: 15,
  string: 16,
  dots: 17,
  list: 19,
  expression: 20,
  raw: 24,
  s4: 25,
  baseEnvironment: 241,
  emptyEnvironment: 242,
  persistent: 247,
  package: 248,
  namespace: 249,
  baseNamespace: 250,
  missingArgument: 251,
  unbound: 252,
  globalEnvironment: 253,
  nullValue: 254,
  reference: 255,
} as const

/** Bits of the integer that opens every item, above its type. */
export const FLAG = { object: 1 << 8, attributes: 1 << 9, tag: 1 << 10 } as const

/** What a text is encoded in, in the same integer. */
export const CHAR_BITS = { latin1: 1 << 14, utf8: 1 << 15, ascii: 1 << 18 } as const

/** `X\n`: binary, big-endian. */
export const XDR_MAGIC = 0x580a

/** The lower half of the NaN that R calls NA; the upper half may gain a bit in arithmetic. */
const NA_LOW = 1954
const NA_BITS = (0x7ff00000n << 32n) | BigInt(NA_LOW)

/** Doubles as R has them; null is NA. */
export function doubles(given: readonly (number | null)[]): Float64Array {
  const values = new Float64Array(given.length)
  const bits = new BigUint64Array(values.buffer)
  for (const [i, value] of given.entries()) {
    if (value === null) bits[i] = NA_BITS
    else values[i] = value
  }
  return values
}

/** NA and not another NaN. */
export function isNa(values: Float64Array, index: number): boolean {
  const bits = new BigUint64Array(values.buffer, values.byteOffset, values.length)[index]
  return Number.isNaN(values[index]) && bits !== undefined && Number(bits & 0xffffffffn) === NA_LOW
}

/** The names of a vector or list; null where there are none. */
export function namesOf(value: Vector): readonly (string | null)[] | null {
  const names = value.attributes.get('names')
  return names?.kind === 'string' ? names.values : null
}

export function isOfClass(value: Vector, name: string): boolean {
  const classes = value.attributes.get('class')
  return classes?.kind === 'string' && classes.values.includes(name)
}
