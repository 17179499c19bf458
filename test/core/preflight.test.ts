/**
 * Goal: what a machine lacks is said in one line, and `npm start` builds when it must and not else.
 * Method: the verdict on made-up machines; the real scripts in a copy of the project's folders.
 */

import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { ROOT } from '../../bench/paths.ts'

const { judge } = await import(pathToFileURL(join(ROOT, 'core/preflight.mjs')).href)
const FINE = { version: '22.1.0', platform: 'linux', musl: false, installed: true, query: 'uws' }

t.test('the verdict', async (t) => {
  t.same(judge(FINE), { kind: 'fine', line: '' })
  t.same(judge({ ...FINE, version: '20.20.2', platform: 'darwin' }), { kind: 'fine', line: '' })
  const cases = [
    [{ version: '18.20.0' }, 'refuse', /Node 18.20.0 is too old.*20 or 22/],
    [{ version: '18.20.0', installed: false }, 'refuse', /too old/],
    [{ platform: 'win32' }, 'refuse', /Windows is not supported/],
    [{ musl: true }, 'refuse', /musl.*glibc/],
    [{ installed: false }, 'refuse', /run "npm ci"/],
    [{ version: '24.3.0', query: 'node' }, 'warn', /no uWebSockets.js binary.*node:http/],
    [{ version: '21.0.0' }, 'warn', /not tested/],
  ] as const
  for (const [over, kind, line] of cases) {
    const verdict = judge({ ...FINE, ...over })
    t.equal(verdict.kind, kind, JSON.stringify(over))
    t.match(verdict.line, line)
    t.notMatch(verdict.line, '\n')
  }
})

t.test('this machine, and one without dependencies', async (t) => {
  const here = spawnSync(process.execPath, [join(ROOT, 'core/preflight.mjs')], { encoding: 'utf8' })
  t.equal(here.status, 0, here.stderr)
  const project = emptyProject(t)
  const bare = preflight(project)
  t.equal(bare.status, 1)
  t.equal(bare.stderr, 'switchyard: the dependencies are not installed: run "npm ci"\n')
})

t.test('the build', async (t) => {
  const project = emptyProject(t)
  const none = build(project)
  t.equal(none.status, 1)
  t.match(none.stderr, /^switchyard: not built, and no compiler to build with: run "npm ci".*\n$/)

  symlinkSync(join(ROOT, 'node_modules'), join(project, 'node_modules'))
  writeFileSync(join(project, 'core/main.ts'), 'export const answer: number = 42\n')
  const lock = join(project, 'package-lock.json')
  writeFileSync(lock, '{"a":1}\n')
  t.equal(build(project).status, 0)
  const entry = join(project, 'dist/core/main.js')
  t.ok(existsSync(entry), 'built')

  writeFileSync(entry, '// untouched\n')
  t.equal(build(project).status, 0)
  t.equal(spawnSync('cat', [entry], { encoding: 'utf8' }).stdout, '// untouched\n', 'still fresh')

  const later = Date.now() / 1000 + 60
  utimesSync(lock, later, later)
  t.equal(build(project).stderr, '', 'the same lock file, written again as npm prune does')
  writeFileSync(lock, '{"a":2}\n')
  t.match(build(project).stderr, /compiling/, 'other dependencies')

  writeFileSync(join(project, 'core/main.ts'), 'export const answer: number = "x"\n')
  utimesSync(join(project, 'core/main.ts'), later, later)
  const wrong = build(project)
  t.equal(wrong.status, 1)
  t.match(wrong.stderr, /main.ts.*error TS2322[\s\S]*switchyard: the build failed\n$/)

  rmSync(join(project, 'node_modules'))
  const stale = build(project)
  t.equal(stale.status, 0)
  t.match(stale.stderr, /^switchyard: dist\/ may be older than the sources;.*used as it is\n$/)
})

function preflight(project: string) {
  const script = join(project, 'core/preflight.mjs')
  return spawnSync(process.execPath, [script], { encoding: 'utf8' })
}

function build(project: string) {
  const script = join(project, 'test/tools/build.mjs')
  return spawnSync(process.execPath, [script], { encoding: 'utf8' })
}

function emptyProject(t: Test): string {
  const project = mkdtempSync(join(tmpdir(), 'switchyard-build-'))
  t.teardown(() => rmSync(project, { recursive: true, force: true }))
  for (const folder of ['core', 'workers', 'admin', 'bench', 'test/tools']) {
    mkdirSync(join(project, folder), { recursive: true })
  }
  for (const file of [
    'package.json',
    'tsconfig.json',
    'core/preflight.mjs',
    'test/tools/build.mjs',
  ]) {
    copyFileSync(join(ROOT, file), join(project, file))
  }
  return project
}
