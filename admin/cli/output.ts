/**
 * What commands print: JSON as the node answers it, or tables for people. stdout carries answers
 * only, so that it can be piped; everything else goes to stderr.
 */

import type { Shell } from './command.ts'

export interface Column<Row> {
  readonly head: string
  readonly cell: (row: Row) => string | number | boolean | null | undefined
  /** Numbers are easier to compare when they end below each other. */
  readonly right?: true
}

export class Output {
  readonly #shell: Pick<Shell, 'out' | 'err'>
  readonly isJson: boolean
  #hasAnswered = false

  constructor(shell: Pick<Shell, 'out' | 'err'>, isJson: boolean) {
    this.#shell = shell
    this.isJson = isJson
  }

  /** A second one would make two documents of what a program reads as one. */
  get hasAnswered(): boolean {
    return this.#hasAnswered
  }

  /** The answer in one of both forms. */
  answer(value: unknown, people: () => string): void {
    this.#hasAnswered = true
    const text = this.isJson ? JSON.stringify(value ?? null, null, 2) : people()
    if (text !== '') this.#shell.out(`${text}\n`)
  }

  /** For people, whatever form the answer has. */
  say(line: string, below: readonly string[] = []): void {
    const lines = [`switchyard: ${printable(line)}`, ...below.map((one) => `  ${printable(one)}`)]
    this.#shell.err(`${lines.join('\n')}\n`)
  }
}

export function tableText<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const lines = [columns.map(({ head }) => head), ...rows.map((row) => cellsOf(row, columns))]
  const widths = columns.map((_, i) => Math.max(...lines.map((cells) => widthOf(cells[i] ?? ''))))
  return lines
    .map((cells) =>
      cells
        .map((cell, i) => padded(cell, widths[i] ?? 0, columns[i]?.right === true))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** `name  value`, a line each; what is not known is left out. */
export function listText(pairs: readonly (readonly [string, unknown])[]): string {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '')
  const width = Math.max(0, ...known.map(([name]) => widthOf(name)))
  return known.map(([name, value]) => `${padded(name, width, false)}  ${shown(value)}`).join('\n')
}

export function shown(value: unknown): string {
  if (typeof value === 'string') return oneLine(value)
  return JSON.stringify(value) ?? ''
}

export function timeText(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return ''
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
}

export function bytesText(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return ''
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  for (; value >= 1_000 && unit < units.length - 1; unit += 1) value /= 1_000
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}

function cellsOf<Row>(row: Row, columns: readonly Column<Row>[]): string[] {
  return columns.map(({ cell }) => {
    const value = cell(row)
    if (value === null || value === undefined) return ''
    if (typeof value === 'boolean') return value ? 'yes' : 'no'
    return oneLine(String(value))
  })
}

/** What a node answers may hold anything, escape sequences of terminals included. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
}

/** As above, but lines stay lines. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]+/g, ' ')
}

function padded(text: string, width: number, right: boolean): string {
  const blank = ' '.repeat(Math.max(0, width - widthOf(text)))
  return right ? blank + text : text + blank
}

function widthOf(text: string): number {
  return [...text].length
}
