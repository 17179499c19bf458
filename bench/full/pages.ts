/** report.md and its plots, made of report.json alone: whoever has the one can make the other. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { workloadTitle } from '../workloads/workloads.ts'
import { plotsOf } from './plots.ts'
import type { ReportData } from './report-data.ts'
import {
  clientTable,
  connectionTables,
  limitTable,
  missingList,
  openTable,
  rowTable,
  workloadTables,
} from './tables.ts'

export function writePages(folder: string, data: ReportData): void {
  mkdirSync(folder, { recursive: true })
  const plots = plotsOf(data)
  for (const [name, text] of Object.entries(plots)) writeFileSync(join(folder, name), text)
  writeFileSync(join(folder, 'report.md'), reportPage(data, Object.keys(plots)))
}

function reportPage(data: ReportData, plots: readonly string[]): string {
  const plot = (name: string) => (plots.includes(name) ? `![${name}](${name})\n` : '')
  const sections = [
    `# Report of the benchmarks\n\n${INTRODUCTION}\n\n${machineText(data)}`,
    `## What was promised\n\n${rowTable(data.rows)}\n\n${ROWS_NOTE}`,
    section('By number of connections', CONNECTIONS_NOTE, [
      plot('requests.svg'),
      plot('p99.svg'),
      plot('cpu.svg'),
      plot('memory.svg'),
      connectionTables(data.cells),
    ]),
    section('By workload', WORKLOADS_NOTE, [
      plot('workloads.svg'),
      workloadTables(data.cells, data.limits, workloadTitle),
    ]),
    section('At fixed rates', OPEN_NOTE, [plot('open.svg'), openTable(data.open)]),
    section('Whether the clients agree', CLIENTS_NOTE, [clientTable(data.clients)]),
    section('The models alone', LIMITS_NOTE, [limitTable(data.limits)]),
    section('Left out', '', [missingList(data.missing)]),
    section('How to repeat it', '', [partsText(data)]),
  ]
  return `${sections
    .join('\n\n')
    .replace(/\n{3,}/g, '\n\n')
    .trimEnd()}\n`
}

function section(title: string, note: string, parts: readonly string[]): string {
  return [`## ${title}`, note, ...parts].filter((part) => part !== '').join('\n\n')
}

const INTRODUCTION = `Written by \`npm run bench -- --full\`. All systems ran on one machine, the
load beside them on the same cores, so ratios say more than rates. The node runs with
authentication and metrics on, its peers without. Every peer is one process as its own
documentation starts it, with the same model file, and answered the same as the node before
anything was timed.`

const ROWS_NOTE = `Ratios are medians over interleaved rounds. "noisy, not judged": somebody else
computed on the machine meanwhile. Figures with * end the command with code 1 when they are
missed.`

const CONNECTIONS_NOTE = `A closed loop: every connection asks again as soon as it is answered.
The small network, one row a request. CPU is user and system time of all processes of a system
over its answers, memory the sum of all its processes (PSS counts what they share once).
\`constant\` is uWebSockets.js that answers the node's bytes without looking at the request.`

const WORKLOADS_NOTE = `\`single\` is one row a request, \`rows64\` 64 rows, \`large\` a body of
two megabytes. Peers with dynamic batching have it on: LitServe (64 requests or 2 ms),
PyTriton. LitServe is stopped by a signal while others are measured, since it computes when
nobody asks. ONNX Runtime has one thread in all systems where a model is small; for the
convolutional and the dense one peers take what ONNX Runtime takes by itself.`

const OPEN_NOTE = `Requests are due at fixed times, whether or not earlier ones have been
answered, and latency counts from then, so that a stall is charged to everybody who had to
wait. \`lag\` is how late the client itself was. autocannon's own rate mode is beside it; it
counts whole milliseconds.`

const CLIENTS_NOTE = 'The same closed loop of 64 connections by each client, one after the other.'

const LIMITS_NOTE = `\`session.run\` in a loop with inputs that are ready: no HTTP, no JSON, no
thread in between. A system beyond this rate for single rows has put rows of several callers
into one run.`

function machineText({ machine, versions }: ReportData): string {
  const of = (values: Readonly<Record<string, string | number>>) =>
    Object.entries(values).map(([name, value]) => `${name} ${value}`)
  return [`Machine: ${of(machine).join(', ')}.`, `Versions: ${of(versions).join(', ')}.`].join(
    '\n\n',
  )
}

function partsText({ parts }: ReportData): string {
  const lines = Object.entries(parts).map(
    ([name, { date, commit, command }]) =>
      `| ${name} | ${date.slice(0, 16).replace('T', ' ')} | ${commit} | \`${command}\` |`,
  )
  const setup = '`npm run bench -- --setup` makes the Python environments of the peers once.'
  return [
    setup,
    '',
    '| Part | Measured (UTC) | Commit | Command |',
    '|---|---|---|---|',
    ...lines,
  ].join('\n')
}
