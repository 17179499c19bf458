/**
 * How one record becomes the text that is stored: a checksum and canonical JSON.
 *
 * LMDB does not validate its file and returns wrong rows from a damaged page in silence, so every
 * value proves itself. The checksum covers the key too: a value under another's key is damage.
 */

import { hash } from 'node:crypto'
import { AppError } from '../../core/base/errors.ts'

export const CHECKSUM_CHARS = 64

export function seal(key: string, value: unknown): string {
  const json = canonicalJson(value)
  return `${checksum(key, json)} ${json}`
}

/** The canonical JSON inside a sealed text, as it is: for copies, which need not parse it. */
export function jsonOf(text: string): string {
  return text.slice(CHECKSUM_CHARS + 1)
}

/** The value that was sealed under this key; throws ERR_STORE_DAMAGED naming the record. */
export function unseal(key: string, text: string): unknown {
  const json = jsonOf(text)
  if (text.slice(0, CHECKSUM_CHARS) !== checksum(key, json)) {
    throw new AppError('ERR_STORE_DAMAGED', `${key}: the checksum does not match`)
  }
  return JSON.parse(json)
}

/** Keys sorted at every level: the same value is the same text, whatever made it. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (inner === null || typeof inner !== 'object' || Array.isArray(inner)) return inner
    const entries = Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))
    return Object.fromEntries(entries)
  })
}

function checksum(key: string, json: string): string {
  return hash('sha256', `${key}\n${json}`, 'hex')
}
