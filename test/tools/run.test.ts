/**
 * Goal: a run of the tests never looks better than it was.
 * Method: the runner is given throw-away test files that pass, fail, crash, hang or do nothing, and
 * its closing line and exit code are read as a script would read them.
 */

import { execFile, spawn } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ROOT } from '../../bench/paths.ts'

const RUNNER = join(ROOT, 'test/tools/run.mjs')

interface Run {
  readonly code: number | null
  readonly lines: readonly string[]
  readonly text: string
}

function runner(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [RUNNER, ...args], {
      cwd: ROOT,
      env: { ...process.env, CI: '', TEST_FILE_TIMEOUT_S: '30', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
    child.on('close', (code) => resolve({ code, text, lines: text.trimEnd().split('\n') }))
  })
}

const TAP = `import t from 'tap'\n`
const FILES = {
  'passes.js': `${TAP}t.test('a', async (t) => { t.ok(1); t.equal(2, 2) })`,
  'fails.js': `${TAP}t.test('a', async (t) => { t.ok(1); t.equal(1, 2, 'one is two') })`,
  'throws.js': `throw new Error('at import')`,
  'rejects.js': `${TAP}t.ok(1)\nPromise.reject(new Error('nobody waits for this'))`,
  'exits.js': `${TAP}t.test('a', async (t) => { t.ok(1); process.exit(0) })`,
  'crashes.js': `${TAP}t.ok(1)\nprocess.kill(process.pid, 'SIGSEGV')`,
  'hangs.js': `${TAP}t.test('a', async (t) => { t.ok(1); for (;;); })`,
  'waits.js': `${TAP}t.test('a', () => new Promise(() => setInterval(() => {}, 1e6)))`,
  'empty.js': TAP,
  'nothing.js': '',
  'skips.js': `${TAP}t.ok(1)\nt.test('b', { skip: 'no python3 here' }, async () => {})`,
  'unshared.js': `${TAP}t.ok(1)\nt.test('b', { skip: '../shared is absent' }, async () => {})`,
  'leaves.js': `${TAP}import { spawn } from 'node:child_process'
t.ok(1)
spawn(process.execPath, ['-e', 'setTimeout(() => {}, 20000)'], { stdio: 'ignore' }).unref()`,
}

const folder = t.testdir(FILES)
const file = (name: keyof typeof FILES): string[] => ['--compiled', join(folder, name)]

t.test('files that pass are counted, and the count is the last line', async (t) => {
  const run = await runner(file('passes.js'))
  t.equal(run.lines.at(-1), '2 passed, 0 failed')
  t.equal(run.code, 0)
})

t.test('a failing assertion is shown in full', async (t) => {
  const run = await runner(file('fails.js'))
  t.equal(run.lines.at(-1), '1 passed, 1 failed')
  t.equal(run.code, 1)
  t.match(run.text, /not ok 2 - one is two[\s\S]*-2\n\s*\+1/)
})

const BROKEN = [
  ['throws.js', /at import/],
  ['rejects.js', /nobody waits for this/],
  ['exits.js', /exits\.js/],
  ['crashes.js', /ended by SIGSEGV/],
  ['empty.js', /empty\.js/],
  ['nothing.js', /nothing\.js/],
  ['leaves.js', /left a process behind/],
] as const

for (const [name, message] of BROKEN) {
  t.test(`${name} fails the run`, async (t) => {
    const run = await runner(file(name))
    t.match(run.lines.at(-1), /^\d passed, [1-9] failed/)
    t.equal(run.code, 1)
    t.match(run.text, message)
  })
}

t.test('a file that does not end is ended, and the others still count', async (t) => {
  const files = ['hangs.js', 'waits.js', 'passes.js'].map((name) => join(folder, name))
  const run = await runner(['--compiled', ...files], { TEST_FILE_TIMEOUT_S: '1' })
  t.match(run.lines.at(-1), /^2 passed, [2-9] failed/)
  t.equal(run.code, 1)
})

// The first run leaves a file behind, by which the second knows that it is not the first.
const UNSTEADY = `${TAP}import { existsSync, writeFileSync } from 'node:fs'
const mark = new URL('mark', import.meta.url)
t.ok(existsSync(mark), 'there is a mark')
writeFileSync(mark, '')`

t.test('a file of whole nodes has a second try, which is told', async (t) => {
  const folder = t.testdir({
    test: { flow: { 'unsteady.js': UNSTEADY, 'fails.js': FILES['fails.js'] } },
  })
  const run = await runner(['--compiled', join(folder, 'test/flow/unsteady.js')])
  t.match(run.text, /first try of .*unsteady\.js[\s\S]*there is a mark/)
  t.match(run.lines.at(-2), /^passed at the second try only: .*unsteady\.js/)
  t.equal(run.lines.at(-1), '1 passed, 0 failed')
  t.equal(run.code, 0)
  const failed = await runner(['--compiled', join(folder, 'test/flow/fails.js')])
  t.equal(failed.lines.at(-1), '1 passed, 1 failed', 'both fail: it is counted once')
  t.equal(failed.code, 1)
})

t.test('other files have one try', async (t) => {
  const folder = t.testdir({ 'unsteady.js': UNSTEADY })
  const run = await runner(['--compiled', join(folder, 'unsteady.js')])
  t.equal(run.lines.at(-1), '0 passed, 1 failed')
})

t.test('a skipped test is named, and fails the run under CI', async (t) => {
  const here = await runner(file('skips.js'))
  t.equal(here.lines.at(-1), '1 passed, 0 failed, 1 skipped')
  t.match(here.text, /no python3 here/)
  t.equal(here.code, 0)
  const underCi = await runner(file('skips.js'), { CI: 'true' })
  t.equal(underCi.lines.at(-1), '1 passed, 1 failed, 1 skipped')
  t.equal(underCi.code, 1)
})

t.test('material that was not handed out is the one skip that CI allows', async (t) => {
  const run = await runner(file('unshared.js'), { CI: 'true' })
  t.equal(run.lines.at(-1), '1 passed, 0 failed, 1 skipped')
  t.equal(run.code, 0)
})

t.test('a run of nothing fails', async (t) => {
  const run = await runner(['--compiled'])
  t.equal(run.lines.at(-1), '0 passed, 1 failed')
  t.equal(run.code, 1)
})

const README = `
| # | Promise | Held by |
|---|---|---|
| 1 | It holds. | \`test/a.test.ts\` \`test/b.test.ts\` |
| 2 | It does not. | \`test/b.test.ts\` \`test/c.test.ts\` |
| 3 | Nobody has looked. | \`test/d.test.ts\` |
`
const OUTPUT = `TAP version 14
    # {"kills":6,"seed":5}
    # seed 7
    # {"kills":6,"seed":5}
# a remark
# { total: 5, pass: 5 }
# time=3ms
`
const SAY = `
import { figuresIn, promiseReport, promisesIn } from './test/tools/promises.mjs'
const [readme, output] = process.argv.slice(1)
const file = (problem) => ({ problem, passed: 5, figures: figuresIn(output), ms: 2_000 })
const results = new Map([['a', file(null)], ['b', file(null)], ['c', file('1 failed')]].map(
  ([name, result]) => ['test/' + name + '.test.ts', result],
))
console.log(promiseReport(promisesIn(readme), results))
`

t.test('of each promise it is said whether it was held, and by what', async (t) => {
  const args = ['--input-type=module', '-e', SAY, README, OUTPUT]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT })
  const [held, broken, unseen] = stdout.split(/(?=^ \d {2})/m)
  const figures = ['{"kills":6,"seed":5}', 'seed 7'].map((figure) => `        ${figure}`)
  const ofFile = (name: string, found: string): string[] => [
    `      test/${name}.test.ts: ${found} in 2 s`,
    ...figures,
  ]
  t.same(held?.trimEnd().split('\n'), [
    ' 1  held    It holds.',
    ...ofFile('a', '5 passed'),
    ...ofFile('b', '5 passed'),
  ])
  t.match(broken, / 2 {2}BROKEN {2}It does not\.[\s\S]*c\.test\.ts: 1 failed in 2 s/)
  t.match(unseen, / 3 {2}BROKEN {2}[\s\S]*d\.test\.ts: not run/)
})
