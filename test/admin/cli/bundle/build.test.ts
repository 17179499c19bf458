/**
 * Goal: `bundle check` and `bundle build` say of a bundle what a node would, and an archive is the
 * same whenever it is made.
 * Method: the commands on folders and archives, good and bad, some as the compiled program and the
 * others in this process; archives are read by another program, and compared byte for byte.
 */

import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../../../bench/paths.ts'
import { workplace } from '../../../tools/command.ts'
import { workplaceHere } from '../../../tools/command-shell.ts'
import { allocates, classifier, endlessLoop } from '../../../tools/onnx-models.ts'

const EXAMPLE = join(ROOT, 'bench/bundles/std-prediction')

function manifest(endpoints: readonly object[], more: object = {}): string {
  return JSON.stringify({ formatVersion: 1, authorization: 'PUBLIC', ...more, endpoints })
}

const MODEL = { id: 'm', type: 'STD_PREDICTION', model: 'model.onnx' }

t.test('a folder becomes an archive that can be checked and read', async (t) => {
  const place = workplace(t)
  cpSync(EXAMPLE, join(place.path, 'late'), { recursive: true })
  place.write('late/.hidden', 'x')
  place.write('late/__pycache__/a.pyc', 'x')
  place.write('late/old.zip', 'PK')
  place.write('late/data/values.csv', 'a\n1\n')
  const built = await place.json('bundle', 'build', 'late', '-o', 'v1.zip')
  t.equal(built.archive, join(place.path, 'v1.zip'))
  t.equal(built.generationId, 'v1')
  t.same(built.notes, ['old.zip is an archive and was left out'])
  t.same(built.endpoints, [{ id: 'late', type: 'STD_PREDICTION' }])
  t.equal(built.report.endpoints[0].batchable, true)
  const names = execFileSync('python3', ['-m', 'zipfile', '-l', 'v1.zip'], {
    cwd: place.path,
    encoding: 'utf8',
  })
  t.match(names, /data\/values\.csv.*late\.onnx.*service\.json/s)
  t.notMatch(names, /hidden|pycache|old\.zip/)
  t.notMatch(readdirSync(place.path).join(), /\.v1/, 'nothing else is left beside it')

  const checked = await place.json('bundle', 'check', 'v1.zip')
  t.equal(checked.contentSha256, built.contentSha256)
  const { stdout } = await place.switchyard('bundle', 'check', 'late')
  t.match(stdout, /ENDPOINT +TYPE +PREDICTS/)
  t.match(stdout, /late +STD_PREDICTION +binary classification .* 2 of 2 passed/)
  t.match(stdout, /inputs +kg \(number\), km \(number\), express \(boolean\)/)
})

t.test('the same files give the same bytes', async (t) => {
  const place = workplace(t)
  const other = workplace(t, { TZ: 'Pacific/Auckland', LC_ALL: 'C' })
  cpSync(EXAMPLE, join(place.path, 'late'), { recursive: true })
  mkdirSync(join(other.path, 'b'))
  // Written in another order, at another time.
  for (const name of readdirSync(EXAMPLE).toReversed()) {
    const file = other.write(`b/${name}`, readFileSync(join(EXAMPLE, name)))
    utimesSync(file, 1e9, 1e9)
  }
  await place.json('bundle', 'build', 'late', '-o', 'v1.zip')
  await other.json('bundle', 'build', 'b', '-o', 'v2.zip')
  const [one, two] = [join(place.path, 'v1.zip'), join(other.path, 'v2.zip')]
  t.ok(readFileSync(one).equals(readFileSync(two)))
})

t.test('what shrinks so much that a node would refuse it is stored as it is', async (t) => {
  const place = workplaceHere(t)
  place.write('b/service.json', manifest([MODEL]))
  place.write('b/model.onnx', classifier(3, 2))
  place.write('b/zeros.bin', Buffer.alloc(3_000_000))
  const built = await place.json('bundle', 'build', 'b', '-o', 'v1.zip')
  t.ok(built.bytes > 3_000_000, `${built.bytes} bytes`)
})

t.test('all faults are told, each with its path, and no archive is left', async (t) => {
  const place = workplaceHere(t)
  place.write('b/service.json', manifest([{ ...MODEL, modle: 1 }, MODEL], { pool: { threads: 0 } }))
  const { code, stderr, stdout } = await place.switchyard('bundle', 'build', 'b', '-o', 'v1.zip')
  t.equal(code, 1)
  t.equal(stdout, '')
  t.match(stderr, /^ {2}endpoints\[0\]\.modle: "modle" is no known key/m)
  t.match(stderr, /^ {2}pool\.threads: threads must be 1 or more/m)
  t.match(stderr, /^ {2}endpoints\[1\]\.id: "m" is the id of endpoints\[0\] already/m)
  t.same(readdirSync(place.path), ['b'])
  const refused = await place.switchyard('bundle', 'check', 'b', '--json')
  t.equal(refused.code, 1)
  const { code: name, faults } = JSON.parse(refused.stdout)
  t.equal(name, 'ERR_BUNDLE_INVALID')
  t.ok(faults.length >= 3)
})

t.test('a model that hangs or takes all memory is refused, and the command lives', async (t) => {
  const place = workplace(t)
  place.write('node.json', JSON.stringify({ forgeMs: 6_000 }))
  place.write('hangs/service.json', manifest([MODEL]))
  place.write('hangs/model.onnx', endlessLoop())
  const hangs = await place.switchyard('bundle', 'check', 'hangs', '--config', 'node.json')
  t.equal(hangs.code, 1)
  t.match(hangs.stderr, /did not finish within 6 s: ended while testing endpoint m/)
  place.write('greedy/service.json', manifest([MODEL]))
  place.write('greedy/model.onnx', allocates(16 * 2 ** 30))
  const greedy = await place.switchyard('bundle', 'check', 'greedy')
  t.equal(greedy.code, 1)
  t.match(greedy.stderr, /memory|alloc/i)
})

t.test('what only a node knows is told and not tried', async (t) => {
  const place = workplaceHere(t)
  const query = { type: 'SQL_QUERY', query: 'SELECT 1', connection: 'crm' }
  const authorization = { method: 'OAUTH2', issuer: 'corp', audiences: ['a'] }
  const endpoints = [MODEL, { ...query, id: 'q' }]
  place.write('b/service.json', manifest(endpoints, { authorization }))
  place.write('b/model.onnx', classifier(3, 2))
  const checked = await place.json('bundle', 'check', 'b')
  t.same(
    checked.unknown.map(({ path }: { path: string }) => path),
    ['endpoints[1].connection', 'authorization.issuer'],
  )
  t.same(
    checked.endpoints.map(({ id }: { id: string }) => id),
    ['m'],
  )
  const { stdout } = await place.switchyard('bundle', 'check', 'b')
  t.match(stdout, /Not tried here:\n {2}endpoints\[1\]\.connection: the connection "crm" is known/)
  // With the settings of a node it is judged as there.
  place.write('node.json', '{}')
  const there = await place.switchyard('bundle', 'check', 'b', '--config', 'node.json')
  t.equal(there.code, 1)
  t.match(there.stderr, /authorization\.issuer: "corp" is no issuer of this node/)
})

t.test('an interpreter that is not here is told', async (t) => {
  const place = workplaceHere(t, { PATH: '/nowhere' })
  cpSync(join(ROOT, 'bench/bundles/python-function'), join(place.path, 'b'), { recursive: true })
  const { unknown, endpoints } = await place.json('bundle', 'check', 'b')
  t.same(endpoints, [])
  t.match(unknown, [{ path: 'endpoints[0].file', reason: /needs Python.*--python/ }])
})

t.test('what cannot be meant is said in one line', async (t) => {
  const place = workplaceHere(t)
  mkdirSync(join(place.path, 'empty'))
  place.write('notes.txt', 'no archive')
  place.write('b/service.json', manifest([MODEL]))
  place.write('b/model.onnx', classifier(3, 2))
  const wrong: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['bundle', 'check', 'absent'], 2, /absent cannot be read: ENOENT/],
    [['bundle', 'check', 'notes.txt'], 1, /not a ZIP|no ZIP|ZIP/i],
    [['bundle', 'build', 'empty'], 2, /empty has no service\.json; "switchyard bundle init/],
    [['bundle', 'build', 'b', '-o', 'notes.txt'], 1, /notes\.txt is there and is no archive/],
    [['bundle', 'build', 'b', '-o', 'no/where.zip'], 1, /the archive cannot be written: ENOENT/],
    [['bundle', 'check', 'b', '--service', 'x', 'y'], 2, /too many arguments/],
  ]
  for (const [args, code, reason] of wrong) {
    const ran = await place.switchyard(...args)
    t.equal(ran.code, code, args.join(' '))
    t.match(ran.stderr, reason)
    t.equal(ran.stderr.trim().split('\n').length, 1, ran.stderr)
  }
  t.equal(readFileSync(join(place.path, 'notes.txt'), 'utf8'), 'no archive')
  symlinkSync(place.path, join(place.path, 'b/loop'))
  const loop = await place.switchyard('bundle', 'build', 'b')
  t.match(loop.stderr, /loop is a link to a folder/)
})
