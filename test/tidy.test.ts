/**
 * Goal: the house rules hold in every file, without anybody having to remember them.
 * Method: each rule walks the syntax trees of the whole project; and each rule is given small bad
 * files which it must refuse and good ones which it must accept, because a rule that finds nothing
 * may just be blind.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../bench/paths.ts'
import * as code from './tools/code-rules.ts'
import { deadFiles, type Faults, layers, libraries } from './tools/layer-rules.ts'
import { completed, missingOptionals, readLock } from './tools/lockfile.ts'
import { FOLDERS, parse, readSources, type Source } from './tools/source.ts'
import { text } from './tools/text-rules.ts'

const sources = readSources()

interface Rule {
  readonly check: (source: Source) => Faults
  /** Files, path and text, each of which the rule must refuse. */
  readonly refuses: readonly (readonly [string, string])[]
  readonly accepts: readonly (readonly [string, string])[]
}

const long = (lines: number): string => '  f()\n'.repeat(lines)

const RULES: Readonly<Record<string, Rule>> = {
  layers: {
    check: layers,
    refuses: [
      ['core/query/a.ts', `import { b } from '../../admin/b.ts'`],
      ['core/query/a.ts', `export const b = await import('../../admin/b.ts')`],
      ['core/engine/a.ts', `import type { B } from '../../workers/onnx/b.ts'`],
      ['core/http/a.ts', `import { b } from '../engine/b.ts'`],
      ['core/dispatch/a.ts', `import type { B } from '../http/exchange.ts'`],
      ['core/dispatch/a.ts', `export type B = import('../http/exchange.ts').Exchange`],
      ['core/base/a.ts', `import { b } from '../config/limits.ts'`],
      ['core/serve.ts', `import { b } from '../admin/b.ts'`],
      ['core/main.ts', `import { b } from '../admin/store/b.ts'`],
      ['workers/a.ts', `import { b } from '../core/config/options.ts'`],
      ['workers/onnx/a.ts', `import { b } from '../../core/metrics/b.ts'`],
      ['admin/routes/a.ts', `export { b } from '../../core/engine/b.ts'`],
      ['admin/a.ts', `import { b } from '../workers/forge/main.ts'`],
    ],
    accepts: [
      ['core/main.ts', `await import('../admin/control.ts')`],
      ['core/serve.ts', `import { b } from './query/b.ts'`],
      ['core/dispatch/a.ts', `import type { B } from '../../workers/protocol.ts'`],
      ['workers/a.ts', `import { LIMITS } from '../core/config/limits.ts'`],
      ['admin/routes/a.ts', `import { b } from '../../core/http/b.ts'\nimport c from 'node:fs'`],
    ],
  },
  sizes: {
    check: code.sizes,
    refuses: [
      ['core/a.ts', `// ${'x'.repeat(code.LINE_COLUMNS_MAX)}`],
      ['core/a.ts', long(code.FILE_LINES_MAX + 1)],
      ['core/a.ts', `function a() {\n${long(code.FUNCTION_LINES_MAX)}}`],
      ['test/a.test.ts', `t.test('a', async () => {\n${long(code.FUNCTION_LINES_MAX)}})`],
      ['core/a.ts', `class A {\n  b() {\n${long(code.FUNCTION_LINES_MAX)}}\n}`],
    ],
    accepts: [
      ['core/a.ts', `${'x'.repeat(code.LINE_COLUMNS_MAX)}\n`],
      ['core/a.ts', `function a() {\n${long(code.FUNCTION_LINES_MAX - 2)}}`],
    ],
  },
  heads: {
    check: code.heads,
    refuses: [
      ['core/a.ts', `import a from 'b'`],
      ['core/a.ts', '// A line comment.\n'],
    ],
    accepts: [['core/a.ts', '/** What it is for. */\n']],
  },
  casts: {
    check: code.casts,
    refuses: [
      ['core/a.ts', 'const a = b as C, d = e as unknown as F'],
      ['core/a.ts', 'const a = b!, d = e!.f!.g'],
    ],
    accepts: [
      ['core/a.ts', 'const a = b as C, d = e!, f = [1] as const, g = h satisfies I'],
      ['test/a.ts', 'const a = b as C, d = e as unknown as F'],
    ],
  },
  parameters: {
    check: code.parameters,
    refuses: [
      ['core/a.ts', 'function a(b: 1, c: 2, d: 3, e: 4, f: 5) {}'],
      ['core/a.ts', 'class A { constructor(b: 1, c: 2, d: 3, e: 4, f: 5) {} }'],
    ],
    accepts: [['core/a.ts', 'function a(b: 1, c: 2, d: 3) {}']],
  },
  syntax: {
    check: code.syntax,
    refuses: [
      ['core/a.ts', 'enum A { B }'],
      ['core/a.ts', 'const a: any = 1'],
      ['core/a.ts', 'function f(a: Map<string, any>) {}'],
      ['core/a.ts', 'namespace A { export const b = 1 }'],
      ['core/index.ts', `export * from './a.ts'`],
      ['core/index.ts', `export { a } from './a.ts'`],
    ],
    accepts: [['core/a.ts', '// any enum\nconst a: unknown = "any"\nexport { a }']],
  },
  banned: {
    check: code.banned,
    refuses: [
      ['core/a.ts', `const a = process.env['B']`],
      ['admin/a.ts', 'process.exit(1)'],
      ['workers/a.ts', 'console.log(1)'],
      ['core/a.ts', 'const a = Date.now()'],
      ['core/a.ts', 'const a = performance.now()'],
      ['core/a.ts', 'const a = process.hrtime.bigint()'],
      ['core/main.ts', 'const a = new Date()'],
      ['core/engine/a.ts', 'await worker.terminate()'],
      ['workers/forge/a.ts', 'archive.Extract({ path })'],
    ],
    accepts: [
      ['core/main.ts', `process.env['A']; process.exit(1); console.log(1)`],
      ['core/base/clock.ts', 'const a = Date.now()'],
      ['core/a.ts', 'const a: Extract<B, C> = new Date(5) // process.env'],
      ['bench/a.ts', 'console.log(performance.now())'],
    ],
  },
  errors: {
    check: code.errors,
    refuses: [
      ['admin/routes/a.ts', `throw new Error('busy')`],
      ['core/query/a.ts', `throw new TypeError('busy')`],
      ['core/dispatch/a.ts', `callback(new Error('busy'))`],
    ],
    accepts: [
      ['admin/a.ts', `throw new AppError('ERR_LANE_FULL')`],
      ['workers/onnx/a.ts', `throw new Error('not a tensor')`],
    ],
  },
  pools: {
    check: code.pools,
    refuses: [
      ['core/engine/a.ts', 'new Piscina({ filename, maxQueue: 0 })'],
      ['core/engine/a.ts', 'new Piscina({ filename, idleTimeout: 1 })'],
      ['core/engine/a.ts', 'new Piscina(options)'],
      ['core/engine/a.ts', 'pool.run(task, { signal })'],
      ['core/engine/a.ts', 'pool.run(task, { name: "a", signal: b.signal })'],
    ],
    accepts: [
      ['core/engine/a.ts', 'new Piscina({ maxQueue: 0, idleTimeout: Infinity }).run(a, { name })'],
    ],
  },
  transactions: {
    check: code.transactions,
    refuses: [
      ['admin/store/a.ts', 'await env.childTransaction(f); env.transaction(() => {})'],
      ['admin/store/a.ts', 'await db.put(key, value)'],
      ['admin/routes/a.ts', 'db.removeSync(key)'],
    ],
    accepts: [['admin/store/a.ts', 'await env.childTransaction(() => { env.put(key, value) })']],
  },
  importTime: {
    check: code.importTime,
    refuses: [
      ['core/a.ts', 'setInterval(tick, 1000)'],
      ['admin/a.ts', 'await open()'],
      ['core/a.ts', 'if (b) start()'],
    ],
    accepts: [
      ['core/a.ts', `assert(A > B, 'a is larger')\nconst C = f(1)\nfunction d() { e() }`],
      ['core/main.ts', 'start()'],
    ],
  },
}

for (const [name, rule] of Object.entries(RULES)) {
  t.test(`rule ${name}`, async (t) => {
    for (const [path, body] of rule.refuses) {
      t.not(rule.check(parse(path, body)).length, 0, `refused in ${path}: ${body.slice(0, 60)}`)
    }
    for (const [path, body] of rule.accepts) {
      t.same(rule.check(parse(path, body)), [], `accepted in ${path}: ${body.slice(0, 60)}`)
    }
    t.same(sources.flatMap(rule.check), [], `${name}: all files`)
  })
}

t.test('the whole project was read', async (t) => {
  for (const folder of FOLDERS) {
    t.ok(
      sources.some((source) => source.path.startsWith(`${folder}/`)),
      folder,
    )
  }
  t.ok(sources.length > 60, `${sources.length} files`)
})

t.test('libraries have one home', async (t) => {
  const piscina = `import { Piscina } from 'piscina'`
  const wrong = libraries([
    parse('core/query/a.ts', piscina),
    parse('core/engine/b.ts', piscina),
    parse('core/engine/c.ts', piscina),
    parse('core/engine/d.ts', `import type { Piscina } from 'piscina'`),
    parse('admin/e.ts', `import { x } from 'onnxruntime-node/x'`),
    parse('bench/f.ts', piscina),
  ])
  t.same(wrong.map((fault) => fault.split(':')[0]).sort(), [
    'admin/e.ts',
    'core/engine/c.ts',
    'core/query/a.ts',
  ])
  t.same(libraries(sources), [])
})

t.test('no file is dead', async (t) => {
  const some = [
    parse('core/main.ts', `await import('./serve.ts')`),
    parse('core/serve.ts', `import { a } from './query/a.ts'`),
    parse('core/query/a.ts', 'export const a = 1'),
    parse('core/query/b.ts', `import { a } from './a.ts'`),
    parse('test/b.test.ts', `import { b } from '../core/query/b.ts'`),
  ]
  t.match(deadFiles(some), [/^core\/query\/b\.ts:/])
  t.equal(deadFiles(some).length, 1)
  t.same(deadFiles(sources), [])
})

/** Folders that hold what is installed, built or measured, and the two standard texts. */
const NOT_OURS = /^(node_modules|dist|data|\.git|\.tap|bench\/results)(\/|$)|^LICENSE$/
const IS_TEXT = /\.(ts|mjs|js|json|md|yml|yaml|py|sh|txt)$|(^|\/)\.?[a-z]+$/

function projectFiles(folder = ''): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (NOT_OURS.test(path)) return []
    if (entry.isDirectory()) return projectFiles(path)
    return entry.isFile() && IS_TEXT.test(path) ? [path] : []
  })
}

t.test('texts name no machine, no registry and no document that is not here', async (t) => {
  const letter = 'X'
  const bad = [
    `// TO${'DO'}: later`,
    `const home = '/ro${'ot'}/x'`,
    `see /wo${'rk'}/main`,
    `cat /t${'mp'}/x`,
    `https://regis${'try'}.npmjs.org/lmdb`,
    `"reso${'lved'}": "somewhere"`,
    `as decis${'ion'} 12 says`,
    `see DESI${'GN'}.md`,
    `// ${letter}${letter}${letter}`,
  ]
  for (const line of bad) {
    t.equal(text({ path: 'core/a.ts', text: line }, ['README.md']).length, 1, `refused: ${line}`)
  }
  const fine = `README.md, /admin/api/work/tmp, https://example.org/home/x, \${root}/work/x`
  t.same(text({ path: 'a.md', text: fine }, ['README.md']), [])
  const documents = ['README.md', 'CHANGELOG.md']
  const files = projectFiles()
  t.ok(files.includes('package-lock.json') && files.includes('core/main.ts'), 'files were found')
  const faults = files.flatMap((path) =>
    text({ path, text: readFileSync(join(ROOT, path), 'utf8') }, documents),
  )
  t.same(faults, [])
})

t.test('the top level holds what it should and no more', async (t) => {
  const folders = readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .filter((name) => !['node_modules', 'dist', 'data'].includes(name))
  t.same(folders.sort(), [...FOLDERS].sort())
  for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', '.nvmrc', '.ci/run']) {
    t.ok(existsSync(join(ROOT, name)), name)
  }
})

t.test('the lock file is whole for every platform and fits package.json', async (t) => {
  const lock = readLock()
  t.same(missingOptionals(lock), [], 'npm run lockfile adds them')
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const root = lock.packages['']
  t.same(root?.dependencies, manifest.dependencies)
  t.same(root?.devDependencies, manifest.devDependencies)
  for (const [place, entry] of Object.entries(lock.packages)) {
    if (entry.resolved !== undefined) t.fail(`${place} names a registry`)
    if (place !== '' && entry.version === undefined) t.fail(`${place} has no version`)
    const unseen = place !== '' && entry.integrity === undefined
    if (unseen && entry.optional !== true) t.fail(`${place} has no checksum`)
  }
})

t.test('a lock with missing packages is found out and completed', async (t) => {
  const lock = {
    packages: {
      '': { dependencies: { a: '1.0.0' } },
      'node_modules/a': {
        version: '1.0.0',
        dev: true,
        optionalDependencies: { '@a/linux-x64-musl': '1.0.0', '@a/win32-x64-msvc': '1.0.0' },
      },
      'node_modules/@a/win32-x64-msvc': { version: '1.0.0', os: ['win32'] },
    },
  }
  t.same(missingOptionals(lock), [
    { name: '@a/linux-x64-musl', version: '1.0.0', wantedBy: 'node_modules/a' },
  ])
  const whole = completed(lock)
  t.same(missingOptionals(whole), [])
  t.same(whole.packages['node_modules/@a/linux-x64-musl'], {
    version: '1.0.0',
    cpu: ['x64'],
    dev: true,
    libc: ['musl'],
    optional: true,
    os: ['linux'],
  })
  const range = { packages: { a: { optionalDependencies: { '@a/linux-x64': '^1.0.0' } } } }
  t.throws(() => completed(range), /not an exact version/)
})
