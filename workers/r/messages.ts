/** What callers are shown of the messages of R code: all of it that is no path of this machine. */

const MESSAGE_MAX = 500

export function shown(message: string): string {
  const text = message.replace(/(?<![\w.])(?:\/[^\s/'":,]+){2,}/g, '…').trim()
  return text.length > MESSAGE_MAX ? `${text.slice(0, MESSAGE_MAX - 1)}…` : text
}
