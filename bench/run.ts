/**
 * `npm run bench`: the node beside its peers on this machine, in one run.
 *
 * Absolute rates differ between machines by more than any two servers do, so the promises are
 * ratios of what one run measured. Loads run in processes of their own, servers too; rounds are
 * interleaved. `--full` makes a report of all systems and workloads beside it.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { countingCost } from './counting.ts'
import { programOf } from './environments.ts'
import { type Results, rowsOf } from './figures.ts'
import { runFull } from './full/run.ts'
import { type Lineup, startLineup } from './lineup.ts'
import { type Machine, machine } from './machine.ts'
import { type Measurement, measure, measureRates, type Tool, warmUp } from './measure.ts'
import { type BenchOptions, FIGURE_PARTS, helpText, type Part, parseOptions } from './options.ts'
import { ROOT } from './paths.ts'
import { queryLogTrial } from './query-log.ts'
import { codeOf, type Row } from './rows.ts'
import { bigSwitchTrial } from './scale/big-switch.ts'
import { coresText, coresTrial } from './scale/cores.ts'
import type { ScaleResults } from './scale/figures.ts'
import { growthTrial } from './scale/growth.ts'
import { memoryTrial } from './scale/memory.ts'
import { stopAllServers } from './servers.ts'
import { setUp } from './setup.ts'
import { figureTable, rateTables } from './table.ts'
import { isInstalled } from './tools.ts'
import { hopCost, switchUnderLoad, tailAtRate } from './trials.ts'
import { typesTrial } from './types.ts'

/** Rows of figures rest on this number of connections; it gets the most rounds. */
const GATED_CONNECTIONS = 64
const ROUNDS = { gated: 5, short: 15, other: 3, tail: 3 }
const SWITCHES = 100

stopOnSignal()
try {
  const options = parseOptions(process.argv.slice(2))
  if (options.help) console.log(helpText())
  else if (options.setup) await setUp(options.python ?? 'python3')
  else if (options.full) await full(options)
  else process.exitCode = report(await figures(options), options)
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 2
}

interface Measured {
  readonly rows: readonly Row[]
  readonly results: Results
  /** Parts that failed. */
  readonly lost: readonly Part[]
}

/** Measures what the table of figures rests on, and prints it. */
async function figures(options: BenchOptions): Promise<Measured> {
  const system = machine()
  const tools = toolsHere()
  const python = options.python ?? programOf('fastapi', 'python') ?? 'python3'
  const lineup = await startLineup(python)
  try {
    console.error('All servers give the same answer. Warming up.')
    await warmUp(lineup, options.quick ? 1 : 2)
    const lost: Part[] = []
    const results = await measureAll({ lineup, system, tools, options, python, lost })
    const rows = rowsOf(results)
    const tables = { tools, connections: connectionsOf(results.rates) }
    if (results.rates.length > 0) console.log(rateTables(results.rates, tables))
    console.log(`\n${figureTable(rows)}\n\n${footnote(system)}`)
    if (results.cores !== null) console.log(`\n${coresText(results.cores)}`)
    return { rows, results, lost }
  } finally {
    await lineup.stop()
  }
}

async function full(options: BenchOptions): Promise<void> {
  const [system, tools] = [machine(), toolsHere()]
  const wantsRows = options.only.some((part) => FIGURE_PARTS.some((name) => name === part))
  // The other numbers of connections have a part of their own in the report.
  const shorter = { ...options, connections: [GATED_CONNECTIONS] }
  await runFull({
    machine: system,
    tools,
    options,
    rows: async () => (wantsRows ? (await figures(shorter)).rows : []),
  })
}

function toolsHere(): Tool[] {
  return isInstalled('wrk') ? ['autocannon', 'wrk'] : ['autocannon']
}

/** Servers are no part of the terminal's job, and must not go on when this process is stopped. */
function stopOnSignal(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void stopAllServers().finally(() => process.exit(130)))
  }
}

interface Run {
  readonly lineup: Lineup
  readonly system: Machine
  readonly tools: readonly Tool[]
  readonly options: BenchOptions
  readonly python: string
  /** Parts that failed. */
  readonly lost: Part[]
}

/** A part that was asked for; null when it was not, or when it failed, which costs it alone. */
async function part<R>(run: Run, name: Part, measure: () => Promise<R>): Promise<R | null> {
  if (!run.options.only.includes(name)) return null
  console.error(`Measuring: ${name}.`)
  try {
    return await measure()
  } catch (error) {
    console.error(`Without ${name}: ${error instanceof Error ? error.message : String(error)}`)
    run.lost.push(name)
    return null
  }
}

async function measureAll(run: Run): Promise<Results> {
  const { lineup, system, tools, options } = run
  const { seconds } = options
  const tool = tools.at(-1) ?? 'autocannon'
  const rates = (await part(run, 'rates', () => measuredRates(run, tool))) ?? []
  const trial = { rounds: ROUNDS.gated, seconds }
  const hop = await part(run, 'hop', () => hopCost(lineup, system, trial))
  const tail = await part(run, 'tail', () => measuredTail(run, tool, rates))
  const switches = await part(run, 'switches', () => switchUnderLoad(lineup, system, SWITCHES))
  const types = await part(run, 'types', () => measuredTypes(run, tool))
  const log = await part(run, 'log', () => measuredLog(run, tool))
  const counting = await part(run, 'counting', async () => countingCost())
  const cores = await part(run, 'cores', () => coresTrial(lineup, { seconds: 2 * seconds, tool }))
  const scale = await measuredScale(run, tool)
  return { lineup, tool, rates, hop, tail, switches, types, log, counting, cores, scale }
}

function measuredLog({ lineup, system, options }: Run, tool: Tool) {
  const rounds = options.quick ? ROUNDS.other : ROUNDS.gated
  const trial = { rounds, seconds: options.seconds, connections: GATED_CONNECTIONS, tool }
  return queryLogTrial(lineup, system, trial)
}

/** With nodes of their own, after the others: they need the memory, and the rest is idle then. */
async function measuredScale(run: Run, tool: Tool): Promise<ScaleResults> {
  const { system, options } = run
  const rounds = options.quick ? ROUNDS.other : ROUNDS.gated
  const trial = { rounds, seconds: options.seconds, tool }
  const bigSwitch = await part(run, 'big-switch', () => bigSwitchTrial(system, trial))
  const memory = await part(run, 'memory', () => memoryTrial(system, options.quick ? 1 : 2))
  const growth = await part(run, 'growth', () => growthTrial(system, trial))
  return { bigSwitch, memory, growth }
}

async function measuredTypes({ lineup, system, options, python }: Run, tool: Tool) {
  const { seconds, quick } = options
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
    plan: (count, tool) => {
      if (count !== GATED_CONNECTIONS) return { rounds: quick ? 1 : ROUNDS.other, seconds }
      if (tool !== figureTool) return { rounds: quick ? 1 : ROUNDS.gated, seconds }
      // A machine that others share changes within seconds: many short rounds meet it alike.
      if (quick) return { rounds: ROUNDS.gated, seconds }
      return { rounds: ROUNDS.short, seconds: Math.max(1, seconds / 2) }
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

function report({ rows, results, lost }: Measured, options: BenchOptions): number {
  const code = codeOf(rows)
  const judged = code === 'MISSED' ? 1 : 0
  const exitCode = lost.length > 0 ? 2 : judged
  const { lineup: _, tool, ...measured } = results
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
  writeFileSync(file, `${JSON.stringify({ ...content, ...measured }, null, 2)}\n`)
  console.log(`\n${code === 'NOISY' ? 'Noisy, not judged' : code}. Details: ${file}`)
  return exitCode
}
