/** The flags of `npm run bench`, in one table that parses them and prints the help. */

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { SYSTEM_NAMES, type SystemName } from './full/names.ts'
import { ROOT } from './paths.ts'
import { WORKLOAD_NAMES, type WorkloadName } from './workloads/workloads.ts'

/** What the table of figures rests on. */
export const FIGURE_PARTS = [
  'rates',
  'hop',
  'tail',
  'switches',
  'types',
  'log',
  'counting',
  'cores',
  'big-switch',
  'memory',
  'growth',
] as const
/** What the report has beside it. */
const REPORT_PARTS = ['limits', 'clients', 'connections', 'workloads', 'open'] as const
const PARTS = [...FIGURE_PARTS, ...REPORT_PARTS] as const
export type Part = (typeof PARTS)[number]

export interface BenchOptions {
  readonly full: boolean
  readonly setup: boolean
  readonly quick: boolean
  readonly only: readonly Part[]
  readonly peers: readonly SystemName[]
  readonly workloads: readonly WorkloadName[]
  readonly connections: readonly number[]
  readonly seconds: number
  /** Of the report: what is not begun by then is left out. */
  readonly minutes: number
  /** Where the JSON goes; null: bench/results/ with the time in its name. */
  readonly json: string | null
  /** Folder of the report. */
  readonly report: string
  /** Interpreter of Python endpoints and of their peer; null: that of the set-up, else python3. */
  readonly python: string | null
  readonly help: boolean
}

const FLAGS = [
  ['--quick', '1 and 64 connections, one second each: minutes, more while others compute'],
  ['--full', 'all of it, the peers too, as a report with plots: bench/report/'],
  ['--setup', 'make models and the Python environments of the peers, for --full; then end'],
  ['--only LIST', `parts to run: ${FIGURE_PARTS.join(', ')};`],
  ['', `of --full also ${REPORT_PARTS.join(', ')} (default: all)`],
  ['--peers LIST', `systems of --full beside the node: ${SYSTEM_NAMES.slice(1).join(', ')}`],
  ['--workloads LIST', `models of --full: ${WORKLOAD_NAMES.join(', ')}`],
  ['--connections LIST', 'numbers of connections (default: 1,16,64,256; full: 1 to 1024 by 4)'],
  ['--seconds N', 'length of one measurement (default: 2, quick: 1)'],
  ['--minutes N', 'begin nothing new of --full after so many (default: 25)'],
  ['--report FOLDER', 'write the report there; what is there and not measured anew stays'],
  [
    '--python FILE',
    'Python with scikit-learn, fastapi and uvicorn, for types; the one for --setup',
  ],
  ['--json FILE', 'write the results there instead of bench/results/'],
  ['--help', 'this text'],
] as const

export function helpText(): string {
  const lines = FLAGS.map(([flag, text]) => `  ${flag.padEnd(20)}${text}`)
  return `npm run bench -- [flags]\n\n${lines.join('\n')}\n\n${EXIT_CODES}`
}

const EXIT_CODES = `Exit code 1 when a figure that gates (*) misses its "must" and nobody else used
the machine before and during its rounds. Otherwise it is not judged: exit code 0, and
"code": "NOISY" in the JSON.`

const CONNECTIONS = { quick: '1,64', usual: '1,16,64,256', full: '1,4,16,64,256,1024' }

const VALUE = { type: 'string' } as const
const SWITCH = { type: 'boolean', default: false } as const

export function parseOptions(argv: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      ...{ quick: SWITCH, full: SWITCH, setup: SWITCH, help: SWITCH },
      ...{ only: VALUE, peers: VALUE, workloads: VALUE, connections: VALUE, seconds: VALUE },
      ...{ minutes: VALUE, report: VALUE, json: VALUE, python: VALUE },
    },
  })
  const { quick, full, setup, help } = values
  const usual = full ? CONNECTIONS.full : CONNECTIONS.usual
  const parts = full ? PARTS : FIGURE_PARTS
  return Object.freeze({
    ...{ quick, full, setup, help },
    only: namesOf('--only', values.only, parts),
    peers: namesOf('--peers', values.peers, SYSTEM_NAMES),
    workloads: namesOf('--workloads', values.workloads, WORKLOAD_NAMES),
    connections: numbersOf(
      '--connections',
      values.connections ?? (quick ? CONNECTIONS.quick : usual),
    ),
    seconds: numbersOf('--seconds', values.seconds ?? (quick ? '1' : '2'))[0] ?? 1,
    minutes: numbersOf('--minutes', values.minutes ?? '25')[0] ?? 1,
    json: values.json ?? null,
    report: values.report ?? join(ROOT, 'bench/report'),
    python: values.python ?? null,
  })
}

function namesOf<Name extends string>(
  flag: string,
  text: string | undefined,
  known: readonly Name[],
): readonly Name[] {
  if (text === undefined) return known
  return text.split(',').map((given) => {
    const name = known.find((one) => one === given)
    if (name === undefined) {
      throw new RangeError(`${flag}: "${given}" is none of ${known.join(', ')}`)
    }
    return name
  })
}

function numbersOf(flag: string, text: string): number[] {
  return text.split(',').map((item) => {
    const value = Number(item)
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`${flag}: "${item}" is not a whole number from 1 up`)
    }
    return value
  })
}
