/**
 * Goal: from an ONNX file to a served prediction by the command line alone, as README prints it;
 * and what `bundle build` makes of a sample is served.
 * Method: the shell block of README runs against a node, word by word; what is served is made by
 * the same commands in this process. Quantiles are computed here a second time, from the model's
 * own formula.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../bench/paths.ts'
import { workplace } from '../tools/command.ts'
import { workplaceHere } from '../tools/command-shell.ts'
import { startNode } from '../tools/node.ts'
import { classifier } from '../tools/onnx-models.ts'
import { codeBlocks } from '../tools/readme.ts'

t.test('the five commands of README', async (t) => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const block = codeBlocks(readme).find(({ text }) => text.includes('bundle init'))?.text ?? ''
  const commands = block.split('\n').filter((line) => line.startsWith('npx switchyard '))
  t.equal(commands.length, 5, block)
  const node = await startNode(t)
  const place = workplace(t, { ADMIN_KEY: node.adminKey, SWITCHYARD_CLI_URL: node.adminUrl })
  // As if it were pasted in the project's folder, whose neighbours are ours.
  mkdirSync(join(place.path, 'project'))
  symlinkSync(join(ROOT, 'bench'), join(place.path, 'project/bench'))
  const program = `'${process.execPath}' '${join(ROOT, 'core/switchyard.mjs')}'`
  const npx = `npx() { shift; ${program} "$@"; }`
  const { code, stdout, stderr } = await place.bash(`set -e; ${npx}; cd project\n${block}`)
  t.equal(code, 0, stderr)
  t.match(stdout, /wrote \.\.\/scores\/service\.json/)
  t.match(stdout, /wrote \.\.\/v1\.zip/)
  t.match(stdout, /switched scores v1/)
  t.match(stdout, /^prediction +[01]$/m)
  t.match(stdout, /^probas +0 0\.\d+, 1 0\.\d+$/m)
  t.match(stdout, /generation v1, /)
})

const FEATURES = ['alcohol', 'ash', 'hue']
const ROWS = 257

/** As many as it takes to have more rows than percentiles, and no two alike. */
function sampleRows(): number[][] {
  return Array.from({ length: ROWS }, (_, i) => [
    Math.round(1e4 * Math.sin(i)) / 1e4,
    ((i * 37) % 101) / 50 - 1,
    ((i * i) % 13) / 10,
  ])
}

/** What the model of classifier(3, 2) is made of, a second time. */
function probability(row: readonly number[]): number {
  const weight = (feature: number, at: number): number => (((feature * 2 + at) * 7) % 11) / 5 - 1
  const scores = [0, 1].map((at) =>
    row.reduce((sum, value, feature) => sum + value * weight(feature, at), at / 10),
  )
  const [first = 0, second = 0] = scores.map(Math.exp)
  return second / (first + second)
}

function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1)
  const low = sorted[Math.floor(at)] ?? 0
  return low + (at % 1) * ((sorted[Math.ceil(at)] ?? 0) - low)
}

t.test('percentiles and a background of a sample are served', async (t) => {
  const node = await startNode(t)
  const env = { SWITCHYARD_CLI_KEY: node.adminKey, SWITCHYARD_CLI_URL: node.adminUrl }
  const place = workplaceHere(t, env)
  place.write('model.onnx', classifier(3, 2))
  const rows = sampleRows()
  const lines = rows.map((row, i) => `${i},${row.join(',')},${i % 2 === 0 ? 'yes' : 'no'}`)
  place.write('sample.csv', `id,${FEATURES.join(',')},bought\n${lines.join('\n')}\n`)
  const named = lines.map((line) => line.split(',').slice(1, 4).join(','))
  place.write('named.csv', `${FEATURES.join(',')}\n${named.join('\n')}\n`)
  const model = ['--model', 'model.onnx', '--endpoint', 'buys', '--sample', 'named.csv']
  await place.json('bundle', 'init', 'wine', ...model, '--public')
  const before = readFileSync(join(place.path, 'wine/service.json'), 'utf8')
  const sample = ['--sample', 'sample.csv', '--target', 'bought']
  const built = await place.json('bundle', 'build', 'wine', '-o', 'v1.zip', ...sample)
  t.match(built.samples, [{ endpoint: 'buys', rows: ROWS, backgroundRows: ROWS, ignored: 0 }])
  t.same(built.notes, ['sample.csv: no features of buys and not used: id, bought'])
  t.equal(readFileSync(join(place.path, 'wine/service.json'), 'utf8'), before, 'the folder stays')

  const sorted = rows.map(probability).sort((a, b) => a - b)
  const [{ percentiles }] = built.samples
  t.equal(percentiles.length, 101)
  const far = percentiles.filter(
    (value: number, i: number) => Math.abs(value - quantile(sorted, i / 100)) > 1e-6,
  )
  t.same(far, [], 'each is the one that is computed here')
  execFileSync('python3', ['-m', 'zipfile', '-e', 'v1.zip', 'out'], { cwd: place.path })
  const manifest = JSON.parse(readFileSync(join(place.path, 'out/service.json'), 'utf8'))
  t.same(manifest.endpoints[0].percentiles, percentiles)
  const background = readFileSync(join(place.path, 'out/background/buys.csv'), 'utf8')
  t.same(background.trim().split('\n').slice(1), named)
  const again = await place.json('bundle', 'build', 'wine', '-o', 'v2.zip', ...sample)
  t.equal(again.contentSha256, built.contentSha256)

  await place.json('generations', 'import', 'wine', 'v1.zip', '--create', '--switch')
  const row = rows[100] ?? []
  const values = FEATURES.map((name, i) => `${name}=${row[i]}`).join(',')
  const { result } = await place.json('predict', 'wine/buys', '--features', values, '--explain')
  t.ok(Math.abs(result.probas['1'] - probability(row)) < 1e-6)
  const below = sorted.filter((value) => value < probability(row)).length
  t.ok(Math.abs(result.probaPercentile - (100 * below) / ROWS) <= 1.5, result.probaPercentile)
  t.same(Object.keys(result.explanations).sort(), FEATURES)
})

t.test('a sample that does not fit is refused with its place', async (t) => {
  const place = workplaceHere(t)
  place.write('model.onnx', classifier(3, 2))
  for (const id of ['a', 'b']) {
    await place.json('bundle', 'init', 'wine', '--model', 'model.onnx', '--endpoint', id)
  }
  place.write('sample.csv', 'f0,f1,f2\n1,2,3\n1,x,3\n,2,3\n')
  place.write('other.csv', 'f0,f1,f3\n1,2,3\n')
  place.write('one.csv', 'f0,f1,f2\n1,2,3\n')
  const build = ['bundle', 'build', 'wine', '-o', 'v1.zip', '--sample']
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['sample.csv', /--sample sample\.csv: for which of a, b\? Write --sample a=sample\.csv/],
    ['a=sample.csv', /sample\.csv line 3: .*"f1".*\n.*sample\.csv line 4: .*"f0" is missing/],
    ['a=other.csv', /other\.csv has no column "f2" in its header/],
    ['a=one.csv', /percentiles need 2 rows with a score, there are 1/],
    ['a=absent.csv', /--sample absent\.csv cannot be read/],
  ]
  for (const [given, reason] of wrong) {
    const { code, stderr } = await place.switchyard(...build, given)
    t.ok(code === 1 || code === 2, given)
    t.match(stderr, reason)
  }
})
