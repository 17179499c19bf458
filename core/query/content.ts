/** Which bodies the query API reads: JSON in UTF-8, however it is labelled. */

const CACHE_MAX = 256
const known = new Map<string, boolean>()

/**
 * True for no type at all, any type, text and JSON of every kind; false for forms and for charsets
 * other than UTF-8. Clients send one of a few values, so the answer is remembered.
 */
export function isReadable(contentType: string): boolean {
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
