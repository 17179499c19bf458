/** What callers are shown of what code and libraries say: all that is no path of this machine. */

const MESSAGE_MAX = 500
/** Addresses with a scheme and relative paths are no business of the machine, so they stay. */
const ABSOLUTE_PATH = /(?<![\w./-])(?:\/[^\s/'":,]+){2,}/g

export function withoutPaths(text: string): string {
  return text.replace(ABSOLUTE_PATH, '…')
}

export function shown(message: string): string {
  const text = withoutPaths(message).trim()
  return text.length > MESSAGE_MAX ? `${text.slice(0, MESSAGE_MAX - 1)}…` : text
}
