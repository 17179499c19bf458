/** Which bodies both APIs read: JSON in UTF-8, however it is labelled, and not compressed. */

import { AppError } from '../base/errors.ts'

const CACHE_MAX = 256
const known = new Map<string, boolean>()

/** Why a body of this kind is not read, or null. */
export function refusedKind(contentType: string, contentEncoding: string): AppError | null {
  if (!isReadable(contentType)) {
    return new AppError('ERR_BODY_TYPE', 'send JSON in UTF-8, with Content-Type: application/json')
  }
  if (contentEncoding === '' || contentEncoding.toLowerCase() === 'identity') return null
  return new AppError('ERR_BODY_TYPE', 'send the body without Content-Encoding')
}

/**
 * True for no type at all, any type, text and JSON of every kind; false for forms and for charsets
 * other than UTF-8. Clients send one of a few values, so the answer is remembered.
 */
function isReadable(contentType: string): boolean {
  // What nearly every client sends; a look-up would first compute the hash of a fresh text.
  if (contentType === 'application/json') return true
  const remembered = known.get(contentType)
  if (remembered !== undefined) return remembered
  const readable = judge(contentType.toLowerCase())
  if (known.size < CACHE_MAX && contentType.length < 256) known.set(contentType, readable)
  return readable
}

function judge(contentType: string): boolean {
  const [type = '', ...parameters] = contentType.split(';').map((part) => part.trim())
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))
  const name = charset?.slice('charset='.length).replaceAll('"', '') ?? 'utf-8'
  if (!['utf-8', 'utf8', 'us-ascii', 'ascii'].includes(name)) return false
  return ['', '*/*', 'text/plain'].includes(type) || /^application\/(?:[\w.-]*\+?)?json$/.test(type)
}
