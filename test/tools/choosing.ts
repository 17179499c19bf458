/** Chooses operations that are possible in a state, each with names that nobody has used yet. */

import type { Kind, Operation, ServiceState, State } from './history.ts'
import type { Random } from './random.ts'

/** Asks for a key, and is only there to try keys on. */
export const GUARD = 'guard'

const POLICIES = ['off', 'failures', 'all', 'sample:0.5']

/** An operation, or what must be done before there can be one. */
export type Choice = Operation | { readonly needs: Kind }

export class Chooser {
  readonly #random: Random
  #names = 0

  constructor(random: Random) {
    this.#random = random
  }

  newKey(): Operation {
    return { kind: 'createKey', label: this.#newName('key-') }
  }

  /** `keys`: labels of those that may be deleted. */
  choose(kind: Kind, state: State, keys: readonly string[]): Choice {
    switch (kind) {
      case 'createKey':
        return this.newKey()
      case 'deleteKey':
        return this.#oneOf(keys, 'createKey', (label) => ({ kind, label }))
      case 'createService':
        return { kind, service: this.#newName('s') }
      case 'importGeneration': {
        const generation = this.#newName('g')
        return this.#oneOf(servicesIn(state), 'createService', ([service]) => {
          return { kind, service, generation }
        })
      }
      case 'deleteService': {
        // With generations in it.
        const full = servicesIn(state).filter(([, { generations }]) => generations.length > 0)
        return this.#oneOf(full, 'importGeneration', ([service]) => ({ kind, service }))
      }
      case 'enableService':
      case 'disableService': {
        const isEnabled = kind === 'disableService'
        const fit = servicesIn(state).filter(([, { enabled }]) => enabled === isEnabled)
        const maker = isEnabled ? 'createService' : 'disableService'
        return this.#oneOf(fit, maker, ([service]) => ({ kind, service }))
      }
      case 'changeSettings':
        return this.#oneOf(servicesIn(state), 'createService', ([service, { queryLog }]) => {
          const others = POLICIES.filter((policy) => policy !== queryLog)
          return { kind, service, queryLog: this.#random.pick(others) }
        })
      case 'setMapping':
        return this.#mapping(state)
      default:
        return this.#oneOf(inactive(state), 'importGeneration', ([service, generation]) => {
          return { kind, service, generation }
        })
    }
  }

  #mapping(state: State): Choice {
    const pairs = servicesIn(state).flatMap(([service, { generations, mapping }]) => {
      const [first, second] = generations
      if (first === undefined || second === undefined) return []
      // Not what it has, for an operation that changes nothing would prove nothing.
      return [{ service, generations: mapping[first] === 0.25 ? [second, first] : [first, second] }]
    })
    return this.#oneOf(pairs, 'importGeneration', ({ service, generations }) => {
      return { kind: 'setMapping', service, generations }
    })
  }

  #oneOf<T>(items: readonly T[], needs: Kind, choice: (item: T) => Operation): Choice {
    return items.length === 0 ? { needs } : choice(this.#random.pick(items))
  }

  #newName(prefix: string): string {
    this.#names += 1
    return `${prefix}${this.#names}`
  }
}

function servicesIn({ services }: State): (readonly [string, ServiceState])[] {
  return Object.entries(services).filter(([id]) => id !== GUARD)
}

/** Service and generation of those that receive no traffic. */
function inactive(state: State): (readonly [string, string])[] {
  return servicesIn(state).flatMap(([service, { mapping, generations }]) =>
    generations.filter((id) => mapping[id] === undefined).map((id) => [service, id] as const),
  )
}
