/**
 * Goal: what the benchmark says of a figure is what was seen: medians, ratios round by round, and a
 * verdict only where it may judge. Method: figures with known answers, the edges of each bound, and
 * samples as the tools give them.
 */

import t from 'tap'
import { median, Windows } from '../../bench/latency.ts'
import { idleRounds, type Measurement, pairedRatio } from '../../bench/measure.ts'
import { codeOf, rowOf } from '../../bench/rows.ts'
import { windowFigures } from '../../bench/scale/big-switch.ts'
import { scaleRows } from '../../bench/scale/figures.ts'
import { pssBound } from '../../bench/scale/memory.ts'

t.test('medians', async (t) => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.ok(Number.isNaN(median([])), 'nothing is not zero')
})

const cell = (perSecond: number, idle = true): Measurement => ({
  server: 'a',
  tool: 'wrk',
  connections: 1,
  idle,
  cpuUsPerRequest: 1,
  rssBytes: 1,
  sample: {
    tool: 'wrk',
    completed: 1,
    failures: 0,
    failureKinds: {},
    seconds: 1,
    perSecond,
    p50Us: 1,
    p99Us: 1,
  },
})

t.test('a ratio pairs what met the same minute', async (t) => {
  const rate = ({ sample }: Measurement) => sample.perSecond
  const drifting = [100, 50, 200].map((perSecond) => cell(perSecond))
  t.equal(pairedRatio(drifting, [cell(50), cell(25), cell(100)], rate), 2)
  t.ok(Number.isNaN(pairedRatio([], drifting, rate)))
})

t.test('a round counts where nobody else computed beside any of its servers', async (t) => {
  const one = [cell(1), cell(2, false), cell(3), cell(4)]
  const other = [cell(10), cell(20), cell(30, false)]
  t.same(idleRounds([one, other]), [[one[0]], [other[0]]])
  t.same(idleRounds([[], other]), [[], []])
})

t.test('a verdict: aim, must, missed, or none at all', async (t) => {
  const said = (value: number, more: boolean, sound = true) => {
    const bounds = more ? { must: 2, aim: 4 } : { must: 4, aim: 2 }
    const text = { row: 1, figure: 'a', unit: '', note: 'n' }
    return rowOf(text, { value, ...bounds, moreIsBetter: more, sound }).verdict
  }
  t.same(
    [4, 3.9, 2, 1.9].map((value) => said(value, true)),
    ['aim', 'must', 'must', 'missed'],
  )
  t.same(
    [2, 2.1, 4, 4.1].map((value) => said(value, false)),
    ['aim', 'must', 'must', 'missed'],
  )
  t.equal(said(9, true, false), 'noisy, not judged')
  t.equal(said(Number.NaN, true), 'not measured')
})

t.test(
  'only figures that gate decide the exit code, and only where they were judged',
  async (t) => {
    const row = (value: number, gates: boolean, sound = true) =>
      rowOf(
        { row: 1, figure: 'a', unit: '', gates, note: '' },
        { value, must: 2, aim: 4, moreIsBetter: true, sound },
      )
    t.equal(codeOf([row(1, false), row(3, true)]), 'PASSED')
    t.equal(codeOf([row(1, true)]), 'MISSED')
    t.equal(codeOf([row(1, true, false), row(3, true)]), 'NOISY')
    t.equal(codeOf([row(Number.NaN, true)]), 'PASSED', 'what was left out is no miss')
  },
)

t.test('windows hold what was due in them', async (t) => {
  const windows = new Windows(1_000)
  windows.recordUs(5_999, 700)
  windows.recordUs(5_000, 100)
  windows.recordUs(9_000, 300)
  const found = windows.list()
  t.same(
    found.map(({ startMs, answered }) => [startMs, answered]),
    [
      [5_000, 2],
      [9_000, 1],
    ],
  )
  t.equal(found[0]?.p99Us, 700)
})

t.test('seconds of a switch are told from the others; cut ones count for nobody', async (t) => {
  const p99s = [9_000, 100, 110, 900, 400, 120, 130, 9_000]
  const windows = p99s.map((p99Us, i) => ({ startMs: i * 1_000, answered: 10, p99Us }))
  const spans = [{ startMs: 3_900, endMs: 4_100 }]
  t.same(windowFigures(windows, spans), { switchP99Us: 900, quietP99Us: 115 })
  const none = windowFigures(windows, [])
  t.ok(Number.isNaN(none.switchP99Us), 'no switch, no figure')
})

t.test('the rows of size', async (t) => {
  const bigSwitch = {
    idle: true,
    switches: 5,
    ratePerS: 700,
    failures: 0,
    failureKinds: {},
    switchP99Us: 30_000,
    quietP99Us: 20_000,
    lagP99Us: 500,
    tookMs: 900,
  }
  const memory = {
    modelBytes: 160e6,
    privateBytesPerWorker: 20e6,
    pssBytes: 500e6,
    threads: 4,
    pssBytesMax: pssBound(160e6, { processes: 3, threads: 4 }),
  }
  const growth = {
    idle: true,
    rounds: 5,
    services: 1_000,
    loaded: 10,
    ratio: 0.97,
    perSecond: 970,
    perSecondAlone: 1_000,
    perSecondSpread: 600,
    failures: 0,
    bytesPerService: 15_000,
    pssBytes: 250e6,
    startMs: 5_500,
  }
  const verdicts = (rows: ReturnType<typeof scaleRows>) =>
    Object.fromEntries(rows.map(({ row, verdict }) => [row, verdict]))
  t.match(verdicts(scaleRows({ bigSwitch, memory, growth })), {
    7: 'must',
    8: 'must',
    9: 'must',
    10: 'aim',
    16: 'missed',
    17: 'missed',
  })
  t.equal(memory.pssBytesMax, 456e6)
  const failing = scaleRows({ bigSwitch, memory, growth: { ...growth, failures: 1 } })
  t.equal(verdicts(failing)[9], 'missed', 'a rate with failed requests in it is none')
  const short = scaleRows({ bigSwitch, memory, growth: { ...growth, rounds: 3 } })
  t.equal(verdicts(short)[9], 'noisy, not judged')
  const nothing = scaleRows({ bigSwitch: null, memory: null, growth: null })
  t.ok(nothing.every(({ verdict }) => verdict === 'not measured'))
})
