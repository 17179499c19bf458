/**
 * `service.json` as a person would write it: what fits into a line is one, and lists of many
 * numbers are filled line by line.
 */

const COLUMNS_MAX = 100

export function manifestText(manifest: object): string {
  return `${text(manifest, '', 0)}\n`
}

/** `used`: columns of the line that are taken by the key in front and what follows. */
function text(value: unknown, indent: string, used: number): string {
  const flat = oneLine(value)
  const isEnvelope = indent === ''
  if (!isEnvelope && indent.length + used + flat.length <= COLUMNS_MAX) return flat
  const inner = `${indent}  `
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]'
    if (value.every((one) => typeof one === 'number')) return filled(value, indent)
    const items = value.map((one: unknown) => inner + text(one, inner, 1))
    return `[\n${items.join(',\n')}\n${indent}]`
  }
  if (typeof value !== 'object' || value === null) return flat
  const pairs = entriesOf(value).map(([key, one]) => {
    const name = `${JSON.stringify(key)}: `
    // The list of endpoints is what the file is about: it is never one line.
    const isOpen = isEnvelope && Array.isArray(one)
    return inner + name + text(one, inner, isOpen ? COLUMNS_MAX : name.length + 1)
  })
  return pairs.length === 0 ? '{}' : `{\n${pairs.join(',\n')}\n${indent}}`
}

function oneLine(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(oneLine).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const pairs = entriesOf(value).map(([key, one]) => `${JSON.stringify(key)}: ${oneLine(one)}`)
  return pairs.length === 0 ? '{}' : `{ ${pairs.join(', ')} }`
}

function entriesOf(value: object): [string, unknown][] {
  return Object.entries(value).filter(([, one]) => one !== undefined)
}

function filled(numbers: readonly number[], indent: string): string {
  const lines: string[] = []
  let line = ''
  for (const [i, number] of numbers.entries()) {
    const word = `${number}${i < numbers.length - 1 ? ',' : ''}`
    const longer = line === '' ? word : `${line} ${word}`
    if (indent.length + 2 + longer.length <= COLUMNS_MAX) line = longer
    else {
      lines.push(line)
      line = word
    }
  }
  lines.push(line)
  return `[\n${lines.map((one) => `${indent}  ${one}`).join('\n')}\n${indent}]`
}
