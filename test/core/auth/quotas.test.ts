/**
 * Goal: a key gets all that its limits allow and never more, in any second; changes of limits are
 * no fresh start. Method: meters on a clock that the test turns.
 */

import t, { type Test } from 'tap'
import { evenShare } from '../../../core/auth/quota-share.ts'
import { KeyMeter, Quotas, quotaRefusal } from '../../../core/auth/quotas.ts'
import { RequestWindow } from '../../../core/auth/request-window.ts'
import type { DesiredKey, KeyQuota, QuotaAsk } from '../../../core/channel/messages.ts'
import { randomOf } from '../../tools/random.ts'

const rate = (requestsPerSecond: number): KeyQuota => ({
  requestsPerSecond,
  concurrentRequests: null,
})
const atOnce = (concurrentRequests: number): KeyQuota => ({
  requestsPerSecond: null,
  concurrentRequests,
})
const NO_LIMITS: KeyQuota = { requestsPerSecond: null, concurrentRequests: null }

function meterWith(quota: KeyQuota, startMs = 0) {
  const time = { ms: startMs }
  const clock = () => time.ms
  const meter = new KeyMeter('k', { processes: 1, place: 0, ask: () => false, clock })
  meter.limit(quota)
  /** How many of `count` requests that come now get in; they end at once. */
  const let_ = (count: number): number => {
    let isIn = 0
    for (let i = 0; i < count; i += 1) {
      if (!meter.enter()) continue
      isIn += 1
      meter.settled()
    }
    return isIn
  }
  return { meter, time, in: let_ }
}

t.test('a rate: all of it at once or spread, and again a second later', async (t) => {
  const burst = meterWith(rate(50))
  t.equal(burst.in(80), 50)
  burst.time.ms = 990
  t.equal(burst.in(10), 0, 'not within the second')
  burst.time.ms = 1_040
  t.equal(burst.in(80), 50)

  const spread = meterWith(rate(50))
  for (let i = 0; i < 500; i += 1) {
    t.equal(spread.in(1), 1, 'who keeps a little below it is never refused')
    spread.time.ms += 1_000 / 49.5
  }
})

t.test('a rate: whoever hammers gets nearly all of it, and no more in any second', async (t) => {
  for (const perSecond of [1, 7, 50, 1_000, 2.5, 0.5]) {
    const { meter, time } = meterWith(rate(perSecond), 12_345)
    const random = randomOf(perSecond * 10)
    const times: number[] = []
    const windowMs = (1_000 * Math.ceil(perSecond)) / perSecond
    const endMs = time.ms + 20 * windowMs
    for (; time.ms < endMs; time.ms += random.next() * (500 / perSecond)) {
      if (meter.enter()) times.push(time.ms)
    }
    t.ok(times.length >= 20 * Math.ceil(perSecond) * 0.8, `${perSecond}: ${times.length}`)
    t.equal(most(times, windowMs), Math.ceil(perSecond), `${perSecond}/s`)
  }
})

/** Most of the times within a window of this length. */
function most(times: readonly number[], windowMs: number): number {
  let first = 0
  let found = 0
  for (const [last, ms] of times.entries()) {
    while ((times[first] ?? ms) <= ms - windowMs) first += 1
    found = Math.max(found, last - first + 1)
  }
  return found
}

t.test('requests at once: as many as are allowed, one more for each that ends', async (t) => {
  const { meter } = meterWith(atOnce(2))
  t.same([meter.enter(), meter.enter(), meter.enter()], [true, true, false])
  t.equal(meter.retryAfterS(), 1)
  t.equal(meter.running, 2)
  meter.settled()
  t.same([meter.enter(), meter.enter()], [true, false])
})

t.test('both limits: what one refuses costs nothing of the other', async (t) => {
  const { meter } = meterWith({ requestsPerSecond: 3, concurrentRequests: 1 })
  t.ok(meter.enter())
  for (let i = 0; i < 10; i += 1) t.notOk(meter.enter(), 'one is running')
  for (let i = 0; i < 2; i += 1) {
    meter.settled()
    t.ok(meter.enter())
  }
  meter.settled()
  t.notOk(meter.enter(), 'three this second')
})

t.test('when to try again, in whole seconds', async (t) => {
  const slow = meterWith(rate(0.1), 5_000)
  t.equal(slow.in(2), 1)
  t.equal(slow.meter.retryAfterS(), 11, 'and a slice')
  slow.time.ms += 9_000
  t.equal(slow.meter.retryAfterS(), 2)
  slow.time.ms += 1_400
  t.equal(slow.in(1), 1)
  const fast = meterWith(rate(100))
  t.equal(fast.in(200), 100)
  t.equal(fast.meter.retryAfterS(), 2, 'a second and a slice')
  fast.time.ms += 500
  t.equal(fast.meter.retryAfterS(), 1)
  const place = { processes: 2, place: 1, ask: () => false }
  const elsewhere = new KeyMeter('k', { ...place, clock: () => 5_000 })
  elsewhere.limit(rate(0.1))
  t.notOk(elsewhere.enter(), 'the one request of ten seconds belongs to another process')
  t.equal(elsewhere.retryAfterS(), 10)
  const { headers, status } = quotaRefusal('k', 3)
  t.same([headers, status], [{ 'Retry-After': '3' }, 429])
})

t.test('limits that change', async (t) => {
  const { meter, time, in: let_ } = meterWith(rate(10))
  t.equal(let_(10), 10)
  meter.limit(rate(10))
  t.equal(let_(1), 0, 'the same again is no fresh start')
  meter.limit(rate(30))
  t.equal(let_(50), 20, 'what was used counts')
  meter.limit(rate(5))
  t.equal(let_(1), 0)
  time.ms += 1_040
  t.equal(let_(50), 5)
  meter.limit(NO_LIMITS)
  t.equal(let_(5_000), 5_000)
  meter.limit(atOnce(1))
  t.same([meter.enter(), meter.enter()], [true, false])
  meter.limit(NO_LIMITS)
  t.ok(meter.enter())
  meter.limit(atOnce(2))
  t.notOk(meter.enter(), 'those that were let in without limits count')
  meter.settled()
  t.ok(meter.enter())
})

t.test('a long silence, and a clock that does not move', async (t) => {
  const window = new RequestWindow(10, 0)
  window.add(4)
  t.notOk(window.look(1))
  t.ok(window.look(1e12))
  t.equal(window.used, 0)
  t.equal(window.nextLeavesMs(1e12), 0)
  window.add(1)
  t.notOk(window.look(0), 'never back')
  t.equal(window.used, 1)
})

t.test('meters belong to keys and go with them', async (t) => {
  const quotas = new Quotas()
  const key = (id: string, quota?: KeyQuota): DesiredKey => {
    return { id, sha256: '', allowedServices: [], ...(quota === undefined ? {} : { quota }) }
  }
  t.equal(quotas.meterOf(key('free')), null)
  const meter = quotas.meterOf(key('a', rate(1)))
  t.ok(meter?.enter())
  t.equal(quotas.meterOf(key('a', rate(1))), meter, 'also with the next routing')
  t.not(quotas.meterOf(key('b', rate(1))), meter)
  t.equal(quotas.meterOf(key('a')), meter, 'limits that are gone may come back')
  t.ok(meter?.enter())
  quotas.keepOnly([key('b')])
  t.not(quotas.meterOf(key('a', rate(1))), meter)
})

t.test('even shares are whole and make up the limit', async (t) => {
  for (const [limit, processes] of [
    [1, 2],
    [100, 3],
    [7, 64],
    [1e9, 7],
  ] as const) {
    const shares = Array.from({ length: processes }, (_, i) => evenShare(limit, processes, i))
    t.equal(
      shares.reduce((sum, one) => sum + one, 0),
      limit,
    )
    t.ok(Math.max(...shares) - Math.min(...shares) <= 1)
  }
  t.equal(evenShare(Number.POSITIVE_INFINITY, 2, 1), Number.POSITIVE_INFINITY)
})

interface Shared {
  readonly meter: KeyMeter
  readonly asked: QuotaAsk[]
}

function oneOfTwo(t: Test, quota: KeyQuota, isThere = true): Shared {
  const asked: QuotaAsk[] = []
  const ask = (one: QuotaAsk) => {
    asked.push(one)
    return isThere
  }
  const meter = new KeyMeter('k', { processes: 2, place: 0, ask, clock: () => 1_000 })
  meter.limit(quota)
  t.teardown(() => meter.limit(NO_LIMITS))
  return { meter, asked }
}

t.test('of two processes: within the share nothing is asked', async (t) => {
  const { meter, asked } = oneOfTwo(t, atOnce(4))
  t.same([meter.enter(), meter.enter(), meter.enter()], [true, true, false])
  t.same(asked, [])
  const waiting = [meter.enterLater(), meter.enterLater()]
  t.equal(meter.enterLater(), null, 'no more can wait than could get in')
  t.equal(asked.length, 1, 'one question for all')
  meter.take({
    keyId: 'k',
    quota: atOnce(4),
    shares: { rate: Number.POSITIVE_INFINITY, concurrent: 3 },
    untilMs: 2_000,
  })
  t.same(await Promise.all(waiting), [true, false])
  t.equal(meter.enterLater(), null, 'the answer did not help all: a pause')
  t.equal(meter.running, 3)
})

t.test('of two processes: without control the even share stays', async (t) => {
  const gone = oneOfTwo(t, rate(4), false)
  t.same([gone.meter.enter(), gone.meter.enter(), gone.meter.enter()], [true, true, false])
  t.equal(gone.meter.enterLater(), null)
  const silent = oneOfTwo(t, rate(4))
  t.same([silent.meter.enter(), silent.meter.enter()], [true, true])
  t.equal(await silent.meter.enterLater(), false, 'nobody waits for long')
})

t.test('of two processes: words about other limits are passed over', async (t) => {
  const { meter } = oneOfTwo(t, atOnce(4))
  const shares = { rate: Number.POSITIVE_INFINITY, concurrent: 8 }
  meter.take({ keyId: 'k', quota: atOnce(8), shares, untilMs: 2_000 })
  t.same([meter.enter(), meter.enter(), meter.enter()], [true, true, false])
  const give = { keyId: 'k', round: 1, fair: shares, untilMs: 9_000 }
  t.equal(meter.give({ ...give, quota: atOnce(8) }), null)
  t.match(meter.give({ ...give, quota: atOnce(4) }), { round: 1, has: { concurrent: 2 } })
})
