/**
 * What of an answer that code of a bundle has made may go out. Framing is the node's business: a
 * length, an encoding or a line break out of somebody's code could end this answer early and begin
 * another one that the caller, or a proxy that many callers share, takes for ours.
 */

import type { HeaderLine } from './exchange.ts'

/** Said by the node itself for every answer, or meant for one connection only. */
const RESERVED = new Set([
  'connection',
  'content-length',
  'date',
  'dss-api-version',
  'dss-version',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
const UNSAFE_VALUE = /[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]/
const BYTES = 'application/octet-stream'

export interface SafeHeaders {
  readonly contentType: string
  /** All but the content type, in their order. */
  readonly lines: readonly HeaderLine[]
}

/** Lines that cannot be sent as they are meant are left out, never mended. */
export function safeHeaders(lines: readonly HeaderLine[]): SafeHeaders {
  const sound = lines.filter(([name, value]) => isSound(name, value))
  const isType = ([name]: HeaderLine) => name.toLowerCase() === 'content-type'
  // A tab is legal inside a value, but no parser has to keep it.
  const clean = sound.map(([name, value]) => [name, value.replaceAll('\t', ' ').trim()] as const)
  const contentType = clean.find(isType)?.[1] ?? ''
  return {
    contentType: contentType === '' ? BYTES : contentType,
    lines: clean.filter((line) => !isType(line)),
  }
}

/**
 * Lines that an answer is given come instead of its own of the same name, without a value in the
 * place of nothing; but what it varies with adds up.
 */
export function withAdded(
  lines: readonly HeaderLine[],
  added: readonly HeaderLine[],
): readonly HeaderLine[] {
  if (added.length === 0) return lines
  const names = new Set(added.map(([name]) => name.toLowerCase()))
  names.delete('vary')
  const kept = lines.filter(([name]) => !names.has(name.toLowerCase()))
  return [...kept, ...added.filter(([, value]) => value !== '')]
}

/** HTTP has no body there, whatever the answer holds. */
export function isBodiless(status: number): boolean {
  return status === 204 || status === 205 || status === 304
}

function isSound(name: string, value: string): boolean {
  return NAME.test(name) && !RESERVED.has(name.toLowerCase()) && !UNSAFE_VALUE.test(value)
}
