/**
 * Goal: a generation whose load ends the serving process is left out, so that all others serve, and
 * whoever asks hears why. Method: the pure part with reports and times written by hand, then the
 * fleet over real child processes that die while they load.
 */

import t from 'tap'
import { DeadlyLoads } from '../../../admin/serving/deadly-loads.ts'
import type { GenerationState, ObservedState } from '../../../core/channel/messages.ts'
import { desired, newFleet, openFleet, pidsOf, replacements } from '../../tools/fleet.ts'
import { until } from '../../tools/waiting.ts'

t.setTimeout(240_000)

const MINUTE_MS = 60_000

/** By generation id, in the order of the report. */
function observed(states: Readonly<Record<string, GenerationState>>): ObservedState {
  const generations = Object.entries(states).map(([generationId, state]) => ({
    ...{ serviceId: 's', generationId, state, reason: null, threads: 1, threadsLost: 0 },
    ...{ loadMs: state === 'loading' || state === 'draining' ? null : 1, queued: 0, running: 0 },
    ...{ stoppedEndpoints: [], hangs: {}, runtimes: [] },
  }))
  return { revision: 1, connections: 0, generations }
}

t.test('the second death within ten minutes leaves it out', async (t) => {
  const loads = new DeadlyLoads()
  const ref = { serviceId: 's', generationId: 'bad' }
  const died = (nowMs: number, states: Readonly<Record<string, GenerationState>>) =>
    loads.died(observed(states), 'SIGKILL', nowMs)
  t.equal(loads.died(null, 'SIGKILL', 0), null, 'it had said nothing')
  t.equal(died(0, { good: 'active' }), null, 'nothing was loading')
  t.equal(died(0, { bad: 'loading' }), null)
  t.equal(died(11 * MINUTE_MS, { bad: 'loading' }), null, 'the first is too long ago')
  t.equal(died(12 * MINUTE_MS, { late: 'draining', bad: 'loading' }), null, 'maybe not this one')
  loads.reported(observed({ bad: 'active' }), 10 * MINUTE_MS)
  t.equal(loads.whyNot(ref), null)
  t.same(died(13 * MINUTE_MS, { good: 'warm', bad: 'loading', next: 'loading' }), ref)
  t.equal(
    loads.whyNot(ref),
    'loading it ended the serving process (SIGKILL) 2 times; switch to it again to try once more',
  )
  t.equal(loads.whyNot({ ...ref, generationId: 'next' }), null, 'it waited for its turn')
  t.equal(died(14 * MINUTE_MS, { bad: 'loading' }), null, 'it is out already')
  t.equal(loads.pardon({ ...ref, generationId: 'next' }), false)
  t.equal(loads.pardon(ref), true)
  t.equal(died(15 * MINUTE_MS, { bad: 'loading' }), null, 'all of it is forgotten')
  loads.reported(observed({ bad: 'warm' }), 16 * MINUTE_MS)
  t.equal(died(17 * MINUTE_MS, { bad: 'loading' }), null, 'a process since has loaded it')
})

t.test('what processes are told of, and what is shown, when some are out', async (t) => {
  const loads = new DeadlyLoads()
  const wanted = desired(3, ['bad', 'good'])
  t.equal(loads.allowed(wanted), wanted)
  for (const nowMs of [1, 2]) loads.died(observed({ bad: 'loading' }), 'SIGSEGV', nowMs)
  const told = loads.allowed(wanted)
  t.match(told, { revision: 3, services: [{ mapping: [] }], generations: [{}] })
  t.match(told.services[0]?.unusable, /^generation "bad": loading it .* \(SIGSEGV\) 2 times; /)
  t.same(
    told.generations.map(({ generationId }) => generationId),
    ['good'],
  )
  const mapping = [
    { generationId: 'bad', proba: 0.75 },
    { generationId: 'good', proba: 0.25 },
  ]
  const split = { ...wanted, services: [{ serviceId: 's', enabled: true, mapping }] }
  t.same(loads.allowed(split).services, [
    { serviceId: 's', enabled: true, mapping: [{ generationId: 'good', proba: 1 }] },
  ])
  const shown = loads.shown(observed({ bad: 'draining', good: 'active' }), wanted)
  t.match(shown.generations, [
    { generationId: 'good', state: 'active' },
    { generationId: 'bad', state: 'failed', reason: /once more$/, threads: 0 },
  ])
  t.equal(shown.generations.length, 2)
  const unwanted = observed({ good: 'active' })
  t.equal(loads.shown(unwanted, desired(4, ['good'])), unwanted, 'nobody asks for it')
})

t.test('at the start of a node: it opens without what its processes die of', async (t) => {
  const { fleet, told } = newFleet(t)
  const wanted = desired(1, ['killer', 'ok'])
  const other = { serviceId: 's2', enabled: true, mapping: [{ generationId: 'ok', proba: 1 }] }
  const killer = { generationId: 'killer', proba: 1 }
  const third = { serviceId: 's3', enabled: true, mapping: [killer] }
  const of = (serviceId: string, index: number) =>
    wanted.generations.slice(index, index + 1).map((one) => ({ ...one, serviceId }))
  fleet.publish({
    ...wanted,
    services: [...wanted.services, other, third],
    generations: [...of('s', 0), ...of('s2', 1), ...of('s3', 0)],
  })
  fleet.start()
  t.match(await fleet.open(), { kind: 'listening' }, 'though four starts in a row failed')
  const generations = fleet.observed()?.generations ?? []
  const stateOf = (id: string) => generations.find(({ serviceId }) => serviceId === id)
  const reason = /^loading it ended the serving process \(SIGKILL\) 2 times; /
  t.match(stateOf('s'), { state: 'failed', reason })
  t.match(stateOf('s2'), { state: 'warm' })
  t.match(stateOf('s3'), { state: 'failed', reason })
  t.equal(replacements(fleet, 'died'), 4)
  t.match(await fleet.whenWarm('s', 'killer'), { kind: 'failed', reason })
  t.equal(told().filter((line) => line.includes('listen')).length, 1)
})

t.test('later, in several places, and pardoned', async (t) => {
  const { fleet } = await openFleet(t, { processes: 2 })
  const state = desired(2, ['killer', 'ok'])
  fleet.publish(state)
  const failed = () => fleet.observed()?.generations.find(({ state }) => state === 'failed')
  await until(async () => failed() !== undefined && pidsOf(fleet, 'serving').length === 2)
  t.match(failed(), { generationId: 'killer', reason: /SIGKILL/ })
  const before = replacements(fleet, 'died')
  fleet.pardon('s', 'ok')
  t.match(failed(), { generationId: 'killer' }, 'another was pardoned')
  fleet.pardon('s', 'killer')
  t.equal(failed(), undefined)
  await until(async () => replacements(fleet, 'died') >= before + 2)
  await until(async () => failed() !== undefined && pidsOf(fleet, 'serving').length === 2)
  t.match(failed(), { generationId: 'killer' }, 'tried once more, and out again')
  t.equal(await fleet.whenApplied(2), true)
})
