/** Takes steps until the time is over or something is wrong; see test/soak/main.ts. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { nowMs } from '../../../core/base/clock.ts'
import { Chooser } from '../choosing.ts'
import type { Kind, Operation } from '../history.ts'
import { type Random, randomOf } from '../random.ts'
import { KINDS } from '../random-kills.ts'
import { FAULTS } from './faults.ts'
import { courseOf, type Sample, sample } from './figures.ts'
import type { LoadReport } from './load.ts'
import { changeable, World } from './world.ts'

/** An operation, or the name of a fault with the seed of its own choices. */
export type Step =
  | { readonly operation: Operation }
  | { readonly fault: string; readonly seed: number }

export interface Outcome {
  readonly steps: readonly Step[]
  /** Null: nothing was wrong with the node itself. */
  readonly failure: string | null
  readonly load: LoadReport
  readonly samples: readonly Sample[]
  readonly seconds: number
}

export interface SoakOptions {
  readonly random: Random
  readonly limitMs: number
  /** Null: chosen at random. */
  readonly steps: readonly Step[] | null
}

const FAULT_SHARE = 0.25
/** Everything is looked at after so many operations, and after each fault. */
const CHECK_EVERY = 8
const SAMPLE_EVERY_MS = 2_000
/** Few enough that looking at all of them stays quick. */
const SERVICES_MAX = 6
const GENERATIONS_MAX = 4
const KEYS_MAX = 10

export async function soak(t: Test, options: SoakOptions): Promise<Outcome> {
  const startMs = nowMs()
  const world = await World.open(t)
  const taken: Step[] = []
  const samples: Sample[] = []
  const look = (): void => {
    samples.push(sample(world.started.processes(), (nowMs() - startMs) / 1000))
  }
  const timer = setInterval(look, SAMPLE_EVERY_MS)
  let failure: string | null = null
  try {
    await world.well()
    for await (const step of stepsOf(world, options, startMs)) {
      taken.push(step)
      await take(world, step)
      if ('fault' in step || taken.length % CHECK_EVERY === 0) await world.check()
    }
    await world.check()
  } catch (error) {
    const where = JSON.stringify(taken.at(-1))
    failure = `step ${taken.length}, ${where}: ${error instanceof Error ? error.stack : error}`
  }
  clearInterval(timer)
  look()
  const load = world.load.report()
  await world.stop().catch((error: unknown) => {
    failure ??= String(error)
  })
  const seconds = Math.round((nowMs() - startMs) / 1000)
  return { steps: taken, failure, load, samples, seconds }
}

async function* stepsOf(world: World, options: SoakOptions, startMs: number) {
  if (options.steps !== null) {
    for (const step of options.steps) if (isPossible(world, step)) yield step
    return
  }
  const { random, limitMs } = options
  const chooser = new Chooser(random)
  while (nowMs() - startMs < limitMs) yield nextStep(world, random, chooser)
}

function nextStep(world: World, random: Random, chooser: Chooser): Step {
  if (random.next() < FAULT_SHARE) {
    return { fault: random.pick(Object.keys(FAULTS)), seed: random.below(2 ** 31) }
  }
  let kind: Kind = tooMany(world) ?? random.pick(KINDS)
  for (;;) {
    const choice = chooser.choose(kind, changeable(world.state), world.deletableKeys())
    if (!('needs' in choice)) return { operation: choice }
    kind = choice.needs
  }
}

function tooMany({ state }: World): Kind | null {
  const services = Object.values(changeable(state).services)
  if (services.length > SERVICES_MAX) return 'deleteService'
  if (services.some(({ generations }) => generations.length > GENERATIONS_MAX)) {
    return 'deleteGeneration'
  }
  return state.keys.length > KEYS_MAX ? 'deleteKey' : null
}

/** Of steps that are taken again without some that were before them. */
function isPossible({ state }: World, step: Step): boolean {
  if ('fault' in step) return true
  const { operation } = step
  if ('label' in operation) {
    return (operation.kind === 'createKey') !== state.keys.includes(operation.label)
  }
  const service = state.services[operation.service]
  if (operation.kind === 'createService') return service === undefined
  if (service === undefined) return false
  if (operation.kind === 'setMapping') {
    return operation.generations.every((id) => service.generations.includes(id))
  }
  if (!('generation' in operation)) return true
  const isThere = service.generations.includes(operation.generation)
  if (operation.kind === 'importGeneration') return !isThere
  const isActive = service.mapping[operation.generation] !== undefined
  return isThere && (operation.kind === 'switchGeneration' || !isActive)
}

async function take(world: World, step: Step): Promise<void> {
  if ('operation' in step) {
    const { status, body } = await world.perform(step.operation)
    if (status >= 300) throw new Error(`${status} ${JSON.stringify(body)}`)
    return
  }
  const fault = FAULTS[step.fault]
  if (fault === undefined) throw new Error(`there is no fault ${step.fault}`)
  world.load.excuse(fault.excuse)
  await fault.run(world, randomOf(step.seed))
  // What a killed process was for is seen a moment later only.
  await sleep(300)
  await world.well()
  world.load.excuse('nothing')
}

/** Of the node or of its load; null: none. */
export function failureOf({ failure, load }: Outcome): string | null {
  const [first = null] = load.unexplained
  return failure ?? (first === null ? null : `the load: ${load.unexplained.join('\n')}`)
}

export function reportOf(outcome: Outcome, seed: number) {
  const { steps, load, samples, seconds } = outcome
  const faults: Record<string, number> = {}
  for (const step of steps) {
    if ('fault' in step) faults[step.fault] = (faults[step.fault] ?? 0) + 1
  }
  const { answered, explained, unexplained } = load
  return {
    ...{ soak: failureOf(outcome) === null, seed, seconds },
    operations: steps.filter((step) => 'operation' in step).length,
    ...{ faults, answered, explained, unexplained: unexplained.length },
    ...{ ownMib: courseOf(samples, 'ownMib'), files: courseOf(samples, 'files') },
    ...{ threads: courseOf(samples, 'threads'), samples: samples.length },
  }
}
