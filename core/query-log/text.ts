/**
 * Bytes that may be no JSON, as a part of a line that must be. What is JSON is shown as JSON, what
 * pandas clients send in its place too, and all else as a text.
 */

import { isDeeperThan } from '../base/json.ts'
import { LIMITS } from '../config/limits.ts'

const BARE = /"(?:[^"\\]|\\.)*"?|\bNaN\b|-?\bInfinity\b/gs
// A byte order mark is no JSON: kept, so that it is seen.
const KEPT_MARK = { ignoreBOM: true } as const

export class PartReader {
  readonly #utf8 = new TextDecoder('utf-8', KEPT_MARK)

  /** JSON on one line, or null: these bytes are none. */
  json(bytes: Uint8Array): string | null {
    const text = this.text(bytes)
    const json = isJson(text) ? text : withoutBareTokens(text)
    return json === null ? null : withoutLineEnds(json)
  }

  /** Whatever is no UTF-8 becomes the sign that stands for it. */
  text(bytes: Uint8Array): string {
    return this.#utf8.decode(bytes)
  }
}

function isJson(text: string): boolean {
  if (isDeeperThan(LIMITS.jsonDepthMax, text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** As workers read it: NaN is missing, Infinity a number that overflows. */
function withoutBareTokens(text: string): string | null {
  if (!text.includes('NaN') && !text.includes('Infinity')) return null
  const mended = text.replace(BARE, (token) => {
    if (token === 'NaN') return 'null'
    if (token === 'Infinity') return '1e999'
    return token === '-Infinity' ? '-1e999' : token
  })
  return isJson(mended) ? mended : null
}

/** In JSON they stand between values only. */
function withoutLineEnds(json: string): string {
  return json.replace(/[\r\n]/g, ' ')
}
