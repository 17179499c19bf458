/**
 * What `npm test` runs: lint, compiler, unused code, every test file, and one closing line
 * `N passed, N failed`, so that people and scripts read the same result.
 *
 *   node test/tools/run.mjs                   everything
 *   node test/tools/run.mjs test/core/x       the build and the test files whose path holds this
 *   node test/tools/run.mjs --checks          everything but the tests
 *   node test/tools/run.mjs --promises        the tests that README's promises name, and a table
 *   node test/tools/run.mjs --processes 2     whole nodes have two serving processes
 *   node test/tools/run.mjs --compiled F.js   these compiled files as they are
 *
 * Plain JavaScript, because it works before anything is compiled. Test files are tap programs that
 * run as they are, one process each: `tap run` takes twice the time, and after a file that hangs it
 * loses the results of files that ended since (tap 21.8, seen with five small files).
 */

import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { figuresIn, promiseReport, promisesIn } from './promises.mjs'

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const UNDER_CI = process.env.CI === 'true' || process.env.CI === '1'

/** Who tries harder has more time: see effort.ts. */
const EFFORT = Math.max(1, Number(process.env.EFFORT ?? 1))
/** Longest time of one test file; a hang must end long before the whole run is given up. */
const FILE_S = Number(process.env.TEST_FILE_TIMEOUT_S ?? 300 * EFFORT)
/** tap ends a file at its own limit and says where it hung; this much later the file is killed. */
const KILL_AFTER_MS = 2_000
/** A child that a test started must be gone this long after the test. */
const ORPHAN_MS = 5_000
const JOBS = 2
/**
 * Files that break a node or measure its times are at the mercy of the machine: a stall of the disk
 * or of a neighbour must not refuse a change. They have a second try; the first is printed whole.
 */
const WHOLE_NODE = /\btest\/(flow|fault)\//
/** Those of them that measure run alone, else they measure their neighbour. */
const ALONE = [
  'fault/hang',
  'fault/overload',
  'fault/query-log',
  'fault/replace',
  'flow/dispatch',
  'flow/quotas',
  'flow/switch',
  'flow/types',
].map((name) => `test/${name}.test.ts`)
/** What is promised of a node must hold whatever number of processes serve; once each is enough. */
const TWICE = /^test\/flow\//
/** What they try knows nothing of that number: control, the forge, one process's own queues. */
const ONCE = [
  'backup',
  'cold',
  'command-line',
  'commands',
  'compiled',
  'dispatch',
  'environments',
  'hostile',
  'models',
  'no-interpreters',
  'own-service',
  'sql',
  'start',
  'types',
].map((name) => `test/flow/${name}.test.ts`)
const SEVERAL = 2

const CHECKS = [
  {
    name: 'lint (biome)',
    command: ['node_modules/@biomejs/biome/bin/biome', 'ci', '--colors=off', '.'],
  },
  { name: 'build (tsc)', command: ['test/tools/build.mjs'], fatal: true },
  { name: 'unused code (knip)', command: ['node_modules/knip/bin/knip.js', '--no-progress'] },
]

/** Serving processes of the nodes that tests start. */
let processes = 1
const totals = { passed: 0, failed: 0, skipped: 0 }
/** By path, what became of each file and what it has printed of its figures. */
const results = new Map()
/** Files that failed and then passed: worth a look, each. */
const secondTries = []
/** Process groups of what runs now, so that an interrupted run leaves nothing behind. */
const groups = new Set()

async function main(given) {
  const args = withoutProcesses(given)
  const filters = args.filter((arg) => !arg.startsWith('--'))
  if (args.includes('--compiled')) return runFiles(filters, JOBS)
  const tries = args.includes('--promises')
  const checks = filters.length === 0 && !tries ? CHECKS : CHECKS.filter((check) => check.fatal)
  for (const check of checks) {
    const passed = await runCheck(check)
    if (!passed && check.fatal) return console.log('\nNot compiled, so no test was run.')
  }
  if (tries) await runPromises()
  else if (!args.includes('--checks')) await runSources(filters)
}

async function runPromises() {
  const promises = promisesIn(readFileSync(join(ROOT, 'README.md'), 'utf8'))
  await runAll([...new Set(promises.flatMap(({ tests }) => tests))])
  console.log(`\n${promiseReport(promises, results)}`)
}

/** Takes `--processes N` out of the arguments, for all that is run. */
function withoutProcesses(args) {
  const at = args.indexOf('--processes')
  if (at < 0) return args
  const wanted = Number(args[at + 1])
  if (!Number.isInteger(wanted) || wanted < 1) throw new Error('--processes needs a number')
  processes = wanted
  return [...args.slice(0, at), ...args.slice(at + 2)]
}

async function runSources(filters) {
  const sources = testSources().filter((path) => matches(path, filters))
  for (const text of filters) {
    if (!sources.some((path) => matches(path, [text]))) fail(`no test file matches ${text}`)
  }
  await runAll(sources)
  if (filters.length > 0 || processes > 1) return
  processes = SEVERAL
  await runAll(sources.filter((path) => TWICE.test(path) && !ONCE.includes(path)))
}

async function runAll(sources) {
  const [alone, others] = [true, false].map((is) =>
    sources.filter((path) => ALONE.includes(path) === is).map(compiledOf),
  )
  await runFiles(others, JOBS)
  await runFiles(alone, 1)
}

/** From the sources and not from dist/, where the output of a deleted file may still lie. */
function testSources() {
  return readdirSync(join(ROOT, 'test'), { recursive: true })
    .map((path) => `test/${path.replaceAll('\\', '/')}`)
    .filter((path) => path.endsWith('.test.ts'))
    .sort()
}

function matches(path, filters) {
  return filters.length === 0 || filters.some((text) => path.includes(text.replace(/^\.\//, '')))
}

function compiledOf(source) {
  return join(ROOT, 'dist', source.replace(/\.ts$/, '.js'))
}

async function runCheck({ name, command }) {
  const result = await run([join(ROOT, command[0]), ...command.slice(1)], FILE_S * 1000)
  const passed = result.code === 0
  console.log(`${passed ? 'ok     ' : 'FAILED '} ${seconds(result.ms)}  ${name}`)
  if (passed) totals.passed += 1
  else fail(name, result.output)
  return passed
}

async function runFiles(files, jobs) {
  const waiting = [...files]
  const lane = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      await runFile(file)
    }
  }
  await Promise.all(Array.from({ length: jobs }, lane))
}

async function runFile(file) {
  const path = relative(ROOT, file).replace(/^dist\/(.*)\.js$/, '$1.ts')
  const name = processes === 1 ? path : `${path} (${processes} processes)`
  let tried = await tryFile(file, name)
  if (tried.problem !== null && WHOLE_NODE.test(path)) {
    show(`first try of ${name}: ${tried.problem}`, tried.details)
    tried = await tryFile(file, name)
    if (tried.problem === null) secondTries.push(name)
  }
  results.set(name, tried)
  totals.passed += tried.counts.passed
  totals.skipped += tried.counts.skips.length
  for (const skip of tried.counts.skips) console.log(`                 skipped: ${skip}`)
  if (tried.problem === null) return
  totals.failed += Math.max(tried.counts.failed, 1) - 1
  fail(`${name}: ${tried.problem}`, tried.details)
}

async function tryFile(file, name) {
  const result = await run(['--enable-source-maps', file], FILE_S * 1000 + KILL_AFTER_MS)
  const counts = countsOf(result.output)
  const problem = problemOf(result, counts)
  const mark = problem === null ? 'ok     ' : 'FAILED '
  console.log(`${mark} ${seconds(result.ms)}  ${name}  ${counts.passed} passed`)
  const details = problem === null ? '' : withoutPassed(result.output)
  const figures = figuresIn(result.output)
  return { counts, problem, details, figures, passed: counts.passed, ms: result.ms }
}

/** tap's own account of a file, `# { total: 5, pass: 4, fail: 1 }`, and what was skipped. */
function countsOf(output) {
  const summary = [...output.matchAll(/^# \{ total: (\d+), .*\}$/gm)].at(-1)?.[0]
  const count = (word) => Number(summary?.match(new RegExp(`\\b${word}: (\\d+)`))?.[1] ?? 0)
  const skips = [...output.matchAll(/^ *ok \d+ - (.*?) # (?:SKIP|TODO)(.*)$/gm)]
  const whole = output.match(/^1\.\.0 # (.+)$/m)
  return {
    complete: summary !== undefined,
    total: count('total'),
    passed: count('pass'),
    failed: count('fail'),
    skips: [...skips.map((skip) => `${skip[1]}${skip[2]}`), ...(whole === null ? [] : [whole[1]])],
  }
}

/** Why a file counts as failed although tap may have counted no failure; null: it does not. */
function problemOf(result, counts) {
  if (result.timedOut) return `killed, still running after ${FILE_S} s`
  if (result.signal !== null) return `ended by ${result.signal}`
  if (!counts.complete) return `ended with code ${result.code} before its tests did`
  if (result.code !== 0) return `ended with code ${result.code}`
  if (counts.failed > 0) return `${counts.failed} failed`
  if (counts.total === 0 && counts.skips.length === 0) return 'has no test'
  if (result.orphans) return 'left a process behind'
  const barred = UNDER_CI ? counts.skips.find((skip) => !skip.includes('../shared')) : undefined
  return barred === undefined ? null : `may not skip under CI: ${barred}`
}

/** Runs one Node program in its own process group, so that all it started can be ended with it. */
function run(args, limitMs) {
  return new Promise((resolve) => {
    const startMs = performance.now()
    const child = spawn(process.execPath, args, {
      cwd: ROOT,
      env: childEnvironment(),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    groups.add(child.pid)
    let output = ''
    let timedOut = false
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text
      })
    }
    const timer = setTimeout(() => {
      timedOut = true
      endGroup(child.pid)
    }, limitMs)
    child.on('error', (error) => {
      output += error.stack
    })
    child.on('exit', async (code, signal) => {
      clearTimeout(timer)
      const ms = performance.now() - startMs
      const orphans = await groupOutlives(child.pid, ORPHAN_MS)
      if (orphans) endGroup(child.pid)
      groups.delete(child.pid)
      await closed(child)
      resolve({ code, signal, output, ms, timedOut, orphans })
    })
  })
}

/** All output is read; a process that left the group may hold the pipe, so only for a moment. */
function closed(child) {
  const ended = child.stdout.readableEnded && child.stderr.readableEnded
  if (ended) return Promise.resolve()
  return new Promise((resolve) => {
    child.on('close', resolve)
    setTimeout(resolve, ORPHAN_MS).unref()
  })
}

async function groupOutlives(pid, ms) {
  const endMs = performance.now() + ms
  while (performance.now() < endMs) {
    if (!groupLives(pid)) return false
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return groupLives(pid)
}

function groupLives(pid) {
  try {
    process.kill(-pid, 0)
    return true
  } catch {
    return false
  }
}

function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Already gone.
  }
}

/** A developer's own settings, and those of a tap that runs this runner, must not reach a test. */
function childEnvironment() {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(SWITCHYARD_|TAP|FORCE_COLOR$)/.test(name),
  )
  const ours = { TAP_TIMEOUT: String(FILE_S), NO_COLOR: '1', TEST_PROCESSES: String(processes) }
  return { ...Object.fromEntries(kept), ...ours }
}

function withoutPassed(output) {
  const dull = /^ *(ok \d+ |1\.\.\d+$|TAP version|# time=|# Subtest: |$)/
  const lines = output.split('\n')
  return lines.filter((line) => !dull.test(line)).join('\n')
}

function fail(what, details = '') {
  totals.failed += 1
  show(what, details)
}

function show(what, details) {
  console.log(`\n--- ${what}`)
  if (details !== '') console.log(details.trimEnd())
  console.log('---\n')
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1).padStart(6)} s`
}

/** The last line of all output. Nothing run is not a success. */
function close() {
  if (totals.passed + totals.failed + totals.skipped === 0) fail('nothing was run')
  const { passed, failed, skipped } = totals
  console.log('')
  for (const name of secondTries) console.log(`passed at the second try only: ${name}`)
  console.log(`${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`)
  process.exitCode = failed > 0 ? 1 : 0
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    for (const pid of groups) endGroup(pid)
    fail(`interrupted by ${signal}`)
    close()
    process.exit(1)
  })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  fail('the runner itself', error.stack)
}
close()
