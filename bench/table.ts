/**
 * The tables that the benchmark prints: one per number of connections, a row per server, the same
 * columns for each load tool side by side; then the figures that were promised.
 */

import { type CellKey, cellsOf } from './figures.ts'
import { figuresOf, type Measurement, pairedRatio, type Tool } from './measure.ts'
import type { Row } from './rows.ts'

const SERVERS = ['constant', 'fastify', 'node'] as const

interface TableOptions {
  readonly tools: readonly Tool[]
  readonly connections: readonly number[]
}

export function rateTables(rates: readonly Measurement[], options: TableOptions): string {
  const { tools } = options
  return options.connections
    .map((connections) => {
      const title = connections === 1 ? '1 connection' : `${connections} connections`
      const head = [title, ...tools.flatMap(() => TOOL_COLUMNS), 'RSS MB', 'failed']
      const lines = SERVERS.map((server) => serverLine(rates, { server, connections, tools }))
      const [headLine = '', ...rest] = aligned([head, ...lines])
      return [toolLine(headLine, tools), headLine, ...rest].join('\n')
    })
    .join('\n\n')
}

const FIRST_COLUMN = 'requests/s'
const TOOL_COLUMNS = [FIRST_COLUMN, 'p50 ms', 'p99 ms', 'CPU µs', '/constant', '/fastify']

/** The name of each tool above its first column. */
function toolLine(head: string, tools: readonly Tool[]): string {
  let line = ''
  for (let i = 0, at = 0; i < tools.length; i++) {
    at = head.indexOf(FIRST_COLUMN, at + 1)
    line = line.padEnd(at) + (tools[i] ?? '')
  }
  return line
}

interface ServerKey {
  readonly server: string
  readonly connections: number
  readonly tools: readonly Tool[]
}

function serverLine(rates: readonly Measurement[], key: ServerKey): string[] {
  const { server, connections, tools } = key
  const all = tools.flatMap((tool) => cellsOf(rates, { server, connections, tool }))
  const { rssBytes, failures } = figuresOf(all)
  const perTool = tools.flatMap((tool) => toolCells(rates, { server, connections, tool }))
  return [server, ...perTool, fixed(rssBytes / 2 ** 20, 0), String(failures)]
}

function toolCells(rates: readonly Measurement[], key: CellKey): string[] {
  const cells = cellsOf(rates, key)
  const figures = figuresOf(cells)
  const against = (server: string) =>
    fixed(pairedRatio(cells, cellsOf(rates, { ...key, server }), perSecond), 2)
  // autocannon counts whole milliseconds; more digits would only pretend.
  const digits = key.tool === 'autocannon' ? 0 : 3
  return [
    Math.round(figures.perSecond).toLocaleString('en-US'),
    fixed(figures.p50Us / 1_000, digits),
    fixed(figures.p99Us / 1_000, digits),
    fixed(figures.cpuUsPerRequest, 1),
    against('constant'),
    against('fastify'),
  ]
}

function perSecond({ sample }: Measurement): number {
  return sample.perSecond
}

export function figureTable(rows: readonly Row[]): string {
  const head = ['', 'figure', 'value', 'must', 'aim', 'verdict', 'how']
  const lines = rows.map(({ row, figure, value, unit, must, aim, gates, verdict, note }) => [
    `${row}${gates ? '*' : ''}`,
    figure,
    value === null ? '-' : `${fixed(value, unit === '' ? 2 : 0)} ${unit}`.trim(),
    String(must),
    String(aim),
    verdict,
    note,
  ])
  return aligned([head, ...lines]).join('\n')
}

function fixed(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : '-'
}

/** Columns as wide as their widest text; numbers to the right, words to the left. */
function aligned(lines: readonly (readonly string[])[]): string[] {
  const widths = (lines[0] ?? []).map((_, i) => {
    return Math.max(...lines.map((line) => line[i]?.length ?? 0))
  })
  const isNumber = widths.map((_, i) =>
    lines.slice(1).every((line) => /^[-\d]/.test(line[i] ?? '')),
  )
  const cell = (text: string, i: number) => {
    const width = widths[i] ?? 0
    return isNumber[i] === true ? text.padStart(width) : text.padEnd(width)
  }
  return lines.map((line) => line.map(cell).join('  ').trimEnd())
}
