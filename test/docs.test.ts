/**
 * Goal: README.md says what is so. A newcomer pastes from it, and clients read its tables.
 * Method: its tables are compared with the ones made from code, in both directions; every file,
 * script, setting and anchor that it names must exist; its manifests pass the node's own check and
 * its shell blocks the shell's.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { optionsOf, readCommandLine } from '../admin/cli/program.ts'
import { commands } from '../admin/cli/table.ts'
import { ROOT } from '../bench/paths.ts'
import { checkManifestText } from '../core/bundle/check.ts'
import { ManifestSchema } from '../core/bundle/manifest.ts'
import { OPTIONS } from '../core/config/options.ts'
import { anchors, codeBlocks, jsonTexts, TABLES, tableIn } from './tools/readme.ts'
import { readSources } from './tools/source.ts'

const path = join(ROOT, 'README.md')
const readme = existsSync(path) ? readFileSync(path, 'utf8') : ''
const blocks = codeBlocks(readme)

/** First groups of every match, without repetition. */
function named(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map(([, name]) => name ?? ''))]
}

t.test('there is a README, and a newcomer finds the two commands at once', async (t) => {
  const [first = ''] = readme.split(/^## /m)
  t.match(readme, /^# Switchyard\n/)
  t.ok(readme.indexOf('npm ci && npm start') > 0, 'npm ci && npm start')
  t.ok(readme.indexOf('npm ci && npm test') > 0, 'npm ci && npm test')
  t.match(first, /Node 2[02]/, 'the Node versions come before the first section')
})

for (const [name, markdown] of Object.entries(TABLES)) {
  t.test(`the table of ${name} is the one in the code; npm run readme writes it`, async (t) => {
    t.equal(tableIn(readme, markdown()), markdown())
  })
}

t.test('every error code that README names exists', async (t) => {
  const codes = named(TABLES['errors']?.() ?? '', /(ERR_\w+)/g)
  t.ok(codes.length > 20)
  for (const code of named(readme, /\b(ERR_[A-Z_]+)\b/g)) t.ok(codes.includes(code), code)
})

t.test('every file and folder that README names exists', async (t) => {
  const files = named(readme, /`((?:core|workers|admin|bench|test|\.ci)\/[\w./-]*)`/g)
  const sources = files.filter((name) => name.endsWith('.ts'))
  t.ok(sources.length >= 16, `both traces are there: ${sources.length} source files are named`)
  for (const name of files) t.ok(existsSync(join(ROOT, name)), name)
})

t.test('each promise names the tests that hold it', async (t) => {
  const [, contract = ''] = readme.split('## What it promises')
  const rows = contract.split('\n## ')[0]?.match(/^\| \d+ \|.*$/gm) ?? []
  t.equal(rows.length, 18)
  for (const [i, row] of rows.entries()) {
    const [number, , held = ''] = row.split(' | ')
    t.equal(number, `| ${i + 1}`)
    t.match(held, /`test\/[\w./-]+\.test\.ts`/, row)
  }
})

t.test('every folder of core, workers and admin has its line in README', async (t) => {
  const paths = readSources().map((source) => source.path)
  const folders = named(paths.join('\n'), /^((?:core|workers|admin)\/[\w-]+)\//gm)
  t.ok(folders.length >= 12, `${folders.length} folders`)
  for (const folder of folders) t.ok(readme.includes(folder), `README names ${folder}`)
})

t.test('every link into the project or the page leads somewhere', async (t) => {
  const known = anchors(readme)
  for (const link of named(readme, /\]\(([^)\s]+)\)/g)) {
    if (link.startsWith('#')) t.ok(known.includes(link.slice(1)), link)
    else if (!/^[a-z]+:/.test(link)) t.ok(existsSync(join(ROOT, link.replace(/#.*/, ''))), link)
  }
})

t.test('every npm script that README names exists', async (t) => {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const scripts = named(readme, /\bnpm run (?:--silent )?([\w:-]+)/g)
  t.ok(scripts.includes('bench') && scripts.includes('schema'), 'bench and schema are explained')
  for (const script of scripts) t.ok(script in manifest.scripts, `npm run ${script}`)
})

t.test('every command line of README is one that the command takes', async (t) => {
  const lines = named(readme, /^(?:.* \| )?(?:npx )?switchyard (.*)$/gm)
  t.ok(lines.length > 12, `${lines.length} lines`)
  for (const line of lines) {
    const [words = ''] = line.replace(/\$\([^)]*\)/g, 'x').split(/ +#/)
    const reading = readCommandLine(commands(), words.split(/ +/))
    t.equal(reading.kind, 'run', line)
  }
})

t.test('every setting that README names exists', async (t) => {
  // Beside settings: two for the code of bundles, and those of the command line.
  const ours = Object.values(OPTIONS).map((row) => row.env as string)
  const variables = [...ours, 'SWITCHYARD_URL', 'SWITCHYARD_API_KEY']
  const helps = commands().flatMap((row) => optionsOf(row).map(({ about }) => about))
  variables.push(...named(helps.join(), /(SWITCHYARD_CLI_[A-Z_]+)/g))
  const flags = Object.values(OPTIONS).flatMap(({ flag }) =>
    flag === null ? [] : [`--${flag}`, `--no-${flag}`],
  )
  for (const name of named(readme, /\b(SWITCHYARD_[A-Z_]+)\b/g))
    t.ok(variables.includes(name), name)
  const starts = [...readme.matchAll(/npm start -- (.*)/g)].map(([, rest]) => rest ?? '').join(' ')
  for (const flag of named(starts, /(--[a-z-]+)/g)) t.ok([...flags, '--help'].includes(flag), flag)
})

t.test('every manifest in README would be imported', async (t) => {
  const texts = jsonTexts(blocks)
  const manifests = texts.filter((text) => text.includes('"formatVersion"'))
  t.ok(manifests.length >= 1, 'a manifest is shown')
  for (const text of texts) t.doesNotThrow(() => JSON.parse(text), text.slice(0, 60))
  for (const text of manifests) {
    const files = new Set(['service.json', ...named(text, /"model":\s*"([^"]+)"/g)])
    const context = { serviceId: null, generationId: null, fileName: 'v1.zip', files }
    const checked = checkManifestText(text, context)
    t.same(checked.kind === 'invalid' ? checked.faults : [], [], text.slice(0, 60))
  }
})

t.test('every key of the manifest is explained in README', async (t) => {
  const keys = propertyNames(ManifestSchema)
  t.ok(keys.includes('testQueries') && keys.includes('onMissing'), 'keys were found')
  for (const key of keys) t.match(readme, new RegExp(`[\`".]${key}[\`"]`), key)
})

/** Names of the properties of a JSON Schema, all levels. */
function propertyNames(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const { properties, ...rest } = { properties: {}, ...schema }
  const below = [...Object.values(properties), ...Object.values(rest)]
  return [...new Set([...Object.keys(properties), ...below.flatMap(propertyNames)])]
}

/** Reads the script and runs nothing. */
function bashSays(script: string): { status: number | null; stderr: string } {
  return spawnSync('bash', ['-n'], { input: script, encoding: 'utf8' })
}

t.test('what README tells to paste is a shell script', async (t) => {
  const scripts = blocks.filter(({ language }) => ['sh', 'bash', 'shell'].includes(language))
  t.ok(scripts.length >= 5, `${scripts.length} shell blocks`)
  for (const { text } of scripts) {
    const { status, stderr } = bashSays(text)
    t.equal(status, 0, `${text.slice(0, 60)} ${stderr}`)
  }
})

t.test('the reader of README sees what is in it', async (t) => {
  const page = '# A b, c\n\n| K | V |\n|---|---|\n| 1 | 2 |\n\ntext\n'
  t.equal(tableIn(page, '| K | V |\n|---|---|\n'), '| K | V |\n|---|---|\n| 1 | 2 |\n')
  t.equal(tableIn(page, '| K | W |\n|---|---|\n'), null)
  t.same(anchors(page), ['a-b-c'])
  const shell = '```sh\ncat > a <<\'JSON\'\n{ "b": 1 }\nJSON\n```\n```json\n[2]\n```\n'
  t.same(
    jsonTexts(codeBlocks(shell)).map((text) => JSON.parse(text)),
    [{ b: 1 }, [2]],
  )
  t.not(bashSays('if true; then').status, 0)
})

t.test('the changelog is open', async (t) => {
  t.match(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'), /^## Unreleased$/m)
})
