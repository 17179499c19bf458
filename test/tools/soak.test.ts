/**
 * Goal: who has a failed soak run can take its steps again and gets few of them, and is told in one
 * line what he has asked wrongly. Method: the search against a node that is made up; the program
 * itself where it starts no node.
 */

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { compiled } from '../../bench/paths.ts'
import { HELP, readArguments } from './soak/arguments.ts'
import { shrink, type Tried } from './soak/shrink.ts'
import type { Step } from './soak/soak.ts'

const step = (seed: number): Step => ({ fault: 'fuzz', seed })
const STEPS = Array.from({ length: 40 }, (_, seed) => step(seed))
const seeds = (steps: readonly Step[]) => steps.map((one) => ('seed' in one ? one.seed : -1))

/** Fails at the last of these once all were taken; `needs` are possible after others only. */
function madeUp(culprits: readonly number[], needs: Readonly<Record<number, number>> = {}) {
  const tries: number[][] = []
  const attempt = async (steps: readonly Step[]): Promise<Tried> => {
    tries.push(seeds(steps))
    const taken: Step[] = []
    for (const one of steps) {
      const [seed = -1] = seeds([one])
      const needed = needs[seed]
      if (needed !== undefined && !seeds(taken).includes(needed)) continue
      taken.push(one)
      const isWrong = culprits.every((culprit) => seeds(taken).includes(culprit))
      if (isWrong) return { steps: taken, failure: `at ${seed}` }
    }
    return { steps: taken, failure: null }
  }
  return { tries, attempt }
}

async function shrunk(node: ReturnType<typeof madeUp>, isOver = () => false) {
  const told: number[] = []
  const onFailure = (steps: readonly Step[]) => void told.push(steps.length)
  const found = await shrink(STEPS, { attempt: node.attempt, isOver, onFailure })
  return { found: found === null ? null : seeds(found), told }
}

t.test('the steps that matter are left, in their order', async (t) => {
  for (const culprits of [[7], [0], [39], [3, 21], [5, 6, 30]]) {
    const node = madeUp(culprits)
    const { found, told } = await shrunk(node)
    t.same(found, culprits)
    t.equal(told.at(-1), culprits.length, 'each that is shorter is told')
    t.ok(node.tries.length < 100, `${node.tries.length} tries`)
  }
  const needing = madeUp([30], { 30: 12, 12: 4 })
  t.same((await shrunk(needing)).found, [4, 12, 30], 'with those that make them possible')
})

t.test('what was never taken goes at once; no step at all may be too many', async (t) => {
  const node = madeUp([2, 9])
  await shrunk(node)
  t.equal(node.tries[0]?.length, STEPS.length)
  t.ok((node.tries[1]?.length ?? 0) < 10, 'nothing behind the failure is tried again')
  t.same((await shrunk(madeUp([]))).found, [0], 'a node that fails at its first step, whichever')
})

t.test('steps that do not fail are said so; the time ends the search', async (t) => {
  const fine = madeUp([99])
  t.same(await shrunk(fine), { found: null, told: [] })
  t.equal(fine.tries.length, 1)
  const node = madeUp([3, 30])
  const { found } = await shrunk(node, () => node.tries.length >= 2)
  t.ok((found?.length ?? 0) > 2)
  t.equal(node.tries.length, 2)
})

function fileOf(t: Test, text: string): string {
  const path = join(t.testdir(), 'steps.json')
  writeFileSync(path, text)
  return path
}

t.test('arguments', async (t) => {
  const none = { minutes: 5, seed: null, steps: null, shrunkPath: null }
  t.same(readArguments([]), { kind: 'run', arguments: none })
  const few = readArguments(['--minutes', '0.5', '--seed', '12'])
  t.same(few, { kind: 'run', arguments: { ...none, minutes: 0.5, seed: 12 } })
  t.same(readArguments(['--help']), { kind: 'print', text: HELP })
  const path = fileOf(t, JSON.stringify(STEPS))
  t.match(readArguments(['--replay', path]), { arguments: { steps: STEPS, shrunkPath: null } })
  t.match(readArguments(['--shrink', path]), { arguments: { shrunkPath: `${path}.shrunk` } })
  const wrong: readonly (readonly [string[], RegExp])[] = [
    [['--minutes', 'long'], /^--minutes: "long"/],
    [['--minutes', '0'], /^--minutes: .* more than 0/],
    [['--seed', 'x'], /^--seed: "x"/],
    [['--seed', '1', '--replay', path], /^--seed: /],
    [['--replay', path, '--shrink', path], /one of them/],
    [['--replay', '/nowhere/at/all'], /\/nowhere\/at\/all cannot be read: ENOENT/],
    [['--shrinks', path], /'--shrinks'/],
    [['more'], /'more'/],
  ]
  for (const [argv, line] of wrong) t.match(readArguments(argv), { kind: 'wrong', line })
  for (const text of ['{}', '[1]', '[{"fault":"fuzz"}]', '[null]']) {
    t.match(readArguments(['--replay', fileOf(t, text)]), { kind: 'wrong', line: /no steps/ })
  }
  t.match(readArguments(['--replay', fileOf(t, '[')]), { kind: 'wrong', line: /cannot be read/ })
})

t.test('the program says how it is used', async (t) => {
  const run = (...argv: string[]) => {
    const program = [compiled('test/soak/main.ts'), ...argv]
    return spawnSync(process.execPath, program, { encoding: 'utf8', timeout: 60_000 })
  }
  const help = run('--help')
  t.same([help.status, help.stderr], [0, ''])
  t.ok(help.stdout.includes(HELP))
  const wrong = run('--minutes', 'long')
  t.equal(wrong.status, 2)
  t.match(wrong.stderr, /^soak: --minutes: "long" is no such number; see --help\n$/)
})
