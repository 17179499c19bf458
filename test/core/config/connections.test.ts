/**
 * Goal: databases are described in the config file, their secrets are not, and a wrong field names
 * itself. Method: read small files, right and wrong.
 */

import t from 'tap'
import { type ConfigSources, readConfig } from '../../../core/config/config.ts'
import type { ConnectionSettings } from '../../../core/config/runtimes.ts'

const FILE = '/etc/node.json'
const SECRET = 'p4ss"word'
const MINIMAL = { kind: 'postgresql', host: '127.0.0.1', database: 'd', user: 'u' }

function sources(connections: unknown): ConfigSources {
  const files: Readonly<Record<string, string>> = {
    [FILE]: JSON.stringify({ connections }),
    '/run/secret': `${SECRET}\n`,
    '/etc/ca.pem': 'PEM',
  }
  const readFile = (path: string): string => {
    const text = files[path]
    if (text === undefined) throw new Error(`ENOENT: ${path}`)
    return text
  }
  const env = { CRM_PASSWORD: SECRET, EMPTY: '' }
  return { argv: ['--config', FILE], env, readFile, cores: 2, version: '1' }
}

function settingsOf(connections: unknown): readonly ConnectionSettings[] {
  const reading = readConfig(sources(connections))
  if (reading.kind !== 'run') throw new Error(JSON.stringify(reading))
  return reading.config.connections
}

function lineOf(connections: unknown): string {
  const reading = readConfig(sources(connections))
  return reading.kind === 'wrong' ? reading.line : `not refused: ${JSON.stringify(reading)}`
}

t.test('a connection with the least and with every field', async (t) => {
  t.same(settingsOf(undefined), [])
  t.same(settingsOf({ crm: MINIMAL }), [
    {
      name: 'crm',
      ...MINIMAL,
      port: 5_432,
      password: null,
      poolSize: 8,
      connectMs: 2_000,
      tls: 'off',
      ca: null,
      services: null,
    },
  ])
  const full = {
    kind: 'mysql',
    host: 'db.example',
    port: 3_307,
    database: 'd',
    user: 'u',
    passwordEnv: 'CRM_PASSWORD',
    poolSize: 2,
    connectMs: 500,
    tls: 'insecure',
    caFile: '/etc/ca.pem',
    services: ['s1'],
  }
  const [crm] = settingsOf({ crm: full })
  const { passwordEnv: _env, caFile: _file, ...rest } = full
  t.same(crm, { name: 'crm', ...rest, password: SECRET, ca: 'PEM' })
  t.ok(Object.isFrozen(crm))
})

t.test('secrets come from the environment or a file', async (t) => {
  const [fromFile] = settingsOf({ crm: { ...MINIMAL, passwordFile: '/run/secret' } })
  t.equal(fromFile?.password, SECRET, 'the line break at the end is no part of it')
  const inline = lineOf({ crm: { ...MINIMAL, password: SECRET } })
  t.match(inline, /"connections\.crm\.password" in .*"passwordEnv".*"passwordFile"/)
  t.notMatch(inline, SECRET.slice(0, 4), 'a secret is not repeated')
  const both = { ...MINIMAL, passwordFile: '/run/secret', passwordEnv: 'CRM_PASSWORD' }
  t.match(lineOf({ crm: both }), /passwordEnv" in .*: is set beside "passwordFile"/)
})

t.test('a password crosses a network encrypted unless the file says otherwise', async (t) => {
  const tlsOf = (host: string): string | undefined =>
    settingsOf({ c: { ...MINIMAL, host } })[0]?.tls
  for (const host of ['127.0.0.1', '127.8.8.8', 'localhost', '::1']) t.equal(tlsOf(host), 'off')
  for (const host of ['db.example', '10.0.0.1', '127.example']) t.equal(tlsOf(host), 'verify')
  t.equal(settingsOf({ c: { ...MINIMAL, host: 'db', tls: 'off' } })[0]?.tls, 'off')
})

t.test('a wrong field names itself and what is allowed', async (t) => {
  const wrong: readonly (readonly [Readonly<Record<string, unknown>>, RegExp])[] = [
    [{ kind: 'oracle' }, /crm\.kind" in .*"oracle" is not allowed; allowed is postgresql, mysql/],
    [{ kind: undefined }, /crm\.kind" in .*is missing; allowed is/],
    [{ host: '' }, /crm\.host" in .*"" is not allowed/],
    [{ host: undefined }, /crm\.host" in .*is missing/],
    [{ port: 0 }, /crm\.port" in .*0 is not allowed; allowed is an integer from 1 to 65535/],
    [{ port: '5432' }, /crm\.port" in .*"5432" is not allowed/],
    [{ database: 3 }, /crm\.database" in /],
    [{ user: null }, /crm\.user" in .*null is not allowed/],
    [{ poolSize: 65 }, /crm\.poolSize" in .*from 1 to 64/],
    [{ connectMs: 1.5 }, /crm\.connectMs" in /],
    [{ tls: true }, /crm\.tls" in .*allowed is off, verify, insecure/],
    [{ services: 's1' }, /crm\.services" in .*allowed is an array of texts/],
    [{ services: [''] }, /crm\.services" in /],
    [{ caFile: '/none' }, /crm\.caFile" in .*cannot be read: ENOENT/],
    [{ passwordFile: '/none' }, /crm\.passwordFile" in .*cannot be read/],
    [{ passwordEnv: 'EMPTY' }, /crm\.passwordEnv" in .*no variable EMPTY/],
    [{ hots: 'x' }, /crm\.hots" in .*is no field of a connection; allowed is kind, host/],
  ]
  for (const [fields, expected] of wrong) {
    const line = lineOf({ crm: { ...MINIMAL, ...fields } })
    t.match(line, expected, JSON.stringify(fields))
    t.notMatch(line, '\n')
  }
  t.match(lineOf([]), /"connections" in .* must be an object/)
  t.match(lineOf({ crm: 'x' }), /"connections\.crm" in .*: must be an object/)
  t.match(lineOf({ 'a b': MINIMAL }), /the name is not allowed; it has 1 to 63/)
})
