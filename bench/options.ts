/** The flags of `npm run bench`, in one table that parses them and prints the help. */

import { parseArgs } from 'node:util'

const PARTS = ['rates', 'hop', 'tail', 'switches', 'types'] as const
export type Part = (typeof PARTS)[number]

export interface BenchOptions {
  readonly quick: boolean
  readonly only: readonly Part[]
  readonly connections: readonly number[]
  readonly seconds: number
  /** Where the JSON goes; null: bench/results/ with the time in its name. */
  readonly json: string | null
  /** Interpreter of Python endpoints and of their peer; it has scikit-learn and fastapi. */
  readonly python: string
  readonly help: boolean
}

const FLAGS = [
  ['--quick', '1 and 64 connections, one second each: two minutes, more while others compute'],
  ['--only LIST', `parts to run: ${PARTS.join(',')} (default: all)`],
  ['--connections LIST', 'numbers of connections (default: 1,16,64,256)'],
  ['--seconds N', 'length of one measurement (default: 2, quick: 1)'],
  ['--python FILE', 'Python with scikit-learn, fastapi and uvicorn, for types (default: python3)'],
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

export function parseOptions(argv: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      connections: { type: 'string' },
      seconds: { type: 'string' },
      json: { type: 'string' },
      python: { type: 'string', default: 'python3' },
      help: { type: 'boolean', default: false },
    },
  })
  const { quick, help, python } = values
  return Object.freeze({
    quick,
    help,
    python,
    only: partsOf(values.only),
    connections: numbersOf('--connections', values.connections ?? (quick ? '1,64' : '1,16,64,256')),
    seconds: numbersOf('--seconds', values.seconds ?? (quick ? '1' : '2'))[0] ?? 1,
    json: values.json ?? null,
  })
}

function partsOf(text: string | undefined): readonly Part[] {
  if (text === undefined) return PARTS
  return text.split(',').map((name) => {
    const part = PARTS.find((known) => known === name)
    if (part === undefined) throw new RangeError(`--only: "${name}" is none of ${PARTS.join(', ')}`)
    return part
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
