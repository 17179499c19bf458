/**
 * Goal: wherever the callers of a key sit, they get nearly all of its limits, and the processes
 * together never let through more, in whatever order and however late messages come. Method: the
 * meters of several processes and control's ledgers on one clock that the test turns, with messages
 * that take their time; the load moves about. SEED chooses again what a failed run chose.
 */

import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { type Lender, QuotaLeases } from '../../../admin/serving/quota-leases.ts'
import { KeyMeter } from '../../../core/auth/quotas.ts'
import type { KeyQuota, QuotaAsk, QuotaGive } from '../../../core/channel/messages.ts'
import { randomOf } from '../../tools/random.ts'

interface World {
  readonly processes: number
  readonly quota: KeyQuota
  /** How long a message is under way; Infinity: it is lost. */
  readonly delayMs: () => number
}

interface Simulated {
  readonly meters: readonly KeyMeter[]
  readonly now: () => number
  /** When each request was let in. */
  readonly times: number[]
  readonly messages: () => number
  mostRunning: () => number
  /** One request of this process, which lasts so long; whether it got in. */
  request(process: number, lastsMs: number): Promise<boolean>
  /** A millisecond later. */
  step(): Promise<void>
}

/** One way of one process's channel: late, but in order. */
type Wire = (act: () => void) => void

function simulate(t: Test, { processes, quota, delayMs }: World): Simulated {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const time = { ms: 1_000 }
  const clock = () => time.ms
  const times: number[] = []
  let messages = 0
  let mostRunning = 0
  const newWire = (): Wire => {
    let lastMs = 0
    return (act) => {
      messages += 1
      const ms = delayMs()
      if (ms === Number.POSITIVE_INFINITY) return
      lastMs = Math.max(lastMs, time.ms + ms)
      setTimeout(act, lastMs - time.ms)
    }
  }
  const meters = connected({ processes, quota, clock, newWire })
  return {
    meters,
    now: clock,
    times,
    messages: () => messages,
    mostRunning: () => mostRunning,
    async request(process, lastsMs) {
      const meter = meters[process]
      const isIn = meter?.enter() === true || (await meter?.enterLater()) === true
      if (!isIn) return false
      times.push(time.ms)
      const running = meters.reduce((sum, one) => sum + one.running, 0)
      mostRunning = Math.max(mostRunning, running)
      setTimeout(() => meter?.settled(), lastsMs)
      return true
    },
    async step() {
      time.ms += 1
      mock.timers.tick(1)
      for (let i = 0; i < 4; i += 1) await null
    },
  }
}

interface Connecting extends Pick<World, 'processes' | 'quota'> {
  readonly clock: () => number
  readonly newWire: () => Wire
}

/** The meters of the processes, with control between them. */
function connected({ processes, quota, clock, newWire }: Connecting): KeyMeter[] {
  const ends = Array.from({ length: processes }, (_, place) => {
    const toControl = newWire()
    const toServe = newWire()
    const ask = (one: QuotaAsk) => {
      toControl(() => leases.ask(lender, one))
      return true
    }
    const meter = new KeyMeter('k', { processes, place, ask, clock })
    meter.limit(quota)
    const answer = (give: QuotaGive) => {
      const gave = meter.give(give)
      if (gave !== null) toControl(() => leases.gave(lender, gave))
    }
    const lender: Lender = {
      number: place + 1,
      place,
      give: (give) => toServe(() => answer(give)),
      grant: (grant) => toServe(() => meter.take(grant)),
    }
    return { meter, lender }
  })
  const lenders = ends.map(({ lender }) => lender)
  const leases = new QuotaLeases(processes, () => lenders, clock)
  return ends.map(({ meter }) => meter)
}

/** Most of them within a second. */
function most(times: readonly number[]): number {
  let first = 0
  let found = 0
  for (const [last, ms] of times.entries()) {
    while ((times[first] ?? ms) <= ms - 1_000) first += 1
    found = Math.max(found, last - first + 1)
  }
  return found
}

const rate = (requestsPerSecond: number): KeyQuota => ({
  requestsPerSecond,
  concurrentRequests: null,
})
const atOnce = (concurrentRequests: number): KeyQuota => ({
  requestsPerSecond: null,
  concurrentRequests,
})

t.test('all callers in one process get nearly all of a rate', async (t) => {
  for (const processes of [2, 4]) {
    const world = simulate(t, { processes, quota: rate(100), delayMs: () => 1 })
    for (let ms = 0; ms < 10_000; ms += 1) {
      void world.request(0, 1)
      if (ms % 2 === 0) void world.request(0, 1)
      await world.step()
    }
    t.ok(world.times.length > 10 * 100 * 0.95, `${world.times.length} of 1000`)
    t.equal(most(world.times), 100)
    t.ok(world.messages() < 10 * 40, `${world.messages()} messages in ten seconds`)
    mock.timers.reset()
  }
})

t.test('a burst of the whole limit into one process is let in', async (t) => {
  const world = simulate(t, { processes: 3, quota: rate(90), delayMs: () => 1 })
  const asked = Array.from({ length: 100 }, () => world.request(1, 1))
  for (let ms = 0; ms < 200; ms += 1) await world.step()
  t.equal((await Promise.all(asked)).filter((isIn) => isIn).length, 90)
})

t.test('who keeps to the even share causes no message', async (t) => {
  const world = simulate(t, { processes: 2, quota: rate(100), delayMs: () => 1 })
  for (let ms = 0; ms < 5_000; ms += 1) {
    if (ms % 25 === 0) {
      t.ok(await world.request(0, 1))
      t.ok(await world.request(1, 1))
    }
    await world.step()
  }
  t.equal(world.messages(), 0)
})

t.test('two that hammer share evenly in the end', async (t) => {
  const world = simulate(t, { processes: 4, quota: rate(100), delayMs: () => 1 })
  const isIn = [0, 0]
  for (let ms = 0; ms < 12_000; ms += 1) {
    for (const process of [0, 1]) {
      // One comes first and takes all there is.
      if (process === 1 && ms < 2_000) continue
      void world.request(process, 1).then((one) => {
        if (one && ms >= 4_000) isIn[process] = (isIn[process] ?? 0) + 1
      })
    }
    await world.step()
  }
  const [one = 0, other = 0] = isIn
  t.ok(one + other > 8 * 100 * 0.9, `${one} and ${other} of 800`)
  t.ok(Math.min(one, other) > 8 * 100 * 0.35, `${one} and ${other}`)
  t.ok(most(world.times) <= 100)
})

t.test('requests at once: all callers in one process may use all', async (t) => {
  const world = simulate(t, { processes: 3, quota: atOnce(8), delayMs: () => 1 })
  let isIn = 0
  for (let ms = 0; ms < 5_000; ms += 1) {
    // Nine callers would keep nine under way.
    if (ms % 10 === 0) {
      void world.request(2, 90).then((one) => {
        if (one) isIn += 1
      })
    }
    await world.step()
  }
  t.equal(world.mostRunning(), 8)
  t.ok(isIn > (5_000 / 90) * 8 * 0.95, `${isIn} of ${Math.floor((5_000 / 90) * 8)}`)
})

t.test('one at once, in two processes', async (t) => {
  const world = simulate(t, { processes: 2, quota: atOnce(1), delayMs: () => 1 })
  const answers: boolean[] = []
  for (let ms = 0; ms < 4_000; ms += 1) {
    // By turns, with time in between.
    if (ms % 200 === 0) void world.request((ms / 200) % 2, 50).then((one) => answers.push(one))
    await world.step()
  }
  t.equal(answers.length, 20)
  t.ok(answers.every((one) => one))
  t.equal(world.mostRunning(), 1)
})

t.test('a silent control: everybody keeps to the even share', async (t) => {
  let isSilent = false
  const delayMs = () => (isSilent ? Number.POSITIVE_INFINITY : 1)
  const world = simulate(t, { processes: 2, quota: rate(100), delayMs })
  const hammer = async (process: number, ms: number): Promise<number> => {
    const before = world.times.length
    for (let i = 0; i < ms; i += 1) {
      void world.request(process, 1)
      await world.step()
    }
    return world.times.length - before
  }
  t.ok((await hammer(0, 3_000)) > 270)
  isSilent = true
  await hammer(0, 4_000)
  const alone = await hammer(0, 3_000)
  t.ok(alone >= 140 && alone <= 150, `${alone}`)
  const other = await hammer(1, 3_000)
  t.ok(other >= 140 && other <= 200, `the other one is back at its share: ${other}`)
  t.ok(most(world.times) <= 100)
})

t.test('whatever happens on the way, no second has more than the limit', async (t) => {
  const { seed, below, next } = randomOf()
  t.comment(`SEED=${seed}`)
  for (let world = 0; world < 6; world += 1) {
    const processes = 2 + below(4)
    const limit = 1 + below(60)
    const lost = next() * 0.1
    const slow = next() * 0.2
    const delayMs = () => {
      if (next() < lost) return Number.POSITIVE_INFINITY
      return next() < slow ? below(700) : below(5)
    }
    const quota = { requestsPerSecond: limit, concurrentRequests: 1 + below(20) }
    const run = simulate(t, { processes, quota, delayMs })
    let busy = below(processes)
    for (let ms = 0; ms < 15_000; ms += 1) {
      if (next() < 0.002) busy = below(processes)
      if (next() < 0.3) void run.request(busy, below(100))
      if (next() < 0.05) void run.request(below(processes), below(100))
      await run.step()
    }
    t.ok(most(run.times) <= limit, `${most(run.times)} of ${limit}/s in ${processes} processes`)
    t.ok(run.times.length > 0, `${run.times.length} got in`)
    mock.timers.reset()
  }
})
