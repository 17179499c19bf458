/**
 * The section of README on performance, made of report.json. `npm run readme` writes it between its
 * two markers, and a test holds both together.
 */

import { mainTool, systemsIn } from './plots.ts'
import { type Cell, cellFigures, type ReportData } from './report-data.ts'
import { figure, table } from './tables.ts'

export const MARKERS = {
  begin: '<!-- performance: written by `npm run readme` from bench/report/report.json -->',
  end: '<!-- end of performance -->',
} as const

/** README with the section replaced; null: the markers are not there. */
export function withPerformance(readme: string, section: string): string | null {
  const begin = readme.indexOf(MARKERS.begin)
  const end = readme.indexOf(MARKERS.end)
  if (begin === -1 || end < begin) return null
  return `${readme.slice(0, begin)}${MARKERS.begin}\n\n${section}\n\n${readme.slice(end)}`
}

const CONNECTIONS = 64

export function performanceSection(data: ReportData): string {
  const tool = mainTool(data.cells)
  const cells = data.cells.filter((cell) => cell.tool === tool)
  const small = cells.filter(
    ({ workload, shape, connections }) =>
      workload === 'mlp' && shape === 'single' && connections === CONNECTIONS,
  )
  return [
    measuredText(data, tool),
    smallTable(small),
    'Requests per second of other models and bodies. The node leaves one core to its event\n' +
      'loop; `node-all-cores` is told by `--model-cores` to take all, as its peers do. The\n' +
      'ratio is that to the fastest peer:',
    workloadTable(cells),
    'What the node promises itself, each figure judged only where the machine was idle:',
    rowTable(data),
    'Plots, other numbers of connections, fixed rates and the versions of all peers are in\n' +
      '[the report](bench/report/report.md).',
  ].join('\n\n')
}

function measuredText({ machine, parts }: ReportData, tool: string): string {
  const { date = '', commit = '' } = parts['connections'] ?? parts['rows'] ?? {}
  const where = `${machine['cores']} cores (${machine['cpu']})`
  return [
    `Seen on ${where}, ${date.slice(0, 10)}, commit ${commit}: one row of ten features a request,`,
    `${CONNECTIONS} connections by ${tool} on the same machine, the node with authentication and`,
    'metrics on, its peers without:',
  ].join('\n')
}

const NAMES: Readonly<Record<string, string>> = {
  constant: 'uWebSockets.js, a constant of the same bytes',
  node: '**Switchyard**',
  fastify: 'Fastify, onnxruntime-node inline',
  'fastify-piscina': 'Fastify, Piscina, one task a request',
  fastapi: 'FastAPI, uvicorn, onnxruntime',
  litserve: 'LitServe',
  bentoml: 'BentoML',
  mlserver: 'MLServer',
  pytriton: 'Triton by PyTriton',
}

function milliseconds(us: number): string {
  return figure(us / 1_000, us < 10_000 ? 2 : 0)
}

function smallTable(cells: readonly Cell[]): string {
  const lines = systemsIn(cells).flatMap((system) =>
    cells
      .filter((cell) => cell.system === system)
      .map((cell) => {
        const of = cellFigures(cell)
        return [
          NAMES[system] ?? system,
          figure(of.perSecond),
          milliseconds(of.p50Us),
          milliseconds(of.p99Us),
          figure(of.cpuUsPerRequest, 1),
          figure(of.pssBytes / 1e6),
        ]
      }),
  )
  return table(['Server', 'Requests/s', 'p50 ms', 'p99 ms', 'CPU µs', 'Memory MB'], lines)
}

const SHAPES: Readonly<Record<string, string>> = {
  single: 'one row',
  rows64: '64 rows',
  large: 'a body of 2 MB',
}

const TITLES: Readonly<Record<string, string>> = {
  mlp: 'small network',
  trees: '150 trees, 200 features',
  columns: 'pipeline, one input a column',
  convolution: 'convolutional network, 4 MB',
  dense: 'dense network, 160 MB',
}

function workloadTable(all: readonly Cell[]): string {
  const cells = all.filter(({ workload, shape }) => workload !== 'mlp' || shape !== 'single')
  const systems = systemsIn(cells).filter((name) => name !== 'constant')
  const keys = [...new Set(cells.map(({ workload, shape }) => `${workload} ${shape}`))]
  const lines = keys.map((key) => {
    const [workload = '', shape = ''] = key.split(' ')
    const rates = systems.map((system) => {
      const cell = cells.find(
        (one) => one.system === system && one.workload === workload && one.shape === shape,
      )
      return cell === undefined ? null : cellFigures(cell).perSecond
    })
    const title = `${TITLES[workload] ?? workload}, ${SHAPES[shape] ?? shape}`
    return [title, ...rates.map((rate) => figure(rate)), ratioText(systems, rates)]
  })
  return table(['Requests/s', ...systems, 'ratio'], lines)
}

/** As it comes, and with all cores. */
const OURS = ['node', 'node-all-cores']

/** Each node against the fastest of the others. */
function ratioText(systems: readonly string[], rates: readonly (number | null)[]): string {
  const others = rates.filter((_, i) => !OURS.includes(systems[i] ?? ''))
  const fastest = Math.max(0, ...others.map((rate) => rate ?? 0))
  const ratios = OURS.flatMap((name) => {
    const rate = rates[systems.indexOf(name)] ?? null
    return rate === null ? [] : [figure(rate / fastest, 2)]
  })
  return ratios.join(', ')
}

function rowTable({ rows }: ReportData): string {
  const lines = rows.map(({ figure: title, value, unit, must, aim, verdict }) => [
    title,
    value === null ? '–' : `${figure(value, unit === '' ? 2 : 0)} ${unit}`.trim(),
    String(must),
    String(aim),
    verdict,
  ])
  return table(['Figure', 'Seen', 'Must', 'Aim', 'Verdict'], lines)
}
