/**
 * Goal: the report says what was measured and keeps what an earlier run has measured; README's
 * section is made of it. Method: a report of made-up figures is written and read back, parts are
 * replaced, pages are made; and the real README is compared with the real report.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { reasonOf } from '../../../bench/full/lineup.ts'
import { writePages } from '../../../bench/full/pages.ts'
import { MARKERS, performanceSection, withPerformance } from '../../../bench/full/readme.ts'
import {
  type Cell,
  cellFigures,
  cellKey,
  continued,
  emptyReport,
  readReport,
  replaced,
  writeReport,
} from '../../../bench/full/report-data.ts'
import { figure } from '../../../bench/full/tables.ts'
import { ROOT } from '../../../bench/paths.ts'
import { rowOf } from '../../../bench/rows.ts'

const round = (perSecond: number) => ({
  perSecond,
  p50Us: 900,
  p99Us: 2_500,
  cpuUsPerRequest: 18.7,
  rssBytes: 200e6,
  pssBytes: 90e6,
  failures: 0,
  idle: true,
})

const cell = (system: string, rates: readonly number[], more: Partial<Cell> = {}): Cell => ({
  workload: 'mlp',
  shape: 'single',
  system,
  connections: 64,
  tool: 'wrk',
  rounds: rates.map(round),
  ...more,
})

function someReport() {
  const data = emptyReport()
  data.machine = { cpu: 'Some CPU', cores: 2 }
  data.parts['connections'] = { date: '2026-11-30T01:02:03Z', commit: 'abc1234', command: 'c' }
  data.cells = [
    cell('node', [60_000, 50_000, 70_000]),
    cell('fastify', [17_000]),
    cell('node', [12_345], { tool: 'autocannon' }),
    cell('node', [900], { workload: 'trees', shape: 'rows64', connections: 16 }),
    cell('fastify', [600], { workload: 'trees', shape: 'rows64', connections: 16 }),
    cell('node', [5_000], { connections: 1 }),
  ]
  data.rows = [
    rowOf(
      { row: 1, figure: 'requests/s against fastify', unit: '', gates: true, note: 'how' },
      { value: 3.53, must: 2.5, aim: 4, moreIsBetter: true, sound: true },
    ),
  ]
  data.missing = [{ workload: 'mlp', system: 'pytriton', reason: 'not installed' }]
  return data
}

t.test('what another machine has measured is not continued', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-report-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const { machine } = someReport()
  t.same(continued(folder, machine), { ...emptyReport(), machine })
  writeReport(folder, someReport())
  const later = { ...machine, kernel: 'linux 9' }
  t.same(continued(folder, later), { ...someReport(), machine: later })
  for (const other of [
    { ...machine, cpu: 'Other CPU' },
    { ...machine, cores: 4 },
  ]) {
    t.same(continued(folder, other), { ...emptyReport(), machine: other })
  }
  t.end()
})

t.test('a report is written whole and read back; a folder without one is empty', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-report-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  t.same(readReport(folder), emptyReport())
  writeReport(folder, someReport())
  t.same(readReport(folder), someReport())
  writePages(folder, someReport())
  const page = readFileSync(join(folder, 'report.md'), 'utf8')
  for (const [, link = ''] of page.matchAll(/\]\(([^)]+)\)/g)) {
    t.ok(existsSync(join(folder, link)), `${link} is there`)
  }
  t.match(page, '| node | 60,000 | 12,345 |', 'the median, and autocannon beside it')
  t.match(page, '| 1* | requests/s against fastify | 3.53 | 2.5 | 4 | must | how |')
  t.match(page, '- pytriton on mlp: not installed')
})

t.test('medians over rounds; failures add up; one busy round is told', async (t) => {
  const rounds = [round(3), { ...round(1), failures: 2 }, { ...round(2), idle: false, failures: 1 }]
  t.match(cellFigures(cell('node', [], { rounds })), { perSecond: 2, failures: 3, idle: false })
})

t.test(
  'a part that is measured anew takes the place of the old, and of nothing else',
  async (t) => {
    const old = [cell('node', [1]), cell('fastify', [2])]
    const fresh = [cell('node', [3]), cell('node', [4], { connections: 1 })]
    const rates = replaced(old, fresh, cellKey).map(({ rounds }) => rounds[0]?.perSecond)
    t.same(rates, [2, 3, 4])
  },
)

t.test('a reason is one line without the paths of a machine', async (t) => {
  const path = ['', 'home', 'someone', 'venv', 'bin', 'python'].join('/')
  t.equal(reasonOf(new Error(`spawn ${path} ENOENT\nat x\n`)), 'spawn python ENOENT (at x)')
  t.equal(reasonOf('plain'), 'plain')
  t.match(reasonOf(new Error('POST http://127.0.0.1:80/a/b failed')), 'http://127.0.0.1:80/a/b')
})

t.test('figures for people', async (t) => {
  t.equal(figure(1_234.56), '1,235')
  t.equal(figure(1.5, 2), '1.50')
  t.same(
    [null, undefined, Number.NaN].map((value) => figure(value)),
    ['–', '–', '–'],
  )
})

t.test('the section of README', async (t) => {
  const section = performanceSection(someReport())
  t.match(section, '| **Switchyard** | 60,000 | 0.90 | 2.50 | 18.7 | 90 |')
  t.match(section, /150 trees, 200 features, 64 rows \| 900 \| 600 \| 1\.50 \|/)
  t.match(section, 'abc1234')
  const readme = `before\n${MARKERS.begin}\nold\n${MARKERS.end}\nafter\n`
  const written = withPerformance(readme, section) ?? ''
  t.ok(written.startsWith('before\n') && written.endsWith('after\n'))
  t.notMatch(written, '\nold\n')
  t.equal(withPerformance(written, section), written, 'writing it again changes nothing')
  t.equal(withPerformance('no markers', section), null)
})

t.test('README holds the section of the report; npm run readme writes it', async (t) => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  t.type(withPerformance(readme, ''), 'string', 'the markers are there')
  const report = readReport(join(ROOT, 'bench/report'))
  t.equal(withPerformance(readme, performanceSection(report)), readme)
})
