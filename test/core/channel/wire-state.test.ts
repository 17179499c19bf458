/**
 * Goal: what has not changed does not travel, and what arrives is the state that was sent. Method:
 * states that come, go and come back, through both sides and a copy as the channel makes it.
 */

import t from 'tap'
import { readPlan } from '../../../core/bundle/late-plan.ts'
import type { GenerationPlan } from '../../../core/bundle/plan.ts'
import type {
  DesiredGeneration,
  DesiredService,
  DesiredState,
} from '../../../core/channel/messages.ts'
import { StateKnown, StateSent } from '../../../core/channel/wire-state.ts'
import { generationPlan } from '../../tools/plans.ts'

type Planned = DesiredGeneration & { readonly plan: GenerationPlan }

function generation(generationId: string): Planned {
  return { serviceId: 's', generationId, directory: '/d', plan: generationPlan([]) }
}

function service(serviceId: string, mapped: string): DesiredService {
  return { serviceId, enabled: true, mapping: [{ generationId: mapped, proba: 1 }] }
}

const [a, b] = [generation('a'), generation('b')]
let revision = 0

function state(generations: DesiredGeneration[], services: DesiredService[] = []): DesiredState {
  revision += 1
  return { revision, services, generations, keys: [] }
}

/** In any order: new ones come last. */
function shown({ generations, services, ...rest }: DesiredState) {
  const read = generations.map((one) => ({ ...one, plan: readPlan(one.plan) }))
  return {
    ...rest,
    generations: Object.fromEntries(read.map((one) => [one.generationId, one])),
    services: Object.fromEntries(services.map((one) => [one.serviceId, one])),
  }
}

t.test('each plan once, until it has been forgotten or is another one', async (t) => {
  const sent = new StateSent()
  const known = new StateKnown()
  const changed = { ...a, plan: generationPlan([], { threads: 3 }) }
  const rounds = [
    { state: state([a]), plans: ['a'], puts: ['a'] },
    { state: state([a, b]), plans: ['b'], puts: ['b'] },
    { state: state([b, { ...a, hold: 'free' }]), plans: [], puts: ['a'] },
    { state: state([{ ...a, hold: 'free' }, b]), plans: [], puts: [] },
    { state: state([b]), plans: [], puts: [] },
    { state: state([a, b]), plans: ['a'], puts: ['a'] },
    { state: state([changed, b]), plans: ['a'], puts: ['a'] },
  ]
  for (const { state, plans, puts } of rounds) {
    const short = structuredClone(sent.shorten(state))
    const names = short.generations.puts.map(({ generationId }) => generationId)
    t.same(names, puts)
    const travelled = short.generations.puts.filter(({ plan }) => plan !== null)
    t.same(
      travelled.map(({ generationId }) => generationId),
      plans,
    )
    t.same(shown(known.restore(short)), shown(state))
  }
})

t.test('of services and keys what is new, and the rest stays the same object', async (t) => {
  const sent = new StateSent()
  const known = new StateKnown()
  const pass = (state: DesiredState) => {
    const short = structuredClone(sent.shorten(state))
    const restored = known.restore(short)
    t.same(shown(restored), shown(state))
    const names = short.services.puts.map(({ serviceId }) => serviceId)
    return { names, keys: short.keys, services: restored.services }
  }
  const first = pass(state([], [service('one', 'v1'), service('two', 'v1')]))
  t.same(first.names, ['one', 'two'])
  const second = pass(state([], [service('one', 'v1'), service('two', 'v2')]))
  t.same(second.names, ['two'])
  t.equal(second.keys, null)
  t.equal(second.services[0], first.services[0])
  t.not(second.services[1], first.services[1])
  const keys = [{ id: 'k', sha256: 'f', allowedServices: [] }]
  const third = pass({ ...state([], [service('two', 'v2')]), keys })
  t.same(third.names, [])
  t.same(third.keys, keys)
})

t.test('a process that knows nothing refuses what was left out', async (t) => {
  const sent = new StateSent()
  sent.shorten(state([a]))
  t.throws(() => new StateKnown().restore(sent.shorten(state([{ ...a, hold: 'free' }]))), {
    message: /was sent before/,
  })
})
