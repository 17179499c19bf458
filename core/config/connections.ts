/**
 * The key `connections` of the config file: databases that bundles may refer to by name.
 *
 * A secret is never in the file itself, which ends in back-ups and repositories: it names a
 * variable of the environment or a file that holds the password.
 */

import { isIP } from 'node:net'
import { messageOf } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import type { ConnectionSettings } from './runtimes.ts'

export interface ConnectionSources {
  /** Of the config file, for messages. */
  readonly path: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readFile: (path: string) => string
}

type Fields = Readonly<Record<string, unknown>>

const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/
const NAME_RULE = '1 to 63 letters, digits, "_" or "-", starting with a letter or "_"'
const KINDS = { postgresql: 5_432, mysql: 3_306 } as const
const POOL_SIZE_MAX = 64
const CONNECT_MS_MAX = 60_000
const FIELDS = [
  'kind',
  'host',
  'port',
  'database',
  'user',
  'passwordEnv',
  'passwordFile',
  'poolSize',
  'connectMs',
  'tls',
  'caFile',
  'services',
]

/** The message is the line that the operator reads. */
export class WrongConnection extends Error {}

export function readConnections(
  value: unknown,
  sources: ConnectionSources,
): readonly ConnectionSettings[] {
  if (value === undefined) return []
  if (!isObject(value)) {
    throw new WrongConnection(`"connections" in ${sources.path} must be an object, name to fields`)
  }
  return Object.entries(value).map(([name, fields]) => readOne(name, fields, sources))
}

function readOne(name: string, value: unknown, sources: ConnectionSources): ConnectionSettings {
  const at = `"connections.${name}`
  if (!NAME.test(name))
    throw wrong(sources, `${at}"`, `the name is not allowed; it has ${NAME_RULE}`)
  if (!isObject(value)) throw wrong(sources, `${at}"`, 'must be an object')
  for (const field of Object.keys(value)) refuseUnknown(field, at, sources)
  const reader = new FieldReader(value, at, sources)
  const kind = reader.choice('kind', ['postgresql', 'mysql'] as const)
  const host = reader.text('host')
  const isLocal =
    host === 'localhost' || host === '::1' || (isIP(host) === 4 && /^127\./.test(host))
  const settings = {
    name,
    kind,
    host,
    port: reader.integer('port', KINDS[kind], 65_535),
    database: reader.text('database'),
    user: reader.text('user'),
    password: readPassword(reader),
    poolSize: reader.integer('poolSize', 8, POOL_SIZE_MAX),
    connectMs: reader.integer('connectMs', 2_000, CONNECT_MS_MAX),
    // A password must not cross a network in the clear because a line was forgotten.
    tls: reader.choice('tls', ['off', 'verify', 'insecure'] as const, isLocal ? 'off' : 'verify'),
    ca: reader.has('caFile') ? reader.file('caFile') : null,
    services: reader.has('services') ? reader.texts('services') : null,
  }
  return Object.freeze(settings)
}

function refuseUnknown(field: string, at: string, sources: ConnectionSources): void {
  if (FIELDS.includes(field)) return
  const reason =
    field === 'password'
      ? 'no place for a secret; name a variable in "passwordEnv" or a file in "passwordFile"'
      : `is no field of a connection; allowed is ${FIELDS.join(', ')}`
  throw wrong(sources, `${at}.${field}"`, reason)
}

function readPassword(reader: FieldReader): string | null {
  if (reader.has('passwordEnv') && reader.has('passwordFile')) {
    throw reader.wrong('passwordEnv', 'is set beside "passwordFile"; allowed is one of them')
  }
  if (reader.has('passwordEnv')) return reader.variable('passwordEnv')
  // Editors end files with a line break that is no part of the password.
  return reader.has('passwordFile') ? reader.file('passwordFile').replace(/\r?\n$/, '') : null
}

function wrong(sources: ConnectionSources, at: string, reason: string): WrongConnection {
  return new WrongConnection(`${at} in ${sources.path}: ${reason}`)
}

/** Reads the fields of one connection; what it throws names the field. */
class FieldReader {
  readonly #fields: Fields
  readonly #at: string
  readonly #sources: ConnectionSources

  constructor(fields: Fields, at: string, sources: ConnectionSources) {
    this.#fields = fields
    this.#at = at
    this.#sources = sources
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined
  }

  wrong(name: string, reason: string): WrongConnection {
    return wrong(this.#sources, `${this.#at}.${name}"`, reason)
  }

  text(name: string): string {
    const value = this.#fields[name]
    if (value === undefined) throw this.wrong(name, 'is missing')
    if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; allowed is a text`)
  }

  texts(name: string): readonly string[] {
    const value = this.#fields[name]
    const isText = (one: unknown): one is string => typeof one === 'string' && one !== ''
    if (Array.isArray(value) && value.every(isText)) return Object.freeze([...value])
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; allowed is an array of texts`)
  }

  integer(name: string, preset: number, max: number): number {
    const value = this.#fields[name] ?? preset
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max) {
      return value
    }
    const allowed = `allowed is an integer from 1 to ${max}`
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; ${allowed}`)
  }

  choice<Choice extends string>(
    name: string,
    choices: readonly Choice[],
    preset?: NoInfer<Choice>,
  ): Choice {
    const value = this.#fields[name] ?? preset
    const found = choices.find((choice) => choice === value)
    if (found !== undefined) return found
    const allowed = `allowed is ${choices.join(', ')}`
    if (value === undefined) throw this.wrong(name, `is missing; ${allowed}`)
    throw this.wrong(name, `${JSON.stringify(value)} is not allowed; ${allowed}`)
  }

  variable(name: string): string {
    const variable = this.text(name)
    const value = this.#sources.env[variable]
    if (value === undefined || value === '') {
      throw this.wrong(name, `the environment has no variable ${variable}`)
    }
    return value
  }

  file(name: string): string {
    const path = this.text(name)
    try {
      return this.#sources.readFile(path)
    } catch (error) {
      const reason = messageOf(error).replace(/\s*\n\s*/g, ' ')
      throw this.wrong(name, `the file cannot be read: ${reason}`)
    }
  }
}
