/**
 * Goal: a request that a worker wants answered elsewhere goes there once, with its bytes, its age
 * and its ticket, and nothing of it is left behind; a run in slices gives way to all others and is
 * dropped when nobody waits for it.
 *
 * Method: real lanes and the real scheduler; the test ends the runs and says what they come to.
 */

import t from 'tap'
import { AppError } from '../../../core/base/errors.ts'
import type { Lane, Whereto } from '../../../core/dispatch/lane.ts'
import { Pending } from '../../../core/dispatch/pending.ts'
import type { Reroute, WorkerOutcome } from '../../../workers/protocol.ts'
import { Asker, accept, bodyOf, setUp, sleep, turn } from '../../tools/dispatching.ts'

const BY_KEY = { index: 0, kind: 'dispatchKey', dispatchKey: 'k' } as const
const EXPLAIN: Reroute = { index: 0, kind: 'explain', state: { rows: 1 } }

function sentOn(...reroutes: readonly Reroute[]): WorkerOutcome {
  const bodies = reroutes.map(() => '')
  return { kind: 'answers', bodies, failures: null, reroutes, executeUs: 1 }
}

function ticketOf() {
  const ticket = { callerId: 'key', count: 0, settled: () => {} }
  ticket.settled = () => {
    ticket.count += 1
  }
  return ticket
}

function enter(lane: Lane, asker: Asker, beside = {}, body = 'x'): Pending {
  const pending = lane.enter(asker, bodyOf(body), beside)
  if (pending instanceof Pending) return pending
  throw pending
}

/** Two lanes of two pools; what the first sends on goes where the test says, by default there. */
function pair(t: Parameters<typeof setUp>[0], given: Parameters<typeof setUp>[1] = {}) {
  const place: { to: (() => Whereto | Promise<Whereto>) | null } = { to: null }
  const whereTo = () => place.to?.() ?? second.lane
  const first = setUp(t, { whereTo, ...given })
  const second = first.another({ whereTo })
  return { first, second, place }
}

t.test('a request is sent on once, and is one request all the while', async (t) => {
  const { first, second } = pair(t)
  const [asker, ticket] = [new Asker(), ticketOf()]
  const pending = enter(first.lane, asker, { ticket }, 'old')
  await sleep(2)
  // Both threads are at work, so what comes next waits.
  first.scheduler.wake(first.lane)
  accept(second.lane, new Asker(), 'runs')
  second.scheduler.wake(second.lane)
  await turn()
  accept(second.lane, new Asker(), 'newer')
  second.scheduler.wake(second.lane)
  t.equal(first.runner.calls[0]?.job.settled, undefined)
  first.runner.finishWith(0, sentOn(BY_KEY))
  await turn()
  t.same([first.settled(), second.sentHere(), ticket.count], [1, 1, 0], 'a lease for a lease')
  second.runner.finish(0)
  await turn()
  t.same(second.runner.bodies(1), ['old', 'newer'], 'an older one comes among newer ones')
  t.same([...(second.runner.calls[1]?.job.settled ?? [])], [1, 0])
  t.equal(pending.moved?.pending.arrivedMs, pending.arrivedMs, 'its deadline is the old one')
  second.runner.finish(1)
  await turn()
  t.same([asker.answers, asker.errors], [['"old"'], []])
  t.same([ticket.count, second.settled()], [1, 3])
})

t.test('what is settled and sent on again is a bug', async (t) => {
  const { first, second } = pair(t)
  const asker = new Asker()
  accept(first.lane, asker)
  first.scheduler.wake(first.lane)
  await turn()
  first.runner.finishWith(0, sentOn(BY_KEY))
  await turn()
  second.runner.finishWith(0, sentOn({ index: 0, kind: 'generation', generationId: 'a' }))
  await turn()
  t.equal(asker.errors[0]?.code, 'ERR_INTERNAL')
  t.same([first.settled(), second.settled()], [1, 1])
})

t.test('a lane that is full, and a place that there is not', async (t) => {
  const { first, second, place } = pair(t)
  const full = first.another({ requestsMax: 0 })
  const unknown = new AppError('ERR_GENERATION_UNKNOWN', 'v9')
  for (const [to, code] of [
    [() => full.lane, 'ERR_LANE_FULL'],
    [() => unknown, 'ERR_GENERATION_UNKNOWN'],
    [() => Promise.resolve(unknown), 'ERR_GENERATION_UNKNOWN'],
    [() => Promise.reject(new Error('x')), 'ERR_INTERNAL'],
  ] as const) {
    const [asker, ticket] = [new Asker(), ticketOf()]
    place.to = to
    enter(first.lane, asker, { ticket })
    first.scheduler.wake(first.lane)
    await turn()
    first.runner.finishWith(first.runner.calls.length - 1, sentOn(BY_KEY))
    await turn()
    t.same([asker.replies, asker.errors[0]?.code, ticket.count], [1, code, 1])
  }
  t.same([first.settled(), second.sentHere(), full.sentHere(), full.settled()], [4, 0, 0, 0])
})

t.test('callers that leave on the way', async (t) => {
  const { first, second, place } = pair(t)
  const asked = (ticket: ReturnType<typeof ticketOf>) => {
    const asker = new Asker()
    const pending = enter(first.lane, asker, { ticket })
    first.scheduler.wake(first.lane)
    return {
      asker,
      leave: () => {
        asker.done = true
        first.lane.gone(pending)
      },
    }
  }
  const tickets = [ticketOf(), ticketOf(), ticketOf()] as const
  // After it was sent on: it is the other lane's.
  const one = asked(tickets[0])
  await turn()
  first.runner.finishWith(0, sentOn(BY_KEY))
  await turn()
  one.leave()
  second.runner.finish(0)
  // While a token is looked at.
  let decide = (_: Whereto) => {}
  const decided = new Promise<Whereto>((resolve) => {
    decide = resolve
  })
  place.to = () => decided
  const two = asked(tickets[1])
  await turn()
  first.runner.finishWith(1, sentOn(BY_KEY))
  await turn()
  two.leave()
  decide(second.lane)
  await turn()
  // Before the run that would send it on has ended.
  const three = asked(tickets[2])
  await turn()
  three.leave()
  first.runner.finishWith(2, sentOn(BY_KEY))
  await turn()
  t.same(
    tickets.map(({ count }) => count),
    [1, 1, 1],
  )
  t.same([first.settled(), second.sentHere(), second.settled()], [3, 1, 1])
  t.same(
    [one, two, three].map(({ asker }) => asker.replies),
    [0, 0, 0],
  )
})

function explaining(t: Parameters<typeof setUp>[0], timeoutMs = 10_000) {
  const batches: number[] = []
  const observer = {
    answered: () => {},
    queuedBatch: (waitUs: Uint32Array) => void batches.push(-waitUs.length),
    batch: (requests: number) => void batches.push(requests),
  }
  const single = setUp(t, { whereTo: () => explain.lane }, { permits: 1 })
  const shape = { verb: 'explain', batchMax: 1, timeoutMs, observer } as const
  const explain = single.another({ ...shape, runner: single.runner })
  return { single, explain, batches }
}

const CONTINUES = (state: unknown): WorkerOutcome => ({ kind: 'continues', state, executeUs: 9 })

t.test('explanations run in slices, one at a time, after all others', async (t) => {
  const { single, explain, batches } = explaining(t)
  const { runner, scheduler } = single
  const askers = [new Asker(), new Asker()]
  for (const asker of askers) {
    accept(single.lane, asker, 'e')
    scheduler.wake(single.lane)
  }
  await turn()
  runner.finishWith(0, sentOn(EXPLAIN, { ...EXPLAIN, index: 1, state: 'second' }))
  await turn()
  t.match(runner.calls[1]?.job, { verb: 'explain', state: { rows: 1 } })
  t.equal(runner.calls[1]?.job.ends.length, 1, 'each runs alone')
  const cheap = new Asker()
  accept(single.lane, cheap, 'cheap')
  scheduler.wake(single.lane)
  runner.finishWith(1, CONTINUES({ rows: 2 }))
  await turn()
  t.same(runner.bodies(2), ['cheap'], 'others have the thread between two slices')
  runner.finish(2)
  await turn()
  t.same(runner.calls[3]?.job.state, { rows: 2 }, 'before the one behind it, from where it was')
  runner.finish(3)
  await turn()
  t.equal(runner.calls[4]?.job.state, 'second')
  runner.finish(4)
  await turn()
  t.same(
    askers.map(({ replies }) => replies),
    [1, 1],
  )
  t.same(batches, [-1, 0, 1, -1, 1], 'a wait for each request, a batch for each slice')
  t.same([single.settled(), explain.sentHere(), explain.settled()], [3, 2, 2])
})

t.test('of a lane of explanations one batch runs, however many threads there are', async (t) => {
  const side = setUp(t, { verb: 'explain', batchMax: 1 }, {}, 3)
  for (let i = 0; i < 3; i++) {
    accept(side.lane, new Asker())
    side.scheduler.wake(side.lane)
  }
  await turn()
  t.equal(side.runner.open, 1)
  side.runner.finish(0)
  await turn()
  t.equal(side.runner.open, 1)
})

t.test('under a load without end explanations still have their slices', async (t) => {
  const { single, explain } = explaining(t)
  const asker = new Asker()
  accept(explain.lane, asker, 'e')
  for (let i = 0; asker.replies === 0 && i < 60; i++) {
    accept(single.lane, new Asker(), 'busy')
    single.scheduler.wake(single.lane)
    if (i === 0) explain.scheduler.wake(explain.lane)
    await sleep(4)
    const open = single.runner.openRun(0)
    accept(single.lane, new Asker(), 'busy')
    single.scheduler.wake(single.lane)
    if (open !== null) single.runner.finish(open)
    await turn()
  }
  t.equal(asker.replies, 1)
  const at = single.runner.calls.findIndex(({ job }) => job.verb === 'explain')
  t.ok(at > 5, `others had ${at} runs before`)
})

t.test('nobody waits for the next slice', async (t) => {
  const { single, explain } = explaining(t, 30)
  const [left, late] = [new Asker(), new Asker()]
  const pending = accept(explain.lane, left)
  explain.scheduler.wake(explain.lane)
  await turn()
  left.done = true
  explain.lane.gone(pending)
  single.runner.finishWith(0, CONTINUES(1))
  await turn()
  t.equal(single.runner.calls.length, 1, 'its caller has left')
  accept(explain.lane, late)
  explain.scheduler.wake(explain.lane)
  await turn()
  await sleep(60)
  t.equal(late.errors[0]?.code, 'ERR_DEADLINE', 'on time, though a slice runs')
  single.runner.finishWith(1, CONTINUES(1))
  await turn()
  t.same([single.runner.calls.length, explain.settled()], [2, 2])
})

t.test('slices are of explanations only', async (t) => {
  const side = setUp(t, {})
  const asker = new Asker()
  accept(side.lane, asker)
  side.scheduler.wake(side.lane)
  await turn()
  side.runner.finishWith(0, CONTINUES(1))
  await turn()
  t.equal(asker.errors[0]?.code, 'ERR_INTERNAL')
})
