/** How DuckDB's values become texts of an answer: exact, dates and times in ISO 8601. */

import type { DuckDBDataChunk, DuckDBType, DuckDBValue } from '@duckdb/node-api'
import { shortestFloat } from './mysql-types.ts'

type Text = string | null

export function typeNameOf(type: DuckDBType): string {
  return String(type).toLowerCase()
}

export function* rowsOf(
  chunk: DuckDBDataChunk,
  types: readonly DuckDBType[],
): Generator<readonly Text[]> {
  const readers = types.map(readerOf)
  for (const row of chunk.getRows()) {
    yield row.map((value, at) => (value === null ? null : (readers[at] ?? String)(value)))
  }
}

type Reader = (value: DuckDBValue) => string

function readerOf(type: DuckDBType): Reader {
  switch (typeNameOf(type)) {
    case 'float':
      return (value) => (typeof value === 'number' ? shortestFloat(value) : String(value))
    case 'timestamp':
    case 'timestamp_s':
    case 'timestamp_ms':
    case 'timestamp_ns':
      return (value) => String(value).replace(' ', 'T')
    case 'timestamp with time zone':
      return utcText
    case 'blob':
      return (value) => `\\x${Buffer.from(bytesOf(value)).toString('hex')}`
    default:
      return textOf
  }
}

/** Its own text is in the time zone of the machine. */
function utcText(value: DuckDBValue): string {
  if (typeof value !== 'object' || value === null || !('micros' in value)) return String(value)
  const micros = BigInt(value.micros)
  const at = new Date(Number(micros / 1_000n))
  if (Number.isNaN(at.getTime())) return String(value)
  const fraction = String(((micros % 1_000_000n) + 1_000_000n) % 1_000_000n).padStart(6, '0')
  const seconds = new Date(Math.floor(Number(micros) / 1_000_000) * 1_000).toISOString()
  const shown = fraction === '000000' ? '' : `.${fraction.replace(/0+$/, '')}`
  return `${seconds.slice(0, 19)}${shown}Z`
}

function bytesOf(value: DuckDBValue): Uint8Array {
  const isBlob = typeof value === 'object' && value !== null && 'bytes' in value
  return isBlob && value.bytes instanceof Uint8Array ? value.bytes : new Uint8Array()
}

function textOf(value: DuckDBValue): string {
  return String(value)
}
