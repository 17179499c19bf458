/**
 * Goal: a node is run from the command line alone: every command does what it says, prints a table
 * for people and the node's own JSON for programs, and ends with the code that scripts need.
 * Method: the commands against a started node, through the whole life of a service: in this
 * process, and as a child process where that is what is tried; in pipes, at a terminal (which
 * `script` makes), and over TLS.
 */

import { once } from 'node:events'
import { existsSync, readdirSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { exampleBundle } from '../tools/bundles.ts'
import { authority, issue, withoutOpenssl } from '../tools/certificates.ts'
import { bundleOf } from '../tools/client.ts'
import { type Workplace, workplace } from '../tools/command.ts'
import { workplaceHere } from '../tools/command-shell.ts'
import { startNode } from '../tools/node.ts'
import { regressor } from '../tools/onnx-models.ts'
import { until } from '../tools/waiting.ts'

/** For what a busy machine does late. */
const WAIT_MS = 60_000

const node = await startNode(t)

/** Its commands run in this process, but for those of `bash`, `terminal` and `start`. */
function operator(
  t: Test,
  more: Readonly<Record<string, string>> = {},
  make = workplaceHere,
): Workplace {
  const known = { SWITCHYARD_CLI_URL: node.adminUrl, SWITCHYARD_CLI_KEY: node.adminKey }
  const place = make(t, { ...known, ...more })
  place.write('v1.zip', exampleBundle('std-prediction'))
  place.write('v2.zip', bundleOf(regressor(2), {}, { authorization: 'PUBLIC' }))
  return place
}

/** Each command is a process of its own. */
function program(t: Test): Workplace {
  return operator(t, {}, workplace)
}

/** What people see, when it ends well; a table as its lines. */
async function lines(place: Workplace, command: string): Promise<string[]> {
  const { code, stdout, stderr } = await place.switchyard(...command.split(' '))
  if (code !== 0 || stderr !== '') throw new Error(`${command}: ${code} ${stderr}`)
  return stdout.trimEnd().split('\n')
}

/** With a row, rows, a file, stdin, and of one generation; `late` of wine v1. */
async function asks(t: Test, place: Workplace): Promise<void> {
  place.write('rows.json', '[{"kg": 2, "km": 100}, {"kg": 12, "km": 900}]')
  place.write('body.json', '{"features": {"kg": 12, "km": 900}}')
  t.match(await lines(place, 'predict wine/late --features kg=2,km=100'), [
    'prediction  on time',
    /^probas {6}late 0\.\d+, on time 0\.\d+$/,
    '',
    /^generation v1, [\d.]+ ms$/,
  ])
  const many = await lines(place, 'predict wine/late --row kg=2,km=100 --row kg=12')
  t.match(many, [/^PREDICTION +PROBAS +IGNORED/, /^on time/, /feature "km" is missing/])
  const rows = await place.json('predict', 'wine/late', '--data', '@rows.json')
  t.match(rows, { results: [{ prediction: 'on time' }, { prediction: 'late' }] })
  const piped = await place.bash('switchyard predict wine/late --data - < body.json')
  t.match(piped, { code: 0, stdout: /^prediction +late/ })
  const one = ['predict', 'wine/late', '--features', '{"kg": 2, "km": 100}']
  const forced = await program(t).json(...one, '--generation', 'v1', '--dispatch-key', 'ada')
  t.match(forced, { apiContext: { serviceGeneration: 'v1' } })
  t.match(await place.switchyard(...one, '--generation', 'v9'), { code: 1, stderr: /"v9" is not/ })
  const keyless = operator(t, { SWITCHYARD_CLI_KEY: '' })
  t.match(await keyless.switchyard(...one, '--query-url', node.url), { code: 0 })
  const refused = await place.switchyard('predict', 'wine/late', '--row', 'kg=x', '--json')
  t.match(refused, { code: 1, stderr: /^switchyard: .*"kg" must be a number, got "x"\n$/ })
  t.match(JSON.parse(refused.stdout), { code: 'ERR_FEATURE_INVALID' })
  const metrics = await lines(place, 'metrics')
  t.match(metrics.join('\n'), /requests +\d+\n[\s\S]*\nSERVICE +REQUESTS +ERRORS[\s\S]*\nwine +\d+/)
  t.match(await place.json('metrics'), { serviceMetrics: { wine: { requestCount: Number } } })
  t.match(await lines(place, 'health'), ['HEALTHY', '', /^query port +\d+$/, /^processes +serving/])
  t.match(await place.json('health'), { status: 'HEALTHY' })
}

t.test('a service from its first bundle to its end', async (t) => {
  const place = operator(t)
  const alone = program(t)
  const said = (command: string) => lines(place, command)
  const json = (command: string) => place.json(...command.split(' '))
  t.same(await said('services create wine'), ['created wine'])
  t.match(await json('services list'), [{ serviceId: 'wine', generationCount: 0 }])
  t.same(await lines(alone, 'generations import wine v1.zip'), ['imported wine v1'])
  t.match(await json('generations import wine v2.zip --generation second --preload'), {
    generationId: 'second',
    active: false,
    preloaded: true,
  })
  const list = await said('generations list wine')
  t.match(list[0], /^GENERATION +ACTIVE +SHARE +LOADED +CREATED \(UTC\)$/)
  t.match(list[1], /^v1 +no +0 % +no +20\d\d-/)
  t.match(list[2], /^second +no +0 % +yes +20\d\d-/)
  t.same(await said('generations unload wine second'), ['unloaded wine second'])
  t.same(await said('generations preload wine v1'), ['loaded wine v1'])
  t.match(await json('generations switch wine v1'), { ok: true, generation: 'v1' })
  await t.test('its endpoint is asked', (t) => asks(t, place))
  const shown = await said('generations show wine v1')
  t.match(shown, ['generation  v1', 'state       active'])
  t.match(shown.at(-1), /^late +STD_PREDICTION +[\d.]+ ms +\d+$/)
  t.match(await json('generations show wine v1'), { state: 'active', report: { files: 2 } })
  t.same(await said('mapping set wine v1=0.75 second=25%'), ['wine: v1 75 %, second 25 %'])
  t.match(await json('services show wine'), { mapping: { entries: [{ proba: 0.75 }, {}] } })
  t.same(await said('generations switch-to-newest wine'), ['switched wine second'])
  t.match((await lines(alone, 'services list'))[1], /^wine +yes +second +2$/)
  t.match((await said('services show wine')).join('\n'), /traffic +second 100 %[\s\S]*p +STD_PRED/)
  await t.test('it is told how to behave, disabled and enabled', async (t) => {
    await said('services settings wine --query-log sample:0.5 --cors https://a.example')
    t.same(await said('services settings wine'), [
      'query log    sample:0.5',
      'web origins  https://a.example',
    ])
    t.match(await json('services settings wine --no-cors'), { queryLog: 'sample:0.5', cors: null })
    t.same(await said('services disable wine'), ['disabled wine'])
    t.match((await said('services list'))[1], /^wine +no /)
    t.match(await json('services enable wine'), { ok: true })
  })
  t.same(await said('generations delete wine v1'), ['deleted wine v1'])
  t.match(await alone.json('services', 'delete', 'wine'), { ok: true, serviceId: 'wine' })
  t.same(await json('services list'), [])
})

t.test('keys of services, their quotas, and queries with them', async (t) => {
  const place = operator(t)
  place.write('locked.zip', bundleOf(regressor(2), {}, { authorization: 'API_KEYS' }))
  const imported = await lines(place, 'generations import locked locked.zip --create --switch')
  t.same(imported, ['imported locked locked', 'switched locked locked'])
  const ask = (...more: string[]) =>
    place.switchyard('predict', 'locked/p', '--features', 'f0=1,f1=2', ...more)
  const none = await ask()
  t.match(none, { code: 1, stdout: '', stderr: /key is required.*SWITCHYARD_CLI_QUERY_KEY/ })
  const flags = ['--label', 'a shop', '--service', 'locked', '--requests-per-second', '500']
  const made = await place.json('keys', 'create', ...flags)
  t.match(made, { id: String, key: String, label: 'a shop' })
  t.match(await ask('--query-key', made.key), { code: 0, stdout: /^prediction +[\d.-]+/ })
  place.write('key', `${made.key}\n`)
  t.match(await ask('--query-key-file', 'key', '--json'), { code: 0, stdout: /"prediction"/ })
  t.match(await lines(place, `keys update ${made.id} --concurrent-requests 3`), [
    /^ID +LABEL +SERVICES +QUOTA/,
    /^\S+ +a shop +locked +500\/s, 3 at once/,
  ])
  const typo = await place.switchyard('keys', 'create', '--service', 'lokced')
  t.match(typo, { code: 0, stderr: 'switchyard: note: there is no service lokced yet\n' })
  t.notMatch((await place.switchyard('keys', 'list')).stdout, made.key)
  t.equal((await place.json('keys', 'list')).length, 2)
  t.same(await lines(place, `keys delete ${made.id}`), [`deleted ${made.id}`])
  t.match(await ask('--query-key', made.key), { code: 1, stderr: /the API key is not known/ })
  t.same(await lines(place, 'services delete locked --yes'), ['deleted locked'])
})

t.test('admin keys are made, used and taken back', async (t) => {
  const place = operator(t)
  const made = await place.json('admin-keys', 'create', '--label', 'ci', '--expiry', '2100-01-01')
  const list = await lines(place, 'admin-keys list')
  t.match(list[0], /^ID +LABEL +DESCRIPTION +CREATED \(UTC\) +EXPIRY$/)
  const row = list.find((line) => line.startsWith(made.id))
  t.match(row, /^\S+ +ci +20\d\d-.* 2100-01-01 00:00:00$/)
  place.write('key', made.key)
  const withKey = operator(t, {
    SWITCHYARD_CLI_KEY: '',
    SWITCHYARD_CLI_KEY_FILE: `${place.path}/key`,
  })
  t.match(await withKey.json('admin-keys', 'list'), [{ id: String }, { id: String }])
  const piped = await place.bash(`switchyard services list --key-file - < key`)
  t.match(piped, { code: 0, stdout: /^SERVICE/ })
  t.match(await place.json('admin-keys', 'delete', made.id), { ok: true, id: made.id })
  const refused = await withKey.switchyard('services', 'list', '--json')
  t.match(refused, { code: 1, stderr: /key is not known \(the admin key comes from/ })
  t.match(JSON.parse(refused.stdout), { errorType: 'AuthUnknown', code: 'ERR_AUTH_UNKNOWN' })
})

const REFUSED: readonly (readonly [string, string])[] = [
  ['services show nope', 'ERR_SERVICE_UNKNOWN'],
  ['services create a/b', 'ERR_PARAMETER_INVALID'],
  ['generations list nope', 'ERR_SERVICE_UNKNOWN'],
  ['generations switch nope v1', 'ERR_SERVICE_UNKNOWN'],
  ['mapping set nope v1=1', 'ERR_SERVICE_UNKNOWN'],
  ['keys delete nope', 'ERR_KEY_UNKNOWN'],
  ['admin-keys delete nope', 'ERR_KEY_UNKNOWN'],
  ['predict none/p --features a=1', 'ERR_SERVICE_UNKNOWN'],
  ['services list --key wrong', 'ERR_AUTH_UNKNOWN'],
]

t.test(
  'what a node refuses is code 1, a line for people and its answer for programs',
  async (t) => {
    const place = operator(t)
    const text = place.write('text.zip', 'no archive')
    const alone = program(t)
    const plain = await alone.switchyard('services', 'show', 'nope')
    t.same(plain, { code: 1, stdout: '', stderr: 'switchyard: the service does not exist: nope\n' })
    const words = ['generations', 'import', 'nope', text, '--create', '--json']
    const noBundle = await place.switchyard(...words)
    t.match(JSON.parse(noBundle.stdout), { code: 'ERR_BUNDLE_INVALID' })
    t.match(noBundle, { code: 1, stderr: /it is no ZIP archive/ })
    await lines(place, 'services delete nope')
    for (const [command, code] of REFUSED) {
      const ran = await place.switchyard(...command.split(' '), '--json')
      t.equal(ran.code, 1, command)
      t.match(JSON.parse(ran.stdout), { code, errorType: String, detailedMessage: String }, command)
      t.match(ran.stderr, /^switchyard: [^\n]+\n$/, command)
    }
    const unreachable = await alone.switchyard('health', '--url', 'http://127.0.0.1:1', '--json')
    t.match(unreachable, { code: 3, stderr: /nothing listens there/ })
    t.match(JSON.parse(unreachable.stdout), { errorType: 'NodeUnreachable' })
    const query = await place.switchyard('services', 'list', '--url', node.url)
    t.match(query, { code: 1, stderr: /this is the query port; the admin API has its own/ })
    t.match(await alone.switchyard('services', 'lst'), { code: 2, stdout: '' })
    for (const words of [['--help'], ['help', 'backup'], ['help', 'restore'], ['--version']]) {
      const where = words.length === 1 ? alone : place
      t.match(await where.switchyard(...words), { code: 0, stderr: '' }, words.join(' '))
    }
  },
)

t.test('pipes that close, and disks that are full', async (t) => {
  const place = operator(t)
  const first = await place.bash('set -o pipefail; switchyard metrics --json | head -1')
  t.match(first, { code: 0, stdout: '{\n', stderr: '' })
  const full = await place.bash('switchyard services list > /dev/full')
  t.match(full, { code: 1, stderr: /the answer cannot be written: ENOSPC/ })
})

const withoutScript = existsSync('/usr/bin/script')
  ? false
  : 'there is no "script" to make terminals'

t.test('a person at a terminal sees progress and is asked', { skip: withoutScript }, async (t) => {
  const place = operator(t)
  const ran = await place.terminal('generations import bar v1.zip --create --switch')
  const drawn = ran.stdout.split('\r\u001b[K')
  t.equal(ran.code, 0)
  t.ok(drawn.includes(`uploading [${'#'.repeat(24)}] 100 %`), JSON.stringify(ran))
  t.equal(drawn.at(-1), 'imported bar v1\r\nswitched bar v1\r\n', 'and it is gone again')
  t.ok(
    drawn.every((part) => (part.split('\r\n')[0] ?? '').length < 60),
    'lines do not break',
  )
  const no = await place.terminal('services delete bar', 'n')
  t.match(no, { code: 1, stdout: /Delete the service bar and its generations \(1\)\? \[y\/N\]/ })
  t.match(no.stdout, 'nothing was deleted')
  t.match(await place.terminal('services delete bar', 'y'), { code: 0, stdout: /deleted bar/ })
})

t.test('Ctrl-C in an upload ends the command and leaves nothing behind', async (t) => {
  const place = operator(t)
  await lines(place, 'services create cut')
  truncateSync(place.write('huge.zip', ''), 2_000_000_000)
  const child = place.start('generations', 'import', 'cut', 'huge.zip')
  const staging = join(node.home, 'staging')
  await until(() => readdirSync(staging).length > 0, WAIT_MS)
  child.kill('SIGINT')
  const [code, signal] = await once(child, 'exit')
  t.same([code, signal], [null, 'SIGINT'])
  await until(() => readdirSync(staging).length === 0, WAIT_MS)
  t.same(await place.json('generations', 'list', 'cut'), [])
  await lines(place, 'services delete cut')
})

t.test(
  'over TLS with an authority and a certificate of ones own',
  { skip: withoutOpenssl },
  async (t) => {
    const folder = workplace(t).path
    const ca = authority(folder, 'company')
    const server = issue(folder, 'server', { by: ca })
    const person = issue(folder, 'alice', { by: ca })
    const tls = ['--tls-cert', server.cert, '--tls-key', server.key, '--admin-client-ca', ca.cert]
    const secure = await startNode(t, { args: tls })
    const env = { SWITCHYARD_CLI_URL: secure.adminUrl, SWITCHYARD_CLI_KEY: secure.adminKey }
    const place = workplaceHere(t, env)
    const list = (...more: string[]) => place.switchyard('services', 'list', ...more)
    const own = ['--cert', person.cert, '--cert-key', person.key]
    t.match(await list(), { code: 3, stderr: /name its authority with --ca/ })
    t.match(await list('--ca', ca.cert), {
      code: 3,
      stderr: /it wants a certificate of yours: --cert/,
    })
    const alone = await workplace(t, env).switchyard('services', 'list', '--ca', ca.cert, ...own)
    t.match(alone, { code: 0, stdout: /^SERVICE/ })
    t.match(await list('--insecure', ...own), { code: 0 })
    t.match(await list('--ca', server.key), { code: 2, stderr: /holds no certificate in PEM form/ })
    const plain = secure.adminUrl.replace('https', 'http')
    t.match(await list('--url', plain), { code: 3, stderr: /may speak TLS/ })
    place.write('key', secure.adminKey)
    const files = ['--ca', ca.cert, ...own, '--key-file', 'key']
    t.match(await place.switchyard('profile', 'set', '--url', secure.adminUrl, ...files), {
      code: 0,
    })
    t.match(await list('--profile', 'default'), { code: 0 })
    t.equal(await secure.stop(), 0)
  },
)
