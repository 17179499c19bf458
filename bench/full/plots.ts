/** The plots of the report by their file names. */

import { type Cell, cellFigures, type ReportData, type Round } from './report-data.ts'
import { barChart, lineChart, type Series } from './svg.ts'

/** In the order of legends and tables, each with the colour that it has everywhere. */
const COLOURS: Readonly<Record<string, string>> = {
  constant: '#999999',
  node: '#c0392b',
  'node-all-cores': '#f1948a',
  fastify: '#2c7fb8',
  'fastify-piscina': '#7fcdbb',
  fastapi: '#238b45',
  litserve: '#8856a7',
  bentoml: '#d95f0e',
  mlserver: '#e7298a',
  pytriton: '#a6761d',
}

const SYSTEM_ORDER: readonly string[] = Object.keys(COLOURS)

export function systemsIn(cells: readonly { readonly system: string }[]): string[] {
  const found = new Set(cells.map(({ system }) => system))
  return SYSTEM_ORDER.filter((name) => found.has(name))
}

/** The tool whose figures are plotted: wrk where it was there, it takes less of the machine. */
export function mainTool(cells: readonly Cell[]): string {
  return cells.some(({ tool }) => tool === 'wrk') ? 'wrk' : 'autocannon'
}

export function plotsOf(data: ReportData): Record<string, string> {
  const tool = mainTool(data.cells)
  const cells = data.cells.filter((cell) => cell.tool === tool)
  const small = cells.filter(({ workload, shape }) => workload === 'mlp' && shape === 'single')
  const byConnections = (title: string, yLabel: string, pick: (of: Round) => number) =>
    lineChart({ title, yLabel, xLabel: 'connections', series: seriesOf(small, pick) })
  const gated = small.filter(({ connections }) => connections === 64)
  return {
    ...(small.length === 0
      ? {}
      : {
          'requests.svg': byConnections(
            'Requests per second',
            'requests/s',
            ({ perSecond }) => perSecond,
          ),
          'p99.svg': byConnections('Latency', 'p99, ms', ({ p99Us }) => p99Us / 1_000),
        }),
    ...(gated.length === 0
      ? {}
      : {
          'cpu.svg': bars(gated, 'CPU per request', 'µs', (of) => of.cpuUsPerRequest),
          'memory.svg': bars(gated, 'Memory (PSS)', 'MB', (of) => of.pssBytes / 1e6),
        }),
    ...(cells.length === 0 ? {} : { 'workloads.svg': workloadPlot(cells) }),
    ...(data.open.length === 0 ? {} : { 'open.svg': openPlot(data) }),
  }
}

function colourOf(system: string): string {
  return COLOURS[system] ?? '#000'
}

function seriesOf(cells: readonly Cell[], pick: (of: Round) => number): Series[] {
  return systemsIn(cells).map((system) => ({
    name: system,
    colour: colourOf(system),
    points: cells
      .filter((cell) => cell.system === system)
      .sort((one, other) => one.connections - other.connections)
      .map((cell) => ({ x: cell.connections, y: pick(cellFigures(cell)) })),
  }))
}

function barsOf(cells: readonly Cell[], pick: (of: Round) => number) {
  return systemsIn(cells).flatMap((system) =>
    cells
      .filter((cell) => cell.system === system)
      .map((cell) => ({ name: system, colour: colourOf(system), value: pick(cellFigures(cell)) })),
  )
}

function bars(
  cells: readonly Cell[],
  title: string,
  unit: string,
  pick: (of: Round) => number,
): string {
  return barChart({ title, unit, groups: [{ name: '64 connections', bars: barsOf(cells, pick) }] })
}

function workloadPlot(all: readonly Cell[]): string {
  // Of the small network only the number of connections that the figures rest on.
  const cells = all.filter(
    ({ workload, shape, connections }) =>
      workload !== 'mlp' || shape !== 'single' || connections === 64,
  )
  const names = [...new Set(cells.map(({ workload, shape }) => `${workload} ${shape}`))]
  const groups = names.map((name) => ({
    name,
    bars: barsOf(
      cells.filter(({ workload, shape }) => `${workload} ${shape}` === name),
      ({ perSecond }) => perSecond,
    ).filter((bar) => bar.name !== 'constant'),
  }))
  return barChart({ title: 'Requests per second by workload', unit: 'requests/s', groups })
}

function openPlot({ open }: ReportData): string {
  const own = open.filter(({ tool }) => tool === 'open')
  const series = systemsIn(own).map((system) => ({
    name: system,
    colour: colourOf(system),
    points: own
      .filter((cell) => cell.system === system)
      .map(({ ratePerS, p99Us }) => ({ x: ratePerS, y: p99Us / 1_000 })),
  }))
  const [xLabel, yLabel] = ['requests per second that become due', 'p99, ms']
  return lineChart({ title: 'Latency at fixed rates (open loop)', xLabel, yLabel, series })
}
