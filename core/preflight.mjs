/**
 * Looks at the machine before anything else runs, so that what is missing is said in one line and
 * not by a stack trace of some library.
 *
 * Plain JavaScript of the oldest kind that ES modules allow: it must parse where the program
 * itself would not, and before it is compiled or installed.
 */

import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const OLDEST = 20
const TESTED = [20, 22]

/**
 * What is wrong with this machine, as data for the test: `refuse` ends the start, `warn` does not.
 * `machine` has version, platform, musl, installed, and query: 'uws' or 'node'.
 */
export function judge(machine) {
  const major = Number(machine.version.split('.')[0])
  const refuse = (line) => ({ kind: 'refuse', line })
  if (major < OLDEST) {
    return refuse(`Node ${machine.version} is too old: Switchyard needs Node 20 or 22`)
  }
  if (machine.platform === 'win32') {
    return refuse('Windows is not supported: run Switchyard on Linux (glibc) or macOS, or in WSL')
  }
  if (machine.musl) {
    return refuse('this Linux uses musl (Alpine?): the model runtime needs glibc, e.g. Debian')
  }
  if (!machine.installed) return refuse('the dependencies are not installed: run "npm ci"')
  if (machine.query === 'node') {
    return {
      kind: 'warn',
      line:
        `no uWebSockets.js binary for Node ${machine.version} on this machine: ` +
        'queries are served by node:http, which is slower; Node 20 and 22 have one',
    }
  }
  if (!TESTED.includes(major)) {
    return { kind: 'warn', line: `Node ${machine.version} is not tested: use Node 20 or 22` }
  }
  return { kind: 'fine', line: '' }
}

function inspect() {
  const installed = existsSync(join(ROOT, 'node_modules', 'commander'))
  return {
    version: process.versions.node,
    platform: process.platform,
    musl: process.platform === 'linux' && !isGlibc(),
    installed,
    query: installed && hasQueryServer() ? 'uws' : 'node',
  }
}

function isGlibc() {
  // Without this the report asks the network for names.
  process.report.excludeNetwork = true
  const { header } = process.report.getReport()
  return Boolean(header.glibcVersionRuntime)
}

/** By name and not by loading it: a wrong native file may end the process. */
function hasQueryServer() {
  const name = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`
  const folder = join(ROOT, 'node_modules', 'uWebSockets.js')
  return [folder, join(folder, 'dist', 'bin')].some(
    (place) => existsSync(place) && readdirSync(place).includes(name),
  )
}

/** Says on stderr what is wrong; false: it is no use to go on. */
export function isFit() {
  const verdict = judge(inspect())
  if (verdict.line !== '') process.stderr.write(`switchyard: ${verdict.line}\n`)
  return verdict.kind !== 'refuse'
}

const require = createRequire(import.meta.url)
const started = process.argv[1] ? pathToFileURL(require.resolve(process.argv[1])).href : ''
if (started === import.meta.url && !isFit()) process.exit(1)
