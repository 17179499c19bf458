/**
 * Goal: keys in a profile are for their owner only and for their node only; what is said on the
 * line wins over the environment, and that over the profile.
 * Method: profiles written by the command and by hand, in folders with every kind of mode; the
 * targets that follow from them.
 */

import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { adminTarget, queryKey, queryTarget } from '../../../admin/cli/connection.ts'
import { Flags } from '../../../admin/cli/flags.ts'
import { profilePath, readProfiles } from '../../../admin/cli/profiles.ts'
import { runHere, shellOf, stdinOf } from '../../tools/command-shell.ts'
import { temporaryDirectory } from '../../tools/control-plane.ts'

const PEM = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'

function place(t: Test, env: Readonly<Record<string, string>> = {}) {
  const home = temporaryDirectory(t)
  const shell = shellOf(home, { env })
  return { home, shell, path: profilePath(shell) }
}

function write(path: string, profiles: unknown): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, typeof profiles === 'string' ? profiles : JSON.stringify(profiles), {
    mode: 0o600,
  })
}

t.test('a profile is written for its owner only', async (t) => {
  const { home, shell, path } = place(t)
  const before = process.umask(0)
  t.teardown(() => process.umask(before))
  writeFileSync(join(home, 'key'), 'the-key\n')
  const url = 'http://127.0.0.1:1'
  const set = await runHere(shell, ['profile', 'set', '--url', url, '--key-file', `${home}/key`])
  t.match(set, { code: 0, stdout: `wrote profile default to ${path}\n`, stderr: '' })
  t.equal(path, join(home, '.config/switchyard/profiles.json'))
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(dirname(path)).mode & 0o777, 0o700)
  t.same(readdirSync(dirname(path)), ['profiles.json'], 'nothing is left beside it')
  t.same(JSON.parse(readFileSync(path, 'utf8')), { default: { url, key: 'the-key' } })
})

t.test('profiles are changed by field, listed without keys and forgotten', async (t) => {
  const { home, path } = place(t)
  const shell = () => shellOf(home, { stdin: stdinOf('other-key\n') })
  const run = (...argv: string[]) => runHere(shell(), ['profile', ...argv])
  await run('set', '--url', 'http://a:1', '--key-file', '-')
  await run('set', 'far', '--url', 'https://b:2')
  await run('set', '--query-url', 'http://a:3')
  const { stdout } = await run('list')
  t.same(stdout.split('\n'), [
    'PROFILE  URL          KEY  QUERY URL   QUERY KEY',
    'default  http://a:1   yes  http://a:3  no',
    'far      https://b:2  no               no',
    '',
  ])
  t.notMatch(stdout + (await run('list', '--json')).stdout, 'other-key')
  t.match(await run('delete', 'far'), { code: 0, stdout: 'deleted far\n' })
  t.match(await run('delete', 'far'), { code: 2 })
  t.same(Object.keys(JSON.parse(readFileSync(path, 'utf8'))), ['default'])
})

t.test(
  'files of a profile are found from every folder, and must be what they are for',
  async (t) => {
    const { home, shell, path } = place(t)
    writeFileSync(join(home, 'ca.pem'), PEM)
    writeFileSync(join(home, 'no.pem'), 'x')
    const before = process.cwd()
    process.chdir(home)
    t.teardown(() => process.chdir(before))
    t.match(await runHere(shell, ['profile', 'set', '--ca', 'ca.pem']), { code: 0 })
    t.match(JSON.parse(readFileSync(path, 'utf8')), { default: { ca: /^\/.*\/ca.pem$/ } })
    const wrong = await runHere(shell, ['profile', 'set', '--cert-key', 'no.pem'])
    t.match(wrong, { code: 2, stderr: /no.pem holds no private key in PEM form/ })
    process.chdir(before)
    t.equal((await adminTarget(shell, new Flags({}))).ca, PEM)
  },
)

const BAD: readonly (readonly [string, unknown, RegExp])[] = [
  ['no JSON', '{', /is not JSON/],
  ['a list', [], /must hold one JSON object/],
  ['a text', { default: 'x' }, /profile "default" is no object/],
  ['an unknown field', { default: { urll: 'x' } }, /"urll" of profile "default": allowed are the/],
  ['a number', { default: { url: 1 } }, /"url" of profile "default"/],
]

for (const [name, content, said] of BAD) {
  t.test(`a file of profiles is refused: ${name}`, async (t) => {
    const { shell, path } = place(t)
    write(path, content)
    t.match(await runHere(shell, ['services', 'list']), { code: 1, stdout: '', stderr: said })
  })
}

t.test('a file that others can read is refused, with the cure', async (t) => {
  const { shell, path } = place(t)
  write(path, {})
  for (const mode of [0o640, 0o604, 0o660]) {
    chmodSync(path, mode)
    await t.rejects(readProfiles(shell), { message: `${path} holds keys and others can read it` })
  }
  chmodSync(path, 0o600)
  t.same(await readProfiles(shell), {})
})

t.test('the line wins over the environment, and that over the profile', async (t) => {
  const env = { SWITCHYARD_CLI_URL: 'http://env:1', SWITCHYARD_CLI_KEY: 'env' }
  const { home, path } = place(t)
  write(path, {
    default: { url: 'http://profile:1', key: 'profile' },
    far: { url: 'http://far:1' },
  })
  const target = async (flags: object, env: Record<string, string> = {}) => {
    const { url, key } = await adminTarget(shellOf(home, { env }), new Flags({ ...flags }))
    return `${url.host} ${key}`
  }
  t.equal(await target({}), 'profile:1 profile')
  t.equal(await target({}, env), 'env:1 env')
  t.equal(await target({ url: 'http://line:1', key: 'line' }, env), 'line:1 line')
  t.equal(await target({ profile: 'far' }), 'far:1 null')
  t.equal(await target({}, { SWITCHYARD_CLI_PROFILE: 'far' }), 'far:1 null')
  t.equal(await target({}, { SWITCHYARD_CLI_URL: '', SWITCHYARD_CLI_KEY: '' }), 'profile:1 profile')
  writeFileSync(join(home, 'key'), ' file \n')
  t.equal(await target({ keyFile: join(home, 'key') }, env), 'env:1 file')
  t.equal(await target({}, { SWITCHYARD_CLI_KEY_FILE: join(home, 'key') }), 'profile:1 file')
  const bare = await adminTarget(place(t).shell, new Flags({}))
  t.match(bare, { url: { href: 'http://127.0.0.1:12443/' }, key: null })
})

t.test('another address does not get the keys of a profile', async (t) => {
  const { home, path } = place(t)
  const profile = { url: 'http://a:1', key: 'k', queryUrl: 'http://a:2', queryKey: 'q' }
  write(path, { default: profile })
  const shell = shellOf(home)
  t.equal((await adminTarget(shell, new Flags({ url: 'http://b:1' }))).key, null)
  t.equal((await adminTarget(shell, new Flags({ url: 'http://a:1/' }))).key, 'k')
  t.equal((await adminTarget(shell, new Flags({ url: 'https://a:1' }))).key, null)
  t.equal(await queryKey(shell, new Flags({})), 'q')
  t.equal(await queryKey(shell, new Flags({ url: 'http://b:1' })), null)
  t.equal((await queryTarget(shell, new Flags({ queryUrl: 'http://b:2' })))?.key, null)
  t.equal(await queryTarget(shell, new Flags({ url: 'http://b:1' })), null, 'it is asked for')
  t.match(await queryTarget(shell, new Flags({})), { url: { host: 'a:2' }, key: 'q' })
})
