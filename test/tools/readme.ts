/**
 * README.md as data, the tables in it that are made from code, and the section on performance, made
 * from the report of the benchmarks. `npm run readme` writes them anew; tests only ask whether that
 * would change anything.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { performanceSection, withPerformance } from '../../bench/full/readme.ts'
import { readReport } from '../../bench/full/report-data.ts'
import { ROOT } from '../../bench/paths.ts'
import { ERROR_TABLE } from '../../core/base/errors.ts'
import { optionsMarkdown } from '../../core/config/option-texts.ts'

const README = join(ROOT, 'README.md')
const REPORT = join(ROOT, 'bench/report')

function errorsMarkdown(): string {
  const rows = Object.entries(ERROR_TABLE).map(
    ([code, { status, message }]) => `| \`${code}\` | ${status} | ${message} |`,
  )
  return `| Code | Status | Meaning |\n|---|---|---|\n${rows.join('\n')}\n`
}

/** The tables that README must hold; the head row of each is where it is found. */
export const TABLES: Readonly<Record<string, () => string>> = {
  errors: errorsMarkdown,
  options: optionsMarkdown,
}

/** The table of README that has the same head row, or null. */
export function tableIn(readme: string, table: string): string | null {
  const head = table.slice(0, table.indexOf('\n') + 1)
  const start = `\n${readme}`.indexOf(`\n${head}`)
  if (start === -1) return null
  return readme.slice(start).match(/^(?:\|.*\n)+/)?.[0] ?? null
}

export interface CodeBlock {
  readonly language: string
  readonly text: string
}

export function codeBlocks(readme: string): CodeBlock[] {
  return [...readme.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language, text]) => ({
    language: language ?? '',
    text: text ?? '',
  }))
}

/** JSON that a block shows or, in a shell, writes into a file from `<<'JSON'` to `JSON`. */
export function jsonTexts(blocks: readonly CodeBlock[]): string[] {
  return blocks.flatMap(({ language, text }) => {
    if (language === 'json') return [text]
    const documents = text.matchAll(/<<-?\s*['"]?(\w+)['"]?.*\n([\s\S]*?)^\s*\1$/gm)
    return [...documents].flatMap(([, , body]) => (body?.trim().startsWith('{') ? [body] : []))
  })
}

/** As GitHub makes the anchor of a heading. */
export function anchors(readme: string): string[] {
  return [...readme.matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) =>
    (heading ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

function main(): void {
  let readme = readFileSync(README, 'utf8')
  for (const [name, markdown] of Object.entries(TABLES)) {
    const old = tableIn(readme, markdown())
    if (old === null) throw new Error(`README.md has no table of ${name}: write its head row first`)
    readme = readme.replace(old, () => markdown())
  }
  const report = readReport(REPORT)
  if (report.cells.length > 0) readme = withReport(readme, performanceSection(report))
  writeFileSync(README, readme)
}

function withReport(readme: string, section: string): string {
  const whole = withPerformance(readme, section)
  if (whole === null) throw new Error('README.md has no markers for the section on performance')
  return whole
}

if (process.argv[1]?.endsWith('readme.js')) main()
