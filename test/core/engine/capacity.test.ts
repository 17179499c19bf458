/**
 * Goal: what leaves memory is what can be missed longest, never what must stay, and who does not
 * get in is told the figures.
 *
 * Method: the pure functions, with occupants made up.
 */

import t from 'tap'
import { fits, type Occupant, RESTING_MS, roomFor, STAY_MS } from '../../../core/engine/capacity.ts'

const NOW_MS = 1_000_000
const MIB = 1024 * 1024

interface Named extends Occupant {
  readonly name: string
}

function resting(name: string, over: Partial<Occupant> = {}): Named {
  const usedMs = NOW_MS - RESTING_MS - 1
  const still = { mayGo: true, isPrevious: false, isBusy: false }
  const made = { name, bytes: 10 * MIB, shared: [], ...still, usedMs, loadedMs: usedMs, ...over }
  return { rank: made.usedMs, ...made }
}

function evicted(
  capacity: { generationsMax: number | null; bytesMax: number | null },
  occupants: readonly Named[],
  isForRequest = true,
  shared: Occupant['shared'] = [],
): string[] | string {
  const room = roomFor(capacity, occupants, { bytes: 10 * MIB, shared, isForRequest }, NOW_MS)
  if (room.kind === 'none') return room.reason
  return room.kind === 'later' ? 'later' : room.evict.map(({ name }) => name)
}

const two = { generationsMax: 2, bytesMax: null }
const bytes = (mib: number) => ({ generationsMax: null, bytesMax: mib * MIB })

t.test('where everything fits nothing leaves', async (t) => {
  t.same(evicted({ generationsMax: null, bytesMax: null }, [resting('a')]), [])
  t.same(evicted(two, [resting('a')]), [])
  t.same(evicted(bytes(20), [resting('a')]), [])
  t.equal(fits(bytes(19), [resting('a')], resting('b')), false)
})

t.test('first what was replaced, then what was used longest ago', async (t) => {
  const [old, older] = [resting('old'), resting('older', { usedMs: 1 })]
  const previous = resting('previous', { isPrevious: true, usedMs: NOW_MS })
  t.same(evicted(two, [old, older]), ['older'])
  t.same(evicted(two, [old, older, previous]), ['previous', 'older'])
  t.same(evicted(bytes(30), [old, older, previous]), ['previous'])
  const big = resting('big', { bytes: 25 * MIB, usedMs: 2 })
  t.same(evicted(bytes(40), [old, older, big]), ['older', 'big'], 'as many as are needed')
})

t.test('an operator takes nothing from what is in use, a request only in its turn', async (t) => {
  const used = { usedMs: NOW_MS - 5 }
  const fresh = resting('fresh', { ...used, loadedMs: NOW_MS - STAY_MS + 1 })
  const long = resting('long', { ...used, loadedMs: NOW_MS - STAY_MS })
  const busy = resting('busy', { isBusy: true })
  t.same(evicted(two, [fresh, long]), ['long'])
  t.same(evicted(two, [fresh, fresh]), 'later')
  t.same(evicted(two, [busy, busy]), ['busy'], 'its requests wait in their turn')
  t.match(evicted(two, [fresh, long], false), /2 are in use of the 2 that may be loaded/)
  t.match(evicted(two, [busy, busy], false), /2 are in use/)
  t.same(evicted(two, [busy, resting('idle')], false), ['idle'])
})

t.test('what must stay never leaves, and the figures say who is in the way', async (t) => {
  const pinned = resting('pinned', { mayGo: false })
  t.match(evicted(two, [pinned, pinned]), /there is no room: 2 are in use.*maxLoadedGenerations/)
  const reason = /it needs 10\.0 MiB, and 20\.0 MiB of 29\.0 MiB are in use.*memoryBudgetBytes/
  t.match(evicted(bytes(29), [pinned, pinned]), reason)
  t.match(evicted(bytes(29), [pinned, pinned], false), reason)
  t.match(evicted(bytes(9), [resting('a')]), /needs 10\.0 MiB, and 0\.0 MiB of 9\.0 MiB/)
})

t.test('what several have in common is counted once', async (t) => {
  const shared = [{ key: 'weights', bytes: 50 * MIB }]
  const [a, b] = [resting('a', { shared }), resting('b', { shared, usedMs: 1 })]
  t.equal(fits(bytes(80), [a, b], resting('c', { shared })), true, '3 x 10 and 50')
  t.equal(fits(bytes(79), [a, b], resting('c', { shared })), false)
  t.equal(fits(bytes(80), [a, b], resting('c')), true, 'whoever comes without them')
  t.same(evicted(bytes(70), [a, b], true, shared), ['b'], 'the weights stay')
  const other = [{ key: 'others', bytes: 20 * MIB }]
  t.same(evicted(bytes(89), [a, b], true, other), ['b', 'a'], 'the last takes them along')
  const pinned = resting('pinned', { mayGo: false, shared })
  const needs = /it needs 30\.0 MiB, 20\.0 MiB of it for weights that all share, and 60\.0 MiB of/
  t.match(evicted(bytes(80), [pinned], true, other), needs)
  t.match(evicted(bytes(69), [pinned], true, shared), /it needs 10\.0 MiB, and 60\.0 MiB of 69/)
})
