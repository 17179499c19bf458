/**
 * Goal: who ended a process is told apart, a replacement that fails part-way can be undone, and a
 * control that was stopped itself blames nobody. Method: the fleet over real child processes, with
 * the kernel's count of kills in the hand of the test.
 */

import t from 'tap'
import { OomKills } from '../../../admin/serving/oom-kills.ts'
import { readOomKills } from '../../../admin/serving/system.ts'
import { desired, listening, openFleet, pidsOf, replacements } from '../../tools/fleet.ts'
import { until } from '../../tools/waiting.ts'

t.setTimeout(240_000)

/** More than a process has to apply a state. */
const STOPPED_MS = 7_000

t.test('the count of kills for want of memory', async (t) => {
  let count: number | null = 5
  const kills = new OomKills(() => count)
  t.equal(kills.take(), false, 'those of before are not ours')
  count = 7
  t.same([kills.take(), kills.take(), kills.take()], [true, true, false], 'one end for each')
  count = 8
  kills.beat()
  t.equal(kills.take(), true, 'counted just before a beat')
  count = 9
  kills.beat()
  kills.beat()
  t.equal(kills.take(), false, 'too long ago')
  count = null
  t.equal(kills.take(), false)
  const system = readOomKills()
  t.ok(system === null || Number.isInteger(system))
  if (process.platform === 'linux') t.not(system, null)
})

t.test('SIGKILL of the kernel is a crash, of an operator is not', async (t) => {
  const { logger, said } = listening()
  let count = 3
  const settings = { witnessed: ['s/ok/e'], oomKills: () => count, logger }
  const { fleet, let: happen } = await openFleet(t, settings)
  happen('witnessed')
  const kill = async () => {
    const [pid] = pidsOf(fleet, 'serving')
    process.kill(pid ?? 0, 'SIGKILL')
    await until(async () => pidsOf(fleet, 'serving').some((other) => other !== pid))
  }
  await kill()
  for (let crash = 1; crash <= 4; crash++) {
    t.same(fleet.status().stopped, [])
    count += 1
    await kill()
  }
  t.match(fleet.status().stopped, [{ endpointId: 'e', cause: 'crashes' }])
  t.same(fleet.status().replacements, { died: 1, crashed: 4 })
  t.equal(said.filter((line) => /by the kernel for want of memory$/.test(line)).length, 4)
})

t.test('a replacement that fails part-way can be undone', async (t) => {
  const { fleet, let: happen } = await openFleet(t, { processes: 2 })
  const before = pidsOf(fleet, 'serving')
  happen('next-one-dies')
  const outcome = await fleet.replace('certificates')
  t.match(outcome, { kind: 'failed', reason: 'the new one ended (code 3)' })
  const between = pidsOf(fleet, 'serving')
  t.not(between[0], before[0])
  t.equal(between[1], before[1])
  const sinceMs = outcome.kind === 'failed' ? outcome.listeningSinceMs : undefined
  t.match(await fleet.replace('certificates', sinceMs), { kind: 'replaced', processes: 1 })
  const after = pidsOf(fleet, 'serving')
  t.notOk(before.includes(after[0] ?? 0) || between.includes(after[0] ?? 0))
  t.equal(after[1], before[1], 'it never had anything else')

  happen('dies-at-once')
  t.strictSame(await fleet.replace('certificates'), {
    kind: 'failed',
    reason: 'the new one ended (code 3)',
  })
  t.same(pidsOf(fleet, 'serving'), after, 'nothing to undo')
})

t.test('a control that was stopped right after a change replaces nobody', async (t) => {
  const { fleet } = await openFleet(t)
  const before = pidsOf(fleet, 'serving')
  fleet.publish(desired(2, ['ok']))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STOPPED_MS)
  t.equal(await fleet.whenApplied(2), true)
  await new Promise((resolve) => setTimeout(resolve, 700))
  t.same(pidsOf(fleet, 'serving'), before)
  t.same(pidsOf(fleet, 'starting'), [])
  t.equal(replacements(fleet, 'silent'), 0)
})
