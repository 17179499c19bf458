/**
 * Goal: what control makes of the reports of several processes, and when it takes measures, in
 * every case. Method: the pure parts of admin/serving/, with reports and times written by hand.
 */

import t from 'tap'
import { Circuit } from '../../../admin/serving/circuit.ts'
import { merged } from '../../../admin/serving/merge.ts'
import { GrowthPace, HangPace, restartDelayMs } from '../../../admin/serving/pace.ts'
import { isSettled, warmth, whatIsLost, whyKeep } from '../../../admin/serving/readiness.ts'
import type {
  GenerationState,
  ObservedGeneration,
  ObservedState,
} from '../../../core/channel/messages.ts'
import { desired } from '../../tools/fleet.ts'

const MINUTE_MS = 60_000

function observed(
  revision: number,
  state: GenerationState | null,
  more: Partial<ObservedGeneration> = {},
): ObservedState {
  const one = {
    ...{ serviceId: 's', generationId: 'g', reason: null, threads: 2, threadsLost: 0 },
    ...{ loadMs: 5, queued: 1, running: 1, stoppedEndpoints: [], hangs: {}, runtimes: [] },
    ...more,
  }
  return { revision, connections: 3, generations: state === null ? [] : [{ ...one, state }] }
}

const stays = (state: ObservedState | null) => ({ observed: state, leaves: false })
const leaves = (state: ObservedState | null) => ({ observed: state, leaves: true })

t.test('settled: routing in force, and nothing that gets traffic still on its way', async (t) => {
  const wanted = desired(5, ['g'])
  t.equal(isSettled(wanted, null, 'mapped'), false)
  t.equal(isSettled(wanted, observed(4, 'active'), 'mapped'), false)
  t.equal(isSettled(wanted, observed(5, 'loading'), 'mapped'), false)
  for (const state of ['warm', 'active', 'failed'] as const) {
    t.equal(isSettled(wanted, observed(5, state), 'mapped'), true, state)
  }
  t.equal(isSettled(wanted, observed(5, null), 'mapped'), false)
  const disabled = { ...wanted, services: [{ serviceId: 's', enabled: false, mapping: [] }] }
  t.equal(isSettled(disabled, observed(5, 'loading'), 'mapped'), true)

  // Warm where it is now, mapped nowhere: a switch to it may be under way at this moment.
  const kept = desired(5, ['other', 'g'])
  const [resident] = observed(5, 'loading').generations
  const active = observed(5, 'active', { generationId: 'other' })
  const seen = { ...active, generations: [...active.generations, ...(resident ? [resident] : [])] }
  t.equal(isSettled(kept, seen, 'mapped'), true)
  t.equal(isSettled(kept, seen, 'all'), false)
})

t.test('lost: what the next process could not load and the present one has', async (t) => {
  const failed = observed(1, 'failed', { reason: 'no memory' })
  t.equal(whatIsLost(observed(1, 'active'), observed(1, 'warm')), null)
  t.equal(whatIsLost(failed, failed), null, 'nothing is lost that was not there')
  t.equal(whatIsLost(null, failed), null)
  t.match(whatIsLost(observed(1, 'warm'), failed), /could not load s\/g: no memory/)
})

t.test('a process that alone has a damaged generation in memory is kept', async (t) => {
  const wanted = desired(1, ['g'])
  t.equal(whyKeep(null), null)
  t.equal(whyKeep(wanted), null)
  const generations = wanted.generations.map((one) => ({ ...one, damaged: 'a bit flipped' }))
  t.match(whyKeep({ ...wanted, generations }), 's/g could not be loaded again: a bit flipped')
  const services = [{ serviceId: 's', enabled: true, mapping: [] }]
  t.equal(whyKeep({ ...wanted, generations, services }), null, 'nobody asks it anything')
})

t.test('warm: in all of them, failed in one that stays', async (t) => {
  const [warm, active] = [observed(1, 'warm'), observed(1, 'active')]
  const failed = observed(1, 'failed', { reason: 'no good' })
  const outcome = (...reports: Parameters<typeof warmth>[0]) => warmth(reports, 's', 'g')?.kind
  t.equal(outcome(), undefined, 'nobody serves')
  t.equal(outcome(stays(warm), stays(active)), 'warm')
  t.equal(outcome(stays(warm), stays(observed(1, 'loading'))), undefined)
  t.equal(outcome(stays(warm), stays(null)), undefined)
  t.equal(outcome(stays(warm), leaves(observed(1, null))), undefined, 'it gets requests too')
  t.equal(outcome(stays(warm), stays(failed)), 'failed')
  t.equal(outcome(stays(warm), leaves(failed)), 'warm', 'that may be why it leaves')
  t.equal(outcome(leaves(warm)), undefined, 'nobody stays')
  t.equal(outcome(stays(observed(1, 'draining'))), undefined)
  t.match(warmth([stays(failed)], 's', 'g'), { reason: 'no good' })
})

t.test('several reports as one', async (t) => {
  const stateOf = (...reports: Parameters<typeof merged>[0]) =>
    merged(reports)?.generations[0]?.state
  t.equal(merged([]), null)
  t.equal(merged([stays(null)]), null)
  const orders: readonly (readonly GenerationState[])[] = [
    ['failed', 'loading'],
    ['loading', 'draining'],
    ['draining', 'cold'],
    ['cold', 'warm'],
    ['warm', 'active'],
    ['active', 'closed'],
  ]
  for (const [shown = 'closed', hidden = 'closed'] of orders) {
    const [one, other] = [stays(observed(1, shown)), stays(observed(1, hidden))]
    t.equal(stateOf(one, other), shown, `${shown} before ${hidden}`)
    t.equal(stateOf(other, one), shown, 'whoever reported it')
  }
  const [warm, none, before] = [observed(1, 'warm'), observed(1, null), observed(0, null)]
  t.equal(stateOf(stays(warm), stays(before)), 'loading', 'one has not heard of it yet')
  t.equal(stateOf(stays(warm), stays(none)), 'cold', 'one has heard of it, and not loaded it')
  t.equal(stateOf(stays(warm), leaves(none)), 'warm')
  t.equal(stateOf(stays(observed(1, 'draining')), stays(none)), 'draining')
  t.equal(stateOf(stays(warm), leaves(observed(1, 'failed'))), 'warm')
  t.equal(stateOf(leaves(warm), leaves(observed(1, 'failed'))), 'failed')

  const lost = observed(7, 'active', { threadsLost: 1, hangs: { e: 2 }, stoppedEndpoints: ['e'] })
  const sum = merged([stays(observed(8, 'active', { hangs: { e: 1, f: 1 } })), stays(lost)])
  t.match(sum, { revision: 7, connections: 6 })
  t.match(sum?.generations[0], {
    ...{ threads: 4, threadsLost: 1, queued: 2, running: 2, loadMs: 5 },
    ...{ stoppedEndpoints: ['e'], hangs: { e: 3, f: 1 } },
  })
  const runtimes = [{ subject: 'connection crm', up: true, detail: '', busy: 1, size: 4 }]
  const down = runtimes.map((one) => ({ ...one, up: false, detail: 'refused', busy: 0 }))
  const states = [observed(8, 'active', { runtimes }), observed(8, 'active', { runtimes: down })]
  const both = [{ subject: 'connection crm', up: false, detail: 'refused', busy: 1, size: 8 }]
  t.same(merged(states.map(stays))?.generations[0]?.runtimes, both)
  t.same(merged(states.toReversed().map(stays))?.generations[0]?.runtimes, both)
  const handed = merged([stays(observed(8, 'active')), leaves(lost)])?.generations[0]
  t.match(handed, { threads: 2, threadsLost: 0, running: 2 }, 'its threads are made up for')
})

t.test('circuit: three hangs within ten minutes', async (t) => {
  let nowMs = 0
  const circuit = new Circuit(() => nowMs)
  const ref = { serviceId: 's', generationId: 'g', endpointId: 'e' }
  t.equal(circuit.hung(ref, 1), false)
  nowMs = 9 * MINUTE_MS
  t.equal(circuit.hung(ref, 1), false)
  t.equal(circuit.hung({ ...ref, endpointId: 'f' }, 1), false, 'each endpoint for itself')
  nowMs = 11 * MINUTE_MS
  t.equal(circuit.hung(ref, 1), false, 'the first is too long ago')
  t.equal(circuit.hung(ref, 1), true)
  t.same(circuit.stopped(), [{ ...ref, cause: 'hangs' }])
  t.equal(circuit.hung(ref, 5), false, 'it is stopped already')
  t.equal(circuit.pardon('s', 'other'), false)
  t.equal(circuit.pardon('s', 'g'), true)
  t.same(circuit.stopped(), [])
  t.equal(circuit.hung(ref, 2), false, 'all of it is forgotten')
  t.equal(circuit.hung(ref, 1_000_000), true)
})

t.test('circuit: three crashes, and who was there by chance goes on', async (t) => {
  let nowMs = 0
  const circuit = new Circuit(() => nowMs)
  const generation = { serviceId: 's', generationId: 'g' }
  const bad = { ...generation, endpointId: 'bad' }
  const good = { ...generation, endpointId: 'good' }
  const other = { ...generation, endpointId: 'other' }
  t.equal(circuit.crashed([]), false)
  t.equal(circuit.crashed([other]), false)
  t.equal(circuit.crashed([bad, good]), false)
  t.equal(circuit.crashed([good, bad]), false)
  t.equal(circuit.crashed([bad]), true)
  t.match(circuit.stopped(), [{ endpointId: 'bad', cause: 'crashes' }])
  t.equal(circuit.stopped().length, 1)
  t.equal(circuit.crashed([good, bad]), false, 'inside each crash of the good one was the bad one')
  t.equal(circuit.pardon('s', 'g'), true)

  t.equal(circuit.crashed([bad, good]), false)
  t.equal(circuit.crashed([bad, good]), false)
  nowMs = 11 * MINUTE_MS
  t.equal(circuit.crashed([bad, good]), false, 'too long ago')
  t.equal(circuit.crashed([bad, good]), false)
  t.equal(circuit.crashed([bad, good]), true)
  t.equal(circuit.stopped().length, 2, 'nobody can tell them apart')
})

t.test('pace of hung, grown and dying processes', async (t) => {
  const hung = new HangPace()
  const at = (second: number) => hung.mayBegin(second * 1_000)
  t.same([at(0), at(0), at(1)], [true, true, true], 'the first ones at once')
  t.same([at(2), at(3), at(6), at(7)], [false, true, false, true], 'then after 2, 4, … seconds')
  for (let second = 8; second < 400; second++) at(second)
  const begun = [...Array(180).keys()].filter((second) => at(400 + second))
  t.equal(begun.length, 3, 'one a minute at last')

  const growth = new GrowthPace(1_000)
  growth.begun(800)
  t.equal(growth.look(1_000, 0), 'within')
  t.equal(growth.look(1_001, 0), 'replace')
  growth.begun(800)
  t.equal(growth.look(1_001, 9 * MINUTE_MS), 'wait')
  t.equal(growth.look(1_001, 10 * MINUTE_MS), 'replace')
  growth.begun(950)
  t.equal(growth.isHopeless, true)
  t.equal(growth.look(1_001, 60 * MINUTE_MS), 'hopeless')
  t.equal(growth.look(700, 60 * MINUTE_MS), 'within')
  t.equal(growth.look(1_001, 60 * MINUTE_MS), 'replace', 'models were unloaded meanwhile')

  t.same([0, 1, 2, 3, 20].map(restartDelayMs), [0, 0, 500, 1_000, 10_000])
})
