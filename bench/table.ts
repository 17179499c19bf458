/**
 * The tables that the benchmark prints: one per number of connections with a column group per tool,
 * then the figures that were promised.
 */

import { cellsOf, type Row } from './figures.ts'
import { figuresOf, type Measurement, pairedRatio, type Tool } from './measure.ts'

const SERVERS = ['constant', 'fastify', 'node'] as const

export interface TableOptions {
  readonly tools: readonly Tool[]
  readonly connections: readonly number[]
}

export function rateTables(rates: readonly Measurement[], options: TableOptions): string {
  return options.connections
    .map((connections) => {
      const lines = options.tools.flatMap((tool) =>
        SERVERS.map((server) => rateLine(rates, { server, connections, tool })),
      )
      return aligned([headOf(connections), ...lines])
    })
    .join('\n\n')
}

function headOf(connections: number): string[] {
  const title = connections === 1 ? '1 connection' : `${connections} connections`
  const columns = ['tool', 'requests/s', 'p50 ms', 'p99 ms', 'CPU µs/request', 'RSS MB']
  return [title, ...columns, 'rate/constant', 'rate/fastify', 'CPU/constant', 'failed']
}

interface CellKey {
  readonly server: string
  readonly connections: number
  readonly tool: Tool
}

function rateLine(rates: readonly Measurement[], key: CellKey): string[] {
  const of = (server: string) => cellsOf(rates, server, key.connections, key.tool)
  const cells = of(key.server)
  const figures = figuresOf(cells)
  const against = (peer: string, pick: (cell: Measurement) => number) =>
    fixed(pairedRatio(cells, of(peer), pick), 2)
  const rate = ({ sample }: Measurement) => sample.perSecond
  // autocannon counts whole milliseconds; more digits would only pretend.
  const digits = key.tool === 'autocannon' ? 0 : 3
  return [
    key.server,
    key.tool,
    Math.round(figures.perSecond).toLocaleString('en-US'),
    fixed(figures.p50Us / 1_000, digits),
    fixed(figures.p99Us / 1_000, digits),
    fixed(figures.cpuUsPerRequest, 1),
    fixed(figures.rssBytes / 2 ** 20, 0),
    against('constant', rate),
    against('fastify', rate),
    against('constant', ({ cpuUsPerRequest }) => cpuUsPerRequest),
    String(figures.failures),
  ]
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
  return aligned([head, ...lines])
}

function fixed(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : '-'
}

/** Columns as wide as their widest text; numbers to the right, words to the left. */
function aligned(lines: readonly (readonly string[])[]): string {
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
  return lines.map((line) => line.map(cell).join('  ').trimEnd()).join('\n')
}
