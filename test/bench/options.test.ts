/**
 * Goal: the flags of the benchmark do what the help says, and a wrong one is told with its value.
 * Method: parse, and look at every part.
 */

import t from 'tap'
import { helpText, parseOptions } from '../../bench/options.ts'

t.test('the short form has the figures, the full one the report beside them', async (t) => {
  const usual = parseOptions([])
  t.notOk(usual.full)
  t.ok(usual.only.includes('rates') && usual.only.includes('growth'))
  t.notOk(usual.only.includes('open'), 'that is of the report')
  t.same(usual.connections, [1, 16, 64, 256])
  const full = parseOptions(['--full'])
  t.ok(full.only.includes('open') && full.only.includes('rates'))
  t.same(full.connections, [1, 4, 16, 64, 256, 1_024])
  t.match(parseOptions(['--quick']), { connections: [1, 64], seconds: 1 })
})

t.test('parts, peers and workloads can be chosen', async (t) => {
  const chosen = parseOptions([
    ...['--full', '--only', 'workloads,open', '--peers', 'fastapi', '--workloads', 'trees'],
    ...['--seconds', '1', '--minutes', '3', '--report', 'elsewhere', '--python', 'python3.12'],
  ])
  t.match(chosen, {
    only: ['workloads', 'open'],
    peers: ['fastapi'],
    workloads: ['trees'],
    seconds: 1,
    minutes: 3,
    report: 'elsewhere',
    python: 'python3.12',
  })
})

t.test('what is wrong is told with the value', async (t) => {
  t.throws(() => parseOptions(['--only', 'rate']), /--only: "rate" is none of rates, /)
  t.throws(() => parseOptions(['--only', 'open']), /--only: "open"/, 'of --full only')
  t.throws(() => parseOptions(['--full', '--peers', 'apache']), /--peers: "apache"/)
  t.throws(() => parseOptions(['--full', '--workloads', 'x']), /--workloads: "x"/)
  t.throws(() => parseOptions(['--minutes', '0']), /--minutes: "0" is not a whole number/)
  t.throws(() => parseOptions(['--unknown']), /--unknown/)
})

t.test('the help names every flag', async (t) => {
  const help = helpText()
  for (const flag of ['full', 'setup', 'quick', 'only', 'peers', 'workloads', 'minutes', 'report'])
    t.match(help, new RegExp(`  --${flag} `), flag)
})
