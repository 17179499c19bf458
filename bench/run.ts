/**
 * `npm run bench`: the node beside its peers on this machine, in one run.
 *
 * Absolute rates differ between machines by more than any two servers do, so the promises are
 * ratios of what one run measured. Loads run in processes of their own, servers too; rounds are
 * interleaved.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { codeOf, type Results, type Row, rowsOf } from './figures.ts'
import { type Lineup, startLineup } from './lineup.ts'
import { type Machine, machine } from './machine.ts'
import { type Measurement, measure, measureRates, type Tool, warmUp } from './measure.ts'
import { type BenchOptions, helpText, type Part, parseOptions } from './options.ts'
import { ROOT } from './paths.ts'
import { figureTable, rateTables } from './table.ts'
import { isInstalled } from './tools.ts'
import { hopCost, switchUnderLoad, tailAtRate } from './trials.ts'
import { typesTrial } from './types.ts'

/** Rows of figures rest on this number of connections; it gets the most rounds. */
const GATED_CONNECTIONS = 64
const ROUNDS = { gated: 5, other: 3, tail: 3 }
const SWITCHES = 100

try {
  const options = parseOptions(process.argv.slice(2))
  if (options.help) console.log(helpText())
  else process.exitCode = await bench(options)
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 2
}

async function bench(options: BenchOptions): Promise<number> {
  const system = machine()
  const tools: Tool[] = isInstalled('wrk') ? ['autocannon', 'wrk'] : ['autocannon']
  const lineup = await startLineup(options.python)
  stopOnSignal(lineup)
  try {
    console.error('All servers give the same answer. Warming up.')
    await warmUp(lineup, options.quick ? 1 : 2)
    const results = await measureAll({ lineup, system, tools, options })
    const rows = rowsOf(results)
    const tables = { tools, connections: connectionsOf(results.rates) }
    if (results.rates.length > 0) console.log(rateTables(results.rates, tables))
    console.log(`\n${figureTable(rows)}\n\n${footnote(system)}`)
    return report(rows, results, options)
  } finally {
    await lineup.stop()
  }
}

/** Servers are no part of the terminal's job when this process is stopped alone. */
function stopOnSignal(lineup: Lineup): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void lineup.stop().finally(() => process.exit(130)))
  }
}

interface Run {
  readonly lineup: Lineup
  readonly system: Machine
  readonly tools: readonly Tool[]
  readonly options: BenchOptions
}

async function measureAll(run: Run): Promise<Results> {
  const { lineup, system, tools, options } = run
  const { seconds } = options
  const wants = (part: Part) => options.only.includes(part)
  const tool = tools.at(-1) ?? 'autocannon'
  const rates = wants('rates') ? await measuredRates(run, tool) : []
  const trial = { rounds: ROUNDS.gated, seconds }
  const hop = wants('hop') ? await hopCost(lineup, system, trial) : null
  if (hop === null && wants('hop')) console.error('The hop is not measured: taskset is missing.')
  const tail = wants('tail') ? await measuredTail(run, tool, rates) : null
  const switches = wants('switches') ? await switchUnderLoad(lineup, system, SWITCHES) : null
  const types = wants('types') ? await measuredTypes(run, tool) : null
  return { lineup, tool, rates, hop, tail, switches, types }
}

async function measuredTypes({ lineup, system, options }: Run, tool: Tool) {
  const { seconds, python, quick } = options
  const trial = { rounds: quick ? ROUNDS.other : ROUNDS.gated, seconds, python, tool }
  const types = await typesTrial(lineup, system, trial)
  if (types.lacking !== null) console.error(`Not all types are measured: ${types.lacking}`)
  return types
}

/** The tool that the figures rest on gets all rounds at the number of connections they rest on. */
function measuredRates(run: Run, figureTool: Tool): Promise<Measurement[]> {
  const { lineup, system, tools, options } = run
  const { connections, seconds, quick } = options
  return measureRates(lineup, system, {
    connections,
    tools,
    seconds,
    rounds: (count, tool) => {
      if (count === GATED_CONNECTIONS && (tool === figureTool || !quick)) return ROUNDS.gated
      return quick ? 1 : ROUNDS.other
    },
    onMeasured: ({ server, tool, connections: count, sample, idle }) => {
      const rate = Math.round(sample.perSecond)
      console.error(`${server} ${tool} ${count}: ${rate}/s${idle ? '' : ' (machine busy)'}`)
    },
  })
}

/** Half of Fastify's top rate of this run; measured now when the rates were left out. */
async function measuredTail(run: Run, tool: Tool, rates: readonly Measurement[]) {
  const { lineup, system, options } = run
  const { seconds } = options
  const cell = { server: lineup.fastify, tool, connections: GATED_CONNECTIONS, seconds }
  const known = rates.filter(({ server, tool: used }) => server === 'fastify' && used === tool)
  const samples = known.length > 0 ? known : [await measure(cell, lineup, system)]
  const ratePerS = Math.round(Math.max(...samples.map(({ sample }) => sample.perSecond)) / 2)
  const trial = { rounds: ROUNDS.tail, seconds: seconds + 1, ratePerS }
  return { ...(await tailAtRate(lineup, system, trial)), ratePerS }
}

function connectionsOf(rates: readonly Measurement[]): number[] {
  return [...new Set(rates.map(({ connections }) => connections))]
}

function footnote(system: Machine): string {
  return [
    '* gates the exit code. Rates, latencies and CPU are medians over interleaved rounds, ratios',
    'medians of the ratios of each round. CPU is user and system time of all processes of a server',
    `from /proc, in steps of ${system.tickMs} ms. autocannon counts whole milliseconds and takes`,
    'more CPU than the server. The node runs with authentication and metrics on, its peers',
    'without.',
  ].join('\n')
}

function report(rows: readonly Row[], results: Results, options: BenchOptions): number {
  const code = codeOf(rows)
  const exitCode = code === 'MISSED' ? 1 : 0
  const { rates, hop, tail, switches, types, tool } = results
  const measuredOn = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  }
  const date = new Date().toISOString()
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ')
  const content = { date, command, measuredOn, code, exitCode, rows, tool }
  const name = `${date.replace(/[:.]/g, '-')}.json`
  const file = options.json ?? join(ROOT, 'bench/results', name)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(
    file,
    `${JSON.stringify({ ...content, rates, hop, tail, switches, types }, null, 2)}\n`,
  )
  console.log(`\n${code === 'NOISY' ? 'Noisy, not judged' : code}. Details: ${file}`)
  return exitCode
}
