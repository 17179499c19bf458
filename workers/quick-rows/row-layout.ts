/**
 * How a caller writes its bodies: the bytes between the numbers. Programs send the same names in
 * the same order with the same spaces, so all but the numbers of a body is known from the one
 * before.
 */

/** Of `predict`, or of `predict-multi` with a list of rows. */
export type Shape = 'row' | 'rows'

export interface RowLayout {
  /** What stands before the first row. */
  readonly head: Uint8Array
  /** One behind the other: before each number of a row, and behind the last. */
  readonly literal: Uint8Array
  /** Where each of them ends in `literal`; one more than there are numbers. */
  readonly ends: Uint16Array
  /** Which value each number is. */
  readonly slots: Uint16Array
  /** Between two rows; null: there is one only. */
  readonly between: Uint8Array | null
  /** Behind the last row. */
  readonly tail: Uint8Array
}

const HEAD = { row: /\s*/y, rows: /\s*\{\s*"items"\s*:\s*\[\s*/y } as const
const TAIL = { row: /\s*$/y, rows: /\s*\]\s*\}\s*$/y } as const
const ROW_HEAD = /\{\s*"features"\s*:\s*\{\s*/y
const MEMBER = /("[^"\\]*")\s*:\s*(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/iy
const COMMA = /\s*,\s*/y
const ROW_TAIL = /\s*\}\s*\}/y

/** How a body is written that JSON.parse has read; null: it holds more than numbers of `names`. */
export function layoutOf(text: string, shape: Shape, names: readonly string[]): RowLayout | null {
  const cursor = new Cursor(text)
  const head = cursor.take(HEAD[shape])
  const row = head === null ? null : rowOf(cursor, names)
  if (head === null || row === null) return null
  const between = shape === 'rows' ? cursor.take(COMMA) : null
  // The other rows are of the same layout, or are not read with it.
  const tail = between === null ? cursor.take(TAIL[shape]) : takeEnd(text)
  if (tail === null) return null
  return {
    ...row,
    head: bytesOf(head),
    between: between === null ? null : bytesOf(between),
    tail: bytesOf(tail),
  }
}

function takeEnd(text: string): string | null {
  return /\s*\]\s*\}\s*$/.exec(text)?.[0] ?? null
}

function rowOf(cursor: Cursor, names: readonly string[]) {
  const literals: string[] = []
  const slots: number[] = []
  let literal = cursor.take(ROW_HEAD)
  while (literal !== null) {
    const member = cursor.match(MEMBER)
    const [whole = '', key = '', number = ''] = member ?? []
    const slot = key === '' ? -1 : names.indexOf(JSON.parse(key))
    // Of a name that is written twice the last one counts; whoever does that is not quick.
    if (slot < 0 || slots.includes(slot)) return null
    slots.push(slot)
    literals.push(literal + whole.slice(0, whole.length - number.length))
    literal = cursor.take(COMMA)
  }
  const end = cursor.take(ROW_TAIL)
  if (end === null || slots.length !== names.length) return null
  literals.push(end)
  let size = 0
  const ends = Uint16Array.from(literals, ({ length }) => {
    size += length
    return size
  })
  if (size > 0xffff) return null
  return { literal: bytesOf(literals.join('')), ends, slots: Uint16Array.from(slots) }
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}

/** Takes a text apart from its front. */
class Cursor {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    if (found !== null) this.#at = pattern.lastIndex
    return found
  }

  take(pattern: RegExp): string | null {
    return this.match(pattern)?.[0] ?? null
  }
}
