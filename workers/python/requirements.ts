/**
 * Which lines a requirements file may have: names, versions, markers and hashes. Whatever would
 * make pip fetch from somewhere else, or read another file, is refused.
 */

const NAME = '[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?'
const EXTRAS = '(?:\\s*\\[[A-Za-z0-9._,\\s-]*\\])?'
const VERSION = '\\s*(?:[<>=!~]=?|===)\\s*[A-Za-z0-9.*+!_-]+\\s*'
const VERSIONS = `(?:\\s*\\(?${VERSION}(?:,${VERSION})*\\)?)?`
/** pip takes a word that begins with a dash for an option, wherever it stands. */
const MARKER = '(?:\\s*;(?:(?!\\s-)[\\w.\'"<>=!~()\\s+*,-])*)?'
const REQUIREMENT = new RegExp(`^${NAME}${EXTRAS}${VERSIONS}${MARKER}$`)
const HASHES = /(?:\s+--hash=sha(?:256|384|512):[0-9a-f]+)+$/

/** One sentence per line that is refused. */
export function requirementFaults(text: string): string[] {
  const faults: string[] = []
  for (const { line, number } of logicalLines(text)) {
    const requirement = line.replace(HASHES, '')
    if (REQUIREMENT.test(requirement)) continue
    faults.push(`line ${number}: ${JSON.stringify(short(line))} ${reason(requirement)}`)
  }
  return faults
}

function reason(line: string): string {
  if (line.startsWith('-')) return 'is an option: only requirements by name are taken'
  if (/:\/\/|\s@|^(?:git|hg|svn|bzr)\+/.test(line)) {
    return 'names an address: only requirements by name are taken'
  }
  if (/\//.test(line)) return 'names a file: only requirements by name are taken'
  return 'is not a requirement such as "name==1.2"'
}

interface Line {
  readonly line: string
  readonly number: number
}

/** Without comments and empty lines; a line that ends in a backslash goes on. */
function logicalLines(text: string): Line[] {
  const lines: Line[] = []
  let open: Line | null = null
  for (const [index, raw] of text.split(/\r?\n|\r/).entries()) {
    const start: number = open?.number ?? index + 1
    const joined: string = (open?.line ?? '') + raw
    open = joined.endsWith('\\') ? { line: `${joined.slice(0, -1)} `, number: start } : null
    if (open === null) lines.push({ line: joined, number: start })
  }
  if (open !== null) lines.push(open)
  return lines
    .map(({ line, number }) => ({ line: line.replace(/(^|\s)#.*$/, '').trim(), number }))
    .filter(({ line }) => line !== '')
}

function short(line: string): string {
  return line.length > 120 ? `${line.slice(0, 117)}...` : line
}
