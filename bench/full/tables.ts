/** The tables of the report, in Markdown. */

import type { Row } from '../rows.ts'
import { mainTool, systemsIn } from './plots.ts'
import {
  type Cell,
  type ClientCell,
  cellFigures,
  type Limit,
  type Missing,
  type OpenCell,
} from './report-data.ts'

export function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const rule = head.map((_, i) => (i === 0 ? '---' : '---:'))
  return [head, rule, ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** Whole numbers with commas, small ones with the digits that they have. */
export function figure(value: number | null | undefined, digits = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–'
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
}

function milliseconds(us: number): string {
  return figure(us / 1_000, us < 100_000 ? 2 : 0)
}

export function rowTable(rows: readonly Row[]): string {
  const lines = rows.map((row) => [
    `${row.row}${row.gates ? '*' : ''}`,
    row.figure,
    row.value === null ? '–' : `${figure(row.value, row.unit === '' ? 2 : 0)} ${row.unit}`.trim(),
    String(row.must),
    String(row.aim),
    row.verdict,
    row.note,
  ])
  return table(['', 'Figure', 'Value', 'Must', 'Aim', 'Verdict', 'How'], lines)
}

const HEAD = ['System', 'Requests/s', 'autocannon', 'p50 ms', 'p99 ms', 'CPU µs']
const MEMORY_HEAD = ['RSS MB', 'PSS MB', 'Failed', '']

export function connectionTables(cells: readonly Cell[]): string {
  const small = cells.filter(({ workload, shape }) => workload === 'mlp' && shape === 'single')
  const counts = [...new Set(small.map(({ connections }) => connections))].sort((a, b) => a - b)
  return counts
    .map((connections) => {
      const here = small.filter((cell) => cell.connections === connections)
      const title = connections === 1 ? '1 connection' : `${connections} connections`
      return `### ${title}\n\n${cellTable(here)}`
    })
    .join('\n\n')
}

function cellTable(cells: readonly Cell[]): string {
  const tool = mainTool(cells)
  const lines = systemsIn(cells).map((system) => {
    const of = (name: string) =>
      cells.find((cell) => cell.system === system && cell.tool === name) ?? null
    const [main, other] = [of(tool), of('autocannon')]
    if (main === null) return [system]
    const figures = cellFigures(main)
    const failures = figures.failures + (other === null ? 0 : cellFigures(other).failures)
    return [
      system,
      figure(figures.perSecond),
      other === null ? '–' : figure(cellFigures(other).perSecond),
      milliseconds(figures.p50Us),
      milliseconds(figures.p99Us),
      figure(figures.cpuUsPerRequest, 1),
      figure(figures.rssBytes / 1e6),
      figure(figures.pssBytes / 1e6),
      String(failures),
      figures.idle ? '' : 'busy machine',
    ]
  })
  return table([...HEAD, ...MEMORY_HEAD], lines)
}

export function workloadTables(
  cells: readonly Cell[],
  limits: readonly Limit[],
  titleOf: (workload: string) => string,
): string {
  const keys = [...new Set(cells.map(({ workload, shape }) => `${workload} ${shape}`))]
  return keys
    .map((key) => {
      const [workload = '', shape = ''] = key.split(' ')
      const all = cells.filter((cell) => cell.workload === workload && cell.shape === shape)
      const isSwept = new Set(all.map(({ connections }) => connections)).size > 1
      const here = all.filter(
        ({ connections, system }) => (!isSwept || connections === 64) && system !== 'constant',
      )
      if (here.length === 0) return ''
      const limit = limitLine(limits, workload, shape)
      const title = `### ${workload}, ${shape}, ${here[0]?.connections} connections`
      return `${title}\n\nA ${titleOf(workload)}.${limit}\n\n${cellTable(here)}`
    })
    .filter((text) => text !== '')
    .join('\n\n')
}

function limitLine(limits: readonly Limit[], workload: string, shape: string): string {
  const of = limits.filter((limit) => limit.workload === workload)
  const rows = shape === 'single' ? 1 : shape === 'rows64' ? 64 : null
  const limit = of.find((one) => (rows === null ? one.rows > 64 : one.rows === rows))
  return limit === undefined ? '' : ` \`session.run\` alone: ${figure(limit.perSecond)}/s.`
}

export function openTable(open: readonly OpenCell[]): string {
  const own = open.filter(({ tool }) => tool === 'open')
  const lines = systemsIn(own).flatMap((system) =>
    own
      .filter((cell) => cell.system === system)
      .map((cell) => {
        const other = open.find(
          ({ system: name, tool, ratePerS }) =>
            name === system && tool === 'autocannon' && ratePerS === cell.ratePerS,
        )
        return [
          system,
          figure(cell.ratePerS),
          figure(cell.perSecond),
          milliseconds(cell.p50Us),
          milliseconds(cell.p99Us),
          cell.lagP99Us === null ? '–' : milliseconds(cell.lagP99Us),
          other === undefined ? '–' : milliseconds(other.p99Us),
          String(cell.failures),
          cell.idle ? '' : 'busy machine',
        ]
      }),
  )
  const head = ['System', 'Due/s', 'Answered/s', 'p50 ms', 'p99 ms', 'lag p99 ms']
  return table([...head, 'autocannon p99 ms', 'Failed', ''], lines)
}

export function clientTable(clients: readonly ClientCell[]): string {
  const lines = clients.map(({ system, tool, perSecond, p50Us, p99Us }) => [
    system,
    tool,
    figure(perSecond),
    milliseconds(p50Us),
    milliseconds(p99Us),
  ])
  return table(['System', 'Client', 'Requests/s', 'p50 ms', 'p99 ms'], lines)
}

export function limitTable(limits: readonly Limit[]): string {
  const lines = limits.map(({ workload, rows, perSecond, cpuUsPerRun }) => [
    workload,
    String(rows),
    figure(perSecond),
    figure(cpuUsPerRun, 1),
  ])
  return table(['Model', 'Rows', 'Runs/s', 'CPU µs a run'], lines)
}

export function missingList(missing: readonly Missing[]): string {
  if (missing.length === 0) return 'Nobody.'
  return missing
    .map(({ workload, system, reason }) => `- ${system} on ${workload}: ${reason}`)
    .join('\n')
}
