/**
 * From flags, environment, file and defaults to one frozen Config.
 *
 * Config has no optional field: after readConfig() nothing in the program asks "is it set?". A
 * wrong value never starts the node with something else in its place; it ends with one line that
 * names where the value came from, the value, and what is allowed.
 */

import { Command, CommanderError, Option } from 'commander'
import { messageOf } from '../base/errors.ts'
import { readConnections } from './connections.ts'
import { WrongField } from './field-reader.ts'
import type { IssuerSettings } from './issuers.ts'
import type { OptionRow } from './option-row.ts'
import { allowedText } from './option-texts.ts'
import { OPTIONS, type OptionName } from './options.ts'
import { readIssuers } from './read-issuers.ts'
import type { ConnectionSettings } from './runtimes.ts'

type KindValue<Row> = Row extends { kind: 'integer' }
  ? number
  : Row extends { kind: 'boolean' }
    ? boolean
    : string

type ValueOf<Row> = KindValue<Row> | (Row extends { default: null } ? null : never)
type Values = { readonly [Name in OptionName]: ValueOf<(typeof OPTIONS)[Name]> }
type Settings = Omit<Values, 'config'>

/** `demo` null: whether the data directory is new decides. */
export type Config = Omit<Settings, 'threads'> & {
  readonly threads: number
  /** Of the config file only. */
  readonly connections: readonly ConnectionSettings[]
  /** Of the config file only. */
  readonly issuers: readonly IssuerSettings[]
}

export type Reading =
  | {
      readonly kind: 'run'
      readonly config: Config
      /** Variables of the environment that look like ours and are not: typing errors, mostly. */
      readonly unknown: readonly string[]
    }
  /** `--help` and `--version`. */
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'wrong'; readonly line: string }

export interface ConfigSources {
  /** Without the program's own name. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readFile: (path: string) => string
  readonly cores: number
  readonly version: string
}

/** Variables of the command line, which asks nodes and is none: see admin/cli/connection.ts. */
const CLIENT_VARIABLES = 'SWITCHYARD_CLI_'

/** Keys of the config file that are no options. */
const FILE_ONLY = ['connections', 'issuers']

type Value = string | number | boolean | null
type Raw = { readonly value: unknown; readonly from: string }

/** The one kind of failure here; its message is the line that the user reads. */
class WrongSetting extends Error {}

export function readConfig(sources: ConfigSources): Reading {
  try {
    const flags = parseFlags(sources)
    if (flags.kind === 'print') return flags
    return { kind: 'run', config: fill(sources, flags.values), unknown: unknownNames(sources.env) }
  } catch (error) {
    if (error instanceof WrongSetting || error instanceof WrongField) {
      return { kind: 'wrong', line: error.message }
    }
    throw error
  }
}

function unknownNames(env: ConfigSources['env']): string[] {
  const known = new Set<string>(Object.values(OPTIONS).map((row) => row.env))
  return Object.keys(env).filter(
    (name) =>
      name.startsWith('SWITCHYARD_') && !name.startsWith(CLIENT_VARIABLES) && !known.has(name),
  )
}

type Flags =
  | { readonly kind: 'values'; readonly values: Readonly<Record<string, unknown>> }
  | { readonly kind: 'print'; readonly text: string }

function parseFlags(sources: ConfigSources): Flags {
  let written = ''
  const write = (text: string): void => {
    written += text
  }
  const command = commandOf(sources.version).configureOutput({ writeOut: write, writeErr: write })
  try {
    command.parse(sources.argv, { from: 'user' })
    return { kind: 'values', values: command.opts() }
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return { kind: 'print', text: written }
    throw new WrongSetting(oneLine(error.message.replace(/^error: /, '')))
  }
}

function commandOf(version: string): Command {
  const command = new Command('switchyard serve')
    .description('Starts a node: models, functions and queries as versioned HTTP services.')
    .version(version, '--version', 'print the version')
    .helpOption('--help', 'print this text')
    .allowExcessArguments(false)
    .showSuggestionAfterError(true)
    .exitOverride()
  for (const row of Object.values<OptionRow>(OPTIONS)) addFlag(command, row)
  command.addHelpText('after', '\nAll other commands: switchyard --help')
  command.addHelpText('after', `\nSecrets come from the environment only:\n${secretsText()}`)
  return command
}

function addFlag(command: Command, row: OptionRow): void {
  if (row.flag === null) return
  const text = helpText(row)
  if (row.kind !== 'boolean') {
    const argument = row.kind === 'integer' ? '<number>' : `<${placeholder(row)}>`
    command.addOption(new Option(`--${row.flag} ${argument}`, text))
    return
  }
  command.addOption(new Option(`--${row.flag}`, text))
  command.addOption(new Option(`--no-${row.flag}`, `the opposite of --${row.flag}`))
}

function placeholder(row: OptionRow): string {
  return (row.kind === 'text' ? row.placeholder : undefined) ?? 'text'
}

function helpText(row: OptionRow): string {
  const preset = row.defaultText ?? (row.default === null ? 'unset' : String(row.default))
  return `${row.help} (${row.env}, default: ${preset})`
}

function secretsText(): string {
  const rows = Object.values<OptionRow>(OPTIONS).filter((row) => row.flag === null)
  return rows.map((row) => `  ${row.env}  ${row.help}; ${allowedText(row)}`).join('\n')
}

function fill(sources: ConfigSources, flags: Readonly<Record<string, unknown>>): Config {
  const read = (name: OptionName, file: Readonly<Record<string, unknown>>): Value => {
    const row: OptionRow = OPTIONS[name]
    const raw = pick(name, row, { flags, env: sources.env, file })
    return raw === null ? row.default : parse(row, raw)
  }
  const path = read('config', {})
  const file = typeof path === 'string' ? readFileSettings(sources, path) : {}
  const fields = { ...sources, path: String(path) }
  const connections = readConnections(file['connections'], fields)
  const issuers = readIssuers(file['issuers'], fields)
  const { config: _config, ...names } = OPTIONS
  const values = Object.keys(names).map((name) => [name, read(name as OptionName, file)])
  const settings = complete(sources, Object.fromEntries(values) as Settings)
  return Object.freeze({ ...settings, connections, issuers })
}

interface Places {
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly file: Readonly<Record<string, unknown>>
}

/** The first place that has a value; an empty environment variable counts as unset. */
function pick(name: string, row: OptionRow, places: Places): Raw | null {
  const flag = places.flags[name]
  if (flag !== undefined)
    return { value: flag, from: flag === false ? `--no-${row.flag}` : `--${row.flag}` }
  const env = places.env[row.env]
  if (env !== undefined && env !== '') return { value: env, from: row.env }
  const inFile = places.file[name]
  return inFile === undefined ? null : { value: inFile, from: `"${name}" in the config file` }
}

function parse(row: OptionRow, raw: Raw): Value {
  const value = parseValue(row, raw.value)
  if (value !== null) return value
  const shown = row.flag === null ? 'its value' : JSON.stringify(raw.value)
  throw new WrongSetting(`${raw.from}: ${shown} is not allowed; allowed is ${allowedText(row)}`)
}

/** null: not allowed. */
function parseValue(row: OptionRow, value: unknown): Value {
  switch (row.kind) {
    case 'integer':
      return parseInteger(value, row.min, row.max)
    case 'boolean':
      return parseBoolean(value)
    case 'text':
      return typeof value === 'string' && value.length >= row.charactersMin ? value : null
    case 'choice':
      return typeof value === 'string' && row.choices.includes(value) ? value : null
  }
}

function parseInteger(value: unknown, min: number, max: number): number | null {
  // Digits only: Number() would also take "0x10", "1e3" and blanks, which are typing errors here.
  const text = typeof value === 'number' ? String(value) : value
  if (typeof text !== 'string' || !/^\d{1,15}$/.test(text)) return null
  const number = Number(text)
  return number >= min && number <= max ? number : null
}

function parseBoolean(value: unknown): boolean | null {
  if (typeof value === 'boolean') return value
  if (value === 'true' || value === '1') return true
  return value === 'false' || value === '0' ? false : null
}

function readFileSettings(sources: ConfigSources, path: string): Readonly<Record<string, unknown>> {
  const parsed = parseFile(sources, path)
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new WrongSetting(`the config file ${path} must hold one JSON object`)
  }
  for (const name of Object.keys(parsed)) {
    if (name === 'adminKey') {
      throw new WrongSetting(`"adminKey" in ${path}: a secret; set SWITCHYARD_ADMIN_KEY instead`)
    }
    if (FILE_ONLY.includes(name) || (name !== 'config' && name in OPTIONS)) continue
    const known = Object.keys(OPTIONS).filter((other) => other !== 'config' && other !== 'adminKey')
    known.push(...FILE_ONLY)
    throw new WrongSetting(`"${name}" in ${path} is no setting; allowed is ${known.join(', ')}`)
  }
  return { ...parsed }
}

function parseFile(sources: ConfigSources, path: string): unknown {
  try {
    return JSON.parse(sources.readFile(path))
  } catch (error) {
    throw new WrongSetting(`the config file ${path} cannot be read: ${oneLine(messageOf(error))}`)
  }
}

/** Settings that depend on each other or on the machine. */
function complete(
  sources: ConfigSources,
  values: Settings,
): Omit<Config, 'connections' | 'issuers'> {
  const tls = completeTls(values)
  if (values.port !== 0 && values.port === values.adminPort && values.host === values.adminHost) {
    throw new WrongSetting(`--admin-port: ${values.port} is --port too; allowed are two ports`)
  }
  const threads = values.threads ?? Math.min(2, values.modelCores ?? Math.max(1, sources.cores - 1))
  return { ...values, ...tls, threads }
}

type AdminTls = Pick<Settings, 'adminTlsCert' | 'adminTlsKey'>

/** The admin port has the certificate of queries unless it is given its own. */
function completeTls(values: Settings): AdminTls {
  bothOrNone('tls', values.tlsCert, values.tlsKey)
  bothOrNone('admin-tls', values.adminTlsCert, values.adminTlsKey)
  const isOwn = values.adminTlsCert !== null
  const adminTlsCert = isOwn ? values.adminTlsCert : values.tlsCert
  const adminTlsKey = isOwn ? values.adminTlsKey : values.tlsKey
  if (values.adminClientCa !== null && adminTlsCert === null) {
    const allowed = 'set --admin-tls-cert and --admin-tls-key, or --tls-cert and --tls-key, too'
    throw new WrongSetting(`--admin-client-ca is set, but the admin API has no TLS; ${allowed}`)
  }
  return { adminTlsCert, adminTlsKey }
}

function bothOrNone(prefix: string, cert: string | null, key: string | null): void {
  if ((cert === null) === (key === null)) return
  const [given, lacking] = key === null ? ['cert', 'key'] : ['key', 'cert']
  throw new WrongSetting(
    `--${prefix}-${given} is set without --${prefix}-${lacking}; allowed is both or none`,
  )
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim()
}
