/**
 * Builds only when dist/ is older than the sources, so that `npm start` is quick the second time
 * and works where the compiler is not installed (`npm ci --omit=dev`, or a release that carries
 * dist/). `--force` builds anyway.
 *
 * Plain JavaScript, because it runs before anything is compiled.
 */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const FOLDERS = ['core', 'workers', 'admin', 'bench', 'test']
const COMPILER = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
/** Written by every bench; no source. */
const RESULTS = join(ROOT, 'bench', 'results')
const ENTRY = join(ROOT, 'dist', 'core', 'main.js')
/**
 * Its time says when a whole build last succeeded, its text with which dependencies; tsc's own file
 * is not always written anew.
 */
const STAMP = join(ROOT, 'dist', '.built')

/** Folders count too: their time changes when a file is removed. */
function newestMs() {
  let newest = statSync(join(ROOT, 'tsconfig.json')).mtimeMs
  for (const folder of FOLDERS) {
    newest = Math.max(newest, statSync(join(ROOT, folder)).mtimeMs)
    for (const entry of readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isDirectory() && !entry.name.endsWith('.ts')) continue
      const path = join(entry.parentPath ?? entry.path, entry.name)
      if (path.startsWith(RESULTS)) continue
      newest = Math.max(newest, statSync(path).mtimeMs)
    }
  }
  return newest
}

/**
 * What is compiled against may have other types when the lock file says something else. Its time
 * tells nothing: `npm prune` writes the same again. A release may have none.
 */
function dependencies() {
  const path = join(ROOT, 'package-lock.json')
  return existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex') : 'none'
}

function isFresh() {
  if (!existsSync(ENTRY) || !existsSync(STAMP)) return false
  const isSame = readFileSync(STAMP, 'utf8').trim() === dependencies()
  return isSame && statSync(STAMP).mtimeMs >= newestMs()
}

function say(line) {
  process.stderr.write(`switchyard: ${line}\n`)
}

/** Exit code. What it and the compiler say goes to stderr. */
export function build(forced = false) {
  if (isFresh() && !forced) return 0
  if (!existsSync(COMPILER)) return useWhatIsThere()
  // tsc writes only what it believes to be absent, and does not look.
  if (forced || !existsSync(ENTRY)) rmSync(join(ROOT, 'dist', '.tsbuildinfo'), { force: true })
  const startMs = Date.now()
  say('compiling the sources into dist/, about ten seconds')
  const result = spawnSync(process.execPath, [COMPILER], { cwd: ROOT, stdio: ['ignore', 2, 2] })
  if (result.status !== 0) {
    say('the build failed')
    return 1
  }
  // The time of the start: what was saved while tsc ran may not be in the build.
  writeFileSync(STAMP, `${dependencies()}\n`)
  utimesSync(STAMP, startMs / 1000, startMs / 1000)
  return 0
}

function useWhatIsThere() {
  if (!existsSync(ENTRY)) {
    say('not built, and no compiler to build with: run "npm ci", or use a release with dist/')
    return 1
  }
  say('dist/ may be older than the sources; no compiler is installed, so it is used as it is')
  return 0
}

// The `switchyard` command calls it; else it is a program.
if (
  process.argv[1] !== undefined &&
  realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)
) {
  process.exitCode = build(process.argv.includes('--force'))
}
