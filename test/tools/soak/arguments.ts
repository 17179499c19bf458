/** The command line of `npm run soak`: what is to be done, or one line that says what is wrong. */

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Step } from './soak.ts'

export const HELP = `npm run soak -- [options]

Tries a node by operations and faults at random while a service answers a steady load, and prints
one line of JSON at the end. A run that fails writes its steps to a file and says where.

  --minutes N     how long steps are chosen, or fewer steps looked for; 0.5 is allowed (default: 5)
  --seed N        choose again what an earlier run chose; each run prints its own
  --replay FILE   take the steps of a failed run again, all of them
  --shrink FILE   look for fewer steps that fail as well; they go to FILE.shrunk, FILE stays
  --help          print this text

Exit code 0: nothing was wrong; of --shrink, the steps fail and as few as were found are written.
`

export interface SoakArguments {
  readonly minutes: number
  /** Null: any. */
  readonly seed: number | null
  /** Null: they are chosen. */
  readonly steps: readonly Step[] | null
  /** Where fewer of these steps go; null: they are not looked for. */
  readonly shrunkPath: string | null
}

export type SoakReading =
  | { readonly kind: 'run'; readonly arguments: SoakArguments }
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'wrong'; readonly line: string }

export function readArguments(argv: readonly string[]): SoakReading {
  try {
    return read(argv)
  } catch (error) {
    const line = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
    return { kind: 'wrong', line }
  }
}

function read(argv: readonly string[]): SoakReading {
  const text = { type: 'string' } as const
  const options = { minutes: text, seed: text, replay: text, shrink: text }
  const help = { type: 'boolean' } as const
  const { values } = parseArgs({ args: [...argv], options: { ...options, help } })
  if (values.help === true) return { kind: 'print', text: HELP }
  const { replay, shrink } = values
  if (replay !== undefined && shrink !== undefined) {
    throw new Error('--replay and --shrink: allowed is one of them')
  }
  const path = replay ?? shrink
  if (path !== undefined && values.seed !== undefined) {
    throw new Error('--seed: steps of a file are not chosen')
  }
  const minutes = numberOf('--minutes', values.minutes ?? '5', /^\d+(\.\d+)?$/)
  if (minutes === 0) throw new Error('--minutes: allowed is more than 0')
  const seed = values.seed === undefined ? null : numberOf('--seed', values.seed, /^\d{1,10}$/)
  const steps = path === undefined ? null : stepsIn(path)
  const shrunkPath = shrink === undefined ? null : `${shrink}.shrunk`
  return { kind: 'run', arguments: { minutes, seed, steps, shrunkPath } }
}

function numberOf(flag: string, value: string, pattern: RegExp): number {
  if (!pattern.test(value)) throw new Error(`${flag}: "${value}" is no such number`)
  return Number(value)
}

function stepsIn(path: string): Step[] {
  let steps: unknown = null
  try {
    steps = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new Error(`${path} cannot be read: ${error instanceof Error ? error.message : error}`)
  }
  if (!Array.isArray(steps) || !steps.every(isStep)) {
    throw new Error(`${path} holds no steps of a soak run`)
  }
  return steps
}

function isStep(step: unknown): step is Step {
  if (typeof step !== 'object' || step === null) return false
  return 'operation' in step || ('fault' in step && 'seed' in step)
}
