/** What people read about options: the table of README, and what a value may be. */

import type { OptionRow } from './option-row.ts'
import { OPTIONS } from './options.ts'

/** The table of README, as Markdown; a test holds README to it. */
export function optionsMarkdown(): string {
  const lines = Object.entries<OptionRow>(OPTIONS).map(([name, row]) => {
    const cells = [`\`${name}\``, flagCell(row), `\`${row.env}\``, defaultCell(row), row.help]
    return `| ${cells.join(' | ')} |`
  })
  const head = '| Setting | Flag | Environment | Default | Meaning |\n|---|---|---|---|---|'
  return `${head}\n${lines.join('\n')}\n`
}

function flagCell(row: OptionRow): string {
  if (row.flag === null) return '–'
  return row.kind === 'boolean' ? `\`--${row.flag}\`, \`--no-${row.flag}\`` : `\`--${row.flag}\``
}

function defaultCell(row: OptionRow): string {
  if (row.defaultText !== undefined) return row.defaultText
  return row.default === null ? 'unset' : `\`${row.default}\``
}

/** What a value may be, for messages that refuse one. */
export function allowedText(row: OptionRow): string {
  switch (row.kind) {
    case 'integer':
      return row.min === row.max
        ? `only ${row.min} in this version`
        : `a whole number from ${row.min} to ${row.max}`
    case 'boolean':
      return 'true or false'
    case 'text':
      return row.charactersMin > 1 ? `at least ${row.charactersMin} characters` : 'a text'
    case 'choice':
      return `one of ${row.choices.join(', ')}`
  }
}
