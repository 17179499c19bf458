/** Questions that several parts ask: about JSON text before it is parsed, and about its values. */

const QUOTE = 34
const BACKSLASH = 92

/**
 * Whether brackets outside strings nest deeper than this; linear in the text whatever it holds, so
 * that no walk over the parsed value can run out of stack.
 */
export function isDeeperThan(depthMax: number, text: string): boolean {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) i = endOfString(text, i)
    else if (code === 91 || code === 123) {
      depth += 1
      if (depth > depthMax) return true
    } else if (code === 93 || code === 125) depth -= 1
  }
  return false
}

/** Index of the quote that closes the string opened at `start`, or of the last character. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === BACKSLASH) i += 1
    else if (code === QUOTE) return i
  }
  return text.length - 1
}

/** What JSON calls an object: no array, not null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
