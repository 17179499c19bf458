/**
 * Goal: a generation is replaced under load without one failed request, and every answer is of a
 * generation that was active at some moment of its request: what is sent after a switch was
 * acknowledged is never answered by the old one. Method: the active generation is switched again
 * and again, under connections that ask without a pause, and under a load of 80 % of what these
 * reached, whose requests are due whether the node answers or not. The two demo generations of
 * `iris` answer every row differently; each answer is held against the times of the switches, and
 * against what its generation answered to the same row before.
 *
 * EFFORT=25 makes 1,000 switches of the second kind.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { closedLoop } from '../../bench/closed-loop.ts'
import type { LoadAnswer, LoadReport } from '../../bench/load.ts'
import { openLoop } from '../../bench/open-loop.ts'
import { nowMs } from '../../core/base/clock.ts'
import { Client, demoBundle } from '../tools/client.ts'
import { sayEffort, scaled } from '../tools/effort.ts'
import { startNode } from '../tools/node.ts'
import { randomOf } from '../tools/random.ts'

const SWITCHES = 100
const PACED_SWITCHES = scaled(40)
/** Between two of the latter. */
const PAUSE_MS_MAX = 150
const CAPACITY_SHARE = 0.8
const CONNECTIONS = 64
const ROWS = [
  {
    'sepal length (cm)': 5.1,
    'sepal width (cm)': 3.5,
    'petal length (cm)': 1.4,
    'petal width (cm)': 0.2,
  },
  {
    'sepal length (cm)': 6.7,
    'sepal width (cm)': 3.1,
    'petal length (cm)': 5.6,
    'petal width (cm)': 2.4,
  },
]

t.setTimeout(scaled(300_000))

interface Switch {
  readonly to: string
  /** Asked, and acknowledged. */
  readonly fromMs: number
  untilMs: number
}

/** Who was active when, and which answers that does not explain. */
class Witness {
  readonly wrong: object[] = []
  readonly seen = new Map<string, number>()
  /** What a generation answers to a row: probabilities by label. */
  readonly #known = new Map<string, Readonly<Record<string, number>>>()
  readonly #history: Switch[] = [{ to: 'v1', fromMs: 0, untilMs: 0 }]

  async during(to: string, change: () => Promise<unknown>): Promise<void> {
    const made = { to, fromMs: nowMs(), untilMs: Infinity }
    this.#history.push(made)
    await change()
    made.untilMs = nowMs()
    // No request takes that long.
    if (this.#history.length > 1_000) this.#history.splice(0, 500)
  }

  judge(answer: LoadAnswer): void {
    const { sentMs, answeredMs, status, body, bodyIndex } = answer
    const { result, apiContext } = status === 200 ? JSON.parse(body.toString()) : {}
    const generation = String(apiContext?.serviceGeneration)
    this.seen.set(generation, (this.seen.get(generation) ?? 0) + 1)
    const probas = result?.probas ?? {}
    const key = `${generation} ${bodyIndex}`
    const known = this.#known.get(key) ?? probas
    this.#known.set(key, known)
    // The label of a prediction names the generation too.
    const isWhole = String(result?.prediction).startsWith(`${generation}:`) && equal(probas, known)
    if (isWhole && this.#possible(sentMs, answeredMs).has(generation)) return
    if (this.wrong.length < 3) this.wrong.push({ generation, sentMs, answeredMs, result, known })
  }

  /** Generations that may answer a request sent and answered at these times. */
  #possible(sentMs: number, answeredMs: number): Set<string> {
    const legal = new Set<string>()
    for (let i = this.#history.length - 1; i >= 0; i -= 1) {
      const { to, fromMs } = this.#history[i] ?? { to: '', fromMs: 0 }
      const next = this.#history[i + 1]
      // Active from some moment after it was asked for, until the next was acknowledged at most.
      if (next !== undefined && next.untilMs < sentMs) break
      if (fromMs <= answeredMs) legal.add(to)
    }
    return legal
  }
}

/** To the last bits: rows that share a run may differ in these from rows that run alone. */
function equal(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): boolean {
  const labels = Object.keys(a)
  if (labels.length !== Object.keys(b).length) return false
  return labels.every((label) => Math.abs((a[label] ?? 0) - (b[label] ?? 1)) < 1e-6)
}

async function deployed(t: Test) {
  const client = new Client(await startNode(t))
  await client.deploy('iris', 'v1', demoBundle('iris-v1.zip'))
  const imported = await client.upload('iris', 'v2', demoBundle('iris-v2.zip'))
  t.equal(imported.status, 200)
  const created = await client.admin('POST', '/auth/keys', { label: 'load' })
  const load = {
    url: client.queryUrl('iris/predict/predict'),
    headers: { authorization: `Bearer ${created.body.key}` },
    bodies: ROWS.map((features) => JSON.stringify({ features })),
    connections: CONNECTIONS,
  }
  return { client, load }
}

async function switched(t: Test, client: Client, witness: Witness, i: number): Promise<void> {
  const to = i % 2 === 0 ? 'v2' : 'v1'
  await witness.during(to, async () => {
    const { status, body } = await client.switchTo('iris', to)
    if (status !== 200) t.fail(JSON.stringify(body))
  })
}

function check(t: Test, witness: Witness, report: LoadReport): void {
  t.equal(report.failed, 0, report.reasons.join('; '))
  t.equal(report.non2xx, 0, JSON.stringify(report.statuses))
  t.equal(report.answered, report.sent)
  t.same(witness.wrong, [], 'every answer is of a generation that was active meanwhile')
  t.same([...witness.seen.keys()].sort(), ['v1', 'v2'], 'both generations have answered')
}

t.test('100 switches under 64 connections lose nothing and mix nothing', async (t) => {
  const { client, load } = await deployed(t)
  const witness = new Witness()
  const onAnswer = (answer: LoadAnswer): void => witness.judge(answer)
  const running = closedLoop({ ...load, seconds: null, onAnswer })
  for (let i = 0; i < SWITCHES; i++) await switched(t, client, witness, i)
  running.stop()
  const report = await running.done
  t.comment(JSON.stringify({ switches: SWITCHES, sent: report.sent, latencyUs: report.latencyUs }))
  t.ok(report.sent > SWITCHES * 10, `${report.sent} requests went on meanwhile`)
  check(t, witness, report)
})

t.test('switches at 80 % of capacity, whose requests do not wait for the node', async (t) => {
  const { client, load } = await deployed(t)
  const witness = new Witness()
  const onAnswer = (answer: LoadAnswer): void => witness.judge(answer)
  // Of node and judge together, since they share the machine.
  const { perSecond } = await closedLoop({ ...load, seconds: 2, onAnswer }).done
  const random = randomOf()
  const ratePerS = Math.floor(CAPACITY_SHARE * perSecond)
  const running = openLoop({ ...load, seconds: null, ratePerS, onAnswer })
  for (let i = 0; i < PACED_SWITCHES; i++) {
    await switched(t, client, witness, i)
    await sleep(random.below(PAUSE_MS_MAX))
  }
  running.stop()
  const report = await running.done
  const { sent, unsent, latencyUs } = report
  sayEffort({ switches: PACED_SWITCHES, ratePerS, sent, unsent, seed: random.seed })
  t.comment(JSON.stringify({ latencyUs, capacityPerS: Math.round(perSecond) }))
  check(t, witness, report)
})
