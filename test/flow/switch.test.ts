/**
 * Goal: a generation is replaced under load without one failed request, and every answer is of a
 * generation that was active at some moment of its request. Method: 64 connections ask without a
 * pause while the active generation is switched 100 times; the two demo generations of `iris`
 * answer every row differently, and each answer's time is held against the times of the switches.
 */

import t from 'tap'
import { closedLoop } from '../../bench/closed-loop.ts'
import type { LoadAnswer } from '../../bench/load.ts'
import { nowMs } from '../../core/base/clock.ts'
import { Client, demoBundle } from '../tools/client.ts'
import { startNode } from '../tools/node.ts'

const SWITCHES = 100
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

interface Switch {
  readonly to: string
  /** Asked, and acknowledged. */
  readonly fromMs: number
  readonly untilMs: number
}

/** Generations that may answer a request sent and answered at these times. */
function possible(history: readonly Switch[], sentMs: number, answeredMs: number): Set<string> {
  const legal = new Set<string>()
  for (const [i, { to, fromMs }] of history.entries()) {
    const next = history[i + 1]
    // Active from some moment after it was asked for, until the next was acknowledged at the
    // latest.
    if (fromMs <= answeredMs && (next === undefined || next.untilMs >= sentMs)) legal.add(to)
  }
  return legal
}

/** What the answer says of itself, by its label and by its context; '' when these differ. */
function generationOf({ status, body }: LoadAnswer): string {
  if (status !== 200) return ''
  const { result, apiContext } = JSON.parse(body.toString())
  const [label] = String(result.prediction).split(':')
  return label === apiContext.serviceGeneration ? String(label) : ''
}

t.test('100 switches under 64 connections lose nothing and mix nothing', async (t) => {
  const client = new Client(await startNode(t))
  await client.deploy('iris', 'v1', demoBundle('iris-v1.zip'))
  const imported = await client.upload('iris', 'v2', demoBundle('iris-v2.zip'))
  t.equal(imported.status, 200)
  const created = await client.admin('POST', '/auth/keys', { label: 'load' })
  const answers: { generation: string; sentMs: number; answeredMs: number }[] = []
  const load = closedLoop({
    url: client.queryUrl('iris/predict/predict'),
    headers: { authorization: `Bearer ${created.body.key}` },
    bodies: ROWS.map((features) => JSON.stringify({ features })),
    connections: CONNECTIONS,
    seconds: null,
    onAnswer: (answer) => {
      const { sentMs, answeredMs } = answer
      answers.push({ generation: generationOf(answer), sentMs, answeredMs })
    },
  })
  const history: Switch[] = [{ to: 'v1', fromMs: 0, untilMs: 0 }]
  for (let i = 0; i < SWITCHES; i++) {
    const to = i % 2 === 0 ? 'v2' : 'v1'
    const fromMs = nowMs()
    const switched = await client.switchTo('iris', to)
    history.push({ to, fromMs, untilMs: nowMs() })
    if (switched.status !== 200) t.fail(JSON.stringify(switched.body))
  }
  load.stop()
  const report = await load.done
  t.comment(JSON.stringify({ switches: SWITCHES, sent: report.sent, latencyUs: report.latencyUs }))
  t.equal(report.failed, 0, report.reasons.join('; '))
  t.equal(report.non2xx, 0, JSON.stringify(report.statuses))
  t.equal(report.answered, report.sent)
  t.ok(report.sent > SWITCHES * 10, `${report.sent} requests went on meanwhile`)
  const wrong = answers.filter(
    ({ generation, sentMs, answeredMs }) => !possible(history, sentMs, answeredMs).has(generation),
  )
  t.same(wrong.slice(0, 3), [], 'every answer is of a generation that was active meanwhile')
  const seen = new Set(answers.map(({ generation }) => generation))
  t.same([...seen].sort(), ['v1', 'v2'], 'both generations have answered')
})
