/** Commands about the node itself: its health and its metrics. */

import type { Call, CommandRow } from './command.ts'
import { failed } from './failures.ts'
import { fieldOf, listOf, numberOf, recordOf, textOf } from './fields.ts'
import { bytesText, listText, tableText } from './output.ts'

export const NODE_COMMANDS: readonly CommandRow[] = [
  {
    name: 'health',
    about: 'how the node is; exit code 1 when it is UNHEALTHY',
    connects: true,
    examples: ['health', 'health --json'],
    run: health,
  },
  {
    name: 'metrics',
    about: 'requests, errors and latencies, by service',
    connects: true,
    examples: ['metrics', 'metrics --json'],
    run: metrics,
  },
]

async function health({ admin, output }: Call): Promise<void> {
  const answer = await (await admin()).get('/admin/api/health')
  const status = textOf(fieldOf(answer, 'status')) ?? 'unknown'
  const causes = listOf(fieldOf(fieldOf(answer, 'details'), 'causes')).map(String)
  output.answer(answer, () => {
    const head = [status, ...causes.map((cause) => `  ${cause}`)].join('\n')
    return `${head}\n\n${healthText(recordOf(fieldOf(answer, 'details')))}`.trimEnd()
  })
  if (status === 'UNHEALTHY') throw failed('the node is UNHEALTHY')
}

function healthText(details: Readonly<Record<string, unknown>>): string {
  const { serving, runtimes } = details
  const processes = listOf(fieldOf(serving, 'processes')).map(recordOf)
  const bytes = processes.reduce((sum, one) => sum + (numberOf(one['residentBytes']) ?? 0), 0)
  const states = processes.map((one) => textOf(one['state']) ?? 'unknown').join(', ')
  return listText([
    ['query port', fieldOf(serving, 'port')],
    ['processes', states === '' ? null : `${states} (${bytesText(bytes)})`],
    ['python', fieldOf(fieldOf(runtimes, 'python'), 'version')],
    ['r', fieldOf(fieldOf(runtimes, 'r'), 'version')],
  ])
}

async function metrics({ admin, output }: Call): Promise<void> {
  const answer = recordOf(await (await admin()).get('/admin/api/metrics'))
  output.answer(answer, () => {
    const rows = Object.entries(recordOf(answer['serviceMetrics'])).map(
      ([name, series]) => [name, recordOf(series)] as const,
    )
    const total = (series: unknown, name: string): string => {
      const since = fieldOf(fieldOf(series, 'latencyMs'), 'sinceStart')
      return msText(fieldOf(fieldOf(since, 'total'), name))
    }
    const table = tableText(rows, [
      { head: 'SERVICE', cell: ([name]) => name },
      { head: 'REQUESTS', cell: ([, one]) => numberOf(one['requestCount']), right: true },
      { head: 'ERRORS', cell: ([, one]) => numberOf(one['errorCount']), right: true },
      { head: 'MEAN ms', cell: ([, one]) => msText(one['averageLatencyMs']), right: true },
      { head: 'p50 ms', cell: ([, one]) => total(one, 'p50'), right: true },
      { head: 'p99 ms', cell: ([, one]) => total(one, 'p99'), right: true },
    ])
    const sums = listText([
      ['requests', answer['totalRequests']],
      ['active', answer['activeRequests']],
      ['errors', answer['errorCount']],
      ['mean ms', msText(answer['averageLatencyMs'])],
    ])
    return rows.length === 0 ? sums : `${sums}\n\n${table}`
  })
}

function msText(value: unknown): string {
  const ms = numberOf(value)
  return ms === null ? '' : String(Math.round(ms * 100) / 100)
}
