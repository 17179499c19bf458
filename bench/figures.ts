/**
 * The figures that the node must reach, with what it must and what it should. Two of them gate the
 * exit code, and only where nobody else used the machine in any round that they rest on.
 */

import type { CountingCost } from './counting.ts'
import type { Lineup } from './lineup.ts'
import {
  type Figures,
  figuresOf,
  idleRounds,
  type Measurement,
  pairedRatio,
  type Tool,
} from './measure.ts'
import type { LoggedMode, QueryLogTrial } from './query-log.ts'
import { count, type Judged, ROUNDS_MIN, type Row, type RowText, rowOf } from './rows.ts'
import type { CoresTrial } from './scale/cores.ts'
import { type ScaleResults, scaleRows } from './scale/figures.ts'
import type { Compared, SwitchTrial } from './trials.ts'
import type { Pair, TypesTrial } from './types.ts'

const CONNECTIONS = 64
const SWITCHES_MIN = 100

export interface Results {
  readonly lineup: Lineup
  readonly tool: Tool
  readonly rates: readonly Measurement[]
  readonly hop: Compared | null
  readonly tail: (Compared & { readonly ratePerS: number }) | null
  readonly switches: SwitchTrial | null
  readonly types: TypesTrial | null
  readonly log: QueryLogTrial | null
  readonly counting: CountingCost | null
  readonly cores: CoresTrial | null
  readonly scale: ScaleResults
}

/** Which measurements of the rates are meant. */
export interface CellKey {
  readonly server: string
  readonly connections: number
  readonly tool: Tool
}

export function cellsOf(rates: readonly Measurement[], key: CellKey): Measurement[] {
  const { server, connections, tool } = key
  return rates.filter(
    (cell) => cell.server === server && cell.connections === connections && cell.tool === tool,
  )
}

export function rowsOf(results: Results): Row[] {
  const all = [...rateRows(results), hopRow(results), tailRow(results), switchRow(results)]
  const added = [...scaleRows(results.scale), ...typeRows(results), ...logRows(results)]
  const counting = countingRow(results)
  return [...all, ...added, counting].sort((one, other) => one.row - other.row)
}

function rateRows({ rates, tool }: Results): Row[] {
  const of = (server: string) => cellsOf(rates, { server, connections: CONNECTIONS, tool })
  const { sound, servers } = judged([of('node'), of('fastify'), of('constant')])
  const [node = [], fastify = [], constant = []] = servers
  const [theirs, bare] = [figuresOf(fastify), figuresOf(constant)]
  // What failed counts, whoever else computed meanwhile.
  const ours = { ...figuresOf(node), failures: figuresOf(of('node')).failures }
  const rate = ({ sample }: Measurement) => sample.perSecond
  const note = `${tool}, ${node.length} rounds${failureNote(ours)}`
  const against = (row: number, peer: string, bounds: { must: number; aim: number }) => {
    const cells = peer === 'fastify' ? fastify : constant
    // A rate with failed requests in it is no rate.
    const value = ours.failures > 0 ? 0 : pairedRatio(node, cells, rate)
    const [a, b] = [ours, peer === 'fastify' ? theirs : bare].map(({ perSecond }) => perSecond)
    return rowOf(
      {
        row,
        figure: `requests/s against ${peer}, ${CONNECTIONS} connections`,
        unit: '',
        gates: row === 1,
        note: `${count(a)}/s against ${count(b)}/s, ${note}`,
      },
      { value, ...bounds, moreIsBetter: true, sound },
    )
  }
  const cpu = ({ cpuUsPerRequest }: Measurement) => cpuUsPerRequest
  const [a, b] = [ours, bare].map(({ cpuUsPerRequest }) => cpuUsPerRequest.toFixed(1))
  return [
    against(1, 'fastify', { must: 2.5, aim: 4 }),
    against(2, 'constant', { must: 0.62, aim: 0.75 }),
    rowOf(
      {
        row: 3,
        figure: `server CPU per request against constant, ${CONNECTIONS} connections`,
        unit: '',
        note: `${a} µs against ${b} µs, ${note}`,
      },
      { value: pairedRatio(node, constant, cpu), must: 1.9, aim: 1.5, moreIsBetter: false, sound },
    ),
  ]
}

/** The idle rounds of some servers; where these are too few all of them, and no verdict. */
function judged(all: readonly (readonly Measurement[])[]) {
  const idle = idleRounds(all)
  const sound = (idle[0]?.length ?? 0) >= ROUNDS_MIN
  return { sound, servers: sound ? idle : all }
}

function failureNote({ failures }: Figures): string {
  return failures > 0 ? `, ${failures} FAILED REQUESTS` : ''
}

function hopRow({ hop, lineup }: Results): Row {
  const text = { row: 4, figure: 'hop: p50 less p50 inline, 1 connection, pinned', unit: 'µs' }
  const [ours, inline] = [hop?.p50Us(lineup.node), hop?.p50Us(lineup.inline)]
  const note = `${ours} µs against ${inline} µs inline`
  const value = (ours ?? Number.NaN) - (inline ?? Number.NaN)
  const sound = hop?.idle === true && hop.rounds >= ROUNDS_MIN
  return rowOf({ ...text, note }, { value, must: 90, aim: 40, moreIsBetter: false, sound })
}

function tailRow({ tail, lineup }: Results): Row {
  const figure = 'p99 against fastify at half of its top rate, open loop'
  const [ours, theirs] = [tail?.p99Us(lineup.node), tail?.p99Us(lineup.fastify)]
  const p50 = `p50 ${tail?.p50Us(lineup.node)} µs against ${tail?.p50Us(lineup.fastify)} µs`
  const rate = `at ${count(tail?.ratePerS)}/s`
  const note = `p99 ${ours} µs against ${theirs} µs, ${p50}, ${rate}`
  const value = (ours ?? Number.NaN) / (theirs ?? Number.NaN)
  const judged = { value, must: 0.7, aim: 0.3, moreIsBetter: false, sound: tail?.idle === true }
  return rowOf({ row: 5, figure, unit: '', note }, judged)
}

function switchRow({ switches }: Results): Row {
  const figure = `requests failed in ${switches?.switches ?? SWITCHES_MIN} switches under load`
  const sample = switches?.sample
  const p99 = `p99 ${((sample?.p99Us ?? 0) / 1_000).toFixed(1)} ms during the switches`
  const [usual, most] = [switches?.switchP50Ms, switches?.switchMaxMs]
  const calls = `a switch took ${usual?.toFixed(1)} ms, at most ${most?.toFixed(0)}`
  const answers = sample?.accepted?.map((answered) => count(answered)).join(' + ')
  const note = `${answers} answers of v1 + v2, ${p99}, ${calls}`
  const judged = {
    value: sample?.failures ?? Number.NaN,
    must: 0,
    aim: 0,
    moreIsBetter: false,
    sound: switches?.idle === true && switches.switches >= SWITCHES_MIN,
  }
  return rowOf({ row: 6, figure, unit: '', gates: true, note }, judged)
}

/** What endpoints of other types cost, against a model or against how else one would serve them. */
function typeRows({ types, tool }: Results): Row[] {
  const sound = (pair: Pair | null | undefined) => pair?.idle === true
  const row = (text: Omit<RowText, 'unit'>, pair: Pair | null | undefined, bounds: Bounds) =>
    rowOf(
      { ...text, unit: '' },
      { value: pair?.ratio ?? Number.NaN, sound: sound(pair), ...bounds },
    )
  const of = (pair: Pair | null | undefined, unit: string) =>
    `${count(pair?.ours)}${unit} against ${count(pair?.theirs)}${unit}`
  const [fn, forest, lookup] = [types?.functionP50, types?.forestRate, types?.lookupRate]
  return [
    row(
      {
        row: 11,
        figure: 'p50 of a trivial Python function against the model, 1 connection, pinned',
        note: of(fn, ' µs'),
      },
      fn,
      { must: 2.5, aim: 2, moreIsBetter: false },
    ),
    row(
      {
        row: 12,
        figure: `requests/s of a scikit-learn forest against FastAPI, ${CONNECTIONS} connections`,
        note: `${of(forest, '/s')}, ${tool}`,
      },
      forest,
      { must: 4, aim: 6, moreIsBetter: true },
    ),
    row(
      {
        row: 13,
        figure: `requests/s of a lookup in ${count(types?.rows)} rows against the model`,
        note: `${of(lookup, '/s')}, ${tool}, ${CONNECTIONS} connections`,
      },
      lookup,
      { must: 0.8, aim: 1, moreIsBetter: true },
    ),
  ]
}

/** What it costs to log queries, against the same node that logs none. */
function logRows({ log, tool }: Results): Row[] {
  const row = (number: number, mode: LoggedMode, bounds: Bounds) => {
    const cost = log?.costs[mode]
    const off = cost?.off
    const cpu = [cost, off].map((one) => one?.cpuUsPerRequest.toFixed(1))
    const times = `${cost?.cpuRatio.toFixed(2)} times the CPU per request`
    const rate = `${count(cost?.perSecond)}/s against ${count(off?.perSecond)}/s`
    const cpus = `${cpu.join(' µs against ')} µs, ${times}`
    const note = `${rate}, ${cpus}, ${tool}, ${log?.compared[mode].length} comparisons`
    const figure = `requests/s with the query log at ${mode} against off`
    const value = cost?.rateRatio ?? Number.NaN
    const sound = log?.idle === true
    return rowOf({ row: number, figure, unit: '', note }, { value, sound, ...bounds })
  }
  return [
    row(14, 'all', { must: 0.9, aim: 0.95, moreIsBetter: true }),
    row(15, 'sample:0.01', { must: 0.95, aim: 0.98, moreIsBetter: true }),
  ]
}

type Bounds = Pick<Judged, 'must' | 'aim' | 'moreIsBetter'>

/** Histograms and counters of a request, against all that the node does for it. */
function countingRow({ counting, rates, tool }: Results): Row {
  const cells = cellsOf(rates, { server: 'node', connections: CONNECTIONS, tool })
  const { sound, servers } = judged([cells])
  const { answerUs = 0, batchUs = 0, keyUs = 0 } = counting ?? {}
  const sumUs = answerUs + batchUs + keyUs
  const cpuUs = figuresOf(servers[0] ?? []).cpuUsPerRequest
  const [answer, batch, key] = [answerUs, batchUs, keyUs].map((us) => us.toFixed(3))
  const parts = `answer ${answer}, wait and batch ${batch}, key ${key}`
  return rowOf(
    {
      row: 18,
      figure: 'CPU of counting a request, share of all its CPU',
      unit: '%',
      note: `${parts} µs in a loop, of ${cpuUs.toFixed(1)} µs`,
    },
    {
      value: counting === null ? Number.NaN : (100 * sumUs) / cpuUs,
      sound,
      must: 5,
      aim: 2,
      moreIsBetter: false,
    },
  )
}
