/**
 * The desired state as it travels. Every message stands for the whole of it, but with a thousand
 * services a switch changes one: what the other side knows already is left out, or each change
 * would be megabytes, which the thread that answers queries would have to read. The channel loses
 * nothing and keeps its order, so both sides always know the same.
 *
 * Plans, by far the largest part, never change; they travel as texts, once, and stay texts there
 * until somebody reads them.
 */

import { assert } from '../base/assert.ts'
import { type GenerationRef, refKey } from '../base/ids.ts'
import { PlanText, planText } from '../bundle/late-plan.ts'
import type {
  Changes,
  DesiredGeneration,
  DesiredService,
  DesiredState,
  SentGeneration,
  SentState,
} from './messages.ts'

/** Of the side that sends; one for each process. */
export class StateSent {
  #services: ReadonlyMap<string, DesiredService> = new Map()
  #generations: ReadonlyMap<string, DesiredGeneration> = new Map()
  #keys: DesiredState['keys'] | null = null

  /** What is left of a state for a process that knows those before it. */
  shorten({ revision, services, generations, keys }: DesiredState): SentState {
    const servicesBefore = this.#services
    const before = this.#generations
    this.#services = byName(services, nameOfService)
    this.#generations = byName(generations, refKey)
    const haveChanged = this.#keys === null || !isSame(keys, this.#keys)
    this.#keys = keys
    return {
      revision,
      services: {
        gone: namesGone(servicesBefore, this.#services),
        puts: services.filter((one) => !isSame(one, servicesBefore.get(one.serviceId))),
      },
      generations: {
        gone: namesGone(before, this.#generations),
        puts: generations.flatMap((one) => sentOf(one, before.get(refKey(one))) ?? []),
      },
      keys: haveChanged ? keys : null,
    }
  }
}

/** Of the side that is told. What has not changed is the same object as in the state before. */
export class StateKnown {
  readonly #services = new Map<string, DesiredService>()
  readonly #generations = new Map<string, DesiredGeneration>()
  #keys: DesiredState['keys'] | null = null

  /** The new ones come last, in the order of the state that was sent. */
  restore({ revision, services, generations, keys }: SentState): DesiredState {
    change(this.#services, services, nameOfService, (one) => one)
    change(this.#generations, generations, refKey, (one, before) => {
      const plan = one.plan === null ? before?.plan : new PlanText(one.plan)
      assert(plan !== undefined, 'a plan that is left out was sent before')
      return { ...one, plan }
    })
    this.#keys = keys ?? this.#keys
    assert(this.#keys !== null, 'keys that are left out were sent before')
    return {
      revision,
      services: [...this.#services.values()],
      generations: [...this.#generations.values()],
      keys: this.#keys,
    }
  }
}

/** Null: the other side knows all of it. */
function sentOf(one: DesiredGeneration, before?: DesiredGeneration): SentGeneration | null {
  if (before?.plan !== one.plan) return { ...one, plan: planText(one.plan) }
  const bare = { ...one, plan: null }
  return isSame(bare, { ...before, plan: null }) ? null : bare
}

function change<Sent, Known>(
  known: Map<string, Known>,
  { gone, puts }: Changes<Sent>,
  nameOf: (one: Sent) => string,
  open: (one: Sent, before?: Known) => Known,
): void {
  for (const name of gone) known.delete(name)
  for (const one of puts) known.set(nameOf(one), open(one, known.get(nameOf(one))))
}

function byName<One>(all: readonly One[], nameOf: (one: One) => string): Map<string, One> {
  return new Map(all.map((one) => [nameOf(one), one]))
}

function nameOfService({ serviceId }: Pick<GenerationRef, 'serviceId'>): string {
  return serviceId
}

function namesGone(before: ReadonlyMap<string, unknown>, now: ReadonlyMap<string, unknown>) {
  return [...before.keys()].filter((name) => !now.has(name))
}

/** Data of the channel, made with their fields in the same order. */
function isSame(one: unknown, other: unknown): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other)
}
