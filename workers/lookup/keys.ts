/**
 * Keys of a table as texts: one text for each key, whether it was read from a file or came in a
 * request. Every part is brought to the form of its column's declared type, so that 1 and "1" are
 * one integer, and texts are normalised (NFC), so that an accent is found however it was typed.
 */

import type { ColumnType } from '../../core/bundle/plan.ts'
import { isRounded } from '../predictions/values.ts'
import { CELL_READERS, numberText } from './cells.ts'

/** LMDB's own limit with pages of 4 KiB. */
export const KEY_BYTES_MAX = 1_978

/** Part of a key from a cell that is not empty; `json` is what CELL_READERS made of it. */
export function keyPartOfCell(type: ColumnType, text: string, json: string): string {
  return type === 'string' ? normalised(text) : unquoted(json)
}

/** Part of a key from a value of a request; null: it is none of this type. */
export function keyPartOfValue(type: ColumnType, value: unknown): string | null {
  if (type === 'string') return textPart(value)
  if (typeof value === 'number') return numericPart(type, value)
  if (typeof value === 'boolean') return type === 'boolean' ? String(value) : null
  if (typeof value !== 'string') return null
  const json = CELL_READERS[type](value)
  return json === null || json === 'null' ? null : unquoted(json)
}

/**
 * A number is taken as the text that it is written as: many tables hold ids as texts. One that may
 * have lost digits is not, or it would find the row of another id.
 */
function textPart(value: unknown): string | null {
  if (typeof value === 'string') return normalised(value)
  return typeof value === 'number' && !isRounded(value) ? numberText(value) : null
}

function numericPart(type: ColumnType, value: number): string | null {
  if (type === 'number') return numberText(value)
  // A double beyond 2^53 has lost digits already, so it names no row for sure.
  if (type === 'integer') return Number.isSafeInteger(value) ? numberText(value) : null
  if (type !== 'boolean') return null
  return value === 1 ? 'true' : value === 0 ? 'false' : null
}

const ASCII = /^[ -~]*$/

function normalised(text: string): string {
  return ASCII.test(text) ? text : text.normalize('NFC')
}

function unquoted(json: string): string {
  return json.charCodeAt(0) === 0x22 ? json.slice(1, -1) : json
}

/** LMDB has no empty key, so every key starts with this. */
const START = 'k'

/** Lengths tell the parts apart whatever is in them. */
export function joinKey(parts: readonly string[]): string {
  if (parts.length === 1) return START + (parts[0] ?? '')
  let key = START
  for (let i = 0; i < parts.length - 1; i++) {
    const part = parts[i] ?? ''
    key += `${part.length}:${part}`
  }
  return key + (parts.at(-1) ?? '')
}

/** Whether a table can hold it; what is longer, or half a character, was never stored. */
export function isStorable(key: string): boolean {
  if (key.length * 3 > KEY_BYTES_MAX && Buffer.byteLength(key) > KEY_BYTES_MAX) return false
  return ASCII.test(key) || !/\p{Surrogate}/u.test(key)
}
