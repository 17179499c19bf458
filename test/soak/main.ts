/**
 * `npm run soak -- --minutes N`: tries a node for as long as it is told, by operations and faults
 * at random while a service answers a steady load, and prints one line of JSON at the end. What the
 * node says, what lies on its disk and what it answers must be where the acknowledged operations
 * led; failures of the load must be explained by the fault of that moment. `--help` tells the rest.
 */

import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { nowMs } from '../../core/base/clock.ts'
import { randomOf } from '../tools/random.ts'
import { readArguments, type SoakArguments } from '../tools/soak/arguments.ts'
import { shrink, type Tried } from '../tools/soak/shrink.ts'
import { failureOf, reportOf, type Step, soak } from '../tools/soak/soak.ts'

const MINUTE_MS = 60_000
/** A last round, and the stop. */
const SPARE_MS = 10 * MINUTE_MS
/** A step may wait for a node to recover. */
const STEP_MS = 2 * MINUTE_MS
const WRONG_USE = 2

function say(report: object): void {
  process.stdout.write(`${JSON.stringify(report)}\n`)
}

async function once(t: Test, { minutes, seed, steps }: SoakArguments): Promise<void> {
  const random = randomOf(seed ?? undefined)
  process.stdout.write(steps === null ? `# seed ${random.seed}\n` : `# ${steps.length} steps\n`)
  const outcome = await soak(t, { random, limitMs: minutes * MINUTE_MS, steps })
  const failure = failureOf(outcome)
  if (failure !== null) {
    const path = join(tmpdir(), `switchyard-soak-${random.seed}.json`)
    writeFileSync(path, JSON.stringify(outcome.steps))
    t.fail(`${failure}\nits steps are in ${path}`)
  } else t.pass('the node is well, and every failure of the load is explained')
  say(reportOf(outcome, random.seed))
}

async function fewer(
  t: Test,
  { minutes }: SoakArguments,
  { steps, path }: { readonly steps: readonly Step[]; readonly path: string },
): Promise<void> {
  const endMs = nowMs() + minutes * MINUTE_MS
  const found = await shrink(steps, {
    attempt: (steps) => attempt(t, steps),
    isOver: () => nowMs() >= endMs,
    onFailure: (steps, failure) => {
      writeFileSync(path, JSON.stringify(steps))
      process.stdout.write(`# ${steps.length} steps fail: ${failure.split('\n')[0]}\n`)
    },
  })
  t.ok(found !== null, 'the steps that were given fail')
  if (found !== null) say({ shrunkFrom: steps.length, shrunkTo: found.length, file: path })
}

/** A test of its own, with whose end its node and files go; it passes either way. */
async function attempt(t: Test, steps: readonly Step[]): Promise<Tried> {
  let tried: Tried | null = null
  await t.test(`${steps.length} steps`, async (t) => {
    const outcome = await soak(t, { random: randomOf(1), limitMs: 0, steps })
    tried = { steps: outcome.steps, failure: failureOf(outcome) }
  })
  return tried ?? { steps, failure: 'the attempt broke off' }
}

function run(given: SoakArguments): void {
  const { minutes, steps, shrunkPath } = given
  t.setTimeout(minutes * MINUTE_MS + SPARE_MS + (steps?.length ?? 0) * STEP_MS)
  if (steps !== null && shrunkPath !== null) {
    t.test('shrink', (t) => fewer(t, given, { steps, path: shrunkPath }))
  } else t.test('soak', (t) => once(t, given))
}

const reading = readArguments(process.argv.slice(2))
if (reading.kind === 'run') run(reading.arguments)
else if (reading.kind === 'print') process.stdout.write(reading.text)
else {
  process.stderr.write(`soak: ${reading.line}; see --help\n`)
  process.exitCode = WRONG_USE
}
