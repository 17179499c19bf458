/**
 * Goal: each setting has one meaning wherever it comes from, and a wrong one names itself.
 * Method: walk over the rows of the table, so that a new option is tested when it is added.
 */

import t from 'tap'
import { type Config, type ConfigSources, readConfig } from '../../../core/config/config.ts'
import type { OptionRow } from '../../../core/config/option-row.ts'
import { optionsMarkdown } from '../../../core/config/option-texts.ts'
import { OPTIONS } from '../../../core/config/options.ts'

const ROWS = Object.entries<OptionRow>(OPTIONS).filter(([name]) => name !== 'config')
const FILE = '/etc/node.json'

function sources(over: Partial<ConfigSources> & { readonly file?: unknown } = {}): ConfigSources {
  const { file, ...rest } = over
  const readFile = (path: string): string => {
    if (file === undefined || path !== FILE) throw new Error(`ENOENT: ${path}`)
    return typeof file === 'string' ? file : JSON.stringify(file)
  }
  return { argv: [], env: {}, readFile, cores: 2, version: '9.8.7', ...rest }
}

function configOf(over: Parameters<typeof sources>[0]): Config {
  const reading = readConfig(sources(over))
  if (reading.kind !== 'run') throw new Error(JSON.stringify(reading))
  return reading.config
}

function lineOf(over: Parameters<typeof sources>[0]): string {
  const reading = readConfig(sources(over))
  return reading.kind === 'wrong' ? reading.line : `not refused: ${JSON.stringify(reading)}`
}

/** Two legal values of a row that differ, as texts. */
function legal(row: OptionRow): [string, string] {
  switch (row.kind) {
    case 'integer':
      return [String(row.min), String(row.max)]
    case 'boolean':
      return ['true', 'false']
    case 'choice':
      return [row.choices[0] ?? '', row.choices.at(-1) ?? '']
    case 'text':
      return ['a'.repeat(row.charactersMin), 'b'.repeat(row.charactersMin)]
  }
}

function typed(row: OptionRow, text: string): unknown {
  if (row.kind === 'integer') return Number(text)
  return row.kind === 'boolean' ? text === 'true' : text
}

function flagOf(row: OptionRow, text: string): string[] {
  if (row.kind === 'boolean') return [text === 'true' ? `--${row.flag}` : `--no-${row.flag}`]
  return [`--${row.flag}`, text]
}

/** A certificate needs its key, and so on: these rows can then be walked like the others. */
const COMPANIONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  tlsCert: { SWITCHYARD_TLS_KEY: 'k.pem' },
  tlsKey: { SWITCHYARD_TLS_CERT: 'c.pem' },
  adminTlsCert: { SWITCHYARD_ADMIN_TLS_KEY: 'k.pem' },
  adminTlsKey: { SWITCHYARD_ADMIN_TLS_CERT: 'c.pem' },
  adminClientCa: { SWITCHYARD_TLS_CERT: 'c.pem', SWITCHYARD_TLS_KEY: 'k.pem' },
}

function companion(name: string): Readonly<Record<string, string>> {
  return COMPANIONS[name] ?? {}
}

t.test('the contract that scripts rely on', async (t) => {
  const expected: Readonly<Record<string, readonly [string, string | null, unknown]>> = {
    home: ['SWITCHYARD_HOME', 'home', './data'],
    host: ['SWITCHYARD_HOST', 'host', '127.0.0.1'],
    port: ['SWITCHYARD_PORT', 'port', 12_000],
    adminHost: ['SWITCHYARD_ADMIN_HOST', 'admin-host', '127.0.0.1'],
    adminPort: ['SWITCHYARD_ADMIN_PORT', 'admin-port', 12_443],
    processes: ['SWITCHYARD_PROCESSES', 'processes', 1],
    adminKey: ['SWITCHYARD_ADMIN_KEY', null, null],
    demo: ['SWITCHYARD_DEMO', 'demo', null],
    threads: ['SWITCHYARD_THREADS', 'threads', 1],
  }
  const config = new Map<string, unknown>(Object.entries(configOf({})))
  const rows = new Map<string, OptionRow>(ROWS)
  for (const [name, [env, flag, value]] of Object.entries(expected)) {
    t.equal(rows.get(name)?.env, env, `${name}: environment`)
    t.equal(rows.get(name)?.flag, flag, `${name}: flag`)
    t.equal(config.get(name), value, `${name}: default`)
  }
})

t.test('flags win over environment, environment over file, file over defaults', async (t) => {
  for (const [name, row] of ROWS) {
    const [one, other] = legal(row)
    const env = { ...companion(name), SWITCHYARD_CONFIG: FILE }
    const file = name === 'adminKey' ? {} : { [name]: typed(row, other) }
    const settingOf = (over: Parameters<typeof sources>[0]): unknown =>
      new Map<string, unknown>(Object.entries(configOf({ file, ...over }))).get(name)

    if (name !== 'adminKey') t.same(settingOf({ env }), typed(row, other), `${name}: file`)
    const both = { ...env, [row.env]: one }
    t.same(settingOf({ env: both }), typed(row, one), `${name}: environment over file`)
    if (row.flag === null) continue
    const argv = flagOf(row, other)
    t.same(settingOf({ env: both, argv }), typed(row, other), `${name}: flag over environment`)
  }
})

t.test('a wrong value is one line: where from, which value, what is allowed', async (t) => {
  for (const [name, row] of ROWS) {
    for (const wrong of wrongOf(row)) {
      const line = lineOf({ env: { ...companion(name), [row.env]: wrong } })
      t.match(line, row.env, `${name}: ${wrong}`)
      t.match(line, 'allowed is', line)
      t.notMatch(line, '\n')
      if (row.flag === null) t.notMatch(line, wrong, 'a secret is not repeated')
      else t.match(line, JSON.stringify(wrong))
      if (row.flag === null || row.kind === 'boolean') continue
      t.match(lineOf({ argv: [`--${row.flag}=${wrong}`] }), `--${row.flag}: `, `${name}: flag`)
    }
  }
  t.match(lineOf({ argv: ['--processes', '65'] }), /--processes: "65" .*from 1 to 64/)
})

function wrongOf(row: OptionRow): string[] {
  switch (row.kind) {
    case 'integer':
      return [String(row.max + 1), '-1', 'x', '1e1', '0x1', '1.5', ' 1']
    case 'boolean':
      return ['yes', 'TRUE', '2']
    case 'choice':
      return ['loud']
    case 'text':
      return row.charactersMin > 1 ? ['c'.repeat(row.charactersMin - 1)] : []
  }
}

t.test('settings that depend on each other', async (t) => {
  t.match(lineOf({ argv: ['--tls-cert', 'c.pem'] }), /--tls-cert .*without --tls-key/)
  t.match(lineOf({ env: { SWITCHYARD_TLS_KEY: 'k.pem' } }), /--tls-key .*without --tls-cert/)
  const own = lineOf({ argv: ['--admin-tls-key', 'k.pem', '--tls-cert', 'c', '--tls-key', 'k'] })
  t.match(own, /--admin-tls-key is set without --admin-tls-cert/)
  t.match(lineOf({ argv: ['--admin-client-ca', 'ca.pem'] }), /--admin-client-ca .*has no TLS/)
  const both = { SWITCHYARD_TLS_CERT: 'c.pem', SWITCHYARD_TLS_KEY: 'k.pem' }
  t.match(configOf({ env: both }), { adminTlsCert: 'c.pem', adminTlsKey: 'k.pem' })
  t.equal(
    configOf({ env: both, argv: ['--admin-tls-cert', 'a', '--admin-tls-key', 'b'] }).tlsCert,
    'c.pem',
  )
  t.match(lineOf({ argv: ['--port', '7', '--admin-port', '7'] }), /--admin-port: 7 is --port too/)
  t.equal(configOf({ argv: ['--port', '0', '--admin-port', '0'] }).port, 0)
  t.equal(configOf({ cores: 2 }).threads, 1)
  t.equal(configOf({ cores: 3 }).threads, 2)
  t.equal(configOf({ cores: 2, argv: ['--model-cores', '2'] }).threads, 2)
  t.equal(configOf({ env: { SWITCHYARD_PORT: '' } }).port, 12_000, 'empty is unset')
})

t.test('the config file', async (t) => {
  const argv = ['--config', FILE]
  t.equal(configOf({ argv, file: { port: 5 } }).port, 5)
  t.match(lineOf({ argv }), /config file \/etc\/node.json cannot be read: ENOENT/)
  t.match(lineOf({ argv, file: '{' }), /cannot be read: .*JSON/)
  t.match(lineOf({ argv, file: [] }), /must hold one JSON object/)
  t.match(lineOf({ argv, file: { prot: 1 } }), /"prot" in .* is no setting; allowed is home, host/)
  t.match(lineOf({ argv, file: { config: 'x' } }), /"config" in .* is no setting/)
  t.match(lineOf({ argv, file: { adminKey: 'x'.repeat(30) } }), /set SWITCHYARD_ADMIN_KEY/)
  t.match(lineOf({ argv, file: { port: '70000' } }), /"port" in the config file: "70000" is not/)
  t.match(lineOf({ argv, file: { demo: null } }), /"demo" in the config file: null is not/)
})

t.test('flags: unknown ones, help, version', async (t) => {
  t.match(lineOf({ argv: ['--prot', '1'] }), /unknown option '--prot'.*--port/)
  t.match(lineOf({ argv: ['serve'] }), /too many arguments/)
  t.match(lineOf({ argv: ['--port'] }), /--port/)
  t.same(readConfig(sources({ argv: ['--version'] })), { kind: 'print', text: '9.8.7\n' })

  const help = readConfig(sources({ argv: ['--help'] }))
  const text = help.kind === 'print' ? help.text.replace(/\s+/g, ' ') : ''
  const table = optionsMarkdown()
  for (const [, row] of ROWS) {
    t.match(text, row.env, `help names ${row.env}`)
    t.match(text, row.help, `help explains ${row.env}`)
    t.match(table, `\`${row.env}\``, `table has ${row.env}`)
  }
})

t.test('variables that are nobody’s are told, since most are typing errors', async (t) => {
  const env = { SWITCHYARD_PROCESES: '3', SWITCHYARD_PORT: '1', PATH: '/bin' }
  t.match(readConfig(sources({ env })), { kind: 'run', unknown: ['SWITCHYARD_PROCESES'] })
})

t.test('the configuration is frozen and whole', async (t) => {
  const config = configOf({})
  t.ok(Object.isFrozen(config))
  t.notOk(Object.values<unknown>(config).includes(undefined), 'no field is absent')
  t.same(
    Object.keys(config).sort(),
    [...ROWS.map(([name]) => name), 'connections', 'issuers'].sort(),
  )
})
